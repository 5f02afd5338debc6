"""Statistics for evaluation: those of the whole training set, or those of each batch.

They help a model that is worse in evaluation mode than in training; see docs/eval-mode.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .. import checks
from ..changes import writes
from ..mode import evaluation, statistics
from ..ops.common import warn
from ..tracing import model_input
from .layer import Layer
from .population import OF_BATCH, Population, Tracking
from .predict import first_of
from .step_norm import StepNorm

# Beyond these gaps recalibrate warns. A shift of means is in standard deviations, and the gap of
# variances is a factor. The first line is for the average over channels, the second for any single
# channel.
LARGE_SHIFT, LARGE_FACTOR = 0.25, 1.5
WORST_SHIFT, WORST_FACTOR = 1.0, 4.0


@dataclasses.dataclass(frozen=True)
class Gap:
    """How far the running statistics of one layer were from those of the population. For a
    normalization of a recurrent layer it covers all time steps.

    `shift` is the root mean square over the channels of (running_mean - mean) / sqrt(var + eps).
    `factor` is the geometric mean of how many times larger or smaller running_var + eps was than
    var + eps, where 1 means equal. `worst_shift` and `worst_factor` are the largest over the
    channels. The population had `values` values per channel in `batches` batches; both are 0 if the
    layer was never called, and it is then left alone.

    >>> nn.Gap("bn1", shift=0.4, factor=1.1, values=6400, batches=50).large
    True
    """

    layer: str
    shift: float
    factor: float
    values: int
    batches: int
    worst_shift: float = 0.0
    worst_factor: float = 1.0

    @property
    def large(self) -> bool:
        """Whether the gap is so large that the model's outputs probably suffer from it."""
        return not (
            self.shift <= LARGE_SHIFT
            and self.factor <= LARGE_FACTOR
            and self.worst_shift <= WORST_SHIFT
            and self.worst_factor <= WORST_FACTOR
        )


class Recalibration:
    """The report of `recalibrate`: `gaps` has a Gap for each layer. Printed, it is a table.

    >>> report = nn.recalibrate(nn.BatchNorm(2), [np.float32([[-1, 1], [1, -1]])])
    >>> print(report)
    layer  values a channel  shift of the mean, worst  factor of the variance, worst
    model                 2        0.000 std,   0.000                   1.000, 1.000
    """

    def __init__(self, gaps: list[Gap], layers: list[Tracking]) -> None:
        self.gaps = gaps
        self._before = [(layer, [array.copy() for array in _state(layer)]) for layer in layers]

    def restore(self) -> None:
        """Give the layers back the running statistics that they had before."""
        for layer, before in self._before:
            writes("restore() of a recalibration", (), _state(layer))
            for array, values in zip(_state(layer), before, strict=True):
                array[...] = values

    def __str__(self) -> str:
        width = max(5, *(len(gap.layer) for gap in self.gaps))
        lines = [
            f"{'layer':{width}}  values a channel  shift of the mean, worst"
            f"  factor of the variance, worst"
        ]
        for gap in self.gaps:
            found = "not reached"
            if gap.values:
                found = (
                    f"{gap.shift:11.3f} std, {gap.worst_shift:7.3f}"
                    f"  {gap.factor:22.3f}, {gap.worst_factor:5.3f}"
                )
            lines.append(
                f"{gap.layer:{width}}  {gap.values:16,}  {found}"
                f"{'  large' if gap.values and gap.large else ''}"
            )
        return "\n".join(lines)

    __repr__ = __str__


