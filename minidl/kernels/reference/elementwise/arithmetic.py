"""Elementwise functions of one or two arrays, and ReLU's gradient, a function of dy and y."""

import numpy as np

from ..common import into


def exp(x, out=None, threads=0):
    return np.exp(x, out=out)


def log(x, out=None, threads=0):
    return np.log(x, out=out)


def sqrt(x, out=None, threads=0):
    return np.sqrt(x, out=out)


def absolute(x, out=None, threads=0):
    return np.absolute(x, out=out)


def negative(x, out=None, threads=0):
    return np.negative(x, out=out)


def tanh(x, out=None, threads=0):
    return np.tanh(x, out=out)


def sigmoid(x, out=None, threads=0):
    """1 / (1 + exp(-x)), from exp(-|x|) so that nothing overflows."""
    e = np.exp(-np.abs(x))
    y = np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(x.dtype)
    return into(out, np.where(np.isnan(x), x, y))


def relu(x, out=None, threads=0):
    """max(x, 0); NaN stays NaN."""
    return np.maximum(x, 0, out=out)


def relu_backward(dy, y, out=None, threads=0):
    """dx = dy where y > 0, else 0."""
    return into(out, np.where(y > 0, dy, dy.dtype.type(0)))


def add(a, b, out=None, threads=0):
    return np.add(a, b, out=out)


def subtract(a, b, out=None, threads=0):
    return np.subtract(a, b, out=out)


def multiply(a, b, out=None, threads=0):
    return np.multiply(a, b, out=out)


def divide(a, b, out=None, threads=0):
    return np.true_divide(a, b, out=out)


def maximum(a, b, out=None, threads=0):
    return np.maximum(a, b, out=out)


def minimum(a, b, out=None, threads=0):
    return np.minimum(a, b, out=out)


def power(a, b, out=None, threads=0):
    if type(b) is float and b == 0.5 and np.ndim(a):
        # For a constant exponent of 0.5 NumPy takes the square root, which is NaN for -inf.
        b = np.full(np.shape(a), b, a.dtype if a.dtype.kind == "f" else np.float64)
    return np.power(a, b, out=out)
