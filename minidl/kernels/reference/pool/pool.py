"""Pooling over windows of NHWC images, and over whole images.

`window`, `stride` and `dilation` are pairs; `padding` is ((top, bottom), (left, right)).
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..common import Array, Padding, Pair, Shape, ints

NONE = ((0, 0), (0, 0))


def max_pool(x: Array, window: Pair, stride: Pair, padding: Padding = NONE, dilation: Pair = (1, 1),
             threads: int = 0) -> tuple[Array, Array]:
    """(y, argmax): the largest value of each window and its place in it, row by row.

    argmax is uint8 for windows of up to 256 values, else int32. Padding never wins; NaN does;
    the first of equal values is taken.
    """
    window, stride, padding, dilation = ints(window, stride, padding, dilation)
    patches = _windows("max_pool", x, window, stride, padding, dilation, -np.inf)
    argmax = patches.argmax(axis=-1)
    y = np.take_along_axis(patches, argmax[..., None], -1)[..., 0]
    ones = np.ones(x.shape, bool)
    inside = _windows("max_pool", ones, window, stride, padding, dilation, False)
    argmax = np.where(y == -np.inf, inside.argmax(axis=-1), argmax)     # not the padding
    return np.ascontiguousarray(y), np.ascontiguousarray(argmax.astype(index_dtype(window)))


def max_pool_backward(dy: Array, argmax: Array, input_shape: Shape, window: Pair, stride: Pair,
                      padding: Padding = NONE, dilation: Pair = (1, 1), threads: int = 0) -> Array:
    """dx: each dy goes to the place that won."""
    window, stride, padding, dilation = ints(window, stride, padding, dilation)
    input_shape = ints(*input_shape)
    n, oh, ow, c = dy.shape
    (sh, sw), (dh, dw) = stride, dilation
    dx = _padded_zeros(dy, input_shape, padding)
    index = argmax.astype(np.intp)
    rows = np.arange(oh)[:, None, None] * sh + index // window[1] * dh
    cols = np.arange(ow)[:, None] * sw + index % window[1] * dw
    (top, _), (left, _) = padding
    inside = ((index >= 0) & (index < window[0] * window[1])
              & (top <= rows) & (rows < top + input_shape[1])
              & (left <= cols) & (cols < left + input_shape[2]))
    if not inside.all():
        raise ValueError("max_pool_backward: argmax has places outside the images")
    np.add.at(dx, (np.arange(n)[:, None, None, None], rows, cols, np.arange(c)), dy)
    return _without(dx, input_shape, padding)


def avg_pool(x: Array, window: Pair, stride: Pair, padding: Padding = NONE, dilation: Pair = (1, 1),
             counted: Padding | None = None, threads: int = 0) -> Array:
    """The mean of each window. Of the padding `counted` counts, as zeros; all of it if None."""
    window, stride, padding, dilation, counted = ints(window, stride, padding, dilation, counted)
    values = _windows("avg_pool", x, window, stride, padding, dilation, 0)
    sums = values.sum(-1, dtype=np.float64)
    counts = _counts(x.shape, sums.shape, window, stride, padding, dilation, counted)
    return np.ascontiguousarray((sums / counts).astype(x.dtype))


def avg_pool_backward(dy: Array, input_shape: Shape, window: Pair, stride: Pair,
                      padding: Padding = NONE, dilation: Pair = (1, 1),
                      counted: Padding | None = None, threads: int = 0) -> Array:
    """dx: each dy is shared out equally over what counts in its window."""
    window, stride, padding, dilation = ints(window, stride, padding, dilation)
    input_shape, counted = ints(input_shape, counted)
    _, oh, ow, _ = dy.shape
    (sh, sw), (dh, dw) = stride, dilation
    dx = _padded_zeros(dy, input_shape, padding)
    counts = _counts(input_shape, dy.shape, window, stride, padding, dilation, counted)
    share = dy / counts.astype(dy.dtype)
    for i in _taps_that_meet(0, input_shape, dy.shape, window, stride, padding, dilation):
        for j in _taps_that_meet(1, input_shape, dy.shape, window, stride, padding, dilation):
            dx[:, i * dh:i * dh + sh * (oh - 1) + 1:sh,
               j * dw:j * dw + sw * (ow - 1) + 1:sw] += share
    return _without(dx, input_shape, padding)


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


def index_dtype(window: Pair) -> type[np.uint8] | type[np.int32]:
    """The dtype that numbers the places of a window."""
    return np.uint8 if window[0] * window[1] <= 256 else np.int32


def _windows(where: str, x: Array, window: Pair, stride: Pair, padding: Padding, dilation: Pair,
             fill: float) -> Array:
    """The windows of x as an array (N, OH, OW, C, KH * KW); each holds a value of x."""
    (sh, sw), (dh, dw) = stride, dilation
    extent = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    padded = np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=fill)
    view = sliding_window_view(padded, extent, axis=(1, 2))[:, ::sh, ::sw, :, ::dh, ::dw]
    if not all(_count(a, x.shape, view.shape, window, stride, padding, dilation, NONE).all()
               for a in range(2)):
        raise ValueError(f"{where}: with padding {padding} and dilation {dilation} a window "
                         f"{window} holds nothing of the images {x.shape}")
    return view.reshape(*view.shape[:4], window[0] * window[1])


def _counts(x_shape: Shape, y_shape: Shape, window: Pair, stride: Pair, padding: Padding,
            dilation: Pair, counted: Padding | None) -> Array:
    """How many taps of each window lie on the image or on padding that counts, (OH, OW, C)."""
    rows, cols = [_count(a, x_shape, y_shape, window, stride, padding, dilation,
                         padding if counted is None else counted) for a in range(2)]
    return rows[:, None, None] * (cols[:, None] * np.ones(x_shape[3], int))


def _count(axis: int, x_shape: Shape, y_shape: Shape, window: Pair, stride: Pair, padding: Padding,
           dilation: Pair, counted: Padding) -> Array:
    """How many taps lie on the image or on padding that counts, for each place along an axis."""
    at = np.arange(y_shape[1 + axis]) * stride[axis] - padding[axis][0]
    before, after = counted[axis]
    first = np.maximum(0, -((at + before) // dilation[axis]))
    last = np.minimum(window[axis], -((at - x_shape[1 + axis] - after) // dilation[axis]))
    return np.maximum(0, last - first)


def _taps_that_meet(axis: int, x_shape: Shape, y_shape: Shape, window: Pair, stride: Pair,
                    padding: Padding, dilation: Pair) -> range:
    """The taps of a window's axis that meet the image at all."""
    start, step = padding[axis][0], dilation[axis]
    first = -(-max(0, start - stride[axis] * (y_shape[1 + axis] - 1)) // step)
    return range(first, min(window[axis], -(-(start + x_shape[1 + axis]) // step)))


def _padded_zeros(dy: Array, input_shape: Shape, padding: Padding) -> Array:
    """Zeros for images of this shape and the padding around them."""
    n, h, w, c = input_shape
    return np.zeros((n, h + sum(padding[0]), w + sum(padding[1]), c), dy.dtype)


def _without(dx: Array, input_shape: Shape, padding: Padding) -> Array:
    """The images without the padding around them."""
    (top, _), (left, _) = padding
    return np.ascontiguousarray(dx[:, top:top + input_shape[1], left:left + input_shape[2]])
