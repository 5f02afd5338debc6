"""`compare` trains a model with several normalizations on the user's data and compares them.

All normalizations are trained from the same seeds, and a `Probe` measures each training. The checks
of the arguments are in `trial`, and the plots in `comparison_plots`.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import checks, ops, optim
from ..data.dataset import ArrayDataset
from ..data.loader import DataLoader
from ..nn.layer import Layer
from ..random import own_generator
from ..train.batches import evaluated, is_dataset
from ..train.progress import say
from ..train.trainer import Trainer
from . import trial
from .probe import MEASURES, Probe
from .verdict import Interval, interval

METRICS = ("accuracy", "top5", "mae", "mse", "loss")
LOOKS = 20  # measurements that a probe takes in a training if `every` is not given


@dataclasses.dataclass(frozen=True)
class Trained:
    """One training of a comparison.

    norm, rate, seed: the normalization's name, the learning rate and the seed of this training
    score:            the metric on the test data after the training; NaN if it diverged
    history:          the history of `Trainer.fit`, with the test data as `valid`
    probe:            the history of the probe; {} without one
    seconds:          the duration of the training
    """

    norm: str
    rate: float
    seed: int
    score: float
    history: Mapping[str, Sequence[float]]
    probe: Mapping[str, Any]
    seconds: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The result of `compare`. `print` shows it as a table, and `plot` draws it.

    norms:  the names of the normalizations, in the order in which they were given
    metric: the name of the metric that the scores are values of
    runs:   all trainings; `of(norm)` selects those of one normalization at its best learning rate
    """

    norms: tuple[str, ...]
    metric: str
    runs: tuple[Trained, ...]

    def rate(self, norm: str) -> float:
        """Return the learning rate at which a normalization has the best mean score over the
        seeds."""
        if norm not in self.norms:
            raise ValueError(
                checks.message("Comparison", "norm", f"one of {', '.join(self.norms)}", norm)
            )
        rates = list(dict.fromkeys(run.rate for run in self.runs))
        means = [
            np.mean([run.score for run in self.runs if run.norm == norm and run.rate == rate])
            for rate in rates
        ]
        sign = 1 if _larger_is_better(self.metric) else -1
        return max(
            zip(rates, means, strict=True),
            key=lambda pair: -math.inf if math.isnan(pair[1]) else sign * pair[1],
        )[0]

    def of(self, norm: str) -> list[Trained]:
        """Return the trainings of a normalization at its best learning rate, in the order of the
        seeds."""
        rate = self.rate(norm)
        return [run for run in self.runs if run.norm == norm and run.rate == rate]

    def score(self, norm: str) -> Interval:
        """Return the mean score of a normalization over the seeds, with its 95% bootstrap interval;
        NaN if one of its trainings diverged."""
        return interval([run.score for run in self.of(norm)])

    def difference(self, norm: str, reference: str | None = None) -> Interval:
        """Return how much the score of a normalization exceeds that of `reference` (by default the
        first normalization): the mean of the differences between trainings of the same seed, with
        its 95% bootstrap interval."""
        other = self.of(self.norms[0] if reference is None else reference)
        return interval(
            [run.score - base.score for run, base in zip(self.of(norm), other, strict=True)]
        )

    def __str__(self) -> str:
        """Return a table with a row for each normalization."""
        head = (
            "norm",
            "rate",
            self.metric,
            "95% interval",
            f"minus {self.norms[0]}",
            "95% interval",
            "seconds",
            "",
        )
        rows = [head]
        for norm in self.norms:
            runs, first = self.of(norm), norm == self.norms[0]
            failed = sum(math.isnan(run.score) for run in runs)
            rows.append(
                (
                    norm,
                    f"{self.rate(norm):g}",
                    *_shown(self.score(norm)),
                    *(("", "") if first else _shown(self.difference(norm), "+")),
                    f"{np.mean([run.seconds for run in runs]):.1f}",
                    f"{failed} of {len(runs)} diverged" if failed else "",
                )
            )
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the scores, the metric over the epochs, and the measurements of the probes, as means
        over the seeds, with a colour for each normalization. The extension of `path` selects the
        format, which is PNG without one. Raises ImportError without matplotlib."""
        from .comparison_plots import plot_comparison

        plot_comparison(self, path)


def compare(
    build: Callable[[Any], Layer],
    norms: Any = ("batch", "group", "layer", "none"),
    *,
    data: Any,
    seeds: int = 3,
    epochs: int = 5,
    batch_size: int = 64,
    rates: Any = (0.05,),
    optimizer: Callable[..., Any] | None = None,
    loss: Callable[..., Any] = ops.cross_entropy,
    metric: str = "accuracy",
    measures: Iterable[str] = MEASURES,
    every: int | None = None,
    progress: bool = True,
) -> Comparison:
    """Train a model with each of several normalizations on your data, from paired seeds, and
    measure each training with a `Probe`.

    build:      a function that makes a new model with the normalization it is given, such as
                `lambda norm: models.create("vgg8", norm=norm)`
    norms:      the arguments for `build`: names of normalizations, or functions that make a
                normalization layer for a number of features. A dict maps names to them; functions
                that share a name, such as lambdas, need one
    data:       (train, test), each of them a pair of arrays (images, labels), a data set or a
                loader. A `DataLoader` keeps its options, and its seed is set to that of each
                training. With any other loader, subclasses of `DataLoader` included, the batches
                are paired only if the loader yields the same ones in every training
    seeds:      the number of seeds; with one seed there are no intervals
    batch_size: the batch size for arrays and data sets
    rates:      one learning rate or several. With several, each normalization is trained at each of
                them, and the table shows its best one. The test data choose that one, which makes
                all scores slightly optimistic
    optimizer:  a function that makes an optimizer from (parameters, rate); None: SGD with Nesterov
                momentum 0.9
    loss:       the loss, as for `Trainer`
    metric:     "accuracy", "top5", "mae", "mse" or "loss", computed on the test data
    measures:   the measures of the probes (`Probe` says what each costs); () for no probes
    every:      the number of steps between two measurements; None: 20 measurements in a training
    progress:   whether to print a line to stderr after each training

    Returns a `Comparison`: `print` shows a table, and `plot(path)` draws the scores, the trainings
    and the measurements of the probes. `score(norm)` is the mean score over the seeds and
    `difference(norm)` the mean of the paired differences from the first normalization, both with
    95% bootstrap intervals. `runs` has the history and the probe of every training, `of(norm)`
    those of one normalization.

    For each seed, all models draw their random numbers from a new generator with that seed and see
    the same batches. They differ in the normalization alone, as long as they draw the same numbers
    in the same order. The global random generator is left as it was. The learning rate is constant.
    A training whose loss becomes infinite or NaN has the score NaN.

    Arguments that do not fit together raise TypeError or ValueError before the first training. To
    find this out, two models of each normalization are made, and one of them takes a step on a
    training batch and is evaluated on a test batch. Two models must not share a layer with state or
    a parameter, as a training would then start from what another one has learned. With several
    seeds, ImportError is raised without SciPy, which the extra `lab` installs.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((96, 8)).astype(np.float32)
    >>> pair = x, (x[:, 0] > 0).astype(int)
    >>> def build(norm):
    ...     return nn.Sequential(nn.Dense(8, 16), {"batch": nn.BatchNorm, "layer": nn.LayerNorm}[
    ...         norm](16), nn.ReLU(), nn.Dense(16, 2))
    >>> found = lab.compare(build, ("batch", "layer"), data=(pair, pair), seeds=2, epochs=8,
    ...                     batch_size=16, progress=False)
    >>> found.score("batch").value > 0.8
    True
    >>> len(found.of("layer")), found.of("layer")[0].probe["step"][:3]
    (2, [0, 2, 4])
    """
    where = trial.WHERE
    chosen = trial.norms_by_name(norms)
    wanted_build = "a function of a normalization that makes a model"
    if isinstance(build, Layer):  # a layer is callable too, so the check below would accept it
        raise TypeError(checks.message(where, "build", wanted_build, build))
    trial.check_call(build, "build", wanted_build, next(iter(chosen.values())))
    train_on, test_on = trial.data_parts(data)
    seeds, epochs = (
        checks.count(n, where, name, 1) for n, name in ((seeds, "seeds"), (epochs, "epochs"))
    )
    batch_size = checks.size(batch_size, where, "batch_size")
    metric = checks.choice(metric, where, "metric", METRICS)
    if every is not None:
        every = checks.count(every, where, "every", 1)
    rates = trial.learning_rates(rates)
    optimizer = (
        _sgd
        if optimizer is None
        else trial.check_call(
            optimizer, "optimizer", "a function of (parameters, rate), or None", [], rates[0]
        )
    )
    checks.function(loss, where, "loss", "a function of (outputs, labels)")
    progress = checks.flag(progress, where, "progress")
    wanted = (
        (measures,)
        if isinstance(measures, str)
        else tuple(checks.members(measures, where, "measures", "a list of names"))
    )
    for name in wanted:
        checks.choice(name, where, "measures", MEASURES)
    if seeds > 1:
        try:
            import scipy.stats  # noqa: F401
        except ImportError:
            raise ImportError("compare: needs SciPy: pip install 'minidl[lab]'") from None
    batches = (
        trial.Batch.first(_loader(train_on, batch_size, 0), "data[0]"),
        trial.Batch.first(evaluated(test_on, where, "data[1]"), "data[1]"),
    )
    for name, model in trial.check_models(build, chosen).items():
        trial.check_fit(model, name, optimizer, rates[0], loss, metric, batches)
    runs = []
    for seed in range(seeds):
        for rate in rates:
            for name, norm in chosen.items():
                loader = _loader(train_on, batch_size, seed)
                looks = every or max(1, _length(loader) * epochs // LOOKS)
                with own_generator(seed):
                    model = build(norm)
                    probe = Probe(model, looks, wanted) if wanted else None
                    trainer = Trainer(
                        model,
                        optimizer(model.parameters(), rate),
                        loss,
                        metrics=() if metric == "loss" else (metric,),
                        callbacks=[] if probe is None else [probe],
                        progress=False,
                    )
                    run = _trained(
                        trainer, loader, test_on, epochs, metric, (name, rate, seed), probe
                    )
                runs.append(run)
                say(
                    f"{name}, rate {rate:g}, seed {seed}: {metric} {run.score:.4f}, "
                    f"{run.seconds:.1f} s",
                    progress,
                )
    return Comparison(tuple(chosen), metric, tuple(runs))


def _trained(
    trainer: Trainer,
    loader: Any,
    test: Any,
    epochs: int,
    metric: str,
    key: tuple[str, float, int],
    probe: Probe | None,
) -> Trained:
    """Fit the trainer, and return the record of this training. `key`: (norm, rate, seed)."""
    start = time.perf_counter()
    score = math.nan
    try:
        history = trainer.fit(loader, valid=test, epochs=epochs)
        score = history[f"valid_{metric}"][-1]
    except FloatingPointError:
        history = trainer.history
    return Trained(
        *key,
        score,
        {name: list(column) for name, column in history.items()},
        {} if probe is None else probe.history,
        time.perf_counter() - start,
    )


def _loader(source: Any, batch_size: int, seed: int) -> Any:
    """Return a loader of `source` whose order of batches is that of the seed."""
    if type(source) is DataLoader:  # a subclass may not follow the options that are copied here
        return DataLoader(
            source.dataset,
            source.batch_size,
            source.shuffle,
            source.transform,
            source.drop_last,
            seed,
            source.prefetch,
            source.sampler,
        )
    if isinstance(source, tuple):
        source = ArrayDataset(*source)
    if not is_dataset(source):
        return source
    return DataLoader(
        source, batch_size, shuffle=True, drop_last=len(source) > batch_size, seed=seed
    )


def _length(loader: Any) -> int:
    return len(loader) if hasattr(loader, "__len__") else 100


def _sgd(parameters: Any, rate: float) -> Any:
    return optim.SGD(parameters, lr=rate, momentum=0.9, nesterov=True)


def _larger_is_better(metric: str) -> bool:
    return metric not in ("loss", "mae", "mse")


def _shown(found: Interval, sign: str = "") -> tuple[str, str]:
    """Return the value and the interval as the texts of two cells of the table."""
    if math.isnan(found.value):
        return "–", "–"
    return (
        f"{found.value:{sign}.4f}",
        "–" if math.isnan(found.low) else f"{found.low:{sign}.4f} to {found.high:{sign}.4f}",
    )
