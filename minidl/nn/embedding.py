"""Embedding: a table of vectors as a layer."""

from __future__ import annotations

from typing import Any

from .. import checks, kernels, ops
from ..tensor import Tensor
from . import init
from .layer import Layer
from .parameter import Parameter


class Embedding(Layer):
    """Rows of a table by their numbers: ids (...), integers, to (..., features).

    `weight` (rows, features) starts normal with variance 1, as in PyTorch. TypeError unless ids
    are integers, ValueError if one is not in 0 .. rows - 1.

    >>> nn.Embedding(10, 4)([[1, 2, 3]]).shape
    (1, 3, 4)
    """

    def __init__(self, rows: int, features: int) -> None:
        super().__init__()
        self.rows = checks.size(rows, "Embedding", "rows")
        self.features = checks.size(features, "Embedding", "features")
        kernels.check_shape("Embedding", (self.rows, self.features))
        self.weight = Parameter(init.normal((self.rows, self.features)))

    def forward(self, ids: Any) -> Tensor:
        return ops.embedding(ids, self.weight)

    def extra_repr(self) -> str:
        return f"{self.rows}, {self.features}"
