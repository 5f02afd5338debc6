"""Run: a whole training in a folder, from the data to the report. `minidl train` is a thin layer
over it.

A run's folder holds

    config.json         the plan, with the settings that were chosen for the data
    log.csv             the history
    last.safetensors    the newest checkpoint (older ones: last-1, last-2)
    best.safetensors    the best model, for `models.load`
    curves.png          the history as a plot
    report.html         the evaluation of the best model
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

import numpy as np

from .. import checks, data, models
from ..atomic import replace_file
from ..data import transforms as T
from ..models.registry import name_of
from ..nn.layer import Layer
from ..random import manual_seed
from ..version import __version__
from . import files
from .checkpoint import Checkpoint
from .loggers import CSVLogger
from .progress import say
from .recipes import Recipe, create
from .report import LayerStatistics, curves, report
from .task import KNOWN, has_part, load_task
from .trainer import Trainer
from .transfer import options_of, transferred

CONFIG, LOG = "config.json", "log.csv"
CURVES, REPORT = "curves.png", "report.html"
FORMAT = 1
EVALUATED = 256  # batch size of the validation
FROZEN = 20  # most epochs if only the last layer learns and the plan does not set `epochs`
DARKEST = 1 / 255  # lower bound of the standard deviation that pictures are divided by


class OtherRun(ValueError):
    """The folder holds a run of another plan, or of other pictures."""


@dataclass
class Plan:
    """What a run does.

    source:   a known data set or a folder, as `load_task` takes it
    recipe:   the name of a recipe
    settings: values for fields of the recipe
    size:     the size that pictures of a folder are scaled to; None: they are not scaled
    seed:     the seed of the initial weights, the order, the augmentation and the validation split
    init:     a file of `models.save` with the initial weights, for fine-tuning
    freeze:   whether only the last layer learns; needs `init`
    skip_broken: whether pictures that cannot be decoded are left out

    >>> train.Plan("mnist", recipe="mnist", settings={"epochs": 5}).seed
    0
    """

    source: str
    recipe: str = "default"
    settings: dict[str, Any] = field(default_factory=dict)
    size: Any = None
    seed: int = 0
    init: str | None = None
    freeze: bool = False
    skip_broken: bool = False


@dataclass
class Result:
    """The result of a run: the `part` of the data that was evaluated ("test", or "valid" if there
    is no test part), the `accuracy` of the best model on it, the `report` of `train.report`, and
    the `history`."""

    part: str
    accuracy: float
    report: Any
    history: dict[str, list[float]]


class Run:
    """A training in a folder.

    folder:   the run's folder, which `train` creates
    plan:     what the run does
    command:  the command that started the run, for the report
    progress: whether progress is shown on stderr

    The constructor loads the data and builds the model: `task`, `recipe`, `model` and `config` are
    then set. It writes nothing but decoded pictures, into the cache. ValueError and TypeError for a
    plan that cannot be carried out, and the errors of `load_task` and `models.load`.

    >>> run = train.Run("runs/digits", train.Plan("mnist", settings={"epochs": 1}))
    >>> run.recipe.model, run.task.shape, len(run.task.valid)
    ('mnist-cnn', (28, 28, 1), 6000)
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        plan: Plan,
        command: str | None = None,
        progress: bool = True,
    ) -> None:
        self.folder = checks.path(folder, "Run", "folder")
        self.plan, self.command, self.progress = plan, command, progress
        recipe = create(plan.recipe, **plan.settings)
        self.init = None if plan.init is None else _load_init(plan.init)
        if plan.freeze and self.init is None:
            raise ValueError("Run: freeze=True needs init=, the file of a trained model")
        size, channels = plan.size, None
        options = {} if self.init is None else options_of(self.init)
        if self.init is not None and plan.source not in KNOWN:
            size = size or (self.init.preprocess or {}).get("size")
            channels = getattr(self.init.model, "input_shape", (3,))[-1]
        if not recipe.valid and "valid" not in plan.settings and not has_part(plan.source, "test"):
            recipe.valid = Recipe.valid  # without a test part, a validation split is needed
        self.task = load_task(
            plan.source, size, recipe.valid, plan.seed, channels, plan.skip_broken
        )
        self.part, self.measured = self.task.measured
        if self.measured is None:
            raise ValueError(
                f"Run: {plan.source} has no test part, and valid=0 leaves no pictures for "
                f"validation: the accuracy could not be measured"
            )
        self.recipe = recipe.settled(self.task)
        if plan.freeze and plan.settings.get("epochs") is None:
            self.recipe.epochs = min(self.recipe.epochs or FROZEN, FROZEN)
        if self.init is not None:
            self.recipe.model = name_of(self.init.model)
            self.recipe.model_options = options
        self.preprocess = self._preprocess(size)
        self.normalize = T.Normalize(self.preprocess["mean"], self.preprocess["std"])
        manual_seed(plan.seed)
        self.model = self._model()
        self.config = {
            "format": FORMAT,
            "minidl": __version__,
            "source": plan.source,
            "recipe": plan.recipe,
            "size": size,
            "seed": plan.seed,
            "init": plan.init,
            "freeze": plan.freeze,
            "skip_broken": plan.skip_broken,
            "settings": self.recipe.settings(),
            "data": self.task.description(),
            "preprocess": self.preprocess,
        }

    def _preprocess(self, size: Any) -> dict[str, Any]:
        """Return the preprocessing that `models.save` stores; its mean and standard deviation are
        those of the initial model, or of the training pictures if there is none."""
        height, width, channels = self.task.shape
        if size is None:
            # For a square, the size is an int: pictures of other shapes that are predicted later
            # are then cropped, while a pair would distort them.
            size = height if height == width else (height, width)
        found = {"size": size, "channels": channels}
        given = (self.init.preprocess or {}) if self.init is not None else {}
        if "mean" in given and "std" in given:
            return {**found, "mean": given["mean"], "std": given["std"]}
        mean, std = data.mean_std(self.task.train)
        return {**found, "mean": mean.tolist(), "std": np.maximum(std, DARKEST).tolist()}

    def _model(self) -> Layer:
        if self.init is not None:
            return transferred(self.init, self.task.classes, self.task.shape, self.plan.freeze)
        model = self.recipe.build_model(self.task)
        self.recipe.prepare(model, self.task, self.normalize)
        return model

    # ----------------------------------------------------------------------------------- training

    def train(self, resume: bool = False) -> Result:
        """Train, evaluate the best model, and write the folder. With `resume` the training goes on
        from the newest undamaged checkpoint, or starts if the folder has none.

        FileExistsError if the folder is not empty and `resume` is False; OtherRun (a ValueError) if
        it holds a run of another plan; the errors of `Trainer.fit`. KeyboardInterrupt is raised
        after a checkpoint was saved. If the training fails before it has saved anything, the folder
        is removed.
        """
        loader = self.recipe.loader(self.task, self.normalize, self.plan.seed)
        trainer = self._trainer(len(loader))
        self._open(resume)
        valid = (
            None
            if self.task.valid is None
            else data.DataLoader(self.task.valid, EVALUATED, transform=self.normalize)
        )
        assert self.recipe.epochs is not None
        try:
            history = trainer.fit(loader, valid, self.recipe.epochs, "auto" if resume else None)
        except Exception:
            self._leave()
            raise
        return self._explain(history, trainer)

    def _open(self, resume: bool) -> None:
        """Create the folder, or check that it holds a run of this plan."""
        path = os.path.join(self.folder, CONFIG)
        if not resume and os.path.exists(self.folder) and os.listdir(self.folder):
            raise FileExistsError(
                f"Run: folder must be empty or new unless the run is resumed, got {self.folder!r}: "
                f"resume it, or choose another folder"
            )
        if os.path.exists(path):
            differences = differing(read_config(self.folder), self.config)
            if differences:
                raise OtherRun(
                    f"{self.folder!r} is a run of another configuration: {'; '.join(differences)}"
                )
            if read_config(self.folder)["source"] == self.config["source"]:
                return
        os.makedirs(self.folder, exist_ok=True)
        replace_file(path, json.dumps(self.config, indent=1) + "\n")

    def _leave(self) -> None:
        """Remove the folder of a training that failed before it saved anything, so that it can be
        started in the same folder after the mistake is corrected."""
        if files.existing(self.folder) or os.path.exists(os.path.join(self.folder, files.BEST)):
            return
        for name in (CONFIG, LOG):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.folder, name))
        with contextlib.suppress(OSError):  # the folder holds files of the user's
            os.rmdir(self.folder)

    def _trainer(self, batches: int) -> Trainer:
        assert self.recipe.epochs is not None
        optimizer = self.recipe.optimizer(self.model)
        schedule = self.recipe.schedule(optimizer, batches * self.recipe.epochs)
        self.statistics = LayerStatistics()
        checkpoint = Checkpoint(
            self.folder,
            monitor="valid_accuracy",
            classes=self.task.classes,
            preprocess=self.preprocess,
        )
        checkpoint.resume_hint = ""  # the command line shows its own hint
        return Trainer(
            self.model,
            optimizer,
            loss=self.recipe.loss(),
            schedule=schedule,
            callbacks=[
                *self.recipe.callbacks(self.model),
                self.statistics,
                CSVLogger(os.path.join(self.folder, LOG)),
                checkpoint,
            ],
            progress=self.progress,
            **self.recipe.trainer_options(),
        )

    def _explain(self, history: dict[str, list[float]], trainer: Trainer) -> Result:
        """Evaluate the best model, and write the plot of the curves and the report."""
        saved = models.load(os.path.join(self.folder, files.BEST))
        say("measuring the best model, writing the report", self.progress)
        found = report(
            saved,
            self.measured,
            valid_name=self.part,
            history=history,
            train_set=self.task.train,
            statistics=self.statistics.history,
            config=self.config,
            command=self.command,
            title=", ".join(
                dict.fromkeys([self.task.name, os.path.basename(os.path.abspath(self.folder))])
            ),
        )
        for name, write in ((CURVES, partial(curves, history)), (REPORT, found.save)):
            try:
                write(os.path.join(self.folder, name))
            except ImportError as error:
                say(f"{name} is not written: {error}", self.progress)
        return Result(self.part, found.accuracy, found, history)


