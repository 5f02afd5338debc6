"""Reductions over the middle axis of an array seen as (before, reduced, after)."""

import numpy as np


def sum(x, out=None, threads=0):
    """Sums of x (A, R, B) over its middle axis: (A, B)."""
    return np.sum(x, axis=1, out=out)


def max(x, out=None, threads=0):
    """Largest values of x (A, R, B) over its middle axis: (A, B); NaN wins."""
    return np.max(x, axis=1, out=out)


def min(x, out=None, threads=0):
    """Smallest values of x (A, R, B) over its middle axis: (A, B); NaN wins."""
    return np.min(x, axis=1, out=out)
