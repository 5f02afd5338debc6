"""From indices to vectors: rows of a table, and one-hot vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, kernels
from ..tensor import Tensor
from .common import as_tensor, constant, float_tensor
from .operation import Operation


class Embedding(Operation):
    """y = weight[ids];  dweight = for each row the sum of the dy of its places."""

    def forward(self, weight: np.ndarray, ids: np.ndarray) -> np.ndarray:
        self.rows, self.columns = weight.shape
        self.ids = ids.ravel()
        return kernels.embedding(weight, self.ids).reshape(*ids.shape, self.columns)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return kernels.embedding_backward(dy.reshape(len(self.ids), self.columns), self.ids,
                                          self.rows)


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
    numbers = index_array(ids, "embedding", "ids")
    outside = (numbers < 0) | (numbers >= weight.shape[0])
    if outside.any():
        raise ValueError(f"embedding: id {numbers[outside][0]} is outside the table's rows, "
                         f"0..{weight.shape[0] - 1}")
    kernels.check_shape("embedding", (*numbers.shape, weight.shape[1]), weight.dtype)
    return Embedding.apply(weight, ids=numbers)


def one_hot(indices: Any, depth: int) -> Tensor:
    """float32 (..., depth): 1 at each of indices (...), integers in 0 .. depth - 1; 0 elsewhere.

    TypeError unless indices and depth are integers, ValueError if an index is outside or depth is
    below 1.

    >>> md.one_hot([2, 0], 3)
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """
    numbers = index_array(indices, "one_hot", "indices")
    depth = checks.size(depth, "one_hot", "depth")
    outside = (numbers < 0) | (numbers >= depth)
    if outside.any():
        raise ValueError(f"one_hot: index {numbers[outside][0]} is outside 0..{depth - 1}")
    kernels.check_shape("one_hot", (*numbers.shape, depth))
    y = np.zeros((*numbers.shape, depth), np.float32)
    np.put_along_axis(y, numbers[..., None], 1, axis=-1)
    return constant(y)


def index_array(indices: Any, where: str, name: str) -> np.ndarray:
    """Integers as a contiguous int64 array of their own."""
    t = as_tensor(indices, where, name)
    if t.dtype.kind not in "iu" and t.size:
        raise TypeError(f"{where}: {name} must be integers, got {t.dtype}")
    return np.array(t._values(), dtype=np.int64, order="C")
