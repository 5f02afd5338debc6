"""The gradient of a depthwise convolution by its weights: that of as many groups as channels."""

from ..common import Array, Padding, Pair
from .direct_weight_grad import conv_weight_grad


def depthwise_weight_grad(
    x: Array,
    dy: Array,
    kernel_shape: Pair,
    stride: Pair = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
    out: Array | None = None,
    threads: int = 0,
) -> Array:
    """Return dw (KH, KW, 1, C) for x (N, H, W, C) and dy (N, OH, OW, C)."""
    return conv_weight_grad(x, dy, kernel_shape, stride, padding, dilation, x.shape[3], out)
