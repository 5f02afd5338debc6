"""Batch normalization over all axes but the last, backward: sums of the gradient over each channel,
what follows from them, and dx.

x is (..., C), `factors` (5, C) are those of the forward; M is the number of values that a channel
has, or of those that a mask counts. g is the gradient of the normalized x: dy, masked by a ReLU.
"""

import numpy as np

from ..common import Array, into, rows_of
from .batch_norm_forward import masked_norm_apply, normalize


def _masked(where: str, asked: bool | Array, g: Array) -> Array | None:
    """g, in the array that was asked for if it was one; None if it was not asked for."""
    if not isinstance(asked, bool | np.ndarray):
        raise TypeError(f"{where}: masked_out must be True, False or an array, got {asked!r:.60}")
    if asked is False:
        return None
    return into(None if asked is True else asked, g)


def batch_norm_sums(
    dy: Array,
    x: Array,
    factors: Array,
    relu: bool = False,
    residual: Array | None = None,
    masked_out: bool | Array = False,
    dy2: Array | None = None,
    threads: int = 0,
) -> tuple[Array, Array | None]:
    """(sums, masked dy or None): sums (2, C), float64, of g and of g (x - mean_hi).

    `relu`: g is dy masked where the output is not positive; the output is recomputed from x and
    the residual. `masked_out`, True or an array to fill, asks for g, which is the gradient of the
    residual; then dy may come in two parts, dy + dy2.
    """
    g = dy = dy if dy2 is None else dy + dy2
    if relu:
        g = np.where(normalize(x, factors, residual) > 0, dy, dy.dtype.type(0))
    rows = rows_of(g)
    products = (g * (x - factors[0])).reshape(rows.shape)
    return (
        np.stack([rows.sum(axis=0, dtype=np.float64), products.sum(axis=0, dtype=np.float64)]),
        _masked("batch_norm_sums", masked_out, g),
    )


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


def batch_norm_input_grad(
    dy: Array,
    x: Array,
    factors: Array,
    relu: bool = False,
    residual: Array | None = None,
    centre: Array | None = None,
    out: Array | None = None,
    threads: int = 0,
) -> Array:
    """dx = scale (g + (x - mean_hi) slope + offset); without `centre` (2, C), scale g."""
    g = dy
    if relu:
        g = np.where(normalize(x, factors, residual) > 0, dy, dy.dtype.type(0))
    if centre is not None:
        g = g + ((x - factors[0]) * centre[0] + centre[1])
    return into(out, factors[1] * g)


def batch_norm_backward(
    dy: Array,
    x: Array,
    factors: Array,
    training: bool = True,
    relu: bool = False,
    residual: Array | None = None,
    masked_out: bool | Array = False,
    dy2: Array | None = None,
    out: Array | None = None,
    threads: int = 0,
) -> tuple[Array, Array, Array, Array | None]:
    """(dx, dgamma, dbeta, masked dy or None) of batch_norm_apply.

    `training`: the statistics depend on x, and

        dx = scale (g - dbeta / M - xhat dgamma / M),

    otherwise dx = scale g (Ioffe & Szegedy 2015, section 3).
    """
    sums, masked = batch_norm_sums(dy, x, factors, relu, residual, masked_out, dy2)
    if masked is not None and dy2 is not None:
        dy, relu, residual = masked, False, None
    dgamma, dbeta, centre = batch_norm_finish(sums, factors, x.size // max(1, x.shape[-1]))
    dx = batch_norm_input_grad(dy, x, factors, relu, residual, centre if training else None, out)
    return dx, dgamma, dbeta, masked


def masked_norm_backward(
    dy: Array,
    x: Array,
    mask: Array,
    factors: Array,
    training: bool = True,
    relu: bool = False,
    residual: Array | None = None,
    masked_out: bool | Array = False,
    dy2: Array | None = None,
    out: Array | None = None,
    threads: int = 0,
) -> tuple[Array, Array, Array, Array | None]:
    """(dx, dgamma, dbeta, masked dy or None) of masked_norm_apply; dx is 0 where x does not count.

    `masked_out`, True or an array to fill, asks for the gradient of the residual; then dy may come
    in two parts, dy + dy2.
    """
    g = dy = dy if dy2 is None else dy + dy2
    if relu:
        y = masked_norm_apply(x, mask, factors, residual)
        g = np.where(y > 0, dy, dy.dtype.type(0))
    dx = np.zeros_like(x)
    rows_of(dx)[mask], dgamma, dbeta, _ = batch_norm_backward(
        rows_of(g)[mask], rows_of(x)[mask], factors, training
    )
    masked = _masked("masked_norm_backward", masked_out, g)
    return into(out, dx), dgamma, dbeta, masked
