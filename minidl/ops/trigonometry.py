"""Sine and cosine.

Both take float32 or float64, keep shape and dtype, and are NumPy's in both backends; TypeError for
anything else.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import kernels
from ..tensor import Tensor
from .common import float_tensor
from .operation import Operation


class Sin(Operation):
    """y = sin(x);  dx = cos(x) dy."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return _quietly(np.sin, x)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return kernels.multiply(dy, _quietly(np.cos, self.x))


class Cos(Operation):
    """y = cos(x);  dx = -sin(x) dy."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return _quietly(np.cos, x)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return kernels.multiply(dy, kernels.negative(_quietly(np.sin, self.x)))


def _quietly(function: np.ufunc, x: np.ndarray) -> np.ndarray:
    """Call NumPy's function. It gives an array even for an array (), where NumPy gives a scalar,
    and does not warn of infinite angles."""
    with np.errstate(invalid="ignore"):
        return np.asarray(function(x))


def sin(x: Any) -> Tensor:
    """The sine of angles in radians; NaN where they are infinite.

    >>> md.sin(md.tensor([0., np.pi / 2])).data.round(6)
    array([0., 1.], dtype=float32)
    """
    return Sin.apply(float_tensor(x, "sin"))


def cos(x: Any) -> Tensor:
    """The cosine of angles in radians; NaN where they are infinite.

    >>> md.cos(md.tensor([0., np.pi])).data.round(6)
    array([ 1., -1.], dtype=float32)
    """
    return Cos.apply(float_tensor(x, "cos"))
