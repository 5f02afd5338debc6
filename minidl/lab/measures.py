"""The measures behind the probe and the experiments, as functions: saturation, the drift of
distributions, the shift of gradients, loss and gradient along a step. Effective rates: `rates`.

Those that need gradients take a `loss`: a function without arguments that computes the loss of one
fixed batch with the weights as they are, such as `fixed_loss` makes: always with the same random
numbers, and leaving the buffers of the model as they were.

The two definitions of internal covariate shift are those of Ioffe & Szegedy 2015, the change of
the distributions of a layer's inputs while the layers before it learn (`drift`), and of Santurkar
et al. 2018, the change of a layer's gradient when the layers before it have been updated
(`gradient_shift`). Loss and gradient along a step are measured as by the latter.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .. import ops
from ..backward import grad
from ..nn.layer import Layer
from ..nn.parameter import Parameter
from ..random import SEED
from ..tensor import Tensor
from ..train.inspection import norm_of, undisturbed
from ..train.watch import Units

Loss = Callable[[], Tensor]
Values = Mapping[Parameter, np.ndarray]  # of weights, of gradients, of a step

FACTORS = (0.5, 1.0, 2.0, 4.0)  # of a step, along which loss and gradient are measured
# Where the slope of a sigmoid or tanh is below this share of its largest, it is flat.
FLAT = 0.1


# --------------------------------------------------------------------------------- distributions


def drift(before: Units, now: Units) -> tuple[float, float]:
    """How far means and standard deviations of units have moved: the root mean square over the
    units, as a share of the root mean square of the standard deviations before. NaN where these are
    all 0, or the units are others."""
    if before.mean.shape != now.mean.shape:
        return math.nan, math.nan
    scale = _rms(before.std)
    if not scale:
        return math.nan, math.nan
    return _rms(now.mean - before.mean) / scale, _rms(now.std - before.std) / scale


def saturated(kind: str, output: np.ndarray) -> float:
    """The share of the outputs of a "Sigmoid" or "Tanh" that lie where it is flat: where its slope
    is under a tenth of the largest, for a sigmoid at inputs beyond 3.6, for a tanh beyond 1.8."""
    # The slopes are 4 y (1 - y) and 1 - y^2, as shares of the largest.
    far = np.abs(output - output.dtype.type(0.5)) * 2 if kind == "Sigmoid" else np.abs(output)
    return float((far > math.sqrt(1 - FLAT)).mean())


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


# ------------------------------------------------------------------------------------- gradients


class Point(NamedTuple):
    """The loss somewhere, and its gradient there by each parameter that was asked for."""

    loss: float
    gradient: Values


def fixed_loss(model: Layer, images: np.ndarray, labels: np.ndarray, seed: int = SEED) -> Loss:
    """The cross-entropy of a batch, with what is drawn (dropout, noise) from a seed."""

    def loss() -> Tensor:
        with undisturbed(model, "lab", seed):
            return ops.cross_entropy(model(images), labels)

    return loss


def point(loss: Loss, parameters: Sequence[Parameter]) -> Point:
    """The loss and its gradient where the weights are: one pass forward, one backward."""
    found = loss()
    gradient = grad(found, parameters) if found.requires_grad and parameters else ()
    return Point(float(found.data), dict(zip(parameters, gradient, strict=False)))


@contextlib.contextmanager
def placed(values: Values) -> Iterator[None]:
    """Within the block parameters have other values; after it the same bits as before."""
    before = {p: p.data.copy() for p in values}
    try:
        for p, value in values.items():
            p.data[...] = value
        yield
    finally:
        for p, value in before.items():
            p.data[...] = value


def descent(gradient: Values, rate: float) -> dict[Parameter, np.ndarray]:
    """A step of plain gradient descent."""
    return {p: -p.dtype.type(rate) * g for p, g in gradient.items()}


def length_of(values: Values) -> float:
    """The Euclidean norm of all of them together."""
    return norm_of(list(values.values()))


def of_length(step: Values, length: float) -> dict[Parameter, np.ndarray]:
    """The step in the same direction that is so long."""
    found = length_of(step)
    return {p: d * p.dtype.type(length / found if found else 0) for p, d in step.items()}


def after(values: Values, step: Values, factor: float = 1.0) -> dict[Parameter, np.ndarray]:
    """Where a step leads, or a multiple of it."""
    return {p: w + p.dtype.type(factor) * step[p] if p in step else w for p, w in values.items()}


def values_of(parameters: Sequence[Parameter]) -> dict[Parameter, np.ndarray]:
    """Copies of the weights as they are."""
    return {p: p.data.copy() for p in parameters}


# ----------------------------------------------------------------- covariate shift, of gradients


class Block(NamedTuple):
    """A layer's `weights`, whose gradient is compared, and all `parameters` that are updated with
    them: its own, and those of what follows it up to the next layer with weights."""

    name: str
    weights: list[Parameter]
    parameters: list[Parameter]


class Shift(NamedTuple):
    """The change of a layer's gradient G, to G', by the update of the layers before it:
    |G - G'|, that divided by |G|, and the cosine of the angle between them."""

    norm: float
    relative: float
    cosine: float


