"""Reductions over the middle axis of an array (A, R, B), and deviations from the mean."""

import numpy as np

from ..common import Array, into


def sum(x: Array, out: Array | None = None, threads: int = 0) -> Array:
    """Sums of x (A, R, B) over its middle axis: (A, B)."""
    return into(out, np.sum(x, axis=1, dtype=np.float64).astype(x.dtype))


def mean(x: Array, out: Array | None = None, threads: int = 0) -> Array:
    """Means of x (A, R, B) over its middle axis: (A, B); NaN for R = 0."""
    with np.errstate(invalid="ignore", over="ignore"):
        return into(out, (np.sum(x, axis=1, dtype=np.float64) / x.shape[1]).astype(x.dtype))


def max(x: Array, out: Array | None = None, threads: int = 0) -> Array:
    """Largest values of x (A, R, B) over its middle axis: (A, B); NaN wins."""
    return np.max(x, axis=1, out=out)


def min(x: Array, out: Array | None = None, threads: int = 0) -> Array:
    """Smallest values of x (A, R, B) over its middle axis: (A, B); NaN wins."""
    return np.min(x, axis=1, out=out)


def moments(x: Array, threads: int = 0) -> tuple[Array, Array]:
    """(mean, m2) of x (A, R, B) over its middle axis, float64 (A, B): m2 = sum((x - mean)^2).

    The mean is computed in two passes: the mean of the deviations corrects that of the first pass.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        first = np.sum(x, axis=1, dtype=np.float64) / x.shape[1]
        off = x - first[:, None]
        mean = first + off.sum(axis=1) / x.shape[1]
    return mean, ((x - mean[:, None]) ** 2).sum(axis=1)


def deviations(x: Array, mean: Array, factor: Array, threads: int = 0) -> Array:
    """(x - mean) factor of x (A, R, B), in its dtype; mean and factor float64 (A, B)."""
    return ((x - mean[:, None]) * factor[:, None]).astype(x.dtype)
