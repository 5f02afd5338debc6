"""The measures that the probe and the experiments share, as functions.

They are the share of saturated activations, the drift of distributions, the shift of gradients, and
the loss and gradient along a step. The effective learning rate is in `rates`.

The measures that need gradients take a `loss`: a function without arguments that computes the loss
of one fixed batch with the current weights. It must use the same random numbers in every call and
leave the buffers of the model unchanged; `fixed_loss` makes such a function.

There are two definitions of internal covariate shift. For Ioffe & Szegedy (2015, 1502.03167) it is
the change of the distribution of a layer's inputs while the layers before it learn (`drift`). For
Santurkar et al. (2018, 1805.11604) it is the change of a layer's gradient that an update of the
layers before it causes (`gradient_shift`). `landscape` follows Santurkar et al. too.
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
Values = Mapping[Parameter, np.ndarray]  # the weights, a gradient or a step, by parameter

FACTORS = (0.5, 1.0, 2.0, 4.0)  # the multiples of a step at which loss and gradient are measured
# A sigmoid or tanh is saturated where its slope is below this share of its largest slope.
FLAT = 0.1


# --------------------------------------------------------------------------------- distributions


def drift(before: Units, now: Units) -> tuple[float, float]:
    """Return how far the means and the standard deviations of units have moved.

    Both are root mean squares over the units, divided by the root mean square of the standard
    deviations before. They are NaN where all of these are 0 or the number of units has changed.
    """
    if before.mean.shape != now.mean.shape:
        return math.nan, math.nan
    scale = _rms(before.std)
    if not scale:
        return math.nan, math.nan
    return _rms(now.mean - before.mean) / scale, _rms(now.std - before.std) / scale


def saturated(kind: str, output: np.ndarray) -> float:
    """Return the share of the outputs of a "Sigmoid" or "Tanh" that are saturated: at which the
    slope is below a tenth of its maximum. The absolute input is then above 3.6 (sigmoid) or 1.8
    (tanh)."""
    # As shares of their maxima the slopes are 4 y (1 - y) and 1 - y^2, for an output y.
    far = np.abs(output - output.dtype.type(0.5)) * 2 if kind == "Sigmoid" else np.abs(output)
    return float((far > math.sqrt(1 - FLAT)).mean())


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


# ------------------------------------------------------------------------------------- gradients


class Point(NamedTuple):
    """The loss at a point of the parameter space, and its gradient with respect to the parameters
    that were asked for."""

    loss: float
    gradient: Values


def fixed_loss(model: Layer, images: np.ndarray, labels: np.ndarray, seed: int = SEED) -> Loss:
    """Return a function that computes the cross-entropy of this batch, always with the random
    numbers (dropout, noise) of this seed."""

    def loss() -> Tensor:
        with undisturbed(model, "lab", seed):
            return ops.cross_entropy(model(images), labels)

    return loss


def point(loss: Loss, parameters: Sequence[Parameter]) -> Point:
    """Return the loss and its gradient at the current weights, by one forward and one backward
    pass."""
    found = loss()
    gradient = grad(found, parameters) if found.requires_grad and parameters else ()
    return Point(float(found.data), dict(zip(parameters, gradient, strict=False)))


@contextlib.contextmanager
def with_values(values: Values) -> Iterator[None]:
    """Give parameters other values within the `with` block, and restore the old ones after it, bit
    by bit."""
    before = {p: p.data.copy() for p in values}
    try:
        for p, value in values.items():
            p.data[...] = value
        yield
    finally:
        for p, value in before.items():
            p.data[...] = value


def descent(gradient: Values, rate: float) -> dict[Parameter, np.ndarray]:
    """Return the step of plain gradient descent at a learning rate."""
    return {p: -p.dtype.type(rate) * g for p, g in gradient.items()}


def length_of(values: Values) -> float:
    """Return the Euclidean norm of all values together."""
    return norm_of(list(values.values()))


def of_length(step: Values, length: float) -> dict[Parameter, np.ndarray]:
    """Return the step in the same direction with the norm `length`."""
    found = length_of(step)
    return {p: d * p.dtype.type(length / found if found else 0) for p, d in step.items()}


def moved(values: Values, step: Values, factor: float = 1.0) -> dict[Parameter, np.ndarray]:
    """Return the values after a step, or after a multiple of it."""
    return {p: w + p.dtype.type(factor) * step[p] if p in step else w for p, w in values.items()}


def values_of(parameters: Sequence[Parameter]) -> dict[Parameter, np.ndarray]:
    """Return copies of the current values of parameters."""
    return {p: p.data.copy() for p in parameters}


# -------------------------------------------------------------------- covariate shift of gradients


class Block(NamedTuple):
    """A layer's `weights`, whose gradient is compared, and the `parameters` that are updated
    together with them: all parameters of this layer and of those after it, up to the next layer
    with weights."""

    name: str
    weights: list[Parameter]
    parameters: list[Parameter]


class Shift(NamedTuple):
    """The change of a layer's gradient from G to G' by an update of the layers before it: `norm` is
    |G - G'|, `relative` is |G - G'| / |G|, and `cosine` is that of the angle between them."""

    norm: float
    relative: float
    cosine: float


def gradient_shift(
    loss: Loss, blocks: Sequence[Block], before: Values, updated: Values, start: Point
) -> dict[str, Shift]:
    """Return the internal covariate shift of each block but the first, as Santurkar et al. (2018,
    1805.11604) define it in definition 2.1.

    It compares two gradients with respect to the weights of the block: that before an update of the
    model, and that where only the blocks before this one have been updated.

    before, updated: the parameters of all blocks before and after the update
    start:           the gradient before the update with respect to all weights

    It costs a forward and a backward pass for each block but the first.
    """
    found = {}
    values = dict(before)
    for number, block in enumerate(blocks):
        if number and block.weights:
            with with_values(values):
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
    """The loss and the gradient at multiples of a step.

    factors:   the multiples
    start:     the loss where the step begins
    losses:    the loss at each multiple
    distances: the distance between the gradient at each multiple and the one where the step begins
    length:    the norm of the step itself
    """

    factors: tuple[float, ...]
    start: float
    losses: tuple[float, ...]
    distances: tuple[float, ...]
    length: float

    @property
    def loss_range(self) -> float:
        """The largest loss along the step minus the smallest one."""
        return _range(self.losses)

    @property
    def distance_range(self) -> float:
        """The largest distance of the gradient along the step minus the smallest one."""
        return _range(self.distances)

    @property
    def smoothness(self) -> float:
        """The largest ratio of the gradient's change to the change of the weights along the step:
        the "effective beta-smoothness" of Santurkar et al. (2018), a lower bound of the gradient's
        Lipschitz constant."""
        steps = [f * self.length for f in self.factors]
        found = [d / s for d, s in zip(self.distances, steps, strict=True) if s]
        return float(np.max(_nan_as_infinity(found))) if found else math.nan


def _nan_as_infinity(values: Sequence[float]) -> np.ndarray:
    """Replace NaN by infinity: a step along which the loss overflows must not pass for smooth."""
    array = np.asarray(values, np.float64)
    return np.where(np.isnan(array), np.inf, array)


def bounds(values: Sequence[float]) -> tuple[float, float]:
    """Return the smallest and the largest value; the largest is infinite if one value is NaN."""
    found = _nan_as_infinity(values)
    return float(found.min()), float(found.max())


def _range(values: Sequence[float]) -> float:
    """Return the largest value minus the smallest one; infinite if one is infinite or NaN."""
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
    """Measure the loss and the gradient at multiples of a step.

    before: the parameters where the step begins
    start:  the loss and the gradient there
    known:  points that have been computed already, by their multiples

    It costs a forward and a backward pass for each multiple that is not in `known`.
    """
    points = []
    for factor in factors:
        found = (known or {}).get(factor)
        if found is None:
            with with_values(moved(before, step, factor)):
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
    """Return the Euclidean distance of two gradients."""
    return norm_of([a[p] - b[p] for p in a])
