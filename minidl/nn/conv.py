"""Convolution layers."""

from __future__ import annotations

from typing import Any

from .. import checks, kernels, ops
from ..ops.common import float_tensor
from ..tensor import Tensor
from . import init
from .linear import Weighted
from .parameter import Parameter


class Convolution(Weighted):
    """Base of the convolution layers: it checks the sizes and makes the parameters."""

    axes, expected = 4, "images (N, H, W, {})"  # what x must be, for messages

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
        bias: bool,
    ) -> None:
        super().__init__()
        where = type(self).__name__
        in_channels = checks.size(in_channels, where, "in_channels")
        out_channels = checks.size(out_channels, where, "out_channels")
        groups = checks.size(groups, where, "groups")
        bias = checks.flag(bias, where, "bias")
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{where}: in_channels {in_channels} and out_channels {out_channels} "
                f"must divide into groups {groups}"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = self._size(kernel_size, "kernel_size")
        self.stride = self._size(stride, "stride")
        self.dilation = self._size(dilation, "dilation")
        self.padding = self._padding(padding)
        kernel = self.kernel_size if isinstance(self.kernel_size, tuple) else (self.kernel_size,)
        shape = (*kernel, in_channels // groups, out_channels)
        kernels.check_shape(where, shape)
        self.weight = Parameter(init.he_normal(shape))
        self.bias = Parameter(init.constant((out_channels,))) if bias else None

    def _size(self, value: Any, name: str) -> Any:
        return checks.pair(value, type(self).__name__, name, 1)

    def _padding(self, value: Any) -> Any:
        return checks.padding(value, type(self).__name__, "padding")

    def checked(self, x: Any) -> Tensor:
        """x as a tensor, checked that its axes and channels fit."""
        x = float_tensor(x, type(self).__name__)
        if len(x._shape) != self.axes or x._shape[-1] != self.in_channels:
            hint = _hint(x, self.in_channels, self.axes)
            raise ValueError(
                f"{type(self).__name__} expected "
                f"{self.expected.format(self.in_channels)}, got {x.shape}{hint}"
            )
        return x

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"]
        for name, default in (
            ("stride", 1),
            ("padding", 0),
            ("output_padding", 0),
            ("dilation", 1),
            ("groups", 1),
        ):
            if getattr(self, name, default) not in (default, (default, default)):
                parts.append(f"{name}={getattr(self, name)!r}")
        return ", ".join([*parts, f"bias={self.bias is not None}"])


class Conv(Convolution):
    """Convolution of images (N, H, W, in_channels) to (N, OH, OW, out_channels).

    `kernel_size`, `stride`, `dilation` are ints or pairs; `padding` is an int, a pair,
    ((top, bottom), (left, right)), "same" or "valid"; see `md.conv`. `weight` (KH, KW, in / groups,
    out) starts as he_normal, `bias` (out,) at zero. Leave the bias out before a normalization,
    which cancels it. ValueError for other images.

    >>> nn.Conv(3, 16, 3, padding="same")(md.zeros((8, 32, 32, 3))).shape
    (8, 32, 32, 16)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
        )

    def forward(self, x: Any) -> Tensor:
        return ops.conv(
            self.checked(x),
            self.effective_weight(),
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )


class ConvTranspose(Convolution):
    """Transposed convolution of images (N, H, W, in_channels) to (N, OH, OW, out_channels), to
    make images larger: OH = (H - 1) stride - 2 padding + dilation (KH - 1) + output_padding + 1.

    All sizes are ints or pairs; `padding` may also be ((top, bottom), (left, right)). `weight` (KH,
    KW, in / groups, out) starts as he_normal, `bias` (out,) at zero. The arguments are in PyTorch's
    order. ValueError for other images.

    >>> nn.ConvTranspose(16, 3, 2, stride=2)(md.zeros((8, 16, 16, 16))).shape
    (8, 32, 32, 3)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
        )
        self.output_padding = checks.pair(output_padding, "ConvTranspose", "output_padding", 0)
        for extra, s, d in zip(self.output_padding, self.stride, self.dilation, strict=True):
            if extra >= max(s, d):
                raise ValueError(
                    f"ConvTranspose: output_padding {self.output_padding} must be "
                    f"less than stride {self.stride} or dilation {self.dilation}"
                )

    def _padding(self, value: Any) -> Any:
        return checks.padding(value, "ConvTranspose", "padding", ())

    def forward(self, x: Any) -> Tensor:
        return ops.conv_transpose(
            self.checked(x),
            self.effective_weight(),
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )


def _hint(x: Tensor, channels: int, axes: int) -> str:
    """Words for an error that say what is probably wrong with the layout of images or sequences."""
    if x.ndim == axes and x.shape[1] == channels:
        order, names = ("0, 2, 3, 1", "N, C, H, W") if axes == 4 else ("0, 2, 1", "N, C, T")
        return f": the channels come last; transpose({order}) turns ({names}) around"
    if axes == 3:
        return (
            ": a channel axis is missing; x[..., None] adds one"
            if x.ndim == 2 and channels == 1
            else ""
        )
    if x.ndim == 3 and (channels == 1 or x.shape[2] == channels):
        return (
            ": a channel axis is missing; x[..., None] adds one"
            if x.shape[2] != channels
            else ": if it is one image, its batch axis is missing; x[None] adds one; for "
            "sequences (N, T, C) there is nn.Conv1d"
        )
    return ""
