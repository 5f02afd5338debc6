"""Statistics for evaluation: those of the whole training set, or those of the batch at hand.

For a model that is worse in eval mode than in training; see docs/eval-mode.md.
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

# Gaps that recalibrate warns of: of the means in standard deviations, of the variances as a factor;
# typical ones, and those of a single channel.
LARGE_SHIFT, LARGE_FACTOR = 0.25, 1.5
WORST_SHIFT, WORST_FACTOR = 1.0, 4.0


@dataclasses.dataclass(frozen=True)
class Gap:
    """How far the running statistics of one layer were from those of the population.

    Of a recurrent layer's, all time steps together.

    `shift`: the root mean square over the channels of (running_mean - mean) / sqrt(var + eps);
    `factor`: the geometric mean of how many times larger or smaller running_var + eps was than
    var + eps (1: equal); `worst_shift`, `worst_factor`: the largest of them. `values`: of each
    channel of the population, in `batches` batches; 0 if no batch came by, which leaves the layer
    alone.

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
        """Whether it may well be seen in the model's outputs."""
        return not (self.shift <= LARGE_SHIFT and self.factor <= LARGE_FACTOR
                    and self.worst_shift <= WORST_SHIFT and self.worst_factor <= WORST_FACTOR)


class Recalibration:
    """What `recalibrate` found: `gaps`, one for each layer; as text, a table of them.

    >>> report = nn.recalibrate(nn.BatchNorm(2), [np.float32([[-1, 1], [1, -1]])])
    >>> print(report)
    layer  values a channel  shift of the mean, worst  factor of the variance, worst
    model                 2        0.000 std,   0.000                   1.000, 1.000
    """

    def __init__(self, gaps: list[Gap], layers: list[Tracking]) -> None:
        self.gaps = gaps
        self._before = [(layer, [array.copy() for array in _state(layer)]) for layer in layers]

    def restore(self) -> None:
        """Give the layers back the running statistics that they had."""
        for layer, before in self._before:
            writes("restore() of a recalibration", (), _state(layer))
            for array, values in zip(_state(layer), before, strict=True):
                array[...] = values

    def __str__(self) -> str:
        width = max(5, *(len(gap.layer) for gap in self.gaps))
        lines = [f"{'layer':{width}}  values a channel  shift of the mean, worst"
                 f"  factor of the variance, worst"]
        for gap in self.gaps:
            found = "not reached"
            if gap.values:
                found = (f"{gap.shift:11.3f} std, {gap.worst_shift:7.3f}"
                         f"  {gap.factor:22.3f}, {gap.worst_factor:5.3f}")
            lines.append(f"{gap.layer:{width}}  {gap.values:16,}  {found}"
                         f"{'  large' if gap.values and gap.large else ''}")
        return "\n".join(lines)

    __repr__ = __str__


