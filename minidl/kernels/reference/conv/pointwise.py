"""1x1 convolution between two normalizations: the steps one after the other."""

import numpy as np

from ..norm.batch_norm_backward import batch_norm_input_grad, batch_norm_sums
from ..norm.batch_norm_forward import batch_norm_apply
from ..norm.batch_norm_stats import batch_stats


def pointwise_conv(x, w, factors=None, relu=False, stats=False, threads=0):
    """y (N, H, W, C_out) of x (N, H, W, C_in), normalized by `factors`, and w (1, 1, C_in, C_out).

    With `stats`: (y, mean, var), the last two as batch_stats gives them.
    """
    y = normalized(x, factors, relu) @ w[0, 0]
    return (y, *batch_stats(y)) if stats else y


def pointwise_backward(dy, x, w, factors=None, relu=False, consumer=None, threads=0):
    """(dx, dw, sums): gradients of the normalized x and of w, and what normalization needs.

    dy (N, H, W, C_out) is the gradient of y or, with `consumer` = (y, factors, relu, centre), that
    of the normalization of y with its ReLU; `centre` as batch_norm_finish gives it. `sums` (2,
    C_in) are the sums of g and of g (x - mean_hi), g being dx masked by x's own ReLU; zeros
    without `factors`.
    """
    dy = gradient_through_consumer(dy, consumer)
    inputs = normalized(x, factors, relu).reshape(-1, x.shape[-1])
    dw = (inputs.T @ dy.reshape(-1, dy.shape[-1])).reshape(w.shape)
    dx = dy @ w[0, 0].T
    return dx, dw, sums_before(dx, x, factors, relu)


def normalized(x, factors, relu):
    return x if factors is None else batch_norm_apply(x, factors, relu=relu)


def gradient_through_consumer(dy, consumer):
    """The gradient of a convolution's output from that of the normalization behind it."""
    if consumer is None:
        return dy
    y, factors, relu, centre = consumer
    return batch_norm_input_grad(dy, y, factors, relu, centre=centre)


def sums_before(dx, x, factors, relu):
    if factors is None:
        return np.zeros((2, x.shape[-1]))
    return batch_norm_sums(dx, x, factors, relu)[0]
