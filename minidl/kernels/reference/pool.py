"""Pooling over windows of NHWC images, and over whole images.

`window`, `stride`, `padding` are pairs; padding is the same on both sides of an axis.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def max_pool(x, window, stride, padding=(0, 0), threads=0):
    """(y, argmax): the largest value of each window and its place in it, row by row.

    argmax is uint8 for windows of up to 256 values, else int32. Padding never wins; NaN does;
    the first of equal values is taken.
    """
    patches = _windows(x, window, stride, padding, -np.inf)
    argmax = patches.argmax(axis=-1)
    y = np.take_along_axis(patches, argmax[..., None], -1)[..., 0]
    inside = _windows(np.ones(x.shape, bool), window, stride, padding, False)
    argmax = np.where(y == -np.inf, inside.argmax(axis=-1), argmax)     # not the padding
    return np.ascontiguousarray(y), np.ascontiguousarray(argmax.astype(index_dtype(window)))


def max_pool_backward(dy, argmax, input_shape, window, stride, padding=(0, 0), threads=0):
    """dx: each dy goes to the place that won."""
    n, oh, ow, c = dy.shape
    (sh, sw), (ph, pw) = stride, padding
    dx = np.zeros((n, input_shape[1] + 2 * ph, input_shape[2] + 2 * pw, c), dy.dtype)
    index = argmax.astype(np.intp)
    rows = np.arange(oh)[:, None, None] * sh + index // window[1]
    cols = np.arange(ow)[:, None] * sw + index % window[1]
    np.add.at(dx, (np.arange(n)[:, None, None, None], rows, cols, np.arange(c)), dy)
    return np.ascontiguousarray(dx[:, ph:ph + input_shape[1], pw:pw + input_shape[2]])


def avg_pool(x, window, stride, padding=(0, 0), threads=0):
    """The mean of each window; padding counts as zeros."""
    means = _windows(x, window, stride, padding, 0).mean(-1, dtype=np.float64)
    return np.ascontiguousarray(means.astype(x.dtype))


def avg_pool_backward(dy, input_shape, window, stride, padding=(0, 0), threads=0):
    """dx: each dy is shared out equally over its window."""
    n, oh, ow, c = dy.shape
    (sh, sw), (ph, pw) = stride, padding
    dx = np.zeros((n, input_shape[1] + 2 * ph, input_shape[2] + 2 * pw, c), dy.dtype)
    share = dy / dy.dtype.type(window[0] * window[1])
    # Places of a window that meet the image at all.
    for i in range(max(0, ph - sh * (oh - 1)), min(window[0], ph + input_shape[1])):
        for j in range(max(0, pw - sw * (ow - 1)), min(window[1], pw + input_shape[2])):
            dx[:, i:i + sh * (oh - 1) + 1:sh, j:j + sw * (ow - 1) + 1:sw] += share
    return np.ascontiguousarray(dx[:, ph:ph + input_shape[1], pw:pw + input_shape[2]])


def global_avg_pool(x, threads=0):
    """Means over all positions: (N, ..., C) to (N, C)."""
    return x.mean(axis=tuple(range(1, x.ndim - 1)), dtype=np.float64).astype(x.dtype)


def global_avg_pool_backward(dy, input_shape, threads=0):
    """dx: each dy is shared out equally over all positions."""
    positions = int(np.prod(input_shape[1:-1]))
    share = (dy / dy.dtype.type(positions))[:, None]
    shape = (input_shape[0], positions, input_shape[-1])
    return np.ascontiguousarray(np.broadcast_to(share, shape)).reshape(input_shape)


def index_dtype(window):
    """The dtype that numbers the places of a window."""
    return np.uint8 if window[0] * window[1] <= 256 else np.int32


def _windows(x, window, stride, padding, fill):
    """The windows of x as an array (N, OH, OW, C, KH * KW)."""
    (ph, pw), (sh, sw) = padding, stride
    padded = np.pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0)), constant_values=fill)
    view = sliding_window_view(padded, window, axis=(1, 2))[:, ::sh, ::sw]
    return view.reshape(*view.shape[:4], window[0] * window[1])
