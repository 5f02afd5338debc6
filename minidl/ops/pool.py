"""Pooling of NHWC images.

TypeError unless x is float32 or float64; ValueError where x is not (N, H, W, C), a window is
larger than the padded image, or a padding so large that a window would hold nothing else: an int
or a pair may be half of the window, of ((top, bottom), (left, right)) each less than the window.
"""

from __future__ import annotations

import functools
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .. import checks, kernels
from ..hints import for_newcomers
from ..lazy import Epilogue, Lazy
from ..tensor import Tensor
from .common import float_tensor
from .geometry import KINDS, Ints, extents, shown, sides
from .operation import Operation, PostOperation

# What an epilogue pools.
SIDE_BY_SIDE: dict[str, Any] = {
    "window": (2, 2), "stride": (2, 2), "padding": ((0, 0), (0, 0)), "dilation": (1, 1)}


class Unpooled(NamedTuple):
    """What the gradient in front of a max-pool of windows side by side is made of."""

    dy: np.ndarray
    argmax: np.ndarray


class MaxPool(PostOperation):
    """y = the largest value of each window;  dx = dy at the places that won.

    dx of 2x2 windows side by side, three quarters of which are 0, is a Lazy: a convolution may read
    dy in its place.
    """

    x: Lazy | None = None       # what a pass has pooled without noting the winners

    def forward(self, x: np.ndarray, **geometry: Any) -> np.ndarray:
        self.shape, self.geometry = x.shape, geometry
        y, self.argmax = kernels.max_pool(x, **geometry)
        return y

    def _extend(self, x: Lazy, **geometry: Any) -> Lazy | None:
        if geometry == SIDE_BY_SIDE:
            self.lazy = x.then(pool=True)
            self.x = x if self.lazy is not None else None
        return self.lazy

    def backward(self, dy: np.ndarray) -> np.ndarray | Lazy:
        if self.lazy is not None:
            assert self.x is not None
            self.forward(self.x.compute(), **SIDE_BY_SIDE)
        if self.geometry == SIDE_BY_SIDE:
            return unpooled(dy, self.argmax, self.shape)
        dx: np.ndarray = kernels.max_pool_backward(dy, self.argmax, self.shape, **self.geometry)
        return dx


def spread(dy: np.ndarray, argmax: np.ndarray, shape: tuple[int, ...], epilogue: Epilogue
           ) -> np.ndarray:
    """dx; `epilogue` is always NOTHING: a gradient has no post-operations."""
    return kernels.max_pool_backward(dy, argmax, shape, **SIDE_BY_SIDE)


def unpooled(dy: np.ndarray, argmax: np.ndarray, shape: tuple[int, ...]) -> Lazy:
    """dx, of this shape, from the gradient behind a max-pool of 2x2 windows side by side."""
    return Lazy(partial(spread, dy, argmax, shape), shape, dy.dtype, Unpooled(dy, argmax), ())


class AvgPool(Operation):
    """y = the mean of each window;  dx = dy / how many values that is of, added over the windows.
    """

    def forward(self, x: np.ndarray, **geometry: Any) -> np.ndarray:
        self.shape, self.geometry = x.shape, geometry
        return kernels.avg_pool(x, **geometry)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return kernels.avg_pool_backward(dy, self.shape, **self.geometry)


