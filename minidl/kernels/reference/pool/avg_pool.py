"""Average pooling over windows of NHWC images, and over all positions of an image.

`window`, `stride` and `dilation` are pairs; `padding` is ((top, bottom), (left, right)).
"""

import numpy as np

from ..common import Array, Padding, Pair, Shape, ints
from .pool_geometry import (
    NO_PADDING,
    counts_of,
    padded_zeros,
    taps_that_meet,
    windows_of,
    without_padding,
)


def avg_pool(
    x: Array,
    window: Pair,
    stride: Pair,
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    counted: Padding | None = None,
    threads: int = 0,
) -> Array:
    """The mean of each window. Of the padding `counted` counts, as zeros; all of it if None."""
    window, stride, padding, dilation, counted = ints(window, stride, padding, dilation, counted)
    values = windows_of("avg_pool", x, window, stride, padding, dilation, 0)
    sums = values.sum(-1, dtype=np.float64)
    counts = counts_of(x.shape, sums.shape, window, stride, padding, dilation, counted)
    return np.ascontiguousarray((sums / counts).astype(x.dtype))


def avg_pool_backward(
    dy: Array,
    input_shape: Shape,
    window: Pair,
    stride: Pair,
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    counted: Padding | None = None,
    threads: int = 0,
) -> Array:
    """dx: each dy is shared out equally over what counts in its window."""
    window, stride, padding, dilation = ints(window, stride, padding, dilation)
    input_shape, counted = ints(input_shape, counted)
    _, oh, ow, _ = dy.shape
    (sh, sw), (dh, dw) = stride, dilation
    dx = padded_zeros(dy, input_shape, padding)
    counts = counts_of(input_shape, dy.shape, window, stride, padding, dilation, counted)
    share = dy / counts.astype(dy.dtype)
    for i in taps_that_meet(0, input_shape, dy.shape, window, stride, padding, dilation):
        for j in taps_that_meet(1, input_shape, dy.shape, window, stride, padding, dilation):
            dx[
                :,
                i * dh : i * dh + sh * (oh - 1) + 1 : sh,
                j * dw : j * dw + sw * (ow - 1) + 1 : sw,
            ] += share
    return without_padding(dx, input_shape, padding)


def global_avg_pool(x: Array, threads: int = 0) -> Array:
    """Means over all positions: (N, ..., C) to (N, C)."""
    return x.mean(axis=tuple(range(1, x.ndim - 1)), dtype=np.float64).astype(x.dtype)


def global_avg_pool_backward(dy: Array, input_shape: Shape, threads: int = 0) -> Array:
    """dx: each dy is shared out equally over all positions."""
    input_shape = ints(*input_shape)
    positions = int(np.prod(input_shape[1:-1]))
    share = (dy / dy.dtype.type(positions))[:, None]
    shape = (input_shape[0], positions, input_shape[-1])
    return np.ascontiguousarray(np.broadcast_to(share, shape)).reshape(input_shape)
