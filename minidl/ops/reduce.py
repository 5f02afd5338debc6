"""Reductions: sum, mean, var, std, max, min, argmax, argmin.

`axis` and `keepdims` are NumPy's: `axis` is None (all axes), an int or a tuple of ints, counted
from the end if negative. ValueError if there is no such axis.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import checks, kernels
from ..hints import for_newcomers
from ..tensor import Tensor
from .common import as_tensor, float_tensor
from .operation import Operation

max_of = max  # the built-in function, because `max` is an operation below


def middle(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """x as (before, reduced, after), the middle axis holding the sorted `axes`; copied only if
    they are not neighbours."""
    shape = x.shape
    if not axes:
        return x.reshape(-1, 1, 1)
    if axes[-1] - axes[0] != len(axes) - 1:
        kept = [a for a in range(x.ndim) if a not in axes]
        x = np.ascontiguousarray(x.transpose(*kept, *axes))
        return x.reshape(math.prod(shape[a] for a in kept), math.prod(shape[a] for a in axes), 1)
    first, last = axes[0], axes[-1] + 1
    return x.reshape(
        math.prod(shape[:first]), math.prod(shape[first:last]), math.prod(shape[last:])
    )


def reduced_shape(shape: tuple[int, ...], axes: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    if len(axes) == len(shape):
        return (1,) * len(shape) if keepdims else ()
    if keepdims:
        return tuple([1 if a in axes else n for a, n in enumerate(shape)])
    return tuple([n for a, n in enumerate(shape) if a not in axes])


def sum_to(g: Any, shape: tuple[int, ...]) -> Any:
    """The gradient of a broadcast: g summed over the axes along which `shape` was repeated."""
    if g is None or g.shape == shape:
        return g
    extra = g.ndim - len(shape)
    axes = tuple(a for a in range(g.ndim) if a < extra or shape[a - extra] != g.shape[a])
    return kernels.sum(middle(g, axes)).reshape(shape)


class Sum(Operation):
    """y = sum of x over axes;  dx = dy, repeated."""

    def forward(self, x: np.ndarray, axes: tuple[int, ...], keepdims: bool) -> np.ndarray:
        if x.dtype.kind != "f":
            return np.asarray(np.sum(x, axis=axes, keepdims=keepdims))
        self.shape = x.shape
        self.kept = reduced_shape(x.shape, axes, True)
        return kernels.sum(middle(x, axes)).reshape(reduced_shape(x.shape, axes, keepdims))

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return _repeat(dy.reshape(self.kept), self.shape)


class Mean(Sum):
    """y = mean of x over axes;  dx = dy / count, repeated."""

    def forward(self, x: np.ndarray, axes: tuple[int, ...], keepdims: bool) -> np.ndarray:
        if x.dtype.kind != "f":
            return np.asarray(np.mean(x, axis=axes, keepdims=keepdims))
        self.shape = x.shape
        self.kept = reduced_shape(x.shape, axes, True)
        x = middle(x, axes)
        self.count = x.shape[1]
        y = kernels.mean(x)
        if y.dtype == np.float64 and not np.isfinite(y).all():  # the sum may have overflowed
            scaled, exponent = _scaled(x)
            y = np.ldexp(kernels.mean(scaled), exponent)
        return y.reshape(reduced_shape(self.shape, axes, keepdims))

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return super().backward(np.divide(dy, dy.dtype.type(max_of(self.count, 1))))


class Var(Operation):
    """y = sum((x - mean)^2) / (count - ddof);  dx = 2 (x - mean) dy / (count - ddof).

    The derivative of the mean cancels, because the deviations sum to zero. Mean, deviations and
    their squares are in double: float32 would round the mean, and lose squares below 1e-38.
    """

    of_integers: Any = staticmethod(np.var)

    def forward(
        self, x: np.ndarray, axes: tuple[int, ...], ddof: float, keepdims: bool
    ) -> np.ndarray:
        if x.dtype.kind != "f":
            return np.asarray(self.of_integers(x, axis=axes, ddof=ddof, keepdims=keepdims))
        self.shape, self.axes, self.x = x.shape, axes, middle(x, axes)
        self.freedom = np.float64(max_of(self.x.shape[1] - ddof, 0))  # 0 gives inf or NaN
        self.mean, m2, self.exponent = _moments(self.x)
        with np.errstate(all="ignore"):
            y = self.finish(m2 / self.freedom).astype(x.dtype)
        return y.reshape(reduced_shape(x.shape, axes, keepdims))

    def finish(self, variance: np.ndarray) -> np.ndarray:
        """y from the variance of the scaled x, x 2^-exponent."""
        return np.ldexp(variance, 2 * self.exponent)

    def factor(self, dy: np.ndarray) -> np.ndarray:
        """The factor dx / (x - mean)."""
        return 2 * dy / self.freedom

    def backward(self, dy: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            factor = self.factor(dy.reshape(self.mean.shape).astype(np.float64))
            dx = kernels.deviations(self.x, self.mean, factor)
        return _unfolded(dx, self.shape, self.axes)


class Std(Var):
    """y = sqrt(var);  dx = (x - mean) dy / (y (count - ddof)), 0 where y is 0."""

    of_integers = staticmethod(np.std)

    def finish(self, variance: np.ndarray) -> np.ndarray:
        self.y = np.ldexp(np.sqrt(variance), self.exponent)
        return self.y

    def factor(self, dy: np.ndarray) -> np.ndarray:
        flat = self.y == 0
        return np.where(flat, 0, dy / self.freedom / np.where(flat, 1, self.y))


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, Any]:
    """The mean of x (A, R, B) over its middle axis, the sum of squared deviations of x 2^-exponent,
    and the exponent. It is 0 unless the squares of float64 values would leave the range."""
    mean, m2 = kernels.moments(x)
    if x.dtype == np.float64 and m2.size and not (m2.min() > 1e-280 and m2.max() < np.inf):
        scaled, exponent = _scaled(x)
        mean, m2 = kernels.moments(scaled)
        return np.ldexp(mean, exponent), m2, exponent
    return mean, m2, 0


def _scaled(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(x 2^-exponent, exponent) for x (A, R, B), with the exponent chosen so that the largest value
    over the middle axis is about 1."""
    top = np.abs(x).max(axis=1, initial=0)
    exponent = np.where(np.isfinite(top), np.frexp(top)[1], 0)
    return np.ldexp(x, -exponent[:, None]), exponent


