"""Losses for predicted numbers, and for independent yes-or-no answers."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from .. import checks, kernels
from ..tensor import Tensor
from .common import as_tensor, float_tensor
from .math import MultiplyOrZero, multiply, subtract
from .math import abs as absolute
from .operation import Copy, Operation
from .reduce import reduced, sum_to

ROUNDING = 1e-5  # how far a target may lie outside of [0, 1], since averages of labels round


class Huber(Operation):
    """y = d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2);  dd = d limited to
    [-delta, delta], times dy (Huber 1964)."""

    def forward(self, d: np.ndarray, delta: float) -> np.ndarray:
        self.limited = np.clip(d, -delta, delta)
        # The product limited (d - limited / 2) covers both cases of the formula.
        half = kernels.multiply(self.limited, 0.5)
        return kernels.multiply(self.limited, kernels.subtract(d, half))

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return kernels.multiply(dy, self.limited)


class BinaryCrossEntropy(Operation):
    """y = p t log(1 + exp(-x)) + (1 - t) log(1 + exp(x)), with p the weight of t;

        dx = ((1 - t) s(x) - p t s(-x)) dy,  s(x) = 1 / (1 + exp(-x)),
        dt = (p log(1 + exp(-x)) - log(1 + exp(x))) dy,  dp = t log(1 + exp(-x)) dy.

    The formulas avoid differences of nearly equal numbers: in float32 both x - log(1 + exp(x)) and
    s(x) - 1 would be 0 from x = 17 on. A term whose weight is 0 is 0, even if its logarithm is
    infinite.
    """

    def forward(self, x: np.ndarray, t: np.ndarray, p: np.ndarray | None) -> np.ndarray:
        self.x, self.t, self.p, self.shape_p = x, t, p, () if p is None else p.shape
        self.yes, self.no = t if p is None else kernels.multiply(t, p), kernels.subtract(1.0, t)
        costs = self.costs()
        y = kernels.add(kernels.multiply(costs[0], self.yes), kernels.multiply(costs[1], self.no))
        if not np.isfinite(kernels.sum(y.reshape(1, -1, 1))).all():
            zero = y.dtype.type(0)
            y = np.where(self.yes == 0, zero, costs[0] * self.yes) + np.where(
                self.no == 0, zero, costs[1] * self.no
            )
        return y

    def costs(self) -> tuple[np.ndarray, np.ndarray]:
        """The losses of yes and of no: log(1 + exp(-x)), log(1 + exp(x))."""
        return (
            kernels.softplus(kernels.negative(self.x), 1.0, np.inf),
            kernels.softplus(self.x, 1.0, np.inf),
        )

    def backward(self, dy: np.ndarray) -> tuple[Any, ...]:
        dx = dt = dp = None
        if self.needs_grad[0]:
            rise = kernels.multiply(kernels.sigmoid(self.x), self.no)
            fall = kernels.multiply(kernels.sigmoid(kernels.negative(self.x)), self.yes)
            dx = kernels.multiply(dy, kernels.subtract(rise, fall))
        if self.needs_grad[1] or self.needs_grad[2]:
            yes, no = self.costs()
            weighed = yes if self.p is None else kernels.multiply(yes, self.p)
            dt = kernels.multiply(dy, kernels.subtract(weighed, no))
        if self.needs_grad[2]:
            dp = sum_to(kernels.multiply(dy, kernels.multiply(yes, self.t)), self.shape_p)
        return dx, dt, dp


def mse_loss(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """The squared error (x - target)^2; x and target have one shape.

    `reduction`: "mean" over all values, "sum" or "none".

    >>> md.mse_loss(md.tensor([1., 2.]), md.tensor([0., 4.]))
    tensor(2.5)
    """
    d = _difference(x, target, "mse_loss")
    return reduced(multiply(d, d), reduction, "mse_loss")


def l1_loss(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """The absolute error |x - target|, whose gradient at 0 is 0; x and target have one shape.

    `reduction`: "mean" over all values, "sum" or "none".

    >>> md.l1_loss(md.tensor([1., 2.]), md.tensor([0., 4.]))
    tensor(1.5)
    """
    return reduced(absolute(_difference(x, target, "l1_loss")), reduction, "l1_loss")


def huber_loss(x: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """(x - target)^2 / 2 for errors up to delta, delta (|x - target| - delta / 2) beyond.

    `reduction`: "mean" over all values, "sum" or "none". ValueError unless delta > 0.

    >>> md.huber_loss(md.tensor([1., 2.]), md.tensor([0., 4.]), reduction="none")
    tensor([0.5, 1.5])
    """
    delta = checks.real(delta, "huber_loss", "delta", above=0)
    d = _difference(x, target, "huber_loss")
    return reduced(Huber.apply(d, delta=delta), reduction, "huber_loss")


def binary_cross_entropy_with_logits(
    x: Any, target: Any, weight: Any = None, pos_weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """-target log(s) - (1 - target) log(1 - s) with s = 1 / (1 + exp(-x)), without overflow.

    `x` are logits, `target` probabilities (0 or 1 as a rule), of one shape. `weight` multiplies
    the losses, `pos_weight` the term of target; both broadcast to x. `reduction`: "mean" over all
    values, "sum" or "none". ValueError for shapes that do not fit, and for a target that is not
    from 0 to 1, unless its weight is 0.

    >>> md.binary_cross_entropy_with_logits(md.tensor([0., 100.]), md.tensor([1., 1.]),
    ...                                     reduction="none").data.round(4)
    array([0.6931, 0.    ], dtype=float32)
    """
    where = "binary_cross_entropy_with_logits"
    x, target = _pair(x, target, where)
    if not target.requires_grad:
        target = Copy.apply(target, dtype=x.dtype)
    factor = None if pos_weight is None else _broadcasts(pos_weight, x, where, "pos_weight")
    weights = None if weight is None else _broadcasts(weight, x, where, "weight")
    _check_shares(target, weights, where)
    losses = BinaryCrossEntropy.apply(x, target, factor)
    if weights is not None:
        losses = MultiplyOrZero.apply(losses, weights)
    return reduced(losses, reduction, where)


def _check_shares(target: Tensor, weights: Tensor | None, where: str) -> None:
    """Raise ValueError for a target that is not from 0 to 1, unless its weight is 0."""
    t = target._values()
    if t.min(initial=0) >= -ROUNDING and t.max(initial=0) <= 1 + ROUNDING:
        return
    wrong = ~((t >= -ROUNDING) & (t <= 1 + ROUNDING))
    if weights is not None:
        wrong &= weights._values() != 0
    if wrong.any():
        at = tuple(np.argwhere(wrong)[0].tolist())
        raise ValueError(
            f"{where}: target must be probabilities from 0 to 1, but at {at} it is "
            f"{t[at]}; where a position does not count, give it the weight 0"
        )


def _pair(x: Any, target: Any, where: str) -> tuple[Tensor, Tensor]:
    x = float_tensor(x, where)
    if isinstance(target, list | tuple):
        with contextlib.suppress(ValueError):  # as_tensor says what is wrong with the list
            target = np.asarray(target)  # float64, which becomes x's dtype in one rounding
    target = as_tensor(target, where, "target")
    if x.shape != target.shape:
        raise ValueError(
            f"{where}: x and target must have one shape, got {x.shape} and {target.shape}"
        )
    return x, target if target.dtype == x.dtype else target.astype(x.dtype)


def _difference(x: Any, target: Any, where: str) -> Tensor:
    return subtract(*_pair(x, target, where))


def _broadcasts(value: Any, x: Tensor, where: str, name: str) -> Tensor:
    t = as_tensor(value, where, name)
    if not t.requires_grad:
        t = Copy.apply(t, dtype=x.dtype)
    t = t.astype(x.dtype)
    try:
        fits = np.broadcast_shapes(t.shape, x.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{where}: {name} {t.shape} does not broadcast to x {x.shape}")
    return t
