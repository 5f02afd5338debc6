"""Batch normalization over all axes but the last, forward: the factors of each channel from
statistics, and their use.

x is (..., C). `factors` (5, C) in x's dtype holds what one pass needs: rows mean_hi, scale, shift,
rstd, mean_lo, with the mean split in two so that large means lose no digits:

    y = (x - mean_hi) * scale + shift,   scale = gamma * rstd,   shift = beta - mean_lo * scale

A mask (M,) says which of the M rows of x count. The others have no part in the statistics; their
output is 0, plus the residual, and no gradient reaches x there: what x holds in them, NaN too, does
not matter.
"""

import numpy as np
from numpy.typing import DTypeLike

from ..common import Array, into, rows_of


def batch_norm_factors(
    mean: Array, var: Array, gamma: Array | None, beta: Array | None, eps: float, dtype: DTypeLike
) -> Array:
    """The per-channel factors (5, C) of a normalization with these statistics."""
    dtype = np.dtype(dtype)
    rstd = 1 / np.sqrt(var + float(eps))
    scale = rstd if gamma is None else gamma * rstd
    mean_hi = mean.astype(dtype)
    mean_lo = mean - mean_hi
    shift = -mean_lo * scale if beta is None else beta - mean_lo * scale
    return np.stack([mean_hi, scale, shift, rstd, mean_lo]).astype(dtype)


def batch_norm_apply(
    x: Array,
    factors: Array,
    residual: Array | None = None,
    relu: bool = False,
    out: Array | None = None,
    threads: int = 0,
) -> Array:
    """y = (x - mean_hi) * scale + shift, plus `residual`, then ReLU if asked."""
    y = normalize(x, factors, residual)
    if relu:
        np.maximum(y, 0, out=y)
    return into(out, y)


def masked_norm_apply(
    x: Array,
    mask: Array,
    factors: Array,
    residual: Array | None = None,
    relu: bool = False,
    out: Array | None = None,
    threads: int = 0,
) -> Array:
    """batch_norm_apply where the mask counts; elsewhere 0, or the residual, then ReLU if asked."""
    y = np.zeros_like(x)
    rows_of(y)[mask] = batch_norm_apply(rows_of(x)[mask], factors)
    if residual is not None:
        y += residual
    if relu:
        np.maximum(y, 0, out=y)
    return into(out, y)


def normalize(x: Array, factors: Array, residual: Array | None) -> Array:
    """The normalized x, plus the residual unless that is None."""
    mean_hi, scale, shift, _, _ = factors
    y = (x - mean_hi) * scale + shift
    return y if residual is None else y + residual
