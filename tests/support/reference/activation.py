"""The references of activations are their formulas."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis=-1):
    """Return exp(x) / sum exp(x). The largest value is subtracted first, so that nothing
    overflows.
    """
    e = np.exp(x - x.max(axis, keepdims=True, initial=-np.inf))
    return e / e.sum(axis, keepdims=True)


def log_softmax(x, axis=-1):
    """Return x - log sum exp(x)."""
    z = x - x.max(axis, keepdims=True, initial=-np.inf)
    return z - np.log(np.exp(z).sum(axis, keepdims=True))
