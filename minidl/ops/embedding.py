"""Vectors for indices: rows of a table, and one-hot vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, kernels
from ..hints import for_newcomers
from ..tensor import Tensor
from .common import as_tensor, float_tensor, outside
from .operation import NoGradient, Operation


class Embedding(Operation):
    """y = weight[ids];  dweight = for each row, the sum of dy over the places that took it."""

    def forward(self, weight: np.ndarray, ids: np.ndarray) -> np.ndarray:
        self.rows, self.columns = weight.shape
        numbers = _int64(ids)
        wrong = outside(numbers, self.rows)
        if wrong.any():
            raise ValueError(
                f"embedding: id {numbers[wrong][0]} is outside the table's rows, 0..{self.rows - 1}"
            )
        kernels.check_shape("embedding", (*ids.shape, self.columns), weight.dtype)
        self.ids = numbers.ravel()
        return kernels.embedding(weight, self.ids).reshape(*ids.shape, self.columns)

    def backward(self, dy: np.ndarray) -> Any:
        return kernels.embedding_backward(
            dy.reshape(len(self.ids), self.columns), self.ids, self.rows
        ), None


class OneHot(NoGradient):
    """y = 1 at each of the indices, along a new last axis; 0 elsewhere."""

    def forward(self, indices: np.ndarray, depth: int) -> np.ndarray:
        numbers = _int64(indices)
        wrong = outside(numbers, depth)
        if wrong.any():
            raise ValueError(f"one_hot: index {numbers[wrong][0]} is outside 0..{depth - 1}")
        kernels.check_shape("one_hot", (*numbers.shape, depth))
        y = np.zeros((*numbers.shape, depth), np.float32)
        np.put_along_axis(y, numbers[..., None], 1, axis=-1)
        return y


@for_newcomers
def embedding(ids: Any, weight: Any) -> Tensor:
    """Rows of weight (rows, features) by their numbers: ids (...), integers, to (..., features).

    A row that is asked for several times gets the sum of its gradients. TypeError unless ids are
    integers, ValueError if one is not in 0 .. rows - 1.

    >>> table = md.tensor([[0., 1.], [2., 3.], [4., 5.]])
    >>> md.embedding([2, 0, 2], table)
    tensor([[4., 5.],
            [0., 1.],
            [4., 5.]])
    """
    weight = float_tensor(weight, "embedding", "weight")
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight must be (rows, features), got {weight.shape}")
    return Embedding.apply(weight, _integers(ids, "embedding", "ids"))


@for_newcomers
def one_hot(indices: Any, depth: int) -> Tensor:
    """float32 (..., depth): 1 at each of indices (...), integers in 0 .. depth - 1; 0 elsewhere.

    TypeError unless indices and depth are integers, ValueError if an index is outside or depth is
    below 1.

    >>> md.one_hot([2, 0], 3)
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """
    t = _integers(indices, "one_hot", "indices")
    return OneHot.apply(t, depth=checks.size(depth, "one_hot", "depth"))


def _integers(indices: Any, where: str, name: str) -> Tensor:
    """Indices as a tensor; if empty, of any dtype, because NumPy makes [] a float array."""
    t = as_tensor(indices, where, name)
    if t.dtype.kind not in "iu" and t.size:
        raise TypeError(f"{where}: {name} must be integers, got {t.dtype}")
    return t


def _int64(indices: np.ndarray) -> np.ndarray:
    """A contiguous copy: the backward needs it again, and the user may write to the array."""
    return np.array(indices, dtype=np.int64, order="C")
