"""Pooling of NHWC images.

TypeError unless x is float32 or float64; ValueError if x is not (N, H, W, C), if a window is larger
than the padded image, or if the padding is so large that a window could hold nothing else. An int
or a pair may be at most half of the window; of ((top, bottom), (left, right)) each number must be
less than the window.
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

# The geometry of the pool that an epilogue can do.
SIDE_BY_SIDE: dict[str, Any] = {
    "window": (2, 2),
    "stride": (2, 2),
    "padding": ((0, 0), (0, 0)),
    "dilation": (1, 1),
}


class Unpooled(NamedTuple):
    """The gradient of the input of a max-pool with windows side by side, still in the size of its
    output: dy, and the place in its window that each value came from."""

    dy: np.ndarray
    argmax: np.ndarray


class MaxPool(PostOperation):
    """y = the largest value of each window;  dx = dy at the place of that value, 0 elsewhere.

    For 2x2 windows side by side dx is a Lazy, because three quarters of it are 0: a convolution's
    backward may read dy instead.
    """

    x: Lazy | None = None  # the input, if it is a Lazy whose own pass has pooled it

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


def spread(
    dy: np.ndarray, argmax: np.ndarray, shape: tuple[int, ...], epilogue: Epilogue
) -> np.ndarray:
    """dx as an array. `epilogue` is always NOTHING, because a gradient has no post-operations."""
    return kernels.max_pool_backward(dy, argmax, shape, **SIDE_BY_SIDE)


def unpooled(dy: np.ndarray, argmax: np.ndarray, shape: tuple[int, ...]) -> Lazy:
    """dx, of this shape, as a Lazy of the gradient dy of a max-pool of 2x2 windows side by side."""
    return Lazy(partial(spread, dy, argmax, shape), shape, dy.dtype, Unpooled(dy, argmax), ())


class AvgPool(Operation):
    """y = the mean of each window;  dx = dy / count, added up over the windows, with `count` the
    number of values in the window."""

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


@for_newcomers
def max_pool(
    x: Any,
    window: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    dilation: Any = 1,
) -> Tensor:
    """The largest value of each window of images (N, H, W, C), to (N, OH, OW, C).

        OH = (H + 2 padding - dilation (window - 1) - 1) // stride + 1

    Windows, strides and dilations (the distance between the values of a window) are ints or pairs;
    `stride` defaults to `window`. `padding` is an int, a pair, ((top, bottom), (left, right)),
    "valid" (none) or "same", which gives ceil(H / stride) as in `conv`. With `ceil_mode` the
    division rounds up: the last window may reach beyond the padding, if it begins in the image or
    in the padding before it.

    Padding is never the largest value, and NaN always is. The first of equal values gets the
    gradient. A pool with 2x2 windows side by side is computed in the same pass as the batch_norm
    (and relu), or the 3x3 convolution, before it, if nothing else has used that result yet.

    >>> x = md.arange(16.).reshape(1, 4, 4, 1)
    >>> md.max_pool(x, 2)[0, :, :, 0]
    tensor([[ 5.,  7.],
            [13., 15.]])
    >>> md.max_pool(x, 3, stride=2, ceil_mode=True)[0, :, :, 0]
    tensor([[10., 11.],
            [14., 15.]])
    """
    x = float_tensor(x, "max_pool")
    return MaxPool.apply(
        x, **_checked_options("max_pool", x, window, stride, padding, ceil_mode, dilation)
    )


@for_newcomers
def avg_pool(
    x: Any,
    window: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    dilation: Any = 1,
    count_padding: bool = True,
) -> Tensor:
    """The mean of each window of images (N, H, W, C), to (N, OH, OW, C). The arguments are those of
    `max_pool`.

    Padding counts, as zeros, unless `count_padding` is False: the mean is then over the values of
    the image alone. Positions beyond the padding, which `ceil_mode` may add, never count.

    >>> x = md.arange(16.).reshape(1, 4, 4, 1)
    >>> md.avg_pool(x, 2)[0, :, :, 0]
    tensor([[ 2.5,  4.5],
            [10.5, 12.5]])
    >>> md.avg_pool(x, 2, padding=((1, 0), (1, 0)), count_padding=False)[0, :, :, 0]
    tensor([[0. , 1.5],
            [6. , 7.5]])
    """
    x = float_tensor(x, "avg_pool")
    return AvgPool.apply(
        x,
        **_checked_options(
            "avg_pool",
            x,
            window,
            stride,
            padding,
            ceil_mode,
            dilation,
            checks.flag(count_padding, "avg_pool", "count_padding"),
        ),
    )


def _checked_options(
    where: str,
    x: Tensor,
    window: Any,
    stride: Any,
    padding: Any,
    ceil_mode: Any,
    dilation: Any,
    count_padding: bool | None = None,
) -> dict[str, Any]:
    """The options of a pool of images, from its arguments."""
    k = checks.pair(window, where, "window", 1)
    s = k if stride is None else checks.pair(stride, where, "stride", 1)
    return pool_options(
        where,
        x._shape,
        k,
        s,
        checks.padding(padding, where, "padding"),
        checks.flag(ceil_mode, where, "ceil_mode"),
        checks.pair(dilation, where, "dilation", 1),
        count_padding,
    )


@functools.lru_cache(1024)
def pool_options(
    where: str,
    shape: Ints,
    window: Ints,
    stride: Ints,
    padding: Any,
    ceil_mode: bool,
    dilation: Ints,
    count_padding: bool | None = None,
) -> dict[str, Any]:
    """The options of a pool, each for every axis, from checked sizes. The dict is cached: callers
    must not write to it.

    `padding` is the padding that windows read: with `ceil_mode` the last window may read more than
    was asked for. `counted`, unless `count_padding` is None, is the part of it that counts for a
    mean. ValueError if there are no images, or if the windows do not fit on them.
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
            places -= 1  # the last window would begin after the image
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
        raise ValueError(
            f"global_avg_pool: x must be (N, ..., C) with at least one position, "
            f"got shape {x.shape}"
        )
    return GlobalAvgPool.apply(x)
