"""What a convolution takes over from the normalizations before and after it."""

import numpy as np

from ..common import Array
from ..norm.batch_norm_backward import batch_norm_input_grad, batch_norm_sums
from ..norm.batch_norm_forward import batch_norm_apply

# A normalization of what a convolution gives: (y, factors, relu, centre).
Consumer = tuple[Array, Array, bool, Array | None]


def normalized(x: Array, factors: Array | None, relu: bool) -> Array:
    """x normalized by `factors`, with its ReLU; x itself without `factors`."""
    return x if factors is None else batch_norm_apply(x, factors, relu=relu)


def gradient_through_consumer(dy: Array, consumer: Consumer | None) -> Array:
    """The gradient of a convolution's output from that of its normalization, `consumer`."""
    if consumer is None:
        return dy
    y, factors, relu, centre = consumer
    return batch_norm_input_grad(dy, y, factors, relu, centre=centre)


def producer_sums(dx: Array, x: Array, factors: Array | None, relu: bool) -> Array:
    """The sums that the backward of the normalization of x needs; zeros without `factors`."""
    if factors is None:
        return np.zeros((2, x.shape[-1]))
    return batch_norm_sums(dx, x, factors, relu)[0]
