"""Convolution of NHWC images with HWIO weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import kernels
from ..autograd import Function
from ..tensor import Tensor
from .common import float_tensor, pair, same_float

Padding = tuple[tuple[int, int], tuple[int, int]]


class Conv(Function):
    """y[n,i,j,o] = b[o] + sum x[n, i s + k d - p, j s + l d - p, c] w[k,l,c,o].

    dx is the transposed convolution of dy with w; dw correlates x with dy; db = sum(dy).
    """

    def forward(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None,
                stride: tuple[int, int], padding: Padding, dilation: tuple[int, int],
                groups: int) -> np.ndarray:
        self.x, self.weight = x, weight
        self.geometry = (stride, padding, dilation, groups)
        return kernels.conv(x, weight, bias, *self.geometry)

    def backward(self, dy: np.ndarray) -> tuple[np.ndarray | None, ...]:
        dx = dw = db = None
        if self.needs_grad[0]:
            dx = kernels.conv_input_grad(dy, self.weight, self.x.shape, *self.geometry)
        if self.needs_grad[1]:
            dw = kernels.conv_weight_grad(self.x, dy, self.weight.shape[:2], *self.geometry)
        if self.needs_grad[2]:
            db = kernels.sum(dy.reshape(1, -1, dy.shape[-1])).reshape(-1)
        return dx, dw, db


def conv(x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
         dilation: Any = 1, groups: int = 1) -> Tensor:
    """Convolve images x (N, H, W, C_in) with weight (KH, KW, C_in / groups, C_out).

    `stride` and `dilation` are ints or pairs; `padding` is an int, a pair, "valid" (none) or
    "same": the output then has ceil(size / stride) places per axis, the larger part of an odd
    padding at the end. Returns (N, OH, OW, C_out). Networks call cross-correlation convolution.
    """
    x, weight = float_tensor(x, "conv"), float_tensor(weight, "conv", "weight")
    b = None if bias is None else float_tensor(bias, "conv", "bias")
    same_float("conv", x=x, weight=weight, bias=b)
    if x.ndim != 4:
        raise ValueError(f"conv: x must be images (N, H, W, C), got shape {x.shape}")
    if weight.ndim != 4:
        raise ValueError(f"conv: weight must be (KH, KW, C_in / groups, C_out), "
                         f"got shape {weight.shape}")
    kh, kw, ci, co = weight.shape
    if min(weight.shape) < 1:
        raise ValueError(f"conv: weight has an empty axis: {weight.shape}")
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
        raise ValueError(f"conv: groups must be an int >= 1, got {groups!r}")
    if x.shape[3] != ci * groups:
        raise ValueError(f"conv: x has {x.shape[3]} channels, but weight {weight.shape} with "
                         f"groups={groups} expects {ci * groups}")
    if co % groups:
        raise ValueError(f"conv: {co} output channels do not divide into {groups} groups")
    if b is not None and b.shape != (co,):
        raise ValueError(f"conv: bias must have shape ({co},), got {b.shape}")
    s, d = pair(stride, "conv", "stride", 1), pair(dilation, "conv", "dilation", 1)
    p = resolve_padding(padding, x.shape[1:3], (kh, kw), s, d)
    for axis, name in ((0, "height"), (1, "width")):
        extent = d[axis] * ((kh, kw)[axis] - 1) + 1
        if x.shape[1 + axis] + sum(p[axis]) < extent:
            raise ValueError(f"conv: the {name} of x {x.shape} with padding {p[axis]} is smaller "
                             f"than the kernel's {extent}")
    return Conv.apply(x, weight, b, stride=s, padding=p, dilation=d, groups=groups)


def resolve_padding(padding: Any, size: tuple[int, ...], kernel: tuple[int, int],
                    stride: tuple[int, int], dilation: tuple[int, int]) -> Padding:
    """Padding as ((top, bottom), (left, right))."""
    if isinstance(padding, str):
        if padding == "valid":
            return (0, 0), (0, 0)
        if padding != "same":
            raise ValueError(f'conv: padding must be an int, a pair, "same" or "valid", '
                             f'got {padding!r}')
        result = []
        for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
            total = max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
            result.append((total // 2, total - total // 2))
        return result[0], result[1]
    ph, pw = pair(padding, "conv", "padding", 0)
    return (ph, ph), (pw, pw)