def _unfolded(x: np.ndarray, shape: tuple[int, ...], axes: tuple[int, ...]) -> np.ndarray:
    """Undo `middle`, which was applied to an array of this shape."""
    if not axes or axes[-1] - axes[0] == len(axes) - 1:
        return x.reshape(shape)
    order = [*(a for a in range(len(shape)) if a not in axes), *axes]
    moved = x.reshape([shape[a] for a in order])
    return np.ascontiguousarray(moved.transpose(np.argsort(order)))


class _Extreme(Operation):
    """y = the largest (smallest) of x over axes;  dx = dy, divided equally among the places that
    hold this value."""

    kernel = ""

    def forward(self, x: np.ndarray, axes: tuple[int, ...], keepdims: bool) -> np.ndarray:
        if x.dtype.kind != "f":
            return np.asarray(getattr(np, self.kernel)(x, axis=axes, keepdims=keepdims))
        self.x, self.axes = x, axes
        self.kept = reduced_shape(x.shape, axes, True)
        y = getattr(kernels, self.kernel)(middle(x, axes))
        self.y = y.reshape(self.kept)
        return y.reshape(reduced_shape(x.shape, axes, keepdims))

    def backward(self, dy: np.ndarray) -> np.ndarray:
        winners = (self.x == self.y) | (np.isnan(self.x) & np.isnan(self.y))
        count = winners.sum(axis=self.axes, keepdims=True)
        share = dy.reshape(self.kept) / count.astype(dy.dtype)
        return np.where(winners, share, dy.dtype.type(0))


class Max(_Extreme):
    kernel = "max"


class Min(_Extreme):
    kernel = "min"


class ArgMax(Operation):
    """y = the place of the first largest value along an axis."""

    def forward(self, x: np.ndarray, axis: int | None, keepdims: bool) -> np.ndarray:
        return np.asarray(np.argmax(x, axis, keepdims=keepdims))


class ArgMin(Operation):
    """y = the place of the first smallest value along an axis."""

    def forward(self, x: np.ndarray, axis: int | None, keepdims: bool) -> np.ndarray:
        return np.asarray(np.argmin(x, axis, keepdims=keepdims))


