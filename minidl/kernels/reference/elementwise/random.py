"""Dropout, with random numbers that are computed from a counter.

Number i of a stream is a hash of (key, i), so it depends neither on threads nor on any order.
"""

import operator

import numpy as np

from ..common import Array, into


def dropout(x: Array, p: float, key: int, out: Array | None = None, threads: int = 0) -> Array:
    """x / (1 - p) where the hash of (key, i) falls below 1 - p, else 0.

    The same call on dy computes the gradient, so nothing has to be stored. The hash is SplitMix64
    (Steele, Lea & Flood 2014).
    """
    p, key = float(p), operator.index(key)
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be in [0, 1], got {p}")
    if not 0 <= key < 1 << 64:
        raise ValueError(f"dropout: key must be from 0 to 2**64 - 1, got {key}")
    bits = _splitmix64(x.size, key) >> np.uint64(40)  # 24 uniform bits
    keep = (bits < np.uint64(round((1 - p) * 2**24))).reshape(x.shape)
    scale = x.dtype.type(1 / (1 - p)) if p < 1 else x.dtype.type(0)
    y = np.where(keep, x * scale, x.dtype.type(0))
    return into(out, y)


def _splitmix64(n: int, key: int) -> Array:
    with np.errstate(over="ignore"):
        z = np.uint64(key) + (np.arange(n, dtype=np.uint64) + np.uint64(1)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
