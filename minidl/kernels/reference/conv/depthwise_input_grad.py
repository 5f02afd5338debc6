"""The gradient of a depthwise convolution by its input: that of as many groups as channels."""

from ..common import Array, Padding, Pair, Shape
from .direct_input_grad import conv_input_grad


def depthwise_input_grad(
    dy: Array,
    w: Array,
    input_shape: Shape,
    stride: Pair = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
    out: Array | None = None,
    threads: int = 0,
) -> Array:
    """Return dx (N, H, W, C) for dy (N, OH, OW, C) and w (KH, KW, 1, C)."""
    return conv_input_grad(dy, w, input_shape, stride, padding, dilation, w.shape[3], out)
