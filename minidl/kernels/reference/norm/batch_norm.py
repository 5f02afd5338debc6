"""Batch statistics and batch normalization over all axes but the last.

x is (..., C); M is the number of values a channel has. Statistics are float64 whatever x is.
`factors` (5, C) in x's dtype holds what one pass needs: rows mean_hi, scale, shift, rstd,
mean_lo, with the mean split in two so that large means lose no digits:

    y = (x - mean_hi) * scale + shift,   scale = gamma * rstd,   shift = beta - mean_lo * scale
"""

import numpy as np
from numpy.typing import DTypeLike

from ..common import Array, floats, into


def batch_stats(x: Array, threads: int = 0) -> tuple[Array, Array]:
    """(mean, var) of each channel, float64 (C,); var is the biased one, sum((x - mean)^2) / M."""
    rows = x.reshape(-1, x.shape[-1]).astype(np.float64)
    return rows.mean(axis=0), rows.var(axis=0)


def batch_norm_factors(mean: Array, var: Array, gamma: Array | None, beta: Array | None, eps: float,
                       dtype: DTypeLike) -> Array:
    """The per-channel factors (5, C) of a normalization with these statistics."""
    dtype = np.dtype(dtype)
    rstd = 1 / np.sqrt(var + float(eps))
    scale = rstd if gamma is None else gamma * rstd
    mean_hi = mean.astype(dtype)
    mean_lo = mean - mean_hi
    shift = -mean_lo * scale if beta is None else beta - mean_lo * scale
    return np.stack([mean_hi, scale, shift, rstd, mean_lo]).astype(dtype)


def running_update(running_mean: Array, running_var: Array, num_batches: Array | None, mean: Array,
                   var: Array, weight: float, factor: float) -> None:
    """running becomes (1 - weight) running + weight batch, in place, the batch's variance times
    `factor`; mean and var (C,) are float64. num_batches () of int64, or None, counts one more."""
    weight, factor = floats(weight, factor)
    if num_batches is not None:
        num_batches += 1
    running_mean[...] = (1 - weight) * running_mean + weight * mean
    running_var[...] = (1 - weight) * running_var + weight * factor * var


def batch_norm_apply(x: Array, factors: Array, residual: Array | None = None, relu: bool = False,
                     out: Array | None = None, threads: int = 0) -> Array:
    """y = (x - mean_hi) * scale + shift, plus `residual`, then ReLU if asked."""
    y = _normalized(x, factors, residual)
    if relu:
        np.maximum(y, 0, out=y)
    return into(out, y)


def batch_norm_sums(dy: Array, x: Array, factors: Array, relu: bool = False,
                    residual: Array | None = None, masked_out: bool | Array = False,
                    dy2: Array | None = None, threads: int = 0) -> tuple[Array, Array | None]:
    """(sums, masked dy or None): sums (2, C), float64, of g and of g (x - mean_hi).

    `relu`: g is dy masked where the output is not positive; the output is recomputed from x and
    the residual. `masked_out`, True or an array to fill, asks for g, which is the gradient of the
    residual; then dy may come in two parts, dy + dy2.
    """
    g = dy = dy if dy2 is None else dy + dy2
    if relu:
        g = np.where(_normalized(x, factors, residual) > 0, dy, dy.dtype.type(0))
    rows = g.reshape(-1, x.shape[-1])
    products = (g * (x - factors[0])).reshape(rows.shape)
    return (np.stack([rows.sum(axis=0, dtype=np.float64), products.sum(axis=0, dtype=np.float64)]),
            None if masked_out is False else into(None if masked_out is True else masked_out, g))


def batch_norm_finish(sums: Array, factors: Array, count: int) -> tuple[Array, Array, Array]:
    """(dgamma, dbeta, centre) from the sums over `count` = M values a channel:

        dbeta = sum(g),  dgamma = sum(g xhat) = rstd (sum(g (x - mean_hi)) - mean_lo sum(g)).

    centre (2, C) is the gradient through the statistics as slope and offset:

        -(dbeta / M + xhat dgamma / M) = (x - mean_hi) slope + offset.
    """
    _, _, _, rstd, mean_lo = factors.astype(np.float64)
    dbeta = sums[0]
    dgamma = (sums[1] - mean_lo * dbeta) * rstd
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = -rstd * dgamma / count
        offset = -dbeta / count - slope * mean_lo
    dtype = factors.dtype
    return dgamma.astype(dtype), dbeta.astype(dtype), np.stack([slope, offset]).astype(dtype)


def batch_norm_input_grad(dy: Array, x: Array, factors: Array, relu: bool = False,
                          residual: Array | None = None, centre: Array | None = None,
                          out: Array | None = None, threads: int = 0) -> Array:
    """dx = scale (g + (x - mean_hi) slope + offset); without `centre` (2, C), scale g."""
    g = dy
    if relu:
        g = np.where(_normalized(x, factors, residual) > 0, dy, dy.dtype.type(0))
    if centre is not None:
        g = g + ((x - factors[0]) * centre[0] + centre[1])
    return into(out, factors[1] * g)


def batch_norm_backward(dy: Array, x: Array, factors: Array, training: bool = True,
                        relu: bool = False, residual: Array | None = None,
                        masked_out: bool | Array = False, dy2: Array | None = None,
                        out: Array | None = None,
                        threads: int = 0) -> tuple[Array, Array, Array, Array | None]:
    """(dx, dgamma, dbeta, masked dy or None) of batch_norm_apply.

    `training`: the statistics depend on x, and

        dx = scale (g - dbeta / M - xhat dgamma / M),

    otherwise dx = scale g (Ioffe & Szegedy 2015, section 3).
    """
    sums, masked = batch_norm_sums(dy, x, factors, relu, residual, masked_out, dy2)
    if dy2 is not None:
        assert masked is not None       # dy + dy2, which `masked_out` has asked for
        dy, relu, residual = masked, False, None
    dgamma, dbeta, centre = batch_norm_finish(sums, factors, x.size // max(1, x.shape[-1]))
    dx = batch_norm_input_grad(dy, x, factors, relu, residual, centre if training else None, out)
    return dx, dgamma, dbeta, masked


def _normalized(x: Array, factors: Array, residual: Array | None) -> Array:
    mean_hi, scale, shift, _, _ = factors
    y = (x - mean_hi) * scale + shift
    return y if residual is None else y + residual
