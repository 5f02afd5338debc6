"""Pooling of NHWC images.

TypeError unless x is float32 or float64; ValueError where x is not (N, H, W, C), a window is
larger than the padded image, or a padding more than half of the window.
"""

from __future__ import annotations

import functools
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .. import checks, kernels
from ..graph import Function
from ..lazy import Epilogue, Lazy
from ..tensor import Tensor
from .common import float_tensor
from .operation import Operation, PostOperation

SIDE_BY_SIDE = {"window": (2, 2), "stride": (2, 2), "padding": (0, 0)}    # what an epilogue pools


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
    """y = the mean of each window;  dx = dy / window size, added over the windows."""

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


def max_pool(x: Any, window: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """The largest value of each window of images (N, H, W, C), to (N, OH, OW, C).

        OH = (H + 2 padding - window) // stride + 1

    Windows, strides and paddings are ints or pairs; `stride` defaults to `window`. Padding never
    wins; NaN does. The first of equal values gets the gradient. With 2x2 windows side by side after
    a batch_norm (and a relu), or a 3x3 convolution, that nothing else has used yet, it is computed
    in the same pass.

    >>> x = md.arange(16.).reshape(1, 4, 4, 1)
    >>> md.max_pool(x, 2)[0, :, :, 0]
    tensor([[ 5.,  7.],
            [13., 15.]])
    """
    return _pool(MaxPool, "max_pool", x, window, stride, padding)


def avg_pool(x: Any, window: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """The mean of each window of images (N, H, W, C), to (N, OH, OW, C) as in `max_pool`; padding
    counts, as zeros.

    >>> x = md.arange(16.).reshape(1, 4, 4, 1)
    >>> md.avg_pool(x, 2)[0, :, :, 0]
    tensor([[ 2.5,  4.5],
            [10.5, 12.5]])
    """
    return _pool(AvgPool, "avg_pool", x, window, stride, padding)


def _pool(function: type[Function], where: str, x: Any, window: Any, stride: Any, padding: Any
          ) -> Tensor:
    x = float_tensor(x, where)
    k = checks.pair(window, where, "window", 1)
    s = k if stride is None else checks.pair(stride, where, "stride", 1)
    p = checks.pair(padding, where, "padding", 0)
    _check_fit(where, x._shape, k, p)
    return function.apply(x, window=k, stride=s, padding=p)


@functools.lru_cache(1024)
def _check_fit(where: str, shape: tuple[int, ...], window: tuple[int, int],
               padding: tuple[int, int]) -> None:
    """ValueError unless there are images on which the windows fit."""
    if len(shape) != 4:
        raise ValueError(f"{where}: x must be images (N, H, W, C), got shape {shape}")
    if 0 in shape[1:3]:
        raise ValueError(f"{where}: images must have rows and columns, got shape {shape}")
    if 2 * padding[0] > window[0] or 2 * padding[1] > window[1]:
        raise ValueError(f"{where}: padding {padding} is more than half of window {window}")
    if shape[1] + 2 * padding[0] < window[0] or shape[2] + 2 * padding[1] < window[1]:
        raise ValueError(f"{where}: window {window} is larger than the padded images of {shape}")


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
