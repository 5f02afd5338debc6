"""The choice of the algorithm that computes a convolution, by its shapes. docs/performance.md has
the measurements.

`shape` is that of images (N, H, W, C_in), `weight` that of weights (KH, KW, C_in / groups, C_out);
padding is ((top, bottom), (left, right)).
"""

from __future__ import annotations

import functools
import math

import numpy as np

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]

# The most values of an image that a depthwise kernel normalizes as it reads: 512 KB fit in cache.
IMAGE_VALUES = 128 * 1024


@functools.lru_cache(1024)
def conv_algorithm(
    shape: tuple[int, ...],
    dtype: np.dtype,
    weight: tuple[int, ...],
    stride: Pair,
    dilation: Pair,
    groups: int,
    precision: str,
) -> str:
    """The algorithm of a convolution and of both its gradients: "winograd", "depthwise" or
    "direct"."""
    if winograd_pays(shape, dtype, weight, stride, dilation, groups, precision):
        return "winograd"
    return "depthwise" if depthwise_fits(shape, dtype, weight, groups) else "direct"


def winograd_pays(
    shape: tuple[int, ...],
    dtype: np.dtype,
    weight: tuple[int, ...],
    stride: Pair,
    dilation: Pair,
    groups: int,
    precision: str,
) -> bool:
    """Whether Winograd's F(4x4, 3x3) (Lavin & Gray 2016) computes a convolution.

    It does for float32, 3x3 kernels with stride and dilation 1, one group, and channels in
    multiples of 8, at least 16. There it takes a third to three quarters of the direct kernel's
    time, with errors of a few 1e-6 of the largest value. It does not for images of one row or
    column, where most of a tile of 4x4 would be padding, nor with set_precision("high").
    """
    return (
        dtype == np.float32
        and weight[:2] == (3, 3)
        and groups == 1
        and stride == (1, 1)
        and dilation == (1, 1)
        and weight[2] % 8 == weight[3] % 8 == 0
        and min(weight[2:]) >= 16
        and min(shape[1:3]) >= 2
        and precision == "default"
    )


def depthwise_fits(
    shape: tuple[int, ...], dtype: np.dtype, weight: tuple[int, ...], groups: int
) -> bool:
    """Whether `kernels.depthwise_conv` takes a convolution, which has one filter per channel."""
    kh, kw, _, channels = weight
    return (
        dtype == np.float32
        and groups == channels == shape[3]
        and channels % 16 == 0
        and kh * kw <= 64
    )


def reading_family(
    shape: tuple[int, ...],
    dtype: np.dtype,
    weight: tuple[int, ...],
    stride: Pair,
    padding: Padding,
    groups: int,
) -> str | None:
    """The family of kernels, "pointwise" or "depthwise", with which a convolution normalizes its
    input while it reads it; None where it is better to normalize the input first.

    The pointwise kernels serve this alone: for an input that is already normalized, the direct
    kernel is as fast for 1x1 weights. A depthwise kernel needs one image in cache.
    """
    if shape[0] == 0:
        return None
    if (
        dtype == np.float32
        and weight[:2] == (1, 1)
        and stride == (1, 1)
        and padding == ((0, 0), (0, 0))
        and groups == 1
        and weight[2] % 16 == 0
        and weight[3] % 16 == 0
    ):
        return "pointwise"
    if depthwise_fits(shape, dtype, weight, groups) and math.prod(shape[1:]) <= IMAGE_VALUES:
        return "depthwise"
    return None