def _repeat(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    y = kernels.empty(shape, g.dtype)
    y[...] = g
    return y


@for_newcomers
def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The sum over axis (None: all axes; an int or a tuple of ints). Floats keep their dtype,
    integers and bools give int64 (uint64 if unsigned).

    >>> x = md.tensor([[1., 2.], [3., 4.]])
    >>> md.sum(x), md.sum(x, axis=0)
    (tensor(10.), tensor([4., 6.]))
    """
    t = as_tensor(x, "sum")
    axes = checks.axes(axis, "sum", "axis", t.ndim)
    if keepdims is not False:
        checks.flag(keepdims, "sum", "keepdims")
    return Sum.apply(t, axes=axes, keepdims=keepdims)


@for_newcomers
def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The mean over axis; NaN where nothing is averaged. Floats keep their dtype, integers give
    float64.

    >>> md.mean(md.tensor([[1., 2.], [3., 4.]]), axis=1, keepdims=True)
    tensor([[1.5],
            [3.5]])
    """
    t = as_tensor(x, "mean")
    axes = checks.axes(axis, "mean", "axis", t.ndim)
    if keepdims is not False:
        checks.flag(keepdims, "mean", "keepdims")
    return Mean.apply(t, axes=axes, keepdims=keepdims)


@for_newcomers
def var(x: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Tensor:
    """The variance over axis: sum((x - mean)^2) / (count - ddof), as NumPy's; ddof 0 gives the
    biased one. For integers it is float64.

    >>> x = md.tensor([1., 3.])
    >>> md.var(x), md.var(x, ddof=1)
    (tensor(1.), tensor(2.))
    """
    return _variance(Var, "var", x, axis, ddof, keepdims)


def _variance(
    function: type[Var], where: str, x: Any, axis: Any, ddof: float, keepdims: bool
) -> Tensor:
    t = as_tensor(x, where)
    if t.dtype.kind == "f":
        float_tensor(t, where)
    axes = checks.axes(axis, where, "axis", t.ndim)
    checks.flag(keepdims, where, "keepdims")
    ddof = checks.real(ddof, where, "ddof")
    return function.apply(t, axes=axes, ddof=ddof, keepdims=keepdims)


@for_newcomers
def std(x: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Tensor:
    """The square root of `var`: the standard deviation. Its gradient is 0 where all values are
    equal.

    >>> md.std(md.tensor([[1., 3.], [0., 4.]]), axis=1)
    tensor([1., 2.])
    """
    return _variance(Std, "std", x, axis, ddof, keepdims)


@for_newcomers
def max(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The largest value over axis, or NaN if there is one; equal values share the gradient.
    ValueError if there are no values.

    >>> md.max(md.tensor([[1., 3.], [0., 4.]]), axis=0)
    tensor([1., 4.])
    """
    return _extreme(Max, "max", x, axis, keepdims)


@for_newcomers
def min(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The smallest value over axis, or NaN if there is one; equal values share the gradient.
    ValueError if there are no values.

    >>> md.min(md.tensor([[1., 3.], [0., 4.]]), axis=0)
    tensor([0., 3.])
    """
    return _extreme(Min, "min", x, axis, keepdims)


def _extreme(function: type[_Extreme], name: str, x: Any, axis: Any, keepdims: bool) -> Tensor:
    t = as_tensor(x, name)
    axes = checks.axes(axis, name, "axis", t.ndim)
    checks.flag(keepdims, name, "keepdims")
    if math.prod(t.shape[a] for a in axes) == 0:
        raise ValueError(f"{name}: no values to reduce in shape {t.shape} over axis {axis}")
    return function.apply(t, axes=axes, keepdims=keepdims)


def _place(function: type[Operation], where: str, x: Any, axis: Any, keepdims: bool) -> Tensor:
    t = as_tensor(x, where)
    checks.flag(keepdims, where, "keepdims")
    if axis is not None:
        axis = checks.axis(axis, where, "axis", t.ndim)
    if t.size == 0 and (axis is None or t.shape[axis] == 0):
        raise ValueError(f"{where}: no values to compare in shape {t.shape}")
    return function.apply(t, axis=axis, keepdims=keepdims)


@for_newcomers
def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The place of the (first) largest value along axis, int64; for axis None the place in the
    flattened tensor. ValueError if there are no values.

    >>> md.argmax(md.tensor([[1., 3.], [4., 0.]]), axis=1)
    tensor([1, 0], dtype=int64)
    """
    return _place(ArgMax, "argmax", x, axis, keepdims)


@for_newcomers
def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The place of the (first) smallest value along axis, int64; for axis None the place in the
    flattened tensor. ValueError if there are no values.

    >>> md.argmin(md.tensor([[1., 3.], [4., 0.]]), axis=1)
    tensor([0, 1], dtype=int64)
    """
    return _place(ArgMin, "argmin", x, axis, keepdims)


def reduced(losses: Tensor, reduction: str, where: str) -> Tensor:
    """The losses themselves ("none"), their "sum" or their "mean"."""
    checks.choice(reduction, where, "reduction", ("mean", "sum", "none"))
    if reduction == "none":
        return losses
    return (Sum if reduction == "sum" else Mean).apply(
        losses, axes=tuple(range(losses.ndim)), keepdims=False
    )
