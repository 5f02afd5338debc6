"""Activations with parameters, their gradients, and the gradients of sigmoid and tanh.

Gradients are computed from x, not from y: a y that has come close to 1 no longer tells how close.

GELU (Hendrycks & Gimpel 2016), SiLU (Elfwing et al. 2018), ELU (Clevert et al. 2016), leaky ReLU
(Maas et al. 2013), softplus (Dugas et al. 2001).
"""

import math

import numpy as np

from ..common import Array, into


def sigmoid_backward(dy: Array, x: Array, out: Array | None = None, threads: int = 0) -> Array:
    """dx = s (1 - s) dy, s = 1 / (1 + exp(-x))."""
    e = np.exp(-np.abs(x))
    return np.multiply(dy, e / ((1 + e) * (1 + e)), out=out)


def tanh_backward(dy: Array, x: Array, out: Array | None = None, threads: int = 0) -> Array:
    """dx = (1 - tanh(x)^2) dy."""
    e = np.exp(-2 * np.abs(x))
    return np.multiply(dy, 4 * e / ((1 + e) * (1 + e)), out=out)


def leaky_relu(x: Array, slope: float, out: Array | None = None, threads: int = 0) -> Array:
    """x where it is positive, else slope x."""
    return into(out, np.where(x > 0, x, x.dtype.type(slope) * x))


def leaky_relu_backward(
    dy: Array, x: Array, slope: float, out: Array | None = None, threads: int = 0
) -> Array:
    """dx = dy where x > 0, else slope dy."""
    return into(out, np.where(x > 0, dy, dy.dtype.type(slope) * dy))


def elu(x: Array, alpha: float, out: Array | None = None, threads: int = 0) -> Array:
    """x where it is positive, else alpha (exp(x) - 1)."""
    return into(out, np.where(x > 0, x, x.dtype.type(alpha) * np.expm1(np.minimum(x, 0))))


def elu_backward(
    dy: Array, x: Array, alpha: float, out: Array | None = None, threads: int = 0
) -> Array:
    """dx = dy where x > 0, else alpha exp(x) dy."""
    return into(
        out, dy * np.where(x > 0, x.dtype.type(1), x.dtype.type(alpha) * np.exp(np.minimum(x, 0)))
    )


def softplus(
    x: Array, beta: float, threshold: float, out: Array | None = None, threads: int = 0
) -> Array:
    """log(1 + exp(beta x)) / beta; x itself where beta x is above the threshold."""
    v = x.dtype.type(beta) * x
    y = (np.maximum(v, 0) + np.log1p(np.exp(-np.abs(v)))) / x.dtype.type(beta)
    return into(out, np.where(v > threshold, x, y))


def softplus_backward(
    dy: Array, x: Array, beta: float, threshold: float, out: Array | None = None, threads: int = 0
) -> Array:
    """dx = dy / (1 + exp(-beta x)); dy above the threshold."""
    v = x.dtype.type(beta) * x
    return into(out, dy * np.where(v > threshold, x.dtype.type(1), _logistic(v)))


def silu(x: Array, out: Array | None = None, threads: int = 0) -> Array:
    """x / (1 + exp(-x))."""
    return into(out, _from(x) * _logistic(x))


def silu_backward(dy: Array, x: Array, out: Array | None = None, threads: int = 0) -> Array:
    """dx = s (1 + x (1 - s)) dy, s = 1 / (1 + exp(-x))."""
    x = _within(x)
    return into(out, dy * (_logistic(x) * (1 + x * _logistic(-x))))


def gelu(x: Array, tanh: bool = False, out: Array | None = None, threads: int = 0) -> Array:
    """x P(x), where P is the normal distribution function. With `tanh`, P is approximated by
    (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), u = sqrt(2 / pi) (x + 0.044715 x^3)."""
    share = _logistic(2 * _cubic(_within(x))) if tanh else _normal_cdf(x)
    return into(out, (_from(x) * share).astype(x.dtype))


def gelu_backward(
    dy: Array, x: Array, tanh: bool = False, out: Array | None = None, threads: int = 0
) -> Array:
    """dx = (P(x) + x P'(x)) dy."""
    x = _within(x).astype(np.float64)
    if tanh:
        u = _cubic(x)
        slope = _logistic(2 * u) * (
            1 + x * _logistic(-2 * u) * math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * x * x)
        )
    else:
        slope = _normal_cdf(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return into(out, (dy * slope).astype(dy.dtype))


def _logistic(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def _from(x: Array) -> Array:
    """x, but 0 where its factor has vanished, since -inf times 0 is NaN."""
    return np.where(x < -_far(x), x.dtype.type(0), x)


def _within(x: Array) -> Array:
    """x, clipped to where exp(-|x|) has not yet vanished."""
    return np.clip(x, -_far(x), _far(x))


def _far(x: Array) -> int:
    return 110 if x.dtype == np.float32 else 800


def _cubic(x: Array) -> Array:
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)


def _normal_cdf(x: Array) -> Array:
    return np.array(
        [0.5 * math.erfc(-v / math.sqrt(2)) for v in x.ravel().tolist()], x.dtype
    ).reshape(x.shape)
