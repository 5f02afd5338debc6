"""Dense layers, and the base class that they share with convolutions."""

from __future__ import annotations

from typing import Any

from .. import checks, kernels
from ..ops.common import float_tensor
from ..ops.linalg import linear
from ..tensor import Tensor
from . import init
from .layer import Layer
from .parameter import Parameter


class Weighted(Layer):
    """A layer with a `weight` (..., out). If it has a `transform`, it computes with the transformed
    weight; see `nn.weight`."""

    weight: Parameter
    bias: Parameter | None
    transform: Layer | None = None  # set on a layer only if it has one

    def effective_weight(self) -> Tensor:
        """The weight that the layer computes with, after its transform if there is one."""
        return self.weight if self.transform is None else self.transform(self.weight)


class Dense(Weighted):
    """y = x W + b over the last axis: (..., in_features) to (..., out_features).

    `weight` (in, out) starts as he_normal, `bias` (out,) at zero. Leave the bias out before a
    normalization, which cancels it. ValueError for another number of features, TypeError unless x
    has the dtype of the weights.

    >>> nn.Dense(784, 10)(md.zeros(8, 784)).shape
    (8, 10)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features = checks.size(in_features, "Dense", "in_features")
        self.out_features = checks.size(out_features, "Dense", "out_features")
        bias = checks.flag(bias, "Dense", "bias")
        kernels.check_shape("Dense", (self.in_features, self.out_features))
        self.weight = Parameter(init.he_normal((self.in_features, self.out_features)))
        self.bias = Parameter(init.constant((self.out_features,))) if bias else None

    def forward(self, x: Any) -> Tensor:
        x = float_tensor(x, "Dense")
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            hint = ": flatten the images first" if len(x.shape) > 2 else ""
            raise ValueError(
                f"Dense expected {self.in_features} features on the last axis, got {x.shape}{hint}"
            )
        return linear(x, self.effective_weight(), self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"
