"""Pooling layers, and Flatten, which usually follows them."""

from __future__ import annotations

from typing import Any

from .. import checks, ops
from ..ops.common import as_tensor
from ..tensor import Tensor
from .layer import Layer


class Pool(Layer):
    """Base of pooling layers: it checks and keeps the sizes of a pool."""

    def __init__(
        self, window: Any, stride: Any, padding: Any, ceil_mode: bool, dilation: Any
    ) -> None:
        super().__init__()
        where = type(self).__name__
        self.window = self._size(window, "window")
        self.stride = self.window if stride is None else self._size(stride, "stride")
        self.padding = self._padding(padding)
        self.ceil_mode = checks.flag(ceil_mode, where, "ceil_mode")
        self.dilation = self._size(dilation, "dilation")

    def _size(self, value: Any, name: str) -> Any:
        return checks.pair(value, type(self).__name__, name, 1)

    def _padding(self, value: Any) -> Any:
        return checks.padding(value, type(self).__name__, "padding")

    def extra_repr(self) -> str:
        parts = [f"{self.window}"]
        if self.stride != self.window:
            parts.append(f"stride={self.stride}")
        for name, default in (
            ("padding", 0),
            ("ceil_mode", False),
            ("dilation", 1),
            ("count_padding", True),
        ):
            if getattr(self, name, default) not in (default, (default, default)):
                parts.append(f"{name}={getattr(self, name)!r}")
        return ", ".join(parts)


class MaxPool(Pool):
    """The largest value of each window of images (N, H, W, C); `stride` defaults to `window`.

    All sizes are ints or pairs; `padding` may also be ((top, bottom), (left, right)), "same" or
    "valid". See `md.max_pool`. ValueError for sizes that do not fit.

    >>> nn.MaxPool(2)(md.zeros((8, 28, 28, 32))).shape
    (8, 14, 14, 32)
    >>> nn.MaxPool(3, stride=2, ceil_mode=True)(md.zeros((8, 28, 28, 32))).shape
    (8, 14, 14, 32)
    """

    def __init__(
        self,
        window: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        dilation: Any = 1,
    ) -> None:
        super().__init__(window, stride, padding, ceil_mode, dilation)

    def forward(self, x: Any) -> Tensor:
        return ops.max_pool(
            x, self.window, self.stride, self.padding, self.ceil_mode, self.dilation
        )


class AvgPool(Pool):
    """The mean of each window of images (N, H, W, C); padding counts as zeros, unless
    `count_padding` is False. See `md.avg_pool`.

    The other arguments and errors are those of `MaxPool`.

    >>> nn.AvgPool(3, stride=2, padding=1)(md.zeros((8, 28, 28, 32))).shape
    (8, 14, 14, 32)
    """

    def __init__(
        self,
        window: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        dilation: Any = 1,
        count_padding: bool = True,
    ) -> None:
        super().__init__(window, stride, padding, ceil_mode, dilation)
        self.count_padding = checks.flag(count_padding, type(self).__name__, "count_padding")

    def forward(self, x: Any) -> Tensor:
        return ops.avg_pool(
            x,
            self.window,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.dilation,
            self.count_padding,
        )


class GlobalAvgPool(Layer):
    """The mean over all positions: (N, H, W, C) to (N, C).

    >>> nn.GlobalAvgPool()(md.zeros((8, 7, 7, 64))).shape
    (8, 64)
    """

    def forward(self, x: Any) -> Tensor:
        return ops.global_avg_pool(x)


class Flatten(Layer):
    """Join all axes but the batch axis into one: (N, H, W, C) to (N, H W C).

    >>> nn.Flatten()(md.zeros((8, 7, 7, 64))).shape
    (8, 3136)
    """

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x, "Flatten")
        return ops.flatten(x, 1) if x.ndim > 1 else ops.reshape(x, (-1, 1))
