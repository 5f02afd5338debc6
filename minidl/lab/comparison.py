"""compare: a choice of normalizations on one's own data, with paired seeds and probes."""

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
from ..train.batches import check_loader, evaluated, is_dataset
from ..train.progress import say
from ..train.trainer import Trainer
from . import trial
from .probe import MEASURES, Probe
from .verdict import Interval, interval

METRICS = ("accuracy", "top5", "mae", "mse", "loss")
LOOKS = 20  # of a probe in a training, unless it is said


@dataclasses.dataclass(frozen=True)
class Trained:
    """One training of a comparison: `score` on the test part (NaN where it diverged), the history
    of `Trainer.fit` with the test part as `valid`, that of the probe, and the seconds it took."""

    norm: str
    rate: float
    seed: int
    score: float
    history: Mapping[str, Sequence[float]]
    probe: Mapping[str, Any]
    seconds: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` has found. `print` shows a table, `plot` a picture.

    norms:  the names, in the order in which they were given
    metric: what `score` is
    runs:   all trainings; `of(norm)` those of a normalization at its best rate
    """

    norms: tuple[str, ...]
    metric: str
    runs: tuple[Trained, ...]

    def rate(self, norm: str) -> float:
        """The learning rate at which a normalization was best, on average over the seeds."""
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
        """The trainings of a normalization at its best rate, in the order of the seeds."""
        rate = self.rate(norm)
        return [run for run in self.runs if run.norm == norm and run.rate == rate]

    def score(self, norm: str) -> Interval:
        """The mean over the seeds, with its 95% bootstrap interval; NaN where one diverged."""
        return interval([run.score for run in self.of(norm)])

    def difference(self, norm: str, reference: str | None = None) -> Interval:
        """How much a normalization is above another one, the first by default: the mean of the
        differences seed by seed, with its interval."""
        other = self.of(self.norms[0] if reference is None else reference)
        return interval(
            [run.score - base.score for run, base in zip(self.of(norm), other, strict=True)]
        )

    def __str__(self) -> str:
        """A table: a line for each normalization."""
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
        """Draw the scores, the trainings, and what the probes have seen, each normalization in its
        colour: means over the seeds. The format is that of the ending, PNG if it has none.
        ImportError without matplotlib."""
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
    """Train a model with each of some normalizations on data of one's own, from paired seeds, and
    look into each with a `Probe`.

    build:      makes a new model with a normalization:
                `lambda norm: models.create("vgg8", norm=norm)`
    norms:      what `build` is called with: names, or functions of the number of features; a dict
                gives them names, which functions of the same name (lambdas) need
    data:       (train, test): each arrays (images, labels), a data set or a loader. A `DataLoader`
                keeps its options and gets the seed of each training; of another loader, and of one
                of a derived class, the batches are paired only if it gives the same ones each time
    seeds:      how many; with one there are no intervals
    batch_size: of arrays and data sets
    rates:      learning rates, or one. Of several, each normalization is trained with each, and
                the table has the best of each, which the test part has chosen: that flatters all a
                little
    optimizer:  a function of (parameters, rate); None: SGD with Nesterov's momentum of 0.9
    loss:       as of `Trainer`
    metric:     "accuracy", "top5", "mae", "mse" or "loss", of the test part
    measures:   of the probes, see there for what each costs; () for none
    every:      how many steps between two looks; None: 20 looks in a training
    progress:   whether there is a line on stderr for each training

    It returns a `Comparison`: `print` shows a table, `plot(path)` draws scores, trainings and what
    the probes have seen; `score(norm)` and `difference(norm)` are means over the seeds with 95%
    bootstrap intervals, the latter of the paired differences from the first normalization, and
    `runs`, or `of(norm)`, has the history and the probe of each training.

    For each seed all models draw from the start of a generator of that seed and see the same
    batches, so that they differ in the normalization alone, as far as they draw the same numbers;
    what is drawn elsewhere is what it would have been without. The rate stays what it is. A
    training whose loss becomes infinite or NaN has the score NaN.

    TypeError and ValueError for what does not fit, before anything is trained: two models of each
    normalization are made, and one of them tries a step on one batch of each part. They must have
    no layer or parameter in common, as what one training has learned would be the next one's start.
    ImportError without SciPy, which the extra `lab` brings, if there are several seeds.

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
    chosen = _named(norms, where)
    wanted_build = "a function of a normalization that makes a model"
    if isinstance(build, Layer):  # which can be called
        raise TypeError(checks.message(where, "build", wanted_build, build))
    trial.taking(build, "build", wanted_build, next(iter(chosen.values())))
    train_on, test_on = _pair(data, where)
    seeds, epochs = (
        checks.count(n, where, name, 1) for n, name in ((seeds, "seeds"), (epochs, "epochs"))
    )
    batch_size = checks.size(batch_size, where, "batch_size")
    metric = checks.choice(metric, where, "metric", METRICS)
    if every is not None:
        every = checks.count(every, where, "every", 1)
    rates = _rates(rates, where)
    if optimizer is None:
        optimizer = _sgd
    else:
        expected = "a function of (parameters, rate), or None"
        optimizer = trial.taking(optimizer, "optimizer", expected, [], rates[0])
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
    for name, model in trial.tried_models(build, chosen).items():
        trial.tried(model, name, optimizer, rates[0], loss, metric, batches)
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
    """One training, and what it has come to."""
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


def _rates(given: Any, where: str) -> list[float]:
    """Learning rates, given as a list, an array or one number."""
    several = hasattr(given, "__iter__") and not isinstance(given, str)
    rates = [checks.positive(rate, where, "rates") for rate in (given if several else (given,))]
    if not rates or len(set(rates)) < len(rates):
        raise ValueError(
            checks.message(where, "rates", "one learning rate or several different ones", given)
        )
    return rates


def _named(norms: Any, where: str) -> dict[str, Any]:
    """The normalizations by their names."""
    if isinstance(norms, Mapping):
        names, given = [str(name) for name in norms], list(norms.values())
    else:
        given = (
            [norms]
            if isinstance(norms, str) or callable(norms)
            else list(checks.members(norms, where, "norms", "a list of normalizations"))
        )
        names = [
            norm if isinstance(norm, str) else getattr(norm, "__name__", repr(norm))
            for norm in given
        ]
    found = dict(zip(names, given, strict=True))
    if len(found) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            checks.message(
                where,
                "norms",
                "normalizations of different names; a dict gives them names",
                f"{names.count(twice)} called {twice!r}",
            )
        )
    if not found:
        raise ValueError(checks.message(where, "norms", "one normalization or more", norms))
    return found


def _pair(given: Any, where: str) -> tuple[Any, Any]:
    """(train, test), if both are data."""
    expected = "(train, test), each of them arrays (images, labels), a data set or a loader"
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise TypeError(checks.message(where, "data", expected, given))
    for part, name in zip(given, ("data[0]", "data[1]"), strict=True):
        if isinstance(part, np.ndarray) or not (
            isinstance(part, tuple) or is_dataset(part) or hasattr(part, "__iter__")
        ):
            raise TypeError(
                checks.message(where, name, "arrays (images, labels), a data set or a loader", part)
            )
        if isinstance(part, tuple):
            try:
                ArrayDataset(*part)
            except (TypeError, ValueError) as error:
                raise checks.renamed(error, f"{where}: {name}") from None
    if not isinstance(given[0], tuple) and not is_dataset(given[0]):
        check_loader(given[0], where, "data[0]")
    evaluated(given[1], where, "data[1]")
    return given[0], given[1]


def _loader(source: Any, batch_size: int, seed: int) -> Any:
    """The batches of a training with a seed."""
    if type(source) is DataLoader:  # others may give other batches than their options say
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
    """A figure and its interval, as the table has them."""
    if math.isnan(found.value):
        return "–", "–"
    return (
        f"{found.value:{sign}.4f}",
        "–" if math.isnan(found.low) else f"{found.low:{sign}.4f} to {found.high:{sign}.4f}",
    )
