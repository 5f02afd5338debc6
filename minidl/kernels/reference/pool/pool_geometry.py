"""The windows of a pool over NHWC images, for both kinds of pool.

`window`, `stride` and `dilation` are pairs; `padding` is ((top, bottom), (left, right)).
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..common import Array, Padding, Pair, Shape

NO_PADDING = ((0, 0), (0, 0))


def index_dtype(window: Pair) -> type[np.uint8] | type[np.int32]:
    """The dtype that numbers the places of a window."""
    return np.uint8 if window[0] * window[1] <= 256 else np.int32


def windows_of(
    where: str, x: Array, window: Pair, stride: Pair, padding: Padding, dilation: Pair, fill: float
) -> Array:
    """The windows of x as an array (N, OH, OW, C, KH * KW); each holds a value of x."""
    (sh, sw), (dh, dw) = stride, dilation
    extent = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    padded = np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=fill)
    view = sliding_window_view(padded, extent, axis=(1, 2))[:, ::sh, ::sw, :, ::dh, ::dw]
    on_image = [
        _axis_counts(axis, x.shape, view.shape, window, stride, padding, dilation, NO_PADDING)
        for axis in range(2)
    ]
    if not all(counts.all() for counts in on_image):
        raise ValueError(
            f"{where}: with padding {padding} and dilation {dilation} a window "
            f"{window} holds nothing of the images {x.shape}"
        )
    return view.reshape(*view.shape[:4], window[0] * window[1])


def counts_of(
    x_shape: Shape,
    y_shape: Shape,
    window: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    counted: Padding | None,
) -> Array:
    """How many taps of each window lie on the image or on padding that counts, (OH, OW, C)."""
    counted = padding if counted is None else counted
    rows, cols = [
        _axis_counts(axis, x_shape, y_shape, window, stride, padding, dilation, counted)
        for axis in range(2)
    ]
    return rows[:, None, None] * (cols[:, None] * np.ones(x_shape[3], int))


def _axis_counts(
    axis: int,
    x_shape: Shape,
    y_shape: Shape,
    window: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    counted: Padding,
) -> Array:
    """How many taps lie on the image or on padding that counts, for each place along an axis."""
    at = np.arange(y_shape[1 + axis]) * stride[axis] - padding[axis][0]
    before, after = counted[axis]
    first = np.maximum(0, -((at + before) // dilation[axis]))
    last = np.minimum(window[axis], -((at - x_shape[1 + axis] - after) // dilation[axis]))
    return np.maximum(0, last - first)


def taps_that_meet(
    axis: int,
    x_shape: Shape,
    y_shape: Shape,
    window: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
) -> range:
    """The taps of a window's axis that meet the image at all."""
    start, step = padding[axis][0], dilation[axis]
    first = -(-max(0, start - stride[axis] * (y_shape[1 + axis] - 1)) // step)
    return range(first, min(window[axis], -(-(start + x_shape[1 + axis]) // step)))


def padded_zeros(dy: Array, input_shape: Shape, padding: Padding) -> Array:
    """Zeros for images of this shape and the padding around them."""
    n, h, w, c = input_shape
    return np.zeros((n, h + sum(padding[0]), w + sum(padding[1]), c), dy.dtype)


def without_padding(dx: Array, input_shape: Shape, padding: Padding) -> Array:
    """The images without the padding around them."""
    (top, _), (left, _) = padding
    return np.ascontiguousarray(dx[:, top : top + input_shape[1], left : left + input_shape[2]])
