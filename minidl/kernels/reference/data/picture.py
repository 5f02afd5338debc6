"""Pictures (N, H, W, C) moved, mirrored, turned and scaled, each by its own numbers.

`mode` says what pixels outside of a picture are: a value ("constant"), the picture mirrored at its
edge, which is not repeated ("reflect"), or the nearest pixel ("edge").
"""

import numpy as np

from ..common import Array, Pair, into, ints


def crop(
    x: Array,
    size: Pair,
    tops: Array,
    lefts: Array,
    flips: Array,
    mode: str = "constant",
    value: float = 0.0,
    out: Array | None = None,
    threads: int = 0,
) -> Array:
    """y[n, i, j] = x[n, tops[n] + i, lefts[n] + j]: a part of each picture, of `size` (height,
    width). Its columns are in reverse order where flips[n] is not 0.

    x (N, H, W, C); tops, lefts (N,) int64; flips (N,) uint8.
    """
    size = ints(*size)
    rows = tops[:, None] + np.arange(size[0])
    columns = np.arange(size[1])
    columns = lefts[:, None] + np.where(flips[:, None] != 0, columns[::-1], columns)
    return into(out, _at(x, rows[:, :, None], columns[:, None, :], mode, value))


def warp(
    x: Array,
    size: Pair,
    maps: Array,
    mode: str = "constant",
    value: float = 0.0,
    out: Array | None = None,
    threads: int = 0,
) -> Array:
    """y[n, i, j] = x[n] at the row a i + b j + c and the column d i + e j + f, between pixels
    bilinear; (a, b, c, d, e, f) = maps[n].

    x (N, H, W, C), y (N, *size, C), maps (N, 6) float64.
    """
    size = ints(*size)
    i, j = np.arange(size[0])[:, None], np.arange(size[1])
    a, b, c, d, e, f = maps.T[:, :, None, None]
    row, column = a * i + b * j + c, d * i + e * j + f
    top, left = np.floor(row).astype(np.int64), np.floor(column).astype(np.int64)
    down = (row - top).astype(x.dtype)[..., None]
    right = (column - left).astype(x.dtype)[..., None]
    above = (
        _at(x, top, left, mode, value) * (1 - right) + _at(x, top, left + 1, mode, value) * right
    )
    below = (
        _at(x, top + 1, left, mode, value) * (1 - right)
        + _at(x, top + 1, left + 1, mode, value) * right
    )
    return into(out, above * (1 - down) + below * down)


def blend(
    x: Array, starts: Array, weights: Array, out: Array | None = None, threads: int = 0
) -> Array:
    """y[n, r, i] = sum over k of weights[n, i, k] x[n, r, starts[n, i] + k]: along the third axis,
    each row of y is a weighted sum of neighbouring rows of x.

    x (N, R, H, L); starts (N, S) int64 and weights (N, S, K) of x's dtype, or one of each for all
    N; y (N, R, S, L). All rows must exist: 0 <= starts <= H - K. Rows at either end of the K whose
    weights are 0 are not read, so that shorter lists of weights can be padded with 0.
    """
    n, r, _, _ = x.shape
    item, plane = np.arange(n)[:, None, None], np.arange(r)[:, None]
    some = weights != 0
    read = np.maximum.accumulate(some, 2) & np.maximum.accumulate(some[..., ::-1], 2)[..., ::-1]
    y = np.zeros((n, r, starts.shape[1], x.shape[3]), x.dtype)
    for k in range(weights.shape[2]):
        taken = x[item, plane, starts[:, None, :] + k]
        part = np.zeros_like(taken)
        np.multiply(weights[:, None, :, k, None], taken, out=part, where=read[:, None, :, k, None])
        y = y + part if k else part
    return into(out, y)


def _at(x: Array, rows: Array, columns: Array, mode: str, value: float) -> Array:
    """The pixels at (rows, columns) of each picture."""
    n, h, w, _ = x.shape
    if x.shape[3] == 0:  # nothing to look up, and perhaps no place to look at
        return np.zeros((*np.broadcast_shapes(rows.shape, columns.shape), 0), x.dtype)
    inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
    y = x[np.arange(n)[:, None, None], _places(rows, h, mode), _places(columns, w, mode)]
    if mode == "constant":
        y[~inside] = value
    return y


def _places(i: Array, size: int, mode: str) -> Array:
    """The indices inside an axis of `size` pixels whose pixels stand at i."""
    if mode == "reflect" and size > 1:
        i = np.abs(i) % (2 * size - 2)
        return np.where(i < size, i, 2 * size - 2 - i)
    return np.clip(i, 0, size - 1)
