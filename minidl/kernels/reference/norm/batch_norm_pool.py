"""Batch normalization, ReLU and a 2x2 max-pool of stride 2, as one operation."""

from ..common import Array
from ..pool.max_pool import max_pool, max_pool_backward
from .batch_norm_backward import batch_norm_backward
from .batch_norm_forward import batch_norm_apply

WINDOW = STRIDE = (2, 2)


def batch_norm_pool(x: Array, factors: Array, relu: bool = False, threads: int = 0) -> Array:
    """y (N, H // 2, W // 2, C): max_pool of batch_norm_apply(x, factors, relu=relu)."""
    return max_pool(batch_norm_apply(x, factors, relu=relu), WINDOW, STRIDE)[0]


def batch_norm_pool_backward(
    dy: Array, x: Array, factors: Array, training: bool = True, relu: bool = False, threads: int = 0
) -> tuple[Array, Array, Array]:
    """(dx, dgamma, dbeta) of batch_norm_pool: dy goes to the winner of each window.

    Winners are those of the normalized values, before the ReLU: where it matters, where one is
    positive, they are the same.
    """
    _, argmax = max_pool(batch_norm_apply(x, factors), WINDOW, STRIDE)
    g = max_pool_backward(dy, argmax, x.shape, WINDOW, STRIDE)
    return batch_norm_backward(g, x, factors, training, relu=relu)[:3]
