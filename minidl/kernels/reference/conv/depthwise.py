"""Depthwise convolution and its gradients: convolution in as many groups as channels."""

from ..norm.batch_norm_stats import batch_stats
from . import direct as general
from .pointwise import gradient_through_consumer, normalized, sums_before


def depthwise_conv(x, w, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), factors=None,
                   relu=False, stats=False, bias=None, residual=None, relu_out=False, out=None,
                   threads=0):
    """y (N, OH, OW, C) of x (N, H, W, C), normalized by `factors`, and w (KH, KW, 1, C).

    With `stats`: (y, mean, var), the last two as batch_stats gives them. Without `factors` and
    `stats`, y may have a `bias` and a `residual` added, then ReLU if `relu_out`.
    """
    y = general.conv(normalized(x, factors, relu), w, bias, stride, padding, dilation, x.shape[3],
                     residual, relu_out, out)
    return (y, *batch_stats(y)) if stats else y


def depthwise_input_grad(dy, w, input_shape, stride=(1, 1), padding=((0, 0), (0, 0)),
                         dilation=(1, 1), out=None, threads=0):
    """dx (N, H, W, C) from dy (N, OH, OW, C)."""
    return general.conv_input_grad(dy, w, input_shape, stride, padding, dilation, w.shape[3], out)


def depthwise_weight_grad(x, dy, kernel_shape, stride=(1, 1), padding=((0, 0), (0, 0)),
                          dilation=(1, 1), out=None, threads=0):
    """dw (KH, KW, 1, C) from x (N, H, W, C) and dy (N, OH, OW, C)."""
    return general.conv_weight_grad(x, dy, kernel_shape, stride, padding, dilation, x.shape[3],
                                    out)


def depthwise_backward(dy, x, w, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1),
                       factors=None, relu=False, consumer=None, threads=0):
    """(dx, dw, sums), as pointwise_backward: between two normalizations."""
    geometry = stride, padding, dilation
    dy = gradient_through_consumer(dy, consumer)
    dw = depthwise_weight_grad(normalized(x, factors, relu), dy, w.shape[:2], *geometry)
    dx = depthwise_input_grad(dy, w, x.shape, *geometry)
    return dx, dw, sums_before(dx, x, factors, relu)
