"""Max pooling over windows of NHWC images.

`window`, `stride` and `dilation` are pairs; `padding` is ((top, bottom), (left, right)).
"""

import numpy as np

from ..common import Array, Padding, Pair, Shape, ints
from .pool_geometry import NO_PADDING, index_dtype, padded_zeros, windows_of, without_padding


def max_pool(
    x: Array,
    window: Pair,
    stride: Pair,
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    threads: int = 0,
) -> tuple[Array, Array]:
    """(y, argmax): the largest value of each window and its place in it, row by row.

    argmax is uint8 for windows of up to 256 values, else int32. Padding never wins; NaN does;
    the first of equal values is taken.
    """
    window, stride, padding, dilation = ints(window, stride, padding, dilation)
    patches = windows_of("max_pool", x, window, stride, padding, dilation, -np.inf)
    argmax = patches.argmax(axis=-1)
    y = np.take_along_axis(patches, argmax[..., None], -1)[..., 0]
    ones = np.ones(x.shape, bool)
    inside = windows_of("max_pool", ones, window, stride, padding, dilation, False)
    argmax = np.where(y == -np.inf, inside.argmax(axis=-1), argmax)  # not the padding
    return np.ascontiguousarray(y), np.ascontiguousarray(argmax.astype(index_dtype(window)))


def max_pool_backward(
    dy: Array,
    argmax: Array,
    input_shape: Shape,
    window: Pair,
    stride: Pair,
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    threads: int = 0,
) -> Array:
    """dx: each dy goes to the place that won."""
    window, stride, padding, dilation = ints(window, stride, padding, dilation)
    input_shape = ints(*input_shape)
    n, oh, ow, c = dy.shape
    (sh, sw), (dh, dw) = stride, dilation
    dx = padded_zeros(dy, input_shape, padding)
    index = argmax.astype(np.intp)
    rows = np.arange(oh)[:, None, None] * sh + index // window[1] * dh
    cols = np.arange(ow)[:, None] * sw + index % window[1] * dw
    (top, _), (left, _) = padding
    inside = (
        (index >= 0)
        & (index < window[0] * window[1])
        & (top <= rows)
        & (rows < top + input_shape[1])
        & (left <= cols)
        & (cols < left + input_shape[2])
    )
    if not inside.all():
        raise ValueError("max_pool_backward: argmax has places outside the images")
    np.add.at(dx, (np.arange(n)[:, None, None, None], rows, cols, np.arange(c)), dy)
    return without_padding(dx, input_shape, padding)
