"""Indexing, x[index], and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks
from ..tensor import Tensor
from .common import as_tensor
from .operation import Operation

ARRAY = "array"  # stands in an index for an array, which is another input of the operation
# An index of these types alone never gives a place of x twice.
BASIC = (int, np.integer, slice, type(None), type(Ellipsis))


class GetItem(Operation):
    """y = x[index];  dx = 0 with dy added at index (places indexed twice get both).

    Each ARRAY in the index stands for the next one of `arrays`.
    """

    def forward(self, x: np.ndarray, *arrays: np.ndarray, index: Any) -> np.ndarray:
        if arrays:  # copied: the backward needs them again, and the user may write to them
            copies = map(np.array, arrays)
            index = tuple([next(copies) if isinstance(i, str) else i for i in index])
        self.index, self.shape, self.arrays = index, x.shape, len(arrays)
        return np.array(x[index], order="C")  # a copy: tensors share no memory unasked

    def backward(self, dy: np.ndarray) -> Any:
        dx = np.zeros(self.shape, dy.dtype)
        if not self.arrays:
            dx[self.index] = dy
            return dx
        np.add.at(dx, self.index, dy)
        return dx, *(None,) * self.arrays


def getitem(x: Any, index: Any) -> Tensor:
    """x[index]: basic, boolean or integer-array indexing, as NumPy's. The result is a copy.

    The gradient of a place that is indexed twice is the sum of both. IndexError for an index that
    does not fit.

    >>> x = md.tensor([[1., 2.], [3., 4.]])
    >>> x[:, 0], x[x > 2]
    (tensor([1., 3.]), tensor([3., 4.]))
    """
    t = as_tensor(x, "getitem")
    try:
        parts = index if isinstance(index, tuple) else (index,)
        arrays = [_array(i) for i in parts if not isinstance(i, BASIC)]
        if arrays:
            index = tuple([i if isinstance(i, BASIC) else ARRAY for i in parts])
        return GetItem.apply(t, *arrays, index=index)
    except (IndexError, TypeError, ValueError, OverflowError) as error:  # NumPy raises these
        raise checks.renamed(error, "getitem") from None


def _array(i: Any) -> Any:
    """A part of an index as an array or a tensor."""
    if isinstance(i, list) and not i:
        return np.zeros(0, np.intp)
    return i if isinstance(i, Tensor) else np.asarray(i)
