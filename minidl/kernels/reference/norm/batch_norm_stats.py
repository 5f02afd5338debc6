"""Statistics of a batch: mean and variance of each channel over all axes but the last, or over the
positions that a mask counts; and how running statistics follow them.

x is (..., C); M is the number of values a channel has. `mask` (M,) says which rows of x count.
Statistics are float64 whatever x is.
"""

import numpy as np

from ..common import Array, apart, floats, rows_of


def batch_stats(x: Array, threads: int = 0) -> tuple[Array, Array]:
    """(mean, var) of each channel, float64 (C,); var is the biased one, sum((x - mean)^2) / M."""
    rows = rows_of(x).astype(np.float64)
    return rows.mean(axis=0), rows.var(axis=0)


def masked_stats(x: Array, mask: Array, threads: int = 0) -> tuple[Array, Array, int]:
    """(mean, var, count) of each channel over the rows that count; mean 0, var 1 without any."""
    rows = rows_of(x)[mask]
    if len(rows) == 0:
        return np.zeros(x.shape[-1]), np.ones(x.shape[-1]), 0
    return *batch_stats(rows), len(rows)


def running_update(
    running_mean: Array,
    running_var: Array,
    num_batches: Array | None,
    mean: Array,
    var: Array,
    weight: float,
    factor: float,
) -> None:
    """running becomes (1 - weight) running + weight batch, in place, the batch's variance times
    `factor`; mean and var (C,) are float64. num_batches () of int64, or None, counts one more."""
    weight, factor = floats(weight, factor)
    written = {"running_mean": running_mean, "running_var": running_var}
    if num_batches is not None:
        written["num_batches"] = num_batches
    apart("running_update", written, {"mean": mean, "var": var})
    if num_batches is not None:
        num_batches += 1
    running_mean[...] = (1 - weight) * running_mean + weight * mean
    running_var[...] = (1 - weight) * running_var + weight * factor * var
