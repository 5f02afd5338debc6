"""Transposed convolution of images: a convolution's input gradient as an operation of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, kernels
from ..hints import for_newcomers
from ..kernels.choose import Padding
from ..tensor import Tensor
from .conv import checked_operands
from .geometry import both_sides
from .operation import Operation


class ConvTranspose(Operation):
    """y = the input gradient, for the output gradient x, of a convolution with the exchanged
    weights (the axes of input and output channels exchanged). The gradients are that convolution
    and its weight gradient:

        dx = conv(dy, exchanged),  dexchanged = conv_weight_grad(dy, x),  db = sum(dy)
    """

    exchanged: Any  # the weights, if dx is wanted
    x: Any  # the input, if the gradient of the weights is wanted

    def forward(
        self,
        x: np.ndarray,
        weight: np.ndarray,
        bias: np.ndarray | None,
        size: tuple[int, int],
        stride: tuple[int, int],
        padding: Padding,
        dilation: tuple[int, int],
        groups: int,
    ) -> np.ndarray:
        self.geometry = (stride, padding, dilation, groups)
        exchanged = exchange_channels(weight, groups)
        self.exchanged = exchanged if self.needs_grad[0] else None
        # With output_padding the convolution of y may give more positions than x has.
        kernel = weight.shape[:2]
        self.conv_size = tuple(
            [
                (size[a] + sum(padding[a]) - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1
                for a in range(2)
            ]
        )
        self.shape, self.window = x.shape, kernel
        x = self._enlarged(x)
        self.x = x if self.needs_grad[1] else None
        y = kernels.conv_input_grad(
            x, exchanged, (x.shape[0], *size, weight.shape[3]), *self.geometry
        )
        return y if bias is None else kernels.add(y, bias, out=y)

    def _enlarged(self, x: np.ndarray) -> np.ndarray:
        """x with zeros after it, in the size that the convolution of y gives."""
        if x.shape[1:3] == self.conv_size:
            return x
        shape = (x.shape[0], *self.conv_size, x.shape[3])
        kernels.check_shape("conv_transpose", shape, x.dtype)
        larger = np.zeros(shape, x.dtype)
        larger[:, : x.shape[1], : x.shape[2]] = x
        return larger

    def backward(self, dy: np.ndarray) -> tuple[np.ndarray | None, ...]:
        dx = dw = db = None
        if self.needs_grad[0]:
            dx = kernels.conv(dy, self.exchanged, None, *self.geometry)
            dx = np.ascontiguousarray(dx[:, : self.shape[1], : self.shape[2]])
        if self.needs_grad[1]:
            dw = exchange_channels(
                kernels.conv_weight_grad(dy, self.x, self.window, *self.geometry), self.geometry[3]
            )
        if self.needs_grad[2]:
            db = kernels.sum(dy.reshape(1, -1, dy.shape[3]))[0]
        return dx, dw, db


def exchange_channels(weight: np.ndarray, groups: int) -> np.ndarray:
    """Weights (KH, KW, in / groups, out) as (KH, KW, out / groups, in)."""
    kh, kw, ci, co = weight.shape
    parts = weight.reshape(kh, kw, ci, groups, co // groups)
    return np.ascontiguousarray(parts.transpose(0, 1, 4, 3, 2)).reshape(
        kh, kw, co // groups, groups * ci
    )


@for_newcomers
def conv_transpose(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Transposed convolution (Zeiler et al. 2010) of images x (N, H, W, C_in) with weight
    (KH, KW, C_in / groups, C_out), to (N, OH, OW, C_out).

        OH = (H - 1) stride - 2 padding + dilation (KH - 1) + output_padding + 1

    Each value of x adds a multiple of the kernel to the output; the kernels of neighbouring values
    lie `stride` positions from each other. `padding` is cut off on all sides, and `output_padding`
    (less than stride or dilation) is added at the end. These three and `dilation` are ints or
    pairs; `padding` may also be ((top, bottom), (left, right)). The result is PyTorch's, with the
    axes of weight in minidl's order.

    ValueError for shapes that do not fit, TypeError for mixed dtypes.

    >>> x, w = md.ones((1, 2, 2, 1)), md.ones((2, 2, 1, 1))
    >>> md.conv_transpose(x, w)[0, :, :, 0]
    tensor([[1., 2., 1.],
            [2., 4., 2.],
            [1., 2., 1.]])
    """
    where = "conv_transpose"
    x, weight, b, groups = checked_operands(where, x, weight, bias, groups)
    s, d = checks.pair(stride, where, "stride", 1), checks.pair(dilation, where, "dilation", 1)
    p = both_sides(checks.padding(padding, where, "padding", ()))
    extra = checks.pair(output_padding, where, "output_padding", 0)
    if x.shape[1] < 1 or x.shape[2] < 1:
        raise ValueError(f"{where}: images must have rows and columns, got shape {x.shape}")
    size = []
    for axis in range(2):
        if extra[axis] >= max(s[axis], d[axis]):
            raise ValueError(
                f"{where}: output_padding {extra} must be less than stride {s} or dilation {d}"
            )
        size.append(
            (x.shape[1 + axis] - 1) * s[axis]
            - sum(p[axis])
            + d[axis] * (weight.shape[axis] - 1)
            + extra[axis]
            + 1
        )
    if min(size) < 1:
        raise ValueError(
            f"{where}: x {x.shape} with padding {p} gives an output of {size[0]} x {size[1]}"
        )
    if max(size) > checks.MOST_OF_PAIR:
        raise ValueError(
            f"{where}: x {x.shape} with stride {s} and dilation {d} gives an output "
            f"of {size[0]} x {size[1]}; at most {checks.MOST_OF_PAIR} is "
            f"possible"
        )
    return ConvTranspose.apply(
        x, weight, b, size=(size[0], size[1]), stride=s, padding=p, dilation=d, groups=groups
    )
