"""Pixels as bytes, converted to floats."""

import numpy as np

from ..common import Array


def to_float(x: Array, out: Array | None = None, threads: int = 0) -> Array:
    """uint8 pixels as float32 in [0, 1]: x / 255."""
    return np.divide(x, np.float32(255), out=out, dtype=np.float32)
