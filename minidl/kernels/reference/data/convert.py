"""Pixels as bytes, converted to floats."""

import numpy as np


def to_float(x, out=None, threads=0):
    """uint8 pixels as float32 in [0, 1]: x / 255."""
    return np.divide(x, np.float32(255), out=out, dtype=np.float32)
