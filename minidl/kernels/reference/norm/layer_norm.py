"""Normalization of each row by its own mean and variance, or by its root mean square alone.

    y = gamma xhat + beta,  xhat = (x - mean) rstd,  rstd = 1 / sqrt(var + eps)

Backward, with g = gamma dy and means over the row:
    dx = rstd (g - mean(g) - xhat mean(g xhat)),  dgamma = sum(dy xhat),  dbeta = sum(dy).
Without `centre`, mean and mean(g) are 0 and var is the mean square.
"""

import numpy as np

from ..common import Array


def layer_norm(
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    eps: float,
    centre: bool = True,
    threads: int = 0,
) -> tuple[Array, Array, Array]:
    """(y, mean, rstd) of rows x (M, C); mean and rstd float64 (M,)."""
    wide = x.astype(np.float64)
    mean = wide.mean(axis=1) if centre else np.zeros(len(x))
    rstd = 1 / np.sqrt(((wide - mean[:, None]) ** 2).mean(axis=1) + float(eps))
    y = (wide - mean[:, None]) * rstd[:, None]
    if gamma is not None:
        y = y * gamma
    if beta is not None:
        y = y + beta
    return y.astype(x.dtype), mean, rstd


def layer_norm_backward(
    dy: Array,
    x: Array,
    gamma: Array | None,
    mean: Array,
    rstd: Array,
    centre: bool = True,
    threads: int = 0,
) -> tuple[Array, Array, Array]:
    """(dx, dgamma, dbeta) of rows x (M, C) with the mean and rstd that layer_norm gave."""
    dy, wide = dy.astype(np.float64), x.astype(np.float64)
    xhat = (wide - mean[:, None]) * rstd[:, None]
    g = dy if gamma is None else dy * gamma
    a = g.mean(axis=1, keepdims=True) if centre else 0
    dx = rstd[:, None] * (g - a - xhat * (g * xhat).mean(axis=1, keepdims=True))
    return (
        dx.astype(x.dtype),
        (dy * xhat).sum(axis=0).astype(x.dtype),
        dy.sum(axis=0).astype(x.dtype),
    )
