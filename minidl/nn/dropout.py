"""Dropout as a layer."""

from __future__ import annotations

from typing import Any

from .. import checks, ops
from ..tensor import Tensor
from .layer import Layer


class Dropout(Layer):
    """In training, zero each value with probability p and scale the rest by 1 / (1 - p)
    (Srivastava et al. 2014); in evaluation mode y = x. ValueError unless p is in [0, 1].

    >>> nn.Dropout(0.5).eval()(md.ones(3))
    tensor([1., 1., 1.])
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = checks.fraction(p, "Dropout", "p")

    def forward(self, x: Any) -> Tensor:
        return ops.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p:g}"
