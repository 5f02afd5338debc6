"""Depthwise convolution and its gradients: convolution in as many groups as channels."""

from typing import Any

from ..common import Array, Padding, Pair, Shape
from ..norm.batch_norm import batch_stats
from . import direct as general
from .pointwise import Consumer, gradient_through_consumer, normalized, sums_before


def depthwise_conv(x: Array, w: Array, stride: Pair = (1, 1), padding: Padding = ((0, 0), (0, 0)),
                   dilation: Pair = (1, 1), factors: Array | None = None, relu: bool = False,
                   stats: bool = False, bias: Array | None = None, residual: Array | None = None,
                   relu_out: bool = False, out: Array | None = None, threads: int = 0) -> Any:
    """y (N, OH, OW, C) of x (N, H, W, C), normalized by `factors`, and w (KH, KW, 1, C).

    With `stats`: (y, mean, var), the last two as batch_stats gives them. Without `factors` and
    `stats`, y may have a `bias` and a `residual` added, then ReLU if `relu_out`.
    """
    y = general.conv(normalized(x, factors, relu), w, bias, stride, padding, dilation, x.shape[3],
                     residual, relu_out, out)
    return (y, *batch_stats(y)) if stats else y


def depthwise_input_grad(dy: Array, w: Array, input_shape: Shape, stride: Pair = (1, 1),
                         padding: Padding = ((0, 0), (0, 0)), dilation: Pair = (1, 1),
                         out: Array | None = None, threads: int = 0) -> Array:
    """dx (N, H, W, C) from dy (N, OH, OW, C)."""
    return general.conv_input_grad(dy, w, input_shape, stride, padding, dilation, w.shape[3], out)


def depthwise_weight_grad(x: Array, dy: Array, kernel_shape: Pair, stride: Pair = (1, 1),
                          padding: Padding = ((0, 0), (0, 0)), dilation: Pair = (1, 1),
                          out: Array | None = None, threads: int = 0) -> Array:
    """dw (KH, KW, 1, C) from x (N, H, W, C) and dy (N, OH, OW, C)."""
    return general.conv_weight_grad(x, dy, kernel_shape, stride, padding, dilation, x.shape[3],
                                    out)


def depthwise_backward(dy: Array, x: Array, w: Array, stride: Pair = (1, 1),
                       padding: Padding = ((0, 0), (0, 0)), dilation: Pair = (1, 1),
                       factors: Array | None = None, relu: bool = False,
                       consumer: Consumer | None = None,
                       threads: int = 0) -> tuple[Array, Array, Array]:
    """(dx, dw, sums), as pointwise_backward: between two normalizations."""
    geometry = stride, padding, dilation
    dy = gradient_through_consumer(dy, consumer)
    dw = depthwise_weight_grad(normalized(x, factors, relu), dy, w.shape[:2], *geometry)
    dx = depthwise_input_grad(dy, w, x.shape, *geometry)
    return dx, dw, sums_before(dx, x, factors, relu)