def recalibrate(model: Layer, loader: Iterable[Any], batches: int | None = None,
                run: Callable[[Any], Any] | None = None, quiet: bool = False) -> Recalibration:
    """Give every BatchNorm the mean and variance of all values that it sees in `loader`, in place
    of running averages: Precise BN (Wu & Johnson 2021, section 3).

    `loader` yields batches, or (batch, labels), uint8 images divided by 255 as in `predict`;
    `batches` is how many of them to take, None for all. For other models (several inputs, masks)
    `run` says what to do with what the loader yields: lambda batch: model(batch[0], batch[1]).
    One pass over the data serves all layers: each normalizes a batch, as a whole, with the batch's
    own statistics; everything else works as in evaluation (no dropout; `training` is False).

    The new running_mean is the mean of all values, running_var their variance, E[var + mean^2] -
    E[mean]^2 over the batches, each by its size (a smaller last one counts for less, and nothing
    is left to be corrected by M / (M - 1)); in recurrent layers with norm="batch" those of each
    time step. Layers that are frozen or track no statistics are left alone; so are the modes
    of all layers, gamma and beta, and `num_batches` (1 at least for a time step).

    The model is measured in evaluation of this thread alone; the new statistics are written when
    all are known, layer by layer. A thread that uses the model at that moment may find some layers
    changed and others not, and one that trains it moves the same statistics.

    Returns a report: how far the running statistics were off, layer by layer; its `restore()` takes
    the change back. A warning, unless `quiet`, names the layers where the gap was large. ValueError
    if there is no layer to recalibrate, no batch, a first one of one value a channel, or a
    statistic that is not finite; then nothing is changed.

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
        raise TypeError(f"recalibrate: loader must be an iterable of batches, "
                        f"got {type(loader).__name__}") from None
    named: dict[int, tuple[str, Tracking]] = {}
    for name, layer in model.named_layers():
        if (isinstance(layer, Tracking) and layer.running_mean is not None
                and not layer.frozen and not layer.stats_frozen):
            named.setdefault(id(layer), (name or "model", layer))
    if not named:
        raise ValueError("recalibrate: model has no BatchNorm with running statistics that are "
                         "not frozen")
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
                    f"or infinite values in loader, or in the model's weights")
    report = Recalibration([_gap(name, layer, found[id(layer)]) for name, layer in named.values()],
                           layers)
    large = [gap.layer for gap in report.gaps if gap.values and gap.large]
    if large and not quiet:     # before anything is changed: a warning may be made an error
        warn(f"recalibrate: the running statistics of {', '.join(large)} were far from those of "
             f"the data; print the report for how far")
    for _, layer in named.values():
        for row, population in enumerate(found[id(layer)]):
            if population.count:
                means, variances, trained = _rows(layer)
                writes("recalibrate", (), (means, variances))
                means[row], variances[row] = population.mean, population.var
                if isinstance(layer, StepNorm):     # evaluation goes up to the last trained step
                    trained[row] = max(trained[row], 1)
    return report


def _state(layer: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return layer.running_mean, layer.running_var, layer.num_batches


def _rows(layer: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same memory with a row for each population."""
    mean, var, batches = _state(layer)
    return (mean.reshape(-1, layer.features), var.reshape(-1, layer.features),
            batches.reshape(-1))


def _measure(model: Layer, layers: list[Tracking], loader: Iterable[Any],
             run: Callable[[Any], Any] | None) -> dict[int, list[Population]]:
    """Run the model over the data; the populations of the layers, by id."""
    found = {id(layer): [Population(layer.features) for _ in _rows(layer)[0]] for layer in layers}
    drawn = 0
    # The loader is asked outside of the block: it may well train another model.
    for batch in loader:
        drawn += 1
        with evaluation(), statistics((layer, found[id(layer)]) for layer in layers):
            if run is not None:
                run(batch)
            else:
                model(model_input(first_of(batch), model._dtype()))
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
    with np.errstate(divide="ignore", invalid="ignore"):    # eps 0 and a constant channel
        shifts = np.where(off == 0, 0, np.abs(off) / np.sqrt(var))
        ratio = (variances[reached] + layer.eps) / var
        factors = np.where(variances[reached] + layer.eps == var, 0, np.abs(np.log(ratio)))
    return Gap(name, float(np.sqrt(np.mean(shifts**2))), float(np.exp(factors.mean())),
               sum(p.count for p in populations), max(p.batches for p in populations),
               float(shifts.max()), float(np.exp(factors.max())))


@contextlib.contextmanager
def batch_statistics(model: Layer) -> Iterator[None]:
    """Within the block, every BatchNorm inside normalizes with the statistics of the batch, in eval
    mode too, and leaves its running statistics alone.

    To see what a model does without running statistics: if it is better so, `recalibrate` it. It
    holds for the current thread. TypeError for what is not a Layer.

    >>> bn = nn.BatchNorm(1, eps=0).eval()
    >>> with nn.batch_statistics(bn):
    ...     bn(md.tensor([[10.], [30.]])).data.ravel()
    array([-1.,  1.], dtype=float32)
    """
    checks.instance(model, "batch_statistics", "model", Layer, "a Layer")
    norms = [layer for _, layer in model.named_layers() if isinstance(layer, Tracking)]
    with statistics(((layer, OF_BATCH) for layer in norms), first=True):
        yield