def recalibrate(
    model: Layer,
    loader: Iterable[Any],
    batches: int | None = None,
    run: Callable[[Any], Any] | None = None,
    quiet: bool = False,
) -> Recalibration:
    """Give every BatchNorm the mean and variance of all values that it sees in `loader`, in place
    of running averages: Precise BN (Wu & Johnson 2021, section 3).

    `loader` yields batches, or (batch, labels); uint8 images are divided by 255 as in `predict`.
    `batches` is how many of them to take, None for all. For other models (several inputs, masks)
    `run` is a function that calls the model with what the loader yields: lambda batch:
    model(batch[0], batch[1]). One pass over the data serves all layers: each normalizes a batch
    with the statistics of the whole batch; everything else works as in evaluation (no dropout;
    `training` is False).

    The new running_mean is the mean of all values, and running_var is their variance, E[var +
    mean^2] - E[mean]^2 over the batches, each weighted by its size. So a smaller last batch counts
    for less, and no correction by M / (M - 1) is needed. Recurrent layers with norm="batch" get
    statistics for each time step. Layers that are frozen or track no statistics are left alone. The
    modes of all layers, gamma, beta and `num_batches` do not change, except that `num_batches` of a
    time step becomes at least 1.

    The model is in evaluation mode for this thread alone. The new statistics are written when all
    are known, one layer after another. A thread that uses the model at that moment may find some
    layers changed and others not, and a thread that trains the model moves the same statistics.

    Returns a report of how far the running statistics of each layer were off; its `restore()` takes
    the change back. A warning, unless `quiet`, names the layers where the gap was large. ValueError
    if there is no layer to recalibrate, if there is no batch, if the first batch has one value per
    channel, or if a statistic is not finite; nothing is changed then.

    >>> bn = nn.BatchNorm(1)
    >>> bn.running_mean[...] = 19.
    >>> bn.running_var[...] = 60.
    >>> report = nn.recalibrate(bn, [np.float32([[10], [20]]), np.float32([[20], [30]])])
    >>> bn.running_mean, bn.running_var
    (array([20.], dtype=float32), array([50.], dtype=float32))
    >>> report.gaps[0].values, report.gaps[0].large
    (4, False)
    """
    checks.instance(model, "recalibrate", "model", Layer, "a Layer")
    quiet = checks.flag(quiet, "recalibrate", "quiet")
    if batches is not None:
        batches = checks.size(batches, "recalibrate", "batches")
    if run is not None:
        checks.function(run, "recalibrate", "run", "a function of a batch")
    try:
        loader = iter(loader)
    except TypeError:
        raise TypeError(
            f"recalibrate: loader must be an iterable of batches, got {type(loader).__name__}"
        ) from None
    named: dict[int, tuple[str, Tracking]] = {}
    for name, layer in model.named_layers():
        if (
            isinstance(layer, Tracking)
            and layer.running_mean is not None
            and not layer.frozen
            and not layer.stats_frozen
        ):
            named.setdefault(id(layer), (name or "model", layer))
    if not named:
        raise ValueError(
            "recalibrate: model has no BatchNorm with running statistics that are not frozen"
        )
    layers = [layer for _, layer in named.values()]
    found = _measure(model, layers, itertools.islice(loader, batches), run)
    for name, layer in named.values():
        assert layer.running_var is not None
        for population in found[id(layer)]:
            with np.errstate(over="ignore"):
                values = np.array([population.mean, population.var], layer.running_var.dtype)
            if not np.isfinite(values).all():
                raise ValueError(
                    f"recalibrate: the statistics of layer {name} are not finite: there are NaN "
                    f"or infinite values in loader, or in the model's weights"
                )
    report = Recalibration(
        [_gap(name, layer, found[id(layer)]) for name, layer in named.values()], layers
    )
    large = [gap.layer for gap in report.gaps if gap.values and gap.large]
    if large and not quiet:  # given before the change, because a warning may be an error
        warn(
            f"recalibrate: the running statistics of {', '.join(large)} were far from those of "
            f"the data; print the report for how far"
        )
    for _, layer in named.values():
        for row, population in enumerate(found[id(layer)]):
            if population.count:
                means, variances, trained = _rows(layer)
                writes("recalibrate", (), (means, variances))
                means[row], variances[row] = population.mean, population.var
                if isinstance(layer, StepNorm):  # evaluation uses only steps that were trained
                    trained[row] = max(trained[row], 1)
    return report


def _state(layer: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return layer.running_mean, layer.running_var, layer.num_batches


def _rows(layer: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The layer's statistics as views with a row for each population."""
    mean, var, batches = _state(layer)
    return (mean.reshape(-1, layer.features), var.reshape(-1, layer.features), batches.reshape(-1))


def _measure(
    model: Layer, layers: list[Tracking], loader: Iterable[Any], run: Callable[[Any], Any] | None
) -> dict[int, list[Population]]:
    """Run the model over the data; the populations of the layers, by id."""
    found = {id(layer): [Population(layer.features) for _ in _rows(layer)[0]] for layer in layers}
    drawn = 0
    # Batches are drawn outside of the evaluation block: the loader may train another model.
    for batch in loader:
        drawn += 1
        with evaluation(), statistics((layer, found[id(layer)]) for layer in layers):
            if run is not None:
                run(batch)
            else:
                model(model_input(first_of(batch), model._dtype_of_bytes()))
    if not drawn:
        raise ValueError("recalibrate: loader has no batch")
    return found


def _gap(name: str, layer: Any, populations: list[Population]) -> Gap:
    reached = [row for row, population in enumerate(populations) if population.count]
    if not reached:
        return Gap(name, 0.0, 1.0, 0, 0)
    means, variances, _ = _rows(layer)
    var = np.array([populations[row].var for row in reached]) + layer.eps
    off = means[reached] - np.array([populations[row].mean for row in reached])
    with np.errstate(divide="ignore", invalid="ignore"):  # var is 0 for a constant channel, eps 0
        shifts = np.where(off == 0, 0, np.abs(off) / np.sqrt(var))
        ratio = (variances[reached] + layer.eps) / var
        factors = np.where(variances[reached] + layer.eps == var, 0, np.abs(np.log(ratio)))
    return Gap(
        name,
        float(np.sqrt(np.mean(shifts**2))),
        float(np.exp(factors.mean())),
        sum(p.count for p in populations),
        max(p.batches for p in populations),
        float(shifts.max()),
        float(np.exp(factors.max())),
    )


@contextlib.contextmanager
def batch_statistics(model: Layer) -> Iterator[None]:
    """Within the block, every BatchNorm of the model normalizes with the statistics of the batch,
    even in evaluation mode, and leaves its running statistics alone.

    This shows how a model does without running statistics: if it is better so, `recalibrate` it. It
    holds for the current thread. TypeError if model is not a Layer.

    >>> bn = nn.BatchNorm(1, eps=0).eval()
    >>> with nn.batch_statistics(bn):
    ...     bn(md.tensor([[10.], [30.]])).data.ravel()
    array([-1.,  1.], dtype=float32)
    """
    checks.instance(model, "batch_statistics", "model", Layer, "a Layer")
    norms = [layer for _, layer in model.named_layers() if isinstance(layer, Tracking)]
    with statistics(((layer, OF_BATCH) for layer in norms), first=True):
        yield