class GlobalAvgPool(Operation):
    """y = the mean over all positions;  dx = dy / positions."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.shape = x.shape
        return kernels.global_avg_pool(x)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return kernels.global_avg_pool_backward(dy, self.shape)


def max_pool(x: Any, window: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
             dilation: Any = 1) -> Tensor:
    """The largest value of each window of images (N, H, W, C), to (N, OH, OW, C).

        OH = (H + 2 padding - dilation (window - 1) - 1) // stride + 1

    Windows, strides and dilations (how far the values of a window are apart) are ints or pairs;
    `stride` defaults to `window`. `padding` is an int, a pair, ((top, bottom), (left, right)),
    "valid" (none) or "same", which gives ceil(H / stride) as in `conv`. With `ceil_mode` the
    division rounds up: the last window may reach beyond the padding, if it begins in the image or
    the padding before it.

    Padding never wins; NaN does. The first of equal values gets the gradient. With 2x2 windows side
    by side after a batch_norm (and a relu), or a 3x3 convolution, that nothing else has used yet,
    it is computed in the same pass.

    >>> x = md.arange(16.).reshape(1, 4, 4, 1)
    >>> md.max_pool(x, 2)[0, :, :, 0]
    tensor([[ 5.,  7.],
            [13., 15.]])
    >>> md.max_pool(x, 3, stride=2, ceil_mode=True)[0, :, :, 0]
    tensor([[10., 11.],
            [14., 15.]])
    """
    x = float_tensor(x, "max_pool")
    return MaxPool.apply(x, **_checked_options("max_pool", x, window, stride, padding, ceil_mode,
                                               dilation))


@for_newcomers
def avg_pool(x: Any, window: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
             dilation: Any = 1, count_padding: bool = True) -> Tensor:
    """The mean of each window of images (N, H, W, C), to (N, OH, OW, C); arguments as of
    `max_pool`.

    Padding counts, as zeros, unless `count_padding` is False: the mean is then that of the values
    of the image. What a window has beyond the padding, with `ceil_mode`, never counts.

    >>> x = md.arange(16.).reshape(1, 4, 4, 1)
    >>> md.avg_pool(x, 2)[0, :, :, 0]
    tensor([[ 2.5,  4.5],
            [10.5, 12.5]])
    >>> md.avg_pool(x, 2, padding=((1, 0), (1, 0)), count_padding=False)[0, :, :, 0]
    tensor([[0. , 1.5],
            [6. , 7.5]])
    """
    x = float_tensor(x, "avg_pool")
    return AvgPool.apply(x, **_checked_options(
        "avg_pool", x, window, stride, padding, ceil_mode, dilation,
        checks.flag(count_padding, "avg_pool", "count_padding")))


def _checked_options(where: str, x: Tensor, window: Any, stride: Any, padding: Any, ceil_mode: Any,
                     dilation: Any, count_padding: bool | None = None) -> dict[str, Any]:
    """The options of a pool of images by its arguments."""
    k = checks.pair(window, where, "window", 1)
    s = k if stride is None else checks.pair(stride, where, "stride", 1)
    return pool_options(where, x._shape, k, s, checks.padding(padding, where, "padding"),
                        checks.flag(ceil_mode, where, "ceil_mode"),
                        checks.pair(dilation, where, "dilation", 1), count_padding)


@functools.lru_cache(1024)
def pool_options(where: str, shape: Ints, window: Ints, stride: Ints, padding: Any,
                 ceil_mode: bool, dilation: Ints, count_padding: bool | None = None
                 ) -> dict[str, Any]:
    """What a pool of checked sizes takes besides x, each for every axis; not to be written to.

    `padding` is what windows read: with `ceil_mode` the last may read more than was asked for.
    `counted`, unless `count_padding` is None, is the part of it that counts. ValueError unless
    there are images on which the windows fit.
    """
    if len(shape) != len(window) + 2:
        raise ValueError(f"{where}: x must be {KINDS[len(window) + 2]}, got shape {shape}")
    extent, sizes = extents(window, dilation), shape[1:-1]
    kind, parts = ("images", "rows and columns") if len(sizes) == 2 else ("sequences", "steps")
    if 0 in sizes:
        raise ValueError(f"{where}: {kind} must have {parts}, got shape {shape}")
    asked = sides(padding, sizes, extent, stride)
    of = f"window {shown(window)}"
    if extent != window:
        of += f" with dilation {shown(dilation)}"
    if not isinstance(padding, str):
        if any(isinstance(p, int) and 2 * p > e for p, e in zip(padding, extent, strict=True)):
            raise ValueError(f"{where}: padding {shown(padding)} is more than half of {of}")
        if any(max(p) >= e for p, e in zip(asked, extent, strict=True)):
            raise ValueError(f"{where}: padding {shown(padding)} is not less than {of}")
    padded = []
    for n, (before, after), e, s in zip(sizes, asked, extent, stride, strict=True):
        rest = n + before + after - e
        places = -(-rest // s) + 1 if ceil_mode else rest // s + 1
        if ceil_mode and (places - 1) * s >= n + before:
            places -= 1     # this window would begin behind the image
        if places < 1:
            raise ValueError(f"{where}: {of} is larger than the padded {kind} of {shape}")
        padded.append((before, max(after, (places - 1) * s + e - n - before)))
    options = {"window": window, "stride": stride, "padding": tuple(padded), "dilation": dilation}
    if count_padding is not None:
        options["counted"] = asked if count_padding else tuple([(0, 0) for _ in asked])
    return options


def global_avg_pool(x: Any) -> Tensor:
    """The mean over all positions: (N, H, W, C), or (N, ..., C), to (N, C) (Lin et al. 2014).
    ValueError if there is no position.

    >>> md.global_avg_pool(md.ones((8, 7, 7, 64))).shape
    (8, 64)
    """
    x = float_tensor(x, "global_avg_pool")
    if x.ndim < 3 or 0 in x.shape[1:-1]:
        raise ValueError(f"global_avg_pool: x must be (N, ..., C) with at least one position, "
                         f"got shape {x.shape}")
    return GlobalAvgPool.apply(x)