def gradient_shift(
    loss: Loss, blocks: Sequence[Block], before: Values, updated: Values, start: Point
) -> dict[str, Shift]:
    """Internal covariate shift as Santurkar et al. 2018 define it (2.1), of each block but the
    first: between the gradient by its weights before an update, and the one with all blocks before
    it updated, but neither itself nor those after it.

    before, updated: the parameters of all blocks before and after the update
    start:           the gradient before it, by all weights

    It costs a pass forward and one backward for each block but the first.
    """
    found = {}
    values = dict(before)
    for number, block in enumerate(blocks):
        if number and block.weights:
            with placed(values):
                moved = point(loss, block.weights).gradient
            found[block.name] = _shift(
                [start.gradient[p] for p in block.weights], [moved[p] for p in block.weights]
            )
        values |= {p: updated[p] for p in block.parameters}
    return found


def _shift(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> Shift:
    distance = norm_of([x - y for x, y in zip(a, b, strict=True)])
    first, second = norm_of(a), norm_of(b)
    both = sum(float(np.vdot(x.astype(np.float64), y)) for x, y in zip(a, b, strict=True))
    return Shift(
        distance,
        distance / first if first else math.nan,
        both / (first * second) if first and second else math.nan,
    )


# -------------------------------------------------------------------------------- along the step


@dataclasses.dataclass(frozen=True)
class Landscape:
    """Loss and gradient along a step, at multiples of it.

    `losses` at each multiple; `distances` of the gradient there from that at the start; `length` of
    the step itself.
    """

    factors: tuple[float, ...]
    start: float
    losses: tuple[float, ...]
    distances: tuple[float, ...]
    length: float

    @property
    def loss_range(self) -> float:
        """How far the loss varies along the step: the largest minus the smallest."""
        return _range(self.losses)

    @property
    def distance_range(self) -> float:
        """The same of the gradient's distance from that at the start."""
        return _range(self.distances)

    @property
    def smoothness(self) -> float:
        """The largest change of the gradient for a change of the weights: a lower bound of the
        gradient's Lipschitz constant, along the step ("effective beta-smoothness")."""
        steps = [f * self.length for f in self.factors]
        found = [d / s for d, s in zip(self.distances, steps, strict=True) if s]
        return float(np.max(_counted(found))) if found else math.nan


def _counted(values: Sequence[float]) -> np.ndarray:
    """What is no number as infinite: along a step that blows up the ground is not smooth."""
    array = np.asarray(values, np.float64)
    return np.where(np.isnan(array), np.inf, array)


def bounds(values: Sequence[float]) -> tuple[float, float]:
    """The smallest and the largest; the latter is infinite where one is no number."""
    found = _counted(values)
    return float(found.min()), float(found.max())


def _range(values: Sequence[float]) -> float:
    """The largest minus the smallest; infinite where one is infinite or no number."""
    low, high = bounds(values)
    return high - low if math.isfinite(low) and math.isfinite(high) else math.inf


def landscape(
    loss: Loss,
    before: Values,
    step: Values,
    start: Point,
    factors: Sequence[float] = FACTORS,
    known: Mapping[float, Point] | None = None,
) -> Landscape:
    """Loss and gradient where multiples of a step lead to.

    before: the parameters where the step begins
    start:  loss and gradient there
    known:  what has been computed already, by its multiple

    It costs a pass forward and one backward for each multiple that is not known.
    """
    points = []
    for factor in factors:
        found = (known or {}).get(factor)
        if found is None:
            with placed(after(before, step, factor)):
                found = point(loss, list(before))
        points.append(found)
    return Landscape(
        tuple(factors),
        start.loss,
        tuple([p.loss for p in points]),
        tuple([distance(start.gradient, p.gradient) for p in points]),
        length_of(step),
    )


def distance(a: Values, b: Values) -> float:
    """The Euclidean distance of two gradients."""
    return norm_of([a[p] - b[p] for p in a])
