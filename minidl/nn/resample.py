"""Layers that give images another size. The formulas are in `ops.resample`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, ops
from ..ops.common import float_tensor
from ..ops.resample import checked_mode
from ..tensor import Tensor
from .layer import Layer


class Upsample(Layer):
    """Resize images (N, H, W, C) or sequences (N, T, C) to a size, or by a factor.

    Give either `size`, an int or a pair, or `scale_factor`, an integer or a pair of integers.
    `mode` is "nearest" or "linear", as in `md.resize`. The arguments are in PyTorch's order.
    TypeError unless exactly one of the two is given; ValueError for sizes below 1 and for another
    mode.

    >>> nn.Upsample(scale_factor=2)(md.zeros((8, 14, 14, 32))).shape
    (8, 28, 28, 32)
    >>> nn.Upsample((20, 30), mode="linear")(md.zeros((8, 14, 14, 32))).shape
    (8, 20, 30, 32)
    """

    def __init__(self, size: Any = None, scale_factor: Any = None, mode: str = "nearest") -> None:
        super().__init__()
        if (size is None) == (scale_factor is None):
            raise TypeError("Upsample: give either size or scale_factor")
        self.size = None if size is None else _sizes(size, "Upsample", "size")
        self.scale_factor = (
            None
            if scale_factor is None
            else _sizes(_integral(scale_factor), "Upsample", "scale_factor")
        )
        self.mode = checked_mode(mode, "Upsample")

    def forward(self, x: Any) -> Tensor:
        x = float_tensor(x, "Upsample")
        size, factors = self.size, self.scale_factor
        if factors is not None:
            sides = x.shape[1:-1]
            if isinstance(factors, int):
                factors = (factors,) * len(sides)
            elif x.ndim != 4:
                raise ValueError(
                    f"Upsample(scale_factor={factors}) expected images (N, H, W, C), got {x.shape}"
                )
            size = tuple([n * f for n, f in zip(sides, factors, strict=True)])
        return ops.resize(x, size, self.mode)

    def extra_repr(self) -> str:
        given = f"{self.size}" if self.size is not None else f"scale_factor={self.scale_factor}"
        return f"{given}, mode={self.mode!r}"


class AdaptiveAvgPool(Layer):
    """The averages of images (N, H, W, C) or sequences (N, T, C) over windows that divide them into
    `size` parts along each axis, an int or a pair: see `md.adaptive_avg_pool`. ValueError for sizes
    below 1.

    >>> nn.AdaptiveAvgPool((3, 2))(md.zeros((8, 13, 9, 64))).shape
    (8, 3, 2, 64)
    """

    def __init__(self, size: Any) -> None:
        super().__init__()
        self.size = _sizes(size, "AdaptiveAvgPool", "size")

    def forward(self, x: Any) -> Tensor:
        return ops.adaptive_avg_pool(x, self.size)

    def extra_repr(self) -> str:
        return f"{self.size}"


def _sizes(value: Any, where: str, name: str) -> Any:
    """An int for all axes, or a pair as a tuple of ints."""
    if isinstance(value, (tuple, list, np.ndarray)):
        return checks.pair(value, where, name, 1)
    return checks.integer(value, where, name, 1, checks.MOST_OF_PAIR)


def _integral(value: Any) -> Any:
    """2.0 as 2, because PyTorch's factors are often written as floats."""
    if isinstance(value, (tuple, list)):
        return tuple([_integral(v) for v in value])
    return int(value) if isinstance(value, float | np.floating) and value.is_integer() else value
