"""Layers of sequences (N, T, C): convolution and pooling along their steps."""

from __future__ import annotations

from typing import Any

from .. import checks, ops
from ..tensor import Tensor
from .conv import Convolution
from .pool import Pool


class _SequenceSizes:
    """Checks of sizes along one axis, in place of those along two; a base of the layers here."""

    def _size(self, value: Any, name: str) -> Any:
        return checks.integer(value, type(self).__name__, name, 1, checks.MOST_OF_PAIR)

    def _padding(self, value: Any) -> Any:
        return checks.padding_1d(value, type(self).__name__, "padding")


class Conv1d(_SequenceSizes, Convolution):
    """Convolution of sequences (N, T, in_channels) to (N, OT, out_channels).

    `kernel_size`, `stride`, `dilation` are ints; `padding` is an int, (before, after), "same",
    "valid" or "causal", for which no output depends on a later step; see `md.conv1d`. `weight` (K,
    in / groups, out) starts as he_normal, `bias` (out,) at zero. ValueError for other sequences.

    >>> nn.Conv1d(3, 16, 5, padding="same")(md.zeros((8, 100, 3))).shape
    (8, 100, 16)
    """

    axes, expected = 3, "sequences (N, T, {})"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: Any = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
        )

    def forward(self, x: Any) -> Tensor:
        return ops.conv1d(
            self.checked(x),
            self.effective_weight(),
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )


class MaxPool1d(_SequenceSizes, Pool):
    """The largest value of each window of sequences (N, T, C); `stride` defaults to `window`.

    All sizes are ints; `padding` may also be (before, after), "same", "valid" or "causal". See
    `md.max_pool1d`. ValueError for sizes that do not fit.

    >>> nn.MaxPool1d(2)(md.zeros((8, 100, 3))).shape
    (8, 50, 3)
    """

    def __init__(
        self,
        window: int,
        stride: int | None = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        dilation: int = 1,
    ) -> None:
        super().__init__(window, stride, padding, ceil_mode, dilation)

    def forward(self, x: Any) -> Tensor:
        return ops.max_pool1d(
            x, self.window, self.stride, self.padding, self.ceil_mode, self.dilation
        )


class AvgPool1d(_SequenceSizes, Pool):
    """The mean of each window of sequences (N, T, C); padding counts as zeros, unless
    `count_padding` is False. See `md.avg_pool1d`.

    The other arguments and errors are those of `MaxPool1d`.

    >>> nn.AvgPool1d(3, stride=2, padding=1)(md.zeros((8, 100, 3))).shape
    (8, 50, 3)
    """

    def __init__(
        self,
        window: int,
        stride: int | None = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        dilation: int = 1,
        count_padding: bool = True,
    ) -> None:
        super().__init__(window, stride, padding, ceil_mode, dilation)
        self.count_padding = checks.flag(count_padding, type(self).__name__, "count_padding")

    def forward(self, x: Any) -> Tensor:
        return ops.avg_pool1d(
            x,
            self.window,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.dilation,
            self.count_padding,
        )
