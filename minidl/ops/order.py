"""Sorted values and cumulative sums along one axis: sort, argsort, topk, cumsum.

They take any dtype, and NumPy computes them in both backends. ValueError if there is no such axis.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks
from ..hints import for_newcomers
from ..tensor import Tensor
from .common import as_tensor
from .operation import Operation
from .shape import flatten


class Sort(Operation):
    """y = x in ascending order along an axis;  dx = dy at the places where the values were."""

    def forward(self, x: np.ndarray, axis: int) -> np.ndarray:
        if not self.needs_grad[0]:
            return np.sort(x, axis)  # several times as fast as finding the order
        self.axis, self.order = axis, stable_order(x, axis)
        return np.take_along_axis(x, self.order, axis)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        dx = np.empty_like(dy)
        np.put_along_axis(dx, self.order, dy, self.axis)
        return dx


class ArgSort(Operation):
    """y = the places of the values of x along an axis, in ascending order of the values."""

    def forward(self, x: np.ndarray, axis: int) -> np.ndarray:
        return stable_order(x, axis)


class TopK(Operation):
    """y, places = the k largest values along an axis, the largest first, and where they are;
    dx = dy at these places, 0 elsewhere."""

    def forward(self, x: np.ndarray, k: int, axis: int) -> tuple[np.ndarray, np.ndarray]:
        self.shape, self.axis = x.shape, axis
        places = largest(np.moveaxis(x, axis, -1), k)
        self.places = np.ascontiguousarray(np.moveaxis(places, -1, axis))
        return np.take_along_axis(x, self.places, axis), self.places

    def backward(self, dy: np.ndarray, _: Any) -> np.ndarray:
        dx = np.zeros(self.shape, dy.dtype)
        np.put_along_axis(dx, self.places, dy, self.axis)
        return dx


class CumSum(Operation):
    """y_i = x_0 + ... + x_i along an axis;  dx_i = dy_i + dy_(i+1) + ... to the end."""

    def forward(self, x: np.ndarray, axis: int) -> np.ndarray:
        self.axis = axis
        return running_sums(x, axis)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(
            np.flip(running_sums(np.flip(dy, self.axis), self.axis), self.axis)
        )


def stable_order(x: np.ndarray, axis: int) -> np.ndarray:
    """The places of the values in ascending order; equal values keep their order, and NaN comes
    last."""
    return np.argsort(x, axis, kind="stable")


def largest(x: np.ndarray, k: int) -> np.ndarray:
    """The places (..., k) of the k largest values of each row of x (..., n), the largest first.

    Only these k are sorted. A partition finds the smallest of them, and a comparison with it finds
    the others. If more values equal the smallest than are wanted, the first ones are taken.
    """
    n = x.shape[-1]
    if k == 0:
        return np.zeros((*x.shape[:-1], 0), np.int64)
    if k < n:
        least = np.partition(x, n - k, axis=-1)[..., n - k, None]
        nan, least_nan = x != x, least != least
        above = (x > least) | (nan & ~least_nan)
        equal = (x == least) | (nan & least_nan)
        missing = k - above.sum(axis=-1, keepdims=True)
        chosen = above | (equal & (np.cumsum(equal, axis=-1) <= missing))
        places = np.nonzero(chosen)[-1].reshape(*x.shape[:-1], k)
    else:
        places = np.broadcast_to(np.arange(n), x.shape)
    values = np.take_along_axis(x, places, -1)
    # Reversing the stable order of the reversed values gives a descending order in which equal
    # values keep their order.
    order = k - 1 - np.flip(stable_order(np.flip(values, -1), -1), -1)
    return np.take_along_axis(places, order, -1)


def running_sums(x: np.ndarray, axis: int) -> np.ndarray:
    """NumPy's cumsum, except that float32 is added in double, because a sum is rounded once for
    each value before it."""
    with np.errstate(over="ignore", invalid="ignore"):
        if x.dtype.kind == "f" and x.dtype.itemsize < 8:
            return np.cumsum(x, axis, dtype=np.float64).astype(x.dtype)
        return np.cumsum(x, axis)


def _along(function: type[Operation], where: str, x: Any, axis: Any) -> Tensor:
    """Apply a function along an axis, or to the flattened tensor for axis None, as NumPy does."""
    t = as_tensor(x, where)
    if axis is None:
        t, axis = flatten(t), 0
    return function.apply(t, axis=checks.axis(axis, where, "axis", t.ndim))


@for_newcomers
def sort(x: Any, axis: int | None = -1) -> Tensor:
    """The values along an axis in ascending order, NaN last; for axis None those of the flattened
    tensor. The result is a new tensor, as that of `np.sort`; x is not sorted in place. `md.flip`
    makes the order descending.

    The gradient of a value goes to the place that it came from; equal values keep their order.

    >>> md.sort(md.tensor([[3., 1., 2.], [0., 5., 4.]]))
    tensor([[1., 2., 3.],
            [0., 4., 5.]])
    """
    return _along(Sort, "sort", x, axis)


@for_newcomers
def argsort(x: Any, axis: int | None = -1) -> Tensor:
    """The places, int64, of the values along an axis in ascending order of the values; for axis
    None those in the flattened tensor. Equal values, and NaN at the end, keep their order.

    >>> md.argsort(md.tensor([3., 1., 2., 1.]))
    tensor([1, 3, 2, 0], dtype=int64)
    """
    return _along(ArgSort, "argsort", x, axis)


@for_newcomers
def topk(x: Any, k: int, axis: int = -1) -> tuple[Tensor, Tensor]:
    """The k largest values along an axis, the largest first, and their places, int64: a pair
    (values, indices), whose axis has k entries.

    NaN is the largest of all, as in `sort` and `max`. Of equal values the first comes first. The
    gradient goes to the places of the values. The k smallest are those of -x. ValueError unless k
    is from 0 to the number of values, TypeError unless it is an integer.

    >>> values, indices = md.topk(md.tensor([1., 4., 2., 4.]), 3)
    >>> values, indices
    (tensor([4., 4., 2.]), tensor([1, 3, 2], dtype=int64))
    """
    t = as_tensor(x, "topk")
    axis = checks.axis(axis, "topk", "axis", t.ndim)
    return TopK.apply(t, k=checks.integer(k, "topk", "k", 0, t.shape[axis]), axis=axis)


@for_newcomers
def cumsum(x: Any, axis: int | None = -1) -> Tensor:
    """The cumulative sums of the values along an axis, or of the flattened tensor for axis None.
    Floats keep their dtype, and are added in double; integers and bools give int64 (uint64 if
    unsigned).

    >>> md.cumsum(md.tensor([[1., 2., 3.], [10., 20., 30.]]))
    tensor([[ 1.,  3.,  6.],
            [10., 30., 60.]])
    """
    return _along(CumSum, "cumsum", x, axis)
