"""1x1 convolution between two normalizations: the steps, one after the other."""

from typing import Any

from ..common import Array, rows_of
from ..norm.batch_norm_stats import batch_stats
from .between_norms import Consumer, gradient_through_consumer, normalized, producer_sums


def pointwise_conv(
    x: Array,
    w: Array,
    factors: Array | None = None,
    relu: bool = False,
    stats: bool = False,
    threads: int = 0,
) -> Any:
    """Return y (N, H, W, C_out), x (N, H, W, C_in) convolved with w (1, 1, C_in, C_out).

    x is first normalized by `factors` (5, C_in), which batch_norm_factors gives, and passed through
    a ReLU if `relu`. With `stats` the result is (y, mean, var), the last two as batch_stats gives
    them.
    """
    y = normalized(x, factors, relu) @ w[0, 0]
    return (y, *batch_stats(y)) if stats else y


def pointwise_backward(
    dy: Array,
    x: Array,
    w: Array,
    factors: Array | None = None,
    relu: bool = False,
    consumer: Consumer | None = None,
    threads: int = 0,
) -> tuple[Array, Array, Array]:
    """Return (dx, dw, sums): the gradients of the normalized x and of w, and sums for its norm.

    dy (N, H, W, C_out) is the gradient of y or, with `consumer` = (y, factors, relu, centre), that
    of the normalization of y with its ReLU; batch_norm_finish gives `centre`. `sums` (2, C_in) are
    those of g and of g (x - mean_hi), g being dx masked by x's own ReLU, which the backward of the
    normalization of x needs; they are zeros without `factors`.
    """
    dy = gradient_through_consumer(dy, consumer)
    inputs = rows_of(normalized(x, factors, relu))
    dw = (inputs.T @ rows_of(dy)).reshape(w.shape)
    dx = dy @ w[0, 0].T
    return dx, dw, producer_sums(dx, x, factors, relu)
