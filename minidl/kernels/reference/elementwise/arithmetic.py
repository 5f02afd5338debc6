"""Elementwise functions of one or two arrays, and ReLU's gradient, a function of dy and y."""

import numpy as np

from ..common import Array, Operand, into


def exp(x: Array, out: Array | None = None, threads: int = 0) -> Array:
    return np.exp(x, out=out)


def log(x: Array, out: Array | None = None, threads: int = 0) -> Array:
    return np.log(x, out=out)


def sqrt(x: Array, out: Array | None = None, threads: int = 0) -> Array:
    return np.sqrt(x, out=out)


def absolute(x: Array, out: Array | None = None, threads: int = 0) -> Array:
    return np.absolute(x, out=out)


def negative(x: Array, out: Array | None = None, threads: int = 0) -> Array:
    return np.negative(x, out=out)


def tanh(x: Array, out: Array | None = None, threads: int = 0) -> Array:
    return np.tanh(x, out=out)


def sigmoid(x: Array, out: Array | None = None, threads: int = 0) -> Array:
    """1 / (1 + exp(-x)), from exp(-|x|) so that nothing overflows."""
    e = np.exp(-np.abs(x))
    y = np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(x.dtype)
    return into(out, np.where(np.isnan(x), x, y))


def relu(x: Array, out: Array | None = None, threads: int = 0) -> Array:
    """max(x, 0); NaN stays NaN."""
    return np.maximum(x, 0, out=out)


def relu_backward(dy: Array, y: Array, out: Array | None = None, threads: int = 0) -> Array:
    """dx = dy where y > 0, else 0."""
    return into(out, np.where(y > 0, dy, dy.dtype.type(0)))


def add(a: Operand, b: Operand, out: Array | None = None, threads: int = 0) -> Array:
    return np.add(a, b, out=out)


def subtract(a: Operand, b: Operand, out: Array | None = None, threads: int = 0) -> Array:
    return np.subtract(a, b, out=out)


def multiply(a: Operand, b: Operand, out: Array | None = None, threads: int = 0) -> Array:
    return np.multiply(a, b, out=out)


def divide(a: Operand, b: Operand, out: Array | None = None, threads: int = 0) -> Array:
    return np.true_divide(a, b, out=out)


def maximum(a: Operand, b: Operand, out: Array | None = None, threads: int = 0) -> Array:
    return np.maximum(a, b, out=out)


def minimum(a: Operand, b: Operand, out: Array | None = None, threads: int = 0) -> Array:
    return np.minimum(a, b, out=out)


def power(a: Operand, b: Operand, out: Array | None = None, threads: int = 0) -> Array:
    if type(b) is float and b == 0.5 and np.ndim(a):
        # For a constant exponent of 0.5 NumPy takes the square root, which is NaN for -inf.
        dtype = np.asarray(a).dtype
        b = np.full(np.shape(a), b, dtype if dtype.kind == "f" else np.float64)
    return np.power(a, b, out=out)
