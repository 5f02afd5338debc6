"""Trainer: the loop around a model, an optimizer and a loader.

What a step is stands in `steps`, what a batch means in `batches`, what a checkpoint holds in
`state`; here is the order in which things happen.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import Any

from .. import checks, hints, ops
from ..nn.layer import Layer
from ..optim.optimizer import Optimizer
from ..optim.plateau import ReduceOnPlateau
from ..tensor import Tensor
from . import callbacks as hooks
from . import state as states
from .averaged import Averaged
from .batches import Example, Reader, check_loader, evaluated, once, takes_batch
from .evaluation import evaluate, views_of
from .interrupts import Interrupts
from .labels import check_classes
from .metrics import Totals, measures
from .progress import bar, line, say
from .steps import Steps, check_optimizer, one_number


class Trainer(hints.Explained):
    """Trains a model: `fit` with a loader, `evaluate` on data.

    model:      any layer. Batches of a loader may be pairs (input, labels), longer tuples, dicts or
                inputs alone; which entry is what is said in `minidl.train.batches`
    optimizer:  of the model's parameters
    loss:       a function of (outputs, labels) that returns a tensor of one number: for classes,
                several labels, numbers, labels of pixels. One with a parameter `batch` gets the
                whole batch as well. Class weights: `functools.partial(md.cross_entropy,
                weight=data.class_weights(labels))`; or even classes out in the loader, by
                `sampler=data.balanced(labels)`
    schedule:   of the learning rate: stepped after every step of the optimizer, but
                `ReduceOnPlateau` after every epoch, with `valid_loss`
    clip:       the largest norm that the gradients together may have; None: any
    accumulate: batches for each step of the optimizer. The gradient is that of one large batch, in
                which every item counts the same, also where an epoch ends with fewer or smaller
                batches. BatchNorm still normalizes each batch by itself, and its running statistics
                move with each: that is no large batch to it
    ema:        a decay such as 0.999: the weights are also averaged over the steps, in the model
                `averaged`, which is what is validated and evaluated, after its BatchNorm statistics
                were measured on 16 training batches (`nn.recalibrate`)
    metrics:    names or functions of (outputs, labels), which get arrays and return the mean of a
                batch. "accuracy" is the share of labels that are found, "top5" that of labels among
                the five likeliest, "mae" and "mse" are errors. What does not apply to a task, as
                accuracy to numbers, is left out of the history
    precision:  the dtype that is trained in, "float32" or "float64"; a model of another is
                converted
    callbacks:  objects with some of the methods `on_fit_begin`, `on_epoch_begin`, `on_batch_end`,
                `on_epoch_end`, `on_fit_end`, `on_interrupt`, which are called with the trainer.
                Checkpoints come after all others, whatever their place
    reduction:  "mean" if the loss is a mean over the items of a batch, "sum" if it is their sum
    progress:   whether something is shown on stderr: a bar on a terminal, a line for each epoch

    Callbacks read `epoch` (how many are complete), `batch` (of the current one), `step` (of the
    optimizer), `epochs`, `history`, `model`, `optimizer`, `loader`, `valid`, `averaged`, and end
    the training after the epoch with `trainer.stop = True`.

    TypeError and ValueError name an argument that does not fit.

    >>> images = np.random.default_rng(0).random((64, 8), dtype=np.float32)
    >>> pairs = data.ArrayDataset(images, (images[:, 0] > 0.5).astype(int))
    >>> loader = data.DataLoader(pairs, batch_size=16, shuffle=True)
    >>> model = nn.Sequential(nn.Dense(8, 16), nn.ReLU(), nn.Dense(16, 2))
    >>> trainer = train.Trainer(model, optim.Adam(model.parameters(), lr=0.01), progress=False)
    >>> history = trainer.fit(loader, valid=loader, epochs=30)
    >>> sorted(history)
    ['accuracy', 'loss', 'lr', 'seconds', 'valid_accuracy', 'valid_loss']
    >>> trainer.evaluate(loader)["accuracy"] > 0.9
    True
    """

    def __init__(
        self,
        model: Layer,
        optimizer: Optimizer,
        loss: Callable[..., Any] = ops.cross_entropy,
        schedule: Any = None,
        clip: float | None = None,
        accumulate: int = 1,
        ema: float | None = None,
        metrics: Iterable[Any] = ("accuracy",),
        precision: str = "float32",
        callbacks: Iterable[Any] = (),
        *,
        reduction: str = "mean",
        progress: bool = True,
    ) -> None:
        where = "Trainer"
        self.model = checks.instance(model, where, "model", Layer, "a Layer")
        self.optimizer = check_optimizer(optimizer, model)
        self.loss = checks.function(loss, where, "loss", "a function of (outputs, labels)")
        self.schedule = schedule
        if schedule is not None and not callable(getattr(schedule, "step", None)):
            expected = "a schedule with step(), or None"
            raise TypeError(checks.message(where, "schedule", expected, schedule))
        of = getattr(schedule, "optimizer", optimizer)
        if getattr(of, "groups", optimizer.groups) is not optimizer.groups:
            raise ValueError(
                "Trainer: schedule must be of the trainer's optimizer, and is of another one"
            )
        self.clip = None if clip is None else checks.real(clip, where, "clip", above=0)
        self.accumulate = checks.count(accumulate, where, "accumulate", 1)
        self.ema = None if ema is None else checks.real(ema, where, "ema", 0, below=1)
        self.precision = checks.choice(precision, where, "precision", ("float32", "float64"))
        self.reduction = checks.choice(reduction, where, "reduction", ("mean", "sum"))
        self.progress = checks.flag(progress, where, "progress")
        self._measures = measures(metrics, loss)
        self.metrics = tuple(self._measures)
        self.callbacks = hooks.checked(callbacks)
        self._takes_batch = takes_batch(loss)
        if any(p.dtype != self.precision for p in model.parameters()):
            if optimizer.state:
                raise ValueError(
                    f"Trainer: precision is {precision!r}, and the optimizer has "
                    f"already made steps in another one"
                )
            model.astype(self.precision)
        self._reader = Reader(model)
        self.loader: Any = None
        self.valid: Any = None
        self.epochs = 0
        self.resumed_from: str | None = None
        self._averaged: Averaged | None = None
        self._first_rates = self._last_rates = self._rates()
        self._start()

    def _start(self) -> None:
        """The state of a training that has not begun."""
        self.history: dict[str, list[float]] = {}
        self.epoch = self.batch = self.step = 0
        self.stop = False
        self._averaged = None
        self._totals = Totals()
        self._loader_state: Any = None
        self._seconds = 0.0  # of the current epoch, before the newest start
        self._started = time.perf_counter()
        self._steps: Steps | None = None
        self._rate = float(self.optimizer.lr)
        self._configuration: dict[str, Any] | None = None

    @property
    def averaged(self) -> Layer | None:
        """The model of averaged weights; None without `ema`, and before `fit`."""
        return None if self._averaged is None else self._averaged.model

    @property
    def resumed(self) -> bool:
        """Whether the training goes on from a checkpoint; `resumed_from` is its path."""
        return self.resumed_from is not None

    @property
    def between_steps(self) -> bool:
        """Whether no gradients are waiting for further batches."""
        return self._steps is None or not self._steps.batches

    # ------------------------------------------------------------------------------------- fit

    @hints.for_newcomers
    def fit(
        self,
        loader: Any,
        valid: Any = None,
        epochs: int = 1,
        resume: str | os.PathLike[str] | None = None,
    ) -> dict[str, list[float]]:
        """Train until `epochs` epochs are complete; returns the history.

        loader: gives the batches of an epoch each time that it is iterated
        valid:  what is evaluated after each epoch: a loader, a data set or (images, labels)
        resume: None: a training from its first epoch, with the model as it is. "auto": go on from
                the last good checkpoint in the folder of the trainer's `Checkpoint`, or begin where
                it has none. A path of a checkpoint, or of a folder of them: go on from there

        The history is a dict of lists with one entry an epoch: "loss", each metric, with `valid`
        "valid_loss" and each metric of it, "lr" (of the epoch's last step) and "seconds". Loss and
        metrics of training are means over the epoch, while the model learned.

        The model is put into training mode, and validation is in evaluation mode for this thread.
        Loss and gradients are watched: at the first NaN or infinity FloatingPointError names the
        layer that made it, and the model is as it was before the step. Ctrl-C ends the training
        between two steps, after `Checkpoint` has saved it; KeyboardInterrupt is raised then.

        ValueError for labels that are no class of the model, as far as a data set shows all of its
        labels, and for a `valid` with other classes than the loader's data set.

        StateError (a ValueError) says where a checkpoint is of another model or configuration;
        a warning names one that is damaged.
        """
        before = dict(self.__dict__)
        try:
            self._begin(loader, valid, epochs, resume)
        except BaseException:
            self.__dict__.update(before)
            raise
        self.model.train()
        self._steps = Steps(self)
        with Interrupts() as interrupts:
            try:
                hooks.call(self.callbacks, "on_fit_begin", self)
                while self.epoch < self.epochs and not self.stop:
                    self._run_epoch(interrupts)
                self.result_model()  # measured, also where the last epoch was not validated
                hooks.call(self.callbacks, "on_fit_end", self)
            except BaseException as error:
                self._steps.rollback()
                if isinstance(error, KeyboardInterrupt):
                    hooks.call(self.callbacks, "on_interrupt", self)
                raise
            finally:
                self._last_rates = self._rates()
        return self.history

    def _begin(self, loader: Any, valid: Any, epochs: int, resume: Any) -> None:
        """Check what `fit` is given, and become the training that it asks for."""
        check_loader(loader, "fit", "loader")
        self.epochs = checks.count(epochs, "fit", "epochs")
        if valid is not None:
            evaluated(valid, "fit", "valid")
            check_classes(loader, valid, "fit", "valid")
        elif self._wants_metric:
            raise ValueError("fit: a schedule that looks at valid_loss needs valid=")
        self.loader, self.valid = loader, valid
        self._start()
        if self.ema is not None:
            self._averaged = Averaged(self.model, self.ema)
        if self._rates() != self._last_rates:  # set since the last training by someone else
            self._first_rates = self._rates()
        self._configuration = states.configuration(self)
        self.resumed_from = None if resume is None else states.resume(self, resume)

    def _run_epoch(self, interrupts: Interrupts) -> None:
        assert self._steps is not None
        self._started = time.perf_counter()
        if self.batch == 0:
            with interrupts.held():
                self._totals, self._seconds = Totals(), 0.0
                hooks.call(self.callbacks, "on_epoch_begin", self)
        total = len(self.loader) if hasattr(self.loader, "__len__") else None
        title = f"epoch {self.epoch + 1}/{self.epochs}"
        shown = bar(self._batches(), total, self.batch, title, self._figures, self.progress)
        with closing(shown) as batches:  # closed too when the loop ends early
            for batch in batches:
                with interrupts.held():
                    self._train_on(batch)
                    hooks.call(self.callbacks, "on_batch_end", self)
        if not self.batch:
            raise ValueError("fit: the loader has no batch")
        with interrupts.held():
            if self._steps.batches:  # an epoch's last step may have fewer batches
                self._steps.take()
        found = {} if self.valid is None else self._validated()
        with interrupts.held():
            self._close_epoch(found)

    def _batches(self) -> Iterator[Any]:
        """The batches of the epoch that have not been used."""
        if self._loader_state is None and self.batch:  # resumed, and the loader cannot tell
            return islice(iter(self.loader), self.batch, None)
        return iter(self.loader)

    def _train_on(self, batch: Any) -> None:
        assert self._steps is not None
        example = self._reader(batch)
        self._steps.gradients(example)
        if self._steps.batches == self.accumulate:
            self._steps.take(example)
        self.batch += 1
        self._loader_state = states.of_loader(self.loader)

    def _stepped(self) -> None:
        """What follows a step of the optimizer."""
        self.step += 1
        self._rate = float(self.optimizer.lr)
        if self._averaged is not None:
            self._averaged.update()
        if self.schedule is not None and not self._wants_metric:
            self.schedule.step()

    def _validated(self) -> dict[str, float]:
        return {f"valid_{name}": value for name, value in self.evaluate(self.valid).items()}

    def _close_epoch(self, found: dict[str, float]) -> None:
        entries = {**self._totals.means(), **found, "lr": self._rate, "seconds": self._elapsed()}
        for name in {**self.history, **entries}:  # NaN where an epoch had no such figure
            column = self.history.setdefault(name, [math.nan] * self.epoch)
            column.append(entries.get(name, math.nan))
        if self._wants_metric:
            name = "valid_loss"
            if getattr(self.schedule, "options", {}).get("mode") == "max":
                name = next((f"valid_{m}" for m in self.metrics if f"valid_{m}" in found), name)
            self.schedule.step(found[name])
        self.epoch, self.batch = self.epoch + 1, 0
        self._totals, self._seconds, self._started = Totals(), 0.0, time.perf_counter()
        self._loader_state = states.of_loader(self.loader)
        hooks.call(self.callbacks, "on_epoch_end", self)
        say(line(self.history, self.epoch, self.epochs), self.progress)

    def _figures(self) -> str:
        """The means of the current epoch so far, as the bar shows them."""
        return ", ".join(f"{name} {mean:.4f}" for name, mean in self._totals.means().items())

    def _rates(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.groups]

    def _elapsed(self) -> float:
        """Seconds of the current epoch, those before a resumption included."""
        return self._seconds + time.perf_counter() - self._started

    @property
    def _wants_metric(self) -> bool:
        return isinstance(self.schedule, ReduceOnPlateau)

    # -------------------------------------------------------------------------------- evaluate

    def evaluate(self, loader: Any, tta: Any = None) -> dict[str, float]:
        """{"loss": ..., "accuracy": ...} over all items of a loader, a data set, a tuple (images,
        labels) or ((input, input), labels), or an array of inputs that are their own labels; in
        evaluation mode for this thread, and of the averaged weights if there are any.

        The epochs of a DataLoader are left alone: it gives its epoch 0 once more.

        tta: test-time augmentation. "flip" averages the outputs for the images and for their mirror
             images; a transform `(images)` or `(images, rng)` those for the images and for what it
             makes of them, a list of transforms those of all
        """
        where, views = "evaluate", views_of(tta)
        check_classes(self.loader, loader, where, "loader")
        model, batches = self.result_model(), evaluated(loader, where, "loader")
        return evaluate(model, batches, self._loss, self._note, views, where)

    def result_model(self) -> Layer:
        """The model that the training is for: the averaged one, its BatchNorm statistics measured,
        if there is one."""
        if self._averaged is None:
            return self.model
        if self.loader is not None:
            self._averaged.recalibrate(once(self.loader))
        return self._averaged.model

    def _loss(self, outputs: Any, example: Example) -> Tensor:
        if self._takes_batch:
            return one_number(self.loss(outputs, example.labels, batch=example.batch))
        return one_number(self.loss(outputs, example.labels))

    def _note(self, totals: Totals, loss: float, outputs: Any, example: Example) -> None:
        """Add a batch's loss and metrics to the totals, each item counting the same."""
        count = example.count
        totals.add("loss", loss * count if self.reduction == "mean" else loss, count)
        for name, measure in self._measures.items():
            found = measure(outputs, example.labels, count)
            if found is not None:
                totals.add(name, *found)

    # ------------------------------------------------------------------------------ checkpoints

    def state_dict(self) -> dict[str, Any]:
        """All that the training needs to go on with the same bits: model, optimizer, schedule,
        averaged weights, random numbers, the loader's place, history, the states of callbacks, and
        a description of the configuration. Between two steps of the optimizer it is the state of
        the moment, else that before the step that is not complete.
        """
        return states.state_of(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what `state_dict` gives; nothing is changed if it does not fit. StateError (a
        ValueError) lists what differs where it is of another configuration."""
        states.load_state(self, state, "load_state_dict of Trainer: the state")

    def _place(self) -> dict[str, Any]:
        """Where the training stands within its epoch."""
        return {
            "batch": self.batch,
            "loader": self._loader_state,
            "totals": self._totals.copy().sums,
            "seconds": self._elapsed(),
        }

    def _take_place(self, place: dict[str, Any]) -> None:
        self.batch, self._loader_state = int(place["batch"]), place["loader"]
        self._totals = Totals(place["totals"])
        self._seconds, self._started = float(place["seconds"]), time.perf_counter()

    def __repr__(self) -> str:
        return (
            f"Trainer({type(self.model).__name__}, {self.optimizer!r}, epoch={self.epoch}, "
            f"step={self.step})"
        )
