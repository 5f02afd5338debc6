"""Initial values of weights, drawn from minidl's generator.

Each function takes a shape and returns an array. Weights are (..., in, out), so the fan-in is the
product of all axes but the last, and the fan-out is the product of all but the one before the last.
`groups` is the number of groups of a convolution, among which the outputs are divided. `normal`,
`uniform`, `he_*`, `xavier_*` and `lecun_*` raise TypeError unless the dtype is float32 or float64;
all functions raise MemoryError for a shape that does not fit into memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import checks, kernels
from ..random import generator


def _sizes(shape: Sequence[int], dtype: Any = np.uint8) -> tuple[int, ...]:
    """The shape as ints, checked that an array of it can exist."""
    sizes = checks.ints(shape, "", "shape")
    kernels.check_shape("shape", sizes, dtype)
    return sizes


@checks.named
def fans(shape: Sequence[int], groups: int = 1) -> tuple[int, int]:
    """(fan-in, fan-out) of weights (..., in, out); for a vector both are its length.

    >>> nn.init.fans((3, 3, 16, 32))
    (144, 288)
    """
    shape = _sizes(shape)
    if len(shape) == 0:
        return 1, 1
    if len(shape) == 1:
        return shape[0], shape[0]
    taps = math.prod(shape[:-2])
    return taps * shape[-2], taps * shape[-1] // groups


def _normal(shape: Sequence[int], std: float, dtype: Any) -> np.ndarray:
    return generator().standard_normal(_sizes(shape, dtype), dtype=np.dtype(dtype)) * np.dtype(
        dtype
    ).type(std)


def _uniform(shape: Sequence[int], bound: float, dtype: Any) -> np.ndarray:
    return (generator().random(_sizes(shape, dtype), dtype=np.dtype(dtype)) * 2 - 1) * np.dtype(
        dtype
    ).type(bound)


def _std(variance_times_fan: float, fan: float) -> float:
    return math.sqrt(variance_times_fan / fan) if fan else 0.0


@checks.named
def normal(shape: Sequence[int], std: float = 1.0, dtype: Any = np.float32) -> np.ndarray:
    """Draw from a normal distribution with mean 0 and standard deviation `std`.

    >>> nn.init.normal((1000,), std=0.01).std().round(2)
    np.float32(0.01)
    """
    return _normal(shape, std, dtype)


@checks.named
def uniform(shape: Sequence[int], bound: float = 1.0, dtype: Any = np.float32) -> np.ndarray:
    """Draw uniformly between -bound and bound.

    >>> bool(abs(nn.init.uniform((1000,), bound=0.01)).max() <= 0.01)
    True
    """
    return _uniform(shape, bound, dtype)


@checks.named
def he_normal(shape: Sequence[int], dtype: Any = np.float32) -> np.ndarray:
    """Draw normally with variance 2 / fan-in (He et al. 2015), for layers before a ReLU.

    >>> nn.init.he_normal((200, 100)).std().round(2)     # sqrt(2 / 200)
    np.float32(0.1)
    """
    return _normal(shape, _std(2, fans(shape)[0]), dtype)


@checks.named
def he_uniform(shape: Sequence[int], dtype: Any = np.float32) -> np.ndarray:
    """Draw uniformly with variance 2 / fan-in (He et al. 2015).

    >>> bool(abs(nn.init.he_uniform((600, 10))).max() <= 0.1)    # sqrt(3 · 2 / 600)
    True
    """
    return _uniform(shape, _std(6, fans(shape)[0]), dtype)


@checks.named
def xavier_normal(shape: Sequence[int], dtype: Any = np.float32, groups: int = 1) -> np.ndarray:
    """Draw normally with variance 2 / (fan-in + fan-out) (Glorot & Bengio 2010).

    >>> nn.init.xavier_normal((100, 100)).std().round(2)     # sqrt(2 / 200)
    np.float32(0.1)
    """
    return _normal(shape, _std(2, sum(fans(shape, groups))), dtype)


@checks.named
def xavier_uniform(shape: Sequence[int], dtype: Any = np.float32, groups: int = 1) -> np.ndarray:
    """Draw uniformly with variance 2 / (fan-in + fan-out) (Glorot & Bengio 2010).

    >>> bool(abs(nn.init.xavier_uniform((300, 300))).max() <= 0.1)   # sqrt(3 · 2 / 600)
    True
    """
    return _uniform(shape, _std(6, sum(fans(shape, groups))), dtype)


@checks.named
def lecun_normal(shape: Sequence[int], dtype: Any = np.float32) -> np.ndarray:
    """Draw normally with variance 1 / fan-in (LeCun et al. 1998).

    >>> nn.init.lecun_normal((100, 100)).std().round(2)      # sqrt(1 / 100)
    np.float32(0.1)
    """
    return _normal(shape, _std(1, fans(shape)[0]), dtype)


@checks.named
def lecun_uniform(shape: Sequence[int], dtype: Any = np.float32) -> np.ndarray:
    """Draw uniformly with variance 1 / fan-in (LeCun et al. 1998).

    >>> bool(abs(nn.init.lecun_uniform((300, 10))).max() <= 0.1)     # sqrt(3 · 1 / 300)
    True
    """
    return _uniform(shape, _std(3, fans(shape)[0]), dtype)


@checks.named
def orthogonal(shape: Sequence[int], dtype: Any = np.float32, gain: float = 1.0) -> np.ndarray:
    """Draw a matrix with orthonormal columns (or rows, if there are more columns), times gain (Saxe
    et al. 2014).

    The axes before the last are joined into one. ValueError for fewer than two axes, TypeError for
    a dtype that is no float.

    >>> w = nn.init.orthogonal((3, 3, 4, 8))
    >>> q = w.reshape(36, 8)
    >>> np.allclose(q.T @ q, np.eye(8), atol=1e-6)
    True
    """
    if np.dtype(dtype).kind != "f":
        raise TypeError(f"orthogonal: dtype must be a float, got {np.dtype(dtype)}")
    shape = _sizes(shape, np.float64)
    if len(shape) < 2:
        raise ValueError(f"orthogonal: needs at least two axes, got shape {shape}")
    rows, cols = math.prod(shape[:-1]), shape[-1]
    tall = generator().standard_normal((max(rows, cols), min(rows, cols)))
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diag(r))  # makes the distribution uniform (Mezzadri 2007)
    q = q if rows >= cols else q.T
    return np.ascontiguousarray(gain * q.reshape(shape), dtype=dtype)


@checks.named
def constant(shape: Sequence[int], value: float = 0.0, dtype: Any = np.float32) -> np.ndarray:
    """Fill with one value.

    >>> nn.init.constant((3,), 1.0)
    array([1., 1., 1.], dtype=float32)
    """
    return np.full(_sizes(shape, dtype), value, dtype)
