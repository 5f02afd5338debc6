"""Indexing: x[index], and where its gradient goes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks
from ..tensor import Tensor
from .common import as_tensor
from .operation import Operation


class GetItem(Operation):
    """y = x[index];  dx = 0 with dy added at index (places indexed twice get both)."""

    def forward(self, x: np.ndarray, index: Any) -> np.ndarray:
        self.index, self.shape = index, x.shape
        return np.array(x[index], order="C")     # a copy: tensors share no memory unasked

    def backward(self, dy: np.ndarray) -> np.ndarray:
        dx = np.zeros(self.shape, dy.dtype)
        if _basic(self.index):
            dx[self.index] = dy
        else:
            np.add.at(dx, self.index, dy)
        return dx


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
        own = tuple(map(_own_index, index)) if isinstance(index, tuple) else _own_index(index)
        return GetItem.apply(t, index=own)
    except (IndexError, TypeError, ValueError, OverflowError) as error:     # NumPy's
        raise checks.renamed(error, "getitem") from None


def _own_index(i: Any) -> Any:
    """An index that the caller cannot change any more: the backward needs it again."""
    if i is None or i is Ellipsis or isinstance(i, int | slice | np.integer):
        return i
    if isinstance(i, list) and not i:
        return np.zeros(0, np.intp)
    return np.array(i._values() if isinstance(i, Tensor) else np.asarray(i))


def _basic(index: Any) -> bool:
    """Whether an index is made of ints, slices, None and ... only: then no place comes twice."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(p is None or p is Ellipsis or isinstance(p, int | slice | np.integer)
               for p in parts)
