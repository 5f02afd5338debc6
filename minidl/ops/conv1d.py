"""Convolution and pooling of sequences (N, T, C), computed as those of images one row high.

Sizes, strides and dilations are ints; padding is an int, (before, after), or a word. Errors are
those of the operations on images: ValueError for shapes that do not fit, TypeError for what is not
float.
"""

from __future__ import annotations

from typing import Any

from .. import checks
from ..graph import Function
from ..hints import for_newcomers
from ..tensor import Tensor
from .common import float_tensor
from .conv import Conv, checked_operands, resolve_padding
from .pool import AvgPool, MaxPool, pool_options
from .shape import Reshape

# The options of every window along the axis of the single row.
ROW: dict[str, Any] = {
    "window": 1,
    "stride": 1,
    "dilation": 1,
    "padding": (0, 0),
    "counted": (0, 0),
}


@for_newcomers
def conv1d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: int = 1,
    padding: Any = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve sequences x (N, T, C_in) with weight (K, C_in / groups, C_out), plus bias (C_out,),
    to (N, OT, C_out).

        y[n, t, o] = bias[o] + sum over k, c of
                     x[n, t stride + k dilation - padding, c] weight[k, c, o]
        OT = (T + 2 padding - dilation (K - 1) - 1) // stride + 1

    `padding`, with zeros, is an int, (before, after), "valid" (none), "same" as in `conv`, or
    "causal": dilation (K - 1) zeros before and none after, so that a step of the output depends on
    no later step of x (van den Oord et al. 2016, arXiv:1609.03499).

    ValueError for shapes that do not fit, TypeError for mixed dtypes or what is not float.

    >>> x, w = md.arange(5.).reshape(1, 5, 1), md.ones((2, 1, 1))
    >>> md.conv1d(x, w)[0, :, 0]
    tensor([1., 3., 5., 7.])
    >>> md.conv1d(x, w, padding="causal", dilation=2)[0, :, 0]
    tensor([0., 1., 2., 4., 6.])
    """
    x, weight, b, groups = checked_operands("conv1d", x, weight, bias, groups, 3)
    s, d = _size(stride, "conv1d", "stride"), _size(dilation, "conv1d", "dilation")
    padded = resolve_padding(
        "conv1d", _padding(padding, "conv1d"), x._shape, weight._shape[:1], (s,), (d,)
    )
    return _applied(
        "conv1d",
        Conv,
        _row(x, 1),
        _row(weight, 0),
        b,
        stride=(1, s),
        padding=(ROW["padding"], *padded),
        dilation=(1, d),
        groups=groups,
    )


@for_newcomers
def max_pool1d(
    x: Any,
    window: int,
    stride: int | None = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    dilation: int = 1,
) -> Tensor:
    """The largest value of each window of sequences (N, T, C), to (N, OT, C).

    The arguments are those of `max_pool`, but ints. `padding` may be (before, after), or "causal":
    a window then ends where it would begin without padding.

    >>> md.max_pool1d(md.arange(6.).reshape(1, 6, 1), 3, stride=1, padding="causal")[0, :, 0]
    tensor([0., 1., 2., 3., 4., 5.])
    """
    x = float_tensor(x, "max_pool1d")
    options = _options("max_pool1d", x, window, stride, padding, ceil_mode, dilation)
    return _applied("max_pool1d", MaxPool, _row(x, 1), **options)


@for_newcomers
def avg_pool1d(
    x: Any,
    window: int,
    stride: int | None = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    dilation: int = 1,
    count_padding: bool = True,
) -> Tensor:
    """The mean of each window of sequences (N, T, C), to (N, OT, C).

    The arguments are those of `max_pool1d`; padding counts as in `avg_pool`.

    >>> md.avg_pool1d(md.arange(6.).reshape(1, 6, 1), 2)[0, :, 0]
    tensor([0.5, 2.5, 4.5])
    """
    x = float_tensor(x, "avg_pool1d")
    options = _options("avg_pool1d", x, window, stride, padding, ceil_mode, dilation, count_padding)
    return _applied("avg_pool1d", AvgPool, _row(x, 1), **options)


def _options(
    where: str,
    x: Tensor,
    window: Any,
    stride: Any,
    padding: Any,
    ceil_mode: Any,
    dilation: Any,
    count_padding: Any = None,
) -> dict[str, Any]:
    """The options of pooling images one row high."""
    k = _size(window, where, "window")
    s = k if stride is None else _size(stride, where, "stride")
    if count_padding is not None:
        count_padding = checks.flag(count_padding, where, "count_padding")
    options = pool_options(
        where,
        x._shape,
        (k,),
        (s,),
        _padding(padding, where),
        checks.flag(ceil_mode, where, "ceil_mode"),
        (_size(dilation, where, "dilation"),),
        count_padding,
    )
    return {name: (ROW[name], *value) for name, value in options.items()}


def _size(value: Any, where: str, name: str) -> int:
    return checks.integer(value, where, name, 1, checks.MOST_OF_PAIR)


def _padding(value: Any, where: str) -> Any:
    """Padding as a tuple with one entry, or as a word."""
    padding = checks.padding_1d(value, where, "padding")
    return padding if isinstance(padding, str) else (padding,)


def _row(x: Tensor, axis: int) -> Tensor:
    """Sequences or kernels as images one row high; `axis` is the place of the new axis."""
    row: Tensor = Reshape.apply(x, shape=(*x._shape[:axis], 1, *x._shape[axis:]))
    return row


def _applied(where: str, function: type[Function], *inputs: Any, **options: Any) -> Tensor:
    """Apply an operation to images one row high; return its result as sequences."""
    try:
        y: Tensor = function.apply(*inputs, **options)
    except ValueError as error:  # a kernel's, which names the operation on images
        name = where.removesuffix("1d")
        raise ValueError(str(error).replace(f"{name}:", f"{where}:", 1)) from None
    n, _, steps, channels = y._shape
    sequences: Tensor = Reshape.apply(y, shape=(n, steps, channels))
    return sequences
