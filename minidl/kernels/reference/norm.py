"""Batch statistics and batch normalization over all axes but the last.

x is (..., C); M is the number of values a channel has. Statistics are float64 whatever x is.
`factors` (5, C) in x's dtype holds what one pass needs: rows mean_hi, scale, shift, rstd,
mean_lo, with the mean split in two so that large means lose no digits:

    y = (x - mean_hi) * scale + shift,   scale = gamma * rstd,   shift = beta - mean_lo * scale
"""

import numpy as np

from .common import into


def batch_stats(x, threads=0):
    """(mean, var) of each channel, float64 (C,); var is the biased one, sum((x - mean)^2) / M."""
    rows = x.reshape(-1, x.shape[-1]).astype(np.float64)
    return rows.mean(axis=0), rows.var(axis=0)


def batch_norm_factors(mean, var, gamma, beta, eps, dtype):
    """The per-channel factors (5, C) of a normalization with these statistics."""
    dtype = np.dtype(dtype)
    rstd = 1 / np.sqrt(var + eps)
    scale = rstd if gamma is None else gamma * rstd
    mean_hi = mean.astype(dtype)
    mean_lo = mean - mean_hi
    shift = -mean_lo * scale if beta is None else beta - mean_lo * scale
    return np.stack([mean_hi, scale, shift, rstd, mean_lo]).astype(dtype)


def batch_norm_apply(x, factors, shortcut=None, relu=False, out=None, threads=0):
    """y = (x - mean_hi) * scale + shift, plus `shortcut`, then ReLU if asked."""
    y = _normalized(x, factors, shortcut)
    if relu:
        np.maximum(y, 0, out=y)
    return into(out, y)


def batch_norm_backward(dy, x, factors, training=True, relu=False, shortcut=None,
                        masked_out=False, threads=0):
    """(dx, dgamma, dbeta, masked dy or None) of batch_norm_apply.

    `relu`: dy is first masked where the output is not positive; the output is recomputed from
    x and the shortcut. `masked_out` asks for the masked dy, which is the gradient of the
    shortcut. `training`: the statistics depend on x:

        dbeta = sum(g),  dgamma = sum(g * xhat),  dx = scale * (g - dbeta / M - xhat * dgamma / M)

    otherwise dx = scale * g (Ioffe & Szegedy 2015, section 3).
    """
    mean_hi, scale, _, rstd, mean_lo = factors
    g = dy
    if relu:
        positive = _normalized(x, factors, shortcut) > 0
        g = np.where(positive, dy, dy.dtype.type(0))
    channels = x.shape[-1]
    rows = g.reshape(-1, channels)
    xhat = (((x - mean_hi) - mean_lo) * rstd).reshape(-1, channels)
    dbeta = rows.sum(axis=0, dtype=np.float64)
    dgamma = (rows * xhat).sum(axis=0, dtype=np.float64)
    if training:
        m = rows.shape[0]
        dx = scale * (rows - (dbeta / m).astype(x.dtype) - xhat * (dgamma / m).astype(x.dtype))
    else:
        dx = scale * rows
    return (dx.reshape(x.shape), dgamma.astype(x.dtype), dbeta.astype(x.dtype),
            g if masked_out else None)


def _normalized(x, factors, shortcut):
    mean_hi, scale, shift, _, _ = factors
    y = (x - mean_hi) * scale + shift
    return y if shortcut is None else y + shortcut
