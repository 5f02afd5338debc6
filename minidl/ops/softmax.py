"""Softmax, its logarithm, and the logarithm of a sum of exponentials, along axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, kernels
from ..graph import Function
from ..hints import for_newcomers
from ..tensor import Tensor
from .common import float_tensor
from .operation import Operation
from .reduce import reduced_shape
from .shape import transpose


def rows_of(x: np.ndarray) -> np.ndarray:
    """x as a matrix whose rows are along the last axis."""
    return x.reshape(x.size // x.shape[-1] if x.shape[-1] else 0, x.shape[-1])


class _RowFunction(Operation):
    """Base of functions that treat x as a matrix whose rows are along the last axis."""

    kernel = ""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.y = getattr(kernels, self.kernel)(rows_of(x))
        return self.y.reshape(x.shape)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        dx = getattr(kernels, self.kernel + "_backward")(rows_of(dy), self.y)
        return dx.reshape(dy.shape)


class Softmax(_RowFunction):
    """y = exp(x) / sum(exp(x));  dx = y (dy - sum(dy y))."""

    kernel = "softmax"


class LogSoftmax(_RowFunction):
    """y = x - log(sum(exp(x)));  dx = dy - exp(y) sum(dy)."""

    kernel = "log_softmax"


class LogSumExp(Operation):
    """y = log(sum(exp(x))) over axes;  dx = softmax(x) dy.

    The gradient is not defined, and NaN, where x is +inf, and where y is -inf or NaN.
    """

    def forward(self, x: np.ndarray, axes: tuple[int, ...], keepdims: bool) -> np.ndarray:
        top = x.max(axis=axes, keepdims=True, initial=-np.inf)
        # The largest value is subtracted, unless it is infinite or NaN.
        top = np.where(np.isfinite(top), top, x.dtype.type(0))
        self.x, self.top = x, top
        with np.errstate(all="ignore"):
            z = x - top
            tops = (z == 0).sum(axis=axes, keepdims=True)
            others = np.where(z == 0, 0, np.exp(z)).sum(axis=axes, keepdims=True, dtype=np.float64)
            self.log_total = np.log1p(others + (tops - 1)).astype(x.dtype)
            y = self.log_total + top
        return y if keepdims else y.reshape(reduced_shape(x.shape, axes, False))

    def backward(self, dy: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            softmax = np.exp((self.x - self.top) - self.log_total)
        return softmax * dy.reshape(self.top.shape)


def _along(function: type[Function], where: str, x: Any, axis: int) -> Tensor:
    t = float_tensor(x, where)
    if t.ndim == 0:
        raise ValueError(f"{where}: needs at least one axis")
    a = checks.axis(axis, where, "axis", t.ndim)
    if a == t.ndim - 1:
        return function.apply(t)
    order = [*(k for k in range(t.ndim) if k != a), a]
    return transpose(function.apply(transpose(t, order)), list(np.argsort(order)))


@for_newcomers
def softmax(x: Any, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along an axis, without overflow. ValueError if there is no such axis.

    >>> md.softmax(md.tensor([[0., 0.], [0., 1000.]]))
    tensor([[0.5, 0.5],
            [0. , 1. ]])
    """
    return _along(Softmax, "softmax", x, axis)


@for_newcomers
def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """log(softmax(x)) = x - log(sum(exp(x))) along an axis, without overflow. ValueError if there
    is no such axis.

    >>> md.log_softmax(md.tensor([0., 1000.]))
    tensor([-1000.,     0.])
    """
    return _along(LogSoftmax, "log_softmax", x, axis)


@for_newcomers
def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over axis (None: all axes; an int or a tuple of ints), without overflow;
    -inf for no values. ValueError if there is no such axis.

    Its gradient is the softmax of x: 0 where x is -inf; NaN where x is +inf, and everywhere if
    all x are -inf or one is NaN, as PyTorch's.

    >>> round(md.logsumexp(md.tensor([1000., 1000.])).item(), 3)
    1000.693
    """
    t = float_tensor(x, "logsumexp")
    return LogSumExp.apply(
        t,
        axes=checks.axes(axis, "logsumexp", "axis", t.ndim),
        keepdims=checks.flag(keepdims, "logsumexp", "keepdims"),
    )
