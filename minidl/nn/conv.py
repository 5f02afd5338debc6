"""Convolution layers."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..ops.common import float_tensor, pair
from ..tensor import Tensor
from . import init
from .layer import Layer, Parameter
from .linear import positive


class Conv(Layer):
    """Convolution of images (N, H, W, in_channels) to (N, OH, OW, out_channels).

    `kernel_size`, `stride`, `dilation` are ints or pairs; `padding` is an int, a pair, "same" or
    "valid". `weight` (KH, KW, in / groups, out) starts as he_normal, `bias` (out,) at zero. Leave
    the bias out before a normalization, which cancels it.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
                 padding: Any = 0, dilation: Any = 1, groups: int = 1, bias: bool = True) -> None:
        super().__init__()
        positive("Conv", in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"Conv: in_channels {in_channels} and out_channels {out_channels} "
                             f"must divide into groups {groups}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = pair(kernel_size, "Conv", "kernel_size", 1)
        self.stride = pair(stride, "Conv", "stride", 1)
        self.dilation = pair(dilation, "Conv", "dilation", 1)
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f'Conv: padding must be an int, a pair, "same" or "valid", '
                                 f'got {padding!r}')
            self.padding: Any = padding
        else:
            self.padding = pair(padding, "Conv", "padding", 0)
        shape = (*self.kernel_size, in_channels // groups, out_channels)
        self.weight = Parameter(init.he_normal(shape))
        self.bias = Parameter(init.constant((out_channels,))) if bias else None

    def forward(self, x: Any) -> Tensor:
        x = float_tensor(x, "Conv")
        if x.ndim != 4 or x.shape[3] != self.in_channels:
            raise ValueError(f"Conv expected images (N, H, W, {self.in_channels}), "
                             f"got {x.shape}")
        return ops.conv(x, self.weight, self.bias, self.stride, self.padding, self.dilation,
                        self.groups)

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"]
        for name, default in (("stride", (1, 1)), ("padding", (0, 0)), ("dilation", (1, 1)),
                              ("groups", 1)):
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)!r}")
        return ", ".join([*parts, f"bias={self.bias is not None}"])
