"""Depthwise convolution: a convolution in as many groups as channels."""

from typing import Any

from ..common import Array, Padding, Pair
from ..norm.batch_norm_stats import batch_stats
from .between_norms import normalized
from .direct_forward import conv


def depthwise_conv(
    x: Array,
    w: Array,
    stride: Pair = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
    factors: Array | None = None,
    relu: bool = False,
    stats: bool = False,
    bias: Array | None = None,
    residual: Array | None = None,
    relu_out: bool = False,
    out: Array | None = None,
    threads: int = 0,
) -> Any:
    """Return y (N, OH, OW, C), x (N, H, W, C) convolved with w (KH, KW, 1, C).

    x is first normalized by `factors` (5, C), which batch_norm_factors gives, and passed through a
    ReLU if `relu`. With `stats` the result is (y, mean, var), the last two as batch_stats gives
    them. Without `factors` and `stats`, y may have a `bias` and a `residual` added, then a ReLU if
    `relu_out`.
    """
    y = conv(
        normalized(x, factors, relu),
        w,
        bias,
        stride,
        padding,
        dilation,
        x.shape[3],
        residual,
        relu_out,
        out,
    )
    return (y, *batch_stats(y)) if stats else y
