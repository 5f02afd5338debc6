"""1x1 convolution between two normalizations: the steps one after the other."""

from typing import Any

import numpy as np

from ..common import Array
from ..norm.batch_norm import batch_norm_apply, batch_norm_input_grad, batch_norm_sums, batch_stats

# A normalization of what a convolution gives: (y, factors, relu, centre).
Consumer = tuple[Array, Array, bool, Array | None]


def pointwise_conv(x: Array, w: Array, factors: Array | None = None, relu: bool = False,
                   stats: bool = False, threads: int = 0) -> Any:
    """y (N, H, W, C_out) of x (N, H, W, C_in), normalized by `factors`, and w (1, 1, C_in, C_out).

    With `stats`: (y, mean, var), the last two as batch_stats gives them.
    """
    y = normalized(x, factors, relu) @ w[0, 0]
    return (y, *batch_stats(y)) if stats else y


def pointwise_backward(dy: Array, x: Array, w: Array, factors: Array | None = None,
                       relu: bool = False, consumer: Consumer | None = None,
                       threads: int = 0) -> tuple[Array, Array, Array]:
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


def normalized(x: Array, factors: Array | None, relu: bool) -> Array:
    return x if factors is None else batch_norm_apply(x, factors, relu=relu)


def gradient_through_consumer(dy: Array, consumer: Consumer | None) -> Array:
    """The gradient of a convolution's output from that of the normalization behind it."""
    if consumer is None:
        return dy
    y, factors, relu, centre = consumer
    return batch_norm_input_grad(dy, y, factors, relu, centre=centre)


def sums_before(dx: Array, x: Array, factors: Array | None, relu: bool) -> Array:
    if factors is None:
        return np.zeros((2, x.shape[-1]))
    return batch_norm_sums(dx, x, factors, relu)[0]
