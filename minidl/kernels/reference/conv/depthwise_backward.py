"""Both gradients of a depthwise convolution between two normalizations: the steps, one after the
other."""

from ..common import Array, Padding, Pair
from .between_norms import Consumer, gradient_through_consumer, normalized, producer_sums
from .depthwise_input_grad import depthwise_input_grad
from .depthwise_weight_grad import depthwise_weight_grad


def depthwise_backward(
    dy: Array,
    x: Array,
    w: Array,
    stride: Pair = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
    factors: Array | None = None,
    relu: bool = False,
    consumer: Consumer | None = None,
    threads: int = 0,
) -> tuple[Array, Array, Array]:
    """Return (dx, dw, sums): the gradients of the normalized x and of w, and sums for its norm.

    dy (N, OH, OW, C) is the gradient of y or, with `consumer` = (y, factors, relu, centre), that of
    the normalization of y with its ReLU; batch_norm_finish gives `centre`. `sums` (2, C) are those
    of g and of g (x - mean_hi), g being dx masked by x's own ReLU, which the backward of the
    normalization of x needs; they are zeros without `factors`.
    """
    geometry = stride, padding, dilation
    dy = gradient_through_consumer(dy, consumer)
    dw = depthwise_weight_grad(normalized(x, factors, relu), dy, w.shape[:2], *geometry)
    dx = depthwise_input_grad(dy, w, x.shape, *geometry)
    return dx, dw, producer_sums(dx, x, factors, relu)
