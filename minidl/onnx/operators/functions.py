"""Functions that `md` has no operation for, computed by NumPy, with their derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import kernels
from ...ops.operation import NoGradient, Operation
from ...tensor import Tensor

Formula = Callable[[np.ndarray], np.ndarray]


class Formulaic(Operation):
    """y = f(x);  dx = f'(x) dy. FORMULAS has f and f' by name; both are computed in double."""

    def forward(self, x: np.ndarray, name: str) -> np.ndarray:
        self.x, self.name = x, name
        with np.errstate(all="ignore"):
            return np.asarray(FORMULAS[name][0](np.asarray(x, np.float64)), x.dtype)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return (dy * FORMULAS[self.name][1](np.asarray(self.x, np.float64))).astype(dy.dtype)


class Stepwise(NoGradient):
    """y = f(x), which is constant between steps. STEPS has f by name."""

    def forward(self, x: np.ndarray, name: str) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(STEPS[name](x))


class Computed(NoGradient):
    """y = f(x, ..., options), which has no gradient. COMPUTED has f by name."""

    def forward(self, *operands: np.ndarray, name: str, **options: Any) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(COMPUTED[name](*operands, **options))


def _normal_density(x: np.ndarray) -> np.ndarray:
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _erf(x: np.ndarray) -> np.ndarray:
    """2 P(sqrt(2) x) - 1, the share P of a normal distribution from GELU's slope P(z) + z p(z)."""
    z = np.ascontiguousarray(x * math.sqrt(2)).reshape(-1)
    share = kernels.gelu_backward(np.ones_like(z), z, False) - z * _normal_density(z)
    y = np.where(np.abs(z) > 12, np.sign(z), 2 * share - 1)  # z p(z) may be inf times 0 there
    return np.where(np.isnan(z), np.nan, y).reshape(x.shape)


FORMULAS: dict[str, tuple[Formula, Formula]] = {
    "Erf": (_erf, lambda x: 2 / math.sqrt(math.pi) * np.exp(-x * x)),
    "Tan": (np.tan, lambda x: 1 / np.cos(x) ** 2),
    "Asin": (np.arcsin, lambda x: 1 / np.sqrt(1 - x * x)),
    "Acos": (np.arccos, lambda x: -1 / np.sqrt(1 - x * x)),
    "Atan": (np.arctan, lambda x: 1 / (1 + x * x)),
    "Sinh": (np.sinh, np.cosh),
    "Cosh": (np.cosh, np.sinh),
    "Asinh": (np.arcsinh, lambda x: 1 / np.sqrt(x * x + 1)),
    "Acosh": (np.arccosh, lambda x: 1 / np.sqrt(x * x - 1)),
    "Atanh": (np.arctanh, lambda x: 1 / (1 - x * x)),
}

STEPS: dict[str, Formula] = {
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Round": np.rint,
    "Sign": np.sign,
    "Not": np.logical_not,
    "IsNaN": np.isnan,
    "BitwiseNot": np.invert,
}


def _truncated(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Integer division towards 0."""
    down = np.floor_divide(a, b)
    exact = down * b == a
    return np.where(exact | (down >= 0), down, down + 1).astype(a.dtype)


def _infinite(x: np.ndarray, up: bool, down: bool) -> np.ndarray:
    return (np.isposinf(x) & up) | (np.isneginf(x) & down)


def _share(total: np.ndarray, count: int, dtype: str) -> np.ndarray:
    """The mean of integers, towards 0."""
    return np.asarray(total / count).astype(dtype)


def _hardmax(x: np.ndarray, axis: int) -> np.ndarray:
    y = np.zeros_like(x)
    np.put_along_axis(y, np.argmax(x, axis, keepdims=True), 1, axis)
    return y


def _quantized(x: np.ndarray, scale: np.ndarray, zero: np.ndarray, dtype: str) -> np.ndarray:
    info = np.iinfo(dtype)
    return np.clip(np.rint(x / scale) + zero, info.min, info.max).astype(dtype)


COMPUTED: dict[str, Callable[..., np.ndarray]] = {
    "Div": _truncated,
    "Mod": np.fmod,
    "IsInf": _infinite,
    "ReduceMean": _share,
    "Hardmax": _hardmax,
    "QuantizeLinear": _quantized,
}


def formula(name: str, x: Tensor) -> Tensor:
    """The smooth function that FORMULAS has by this name."""
    return Formulaic.apply(x, name=name)


def stepwise(name: str, x: Tensor) -> Tensor:
    """The function with steps that STEPS has by this name."""
    return Stepwise.apply(x, name=name)


def computed(name: str, *operands: Any, **options: Any) -> Tensor:
    """The function without a gradient that COMPUTED has by this name. Options are numbers and
    words, so that traces of it are equal and compiled models with it can be saved."""
    return Computed.apply(*operands, name=name, **options)