def _load_init(path: str) -> models.Saved:
    """Load the model whose weights a run starts from. A resumed run loads it again, for the classes
    and the preprocessing."""
    try:
        return models.load(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"Run: init must be an existing file, got {path}") from None


def read_config(folder: str) -> dict[str, Any]:
    """Return the configuration in a run's folder. FileNotFoundError if the folder holds no run,
    ValueError if the configuration is damaged or of a later version."""
    path = os.path.join(folder, CONFIG)
    try:
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder!r} is not a run's folder: it has no {CONFIG}") from None
    except ValueError as error:
        raise ValueError(f"{path!r} is damaged: {error}") from None
    if not isinstance(config, dict) or not isinstance(config.get("format"), int):
        raise ValueError(f"{path!r} is not the configuration of a run")
    if config["format"] > FORMAT:
        raise ValueError(
            f"{path!r} has format {config['format']}, of minidl "
            f"{config.get('minidl')}; this is {__version__}, which reads up to "
            f"{FORMAT}"
        )
    return config


def plan_of(config: dict[str, Any]) -> Plan:
    """Return the plan that a configuration holds. ValueError if parts of it are missing."""
    try:
        return Plan(**{part.name: config[part.name] for part in fields(Plan)})
    except KeyError as error:
        raise ValueError(f"the configuration of the run has no {error}") from None


def differing(saved: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """List the differences of two configurations as text. The version of minidl and the path of the
    pictures may differ."""
    found = []
    for name in {**saved, **current}:
        old, new = (json.loads(json.dumps(c.get(name))) for c in (saved, current))
        if isinstance(old, dict) and isinstance(new, dict):
            found += [f"{name} {text}" for text in differing(old, new)]
        elif old != new and name not in ("minidl", "source"):
            found.append(f"{name}: {checks.shown(old)} there, {checks.shown(new)} here")
    return found
