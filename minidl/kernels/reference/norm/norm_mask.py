"""Batch normalization of the positions that a mask counts.

`mask` (M,) says which rows of x (..., C), M in all, count. The others have no part in the
statistics; their output is 0, plus the residual, and no gradient reaches x there: what x holds in
them, NaN too, does not matter. Everything else as in `norm`.
"""

import numpy as np

from ..common import Array, into
from . import batch_norm as norm


def masked_stats(x: Array, mask: Array, threads: int = 0) -> tuple[Array, Array, int]:
    """(mean, var, count) of each channel over the rows that count; mean 0, var 1 without any."""
    rows = _rows(x)[mask]
    if len(rows) == 0:
        return np.zeros(x.shape[-1]), np.ones(x.shape[-1]), 0
    return *norm.batch_stats(rows), len(rows)


def masked_norm_apply(x: Array, mask: Array, factors: Array, residual: Array | None = None,
                      relu: bool = False, out: Array | None = None, threads: int = 0) -> Array:
    """batch_norm_apply where the mask counts; elsewhere 0, or the residual, then ReLU if asked."""
    y = np.zeros_like(x)
    _rows(y)[mask] = norm.batch_norm_apply(_rows(x)[mask], factors)
    if residual is not None:
        y += residual
    if relu:
        np.maximum(y, 0, out=y)
    return into(out, y)


def masked_norm_backward(dy: Array, x: Array, mask: Array, factors: Array, training: bool = True,
                         relu: bool = False, residual: Array | None = None,
                         masked_out: bool | Array = False, dy2: Array | None = None,
                         out: Array | None = None,
                         threads: int = 0) -> tuple[Array, Array, Array, Array | None]:
    """(dx, dgamma, dbeta, masked dy or None) of masked_norm_apply; dx is 0 where x does not count.

    `masked_out`, True or an array to fill, asks for the gradient of the residual; then dy may come
    in two parts, dy + dy2.
    """
    g = dy = dy if dy2 is None else dy + dy2
    if relu:
        y = masked_norm_apply(x, mask, factors, residual)
        g = np.where(y > 0, dy, dy.dtype.type(0))
    dx = np.zeros_like(x)
    _rows(dx)[mask], dgamma, dbeta, _ = norm.batch_norm_backward(
        _rows(g)[mask], _rows(x)[mask], factors, training)
    masked = None if masked_out is False else into(None if masked_out is True else masked_out, g)
    return into(out, dx), dgamma, dbeta, masked


def _rows(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])
