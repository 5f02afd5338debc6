"""Pooling layers, and Flatten which follows them."""

from __future__ import annotations

from typing import Any

from .. import checks, ops
from ..ops.common import as_tensor
from ..tensor import Tensor
from .layer import Layer


class _Pool(Layer):
    def __init__(self, window: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        where = type(self).__name__
        self.window = checks.pair(window, where, "window", 1)
        self.stride = self.window if stride is None else checks.pair(stride, where, "stride", 1)
        self.padding = checks.pair(padding, where, "padding", 0)

    def extra_repr(self) -> str:
        text = f"{self.window}"
        if self.stride != self.window:
            text += f", stride={self.stride}"
        return text if self.padding == (0, 0) else f"{text}, padding={self.padding}"


class MaxPool(_Pool):
    """The largest value of each window of images (N, H, W, C); `stride` defaults to `window`.

    All sizes are ints or pairs; see `md.max_pool`. ValueError for sizes that do not fit.

    >>> nn.MaxPool(2)(md.zeros((8, 28, 28, 32))).shape
    (8, 14, 14, 32)
    """

    def __init__(self, window: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__(window, stride, padding)

    def forward(self, x: Any) -> Tensor:
        return ops.max_pool(x, self.window, self.stride, self.padding)


class AvgPool(_Pool):
    """The mean of each window of images (N, H, W, C); padding counts as zeros.

    Arguments and errors as of `MaxPool`.

    >>> nn.AvgPool(3, stride=2, padding=1)(md.zeros((8, 28, 28, 32))).shape
    (8, 14, 14, 32)
    """

    def __init__(self, window: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__(window, stride, padding)

    def forward(self, x: Any) -> Tensor:
        return ops.avg_pool(x, self.window, self.stride, self.padding)


class GlobalAvgPool(Layer):
    """The mean over all positions: (N, H, W, C) to (N, C).

    >>> nn.GlobalAvgPool()(md.zeros((8, 7, 7, 64))).shape
    (8, 64)
    """

    def forward(self, x: Any) -> Tensor:
        return ops.global_avg_pool(x)


class Flatten(Layer):
    """All axes but the batch axis made one: (N, H, W, C) to (N, H W C).

    >>> nn.Flatten()(md.zeros((8, 7, 7, 64))).shape
    (8, 3136)
    """

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x, "Flatten")
        return ops.flatten(x, 1) if x.ndim > 1 else ops.reshape(x, (-1, 1))
