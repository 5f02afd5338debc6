"""Activations as layers. The operations of the same names give formulas, dtypes and sources."""

from __future__ import annotations

from typing import Any

from .. import checks, ops
from ..tensor import Tensor
from .layer import Layer


class ReLU(Layer):
    """max(x, 0).

    >>> nn.ReLU()(md.tensor([-1., 2.]))
    tensor([0., 2.])
    """

    def forward(self, x: Any) -> Tensor:
        return ops.relu(x)


class LeakyReLU(Layer):
    """x where positive, else slope x.

    >>> nn.LeakyReLU(0.5)(md.tensor([-1., 2.]))
    tensor([-0.5,  2. ])
    """

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self.slope = checks.real(slope, "LeakyReLU", "slope")

    def forward(self, x: Any) -> Tensor:
        return ops.leaky_relu(x, self.slope)

    def extra_repr(self) -> str:
        return f"slope={self.slope:g}"


class GELU(Layer):
    """x times the share of a normal distribution below x; `approximate` is "none" or "tanh".
    ValueError for another word.

    >>> nn.GELU()(md.tensor([0., 1000.]))
    tensor([   0., 1000.])
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = checks.choice(approximate, "GELU", "approximate", ("none", "tanh"))

    def forward(self, x: Any) -> Tensor:
        return ops.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(Layer):
    """x / (1 + exp(-x)).

    >>> nn.SiLU()(md.tensor([0., 1000.]))
    tensor([   0., 1000.])
    """

    def forward(self, x: Any) -> Tensor:
        return ops.silu(x)


class Sigmoid(Layer):
    """1 / (1 + exp(-x)).

    >>> nn.Sigmoid()(md.tensor([-1000., 0., 1000.]))
    tensor([0. , 0.5, 1. ])
    """

    def forward(self, x: Any) -> Tensor:
        return ops.sigmoid(x)


class Tanh(Layer):
    """The hyperbolic tangent.

    >>> nn.Tanh()(md.tensor([-1000., 0., 1000.]))
    tensor([-1.,  0.,  1.])
    """

    def forward(self, x: Any) -> Tensor:
        return ops.tanh(x)


class Softmax(Layer):
    """exp(x) / sum(exp(x)) along an axis. Do not use it before cross_entropy, which takes logits.

    >>> nn.Softmax()(md.tensor([0., 0.]))
    tensor([0.5, 0.5])
    """

    def __init__(self, axis: int = -1) -> None:
        super().__init__()
        self.axis = checks.integer(axis, "Softmax", "axis")

    def forward(self, x: Any) -> Tensor:
        return ops.softmax(x, self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"
