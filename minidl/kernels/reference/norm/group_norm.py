"""Normalization of each image by the mean and variance of groups of its channels, or by the root of
their mean square alone.

x is (N, P, C), P positions of an image; a group has M = P C / groups values. With the statistics of
its group,
    y = gamma xhat + beta,  xhat = (x - mean) rstd,  rstd = 1 / sqrt(var + eps).
Backward, with g = gamma dy and means over the group:
    dx = rstd (g - mean(g) - xhat mean(g xhat)),  dgamma = sum(dy xhat),  dbeta = sum(dy).
Without `centre`, mean and mean(g) are 0 and var is the mean square.
`factors` (N, 5, C) are those of batch normalization, for each image: see batch_norm_forward.py.
"""

import numpy as np

from ..common import Array


def group_norm(
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    groups: int,
    eps: float | Array,
    centre: bool = True,
    threads: int = 0,
) -> tuple[Array, Array]:
    """(y, factors) of images x (N, P, C); eps is a number, or one for each group."""
    if not isinstance(eps, np.ndarray):
        eps = float(eps)
    n, positions, channels = x.shape
    parts = x.astype(np.float64).reshape(n, positions, groups, channels // groups)
    mean = parts.mean(axis=(1, 3), keepdims=True) if centre else np.zeros((n, 1, groups, 1))
    var = ((parts - mean) ** 2).mean(axis=(1, 3))
    mean = np.repeat(mean[:, 0, :, 0], channels // groups, axis=1)
    rstd = 1 / np.sqrt(np.repeat(var + eps, channels // groups, axis=1))
    scale = rstd if gamma is None else gamma * rstd
    high = mean.astype(x.dtype)
    low = mean - high
    shift = (0 if beta is None else beta) - low * scale
    factors = np.stack([high, scale, shift, rstd, low], axis=1).astype(x.dtype)
    high, scale, shift = factors[:, None, 0], factors[:, None, 1], factors[:, None, 2]
    return (x - high) * scale + shift, factors


def group_norm_backward(
    dy: Array,
    x: Array,
    gamma: Array | None,
    factors: Array,
    groups: int,
    centre: bool = True,
    threads: int = 0,
) -> tuple[Array, Array, Array, Array]:
    """(dx, dgamma, dbeta, sums) of images x (N, P, C) with the factors that group_norm gave; sums
    (N, 2, C), float64, are what each image adds to dbeta and to dgamma."""
    n, positions, channels = x.shape
    high, _, _, rstd, low = (factors[:, None, k].astype(np.float64) for k in range(5))
    xhat = (x - high - low) * rstd
    g = dy.astype(np.float64) * (1 if gamma is None else gamma)

    def mean(values: Array) -> Array:
        parts = values.reshape(n, positions, groups, channels // groups).mean(axis=(1, 3))
        return np.repeat(parts, channels // groups, axis=1)[:, None]

    dx = rstd * (g - (mean(g) if centre else 0) - xhat * mean(g * xhat))
    sums = np.stack([dy.sum(axis=1, dtype=np.float64), (dy * xhat).sum(axis=1)], axis=1)
    dbeta, dgamma = sums.sum(axis=0).astype(x.dtype)
    return dx.astype(x.dtype), dgamma, dbeta, sums
