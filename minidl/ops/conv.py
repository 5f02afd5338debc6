"""Convolution of NHWC images with HWIO weights."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from .. import checks, kernels
from ..graph import Function
from ..lazy import Deferred, computed
from ..settings import get_precision
from ..tensor import Tensor
from .common import float_tensor, same_float
from .fusion import ConvOutput, NormGrad, NormOutput, SummedGrad
from .inference import PendingConv, read_only, winograd_weights

IMAGE_VALUES = 128 * 1024       # 512 KB
Padding = tuple[tuple[int, int], tuple[int, int]]


class Conv(Function):
    """y[n,i,j,o] = b[o] + sum x[n, i s + k d - p, j s + l d - p, c] w[k,l,c,o].

    dx is the transposed convolution of dy with w; dw correlates x with dy; db = sum(dy).
    1x1 and depthwise convolutions take over a normalization still to be computed: they read
    through it, both ways (see `fusion`).
    """

    takes_deferred = True
    takes_deferred_grads = True
    x: Any                          # an array, or a NormOutput that the kernels read through
    algorithm: str                  # "direct", "winograd" or "depthwise"
    geometry: tuple[Any, ...]       # what its kernels take
    reader: tuple[str, tuple[Any, ...]]     # kernels that read through, and what they take

    def forward(self, x: Any, weight: np.ndarray, bias: np.ndarray | None,
                stride: tuple[int, int], padding: Padding, dilation: tuple[int, int],
                groups: int) -> Any:
        self.weight = weight if self.needs_grad[0] else None
        self.shape, self.window = x.shape, weight.shape[:2]
        if winograd_pays(x, weight, stride, dilation, groups):
            self.algorithm, self.geometry = "winograd", (padding,)
        elif depthwise_fits(x, weight, groups):
            self.algorithm, self.geometry = "depthwise", (stride, padding, dilation)
        else:
            self.algorithm, self.geometry = "direct", (stride, padding, dilation, groups)
        if isinstance(x, NormOutput) and bias is None and reads_through(x):
            if pointwise_fits(x, weight, stride, padding, groups):
                return self._forward_through(x, weight, "pointwise", ())
            # One image of it has to stay in cache.
            if self.algorithm == "depthwise" and math.prod(x.shape[1:]) <= IMAGE_VALUES:
                return self._forward_through(x, weight, "depthwise", self.geometry)
        x = computed(x)
        self.x = x if self.needs_grad[1] else None
        if True in self.needs_grad or not read_only(weight, bias):
            return self._run(x, weight, bias)
        shape = (x.shape[0], *(
            (n + sum(p) - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in
            zip(x.shape[1:3], padding, dilation, weight.shape[:2], stride, strict=True)),
            weight.shape[3])
        return PendingConv(x, shape, functools.partial(self._run, x, weight, bias, constant=True))

    def _run(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None,
             shortcut: np.ndarray | None = None, rectify: bool = False, constant: bool = False
             ) -> np.ndarray:
        """The output, plus a shortcut, then a ReLU if asked; `constant`: nobody can write to the
        weights."""
        kernel: Any = kernels.conv
        if self.algorithm == "direct":
            return kernel(x, weight, bias, *self.geometry, shortcut, rectify)
        kernel = kernels.winograd_conv
        if self.algorithm == "winograd":
            transformed = winograd_weights(weight) if constant else None
            return kernel(x, weight, *self.geometry, bias, shortcut, rectify, transformed)
        kernel = kernels.depthwise_conv
        return kernel(x, weight, *self.geometry, bias=bias, shortcut=shortcut, rectify=rectify)

    def _forward_through(self, x: NormOutput, weight: np.ndarray, family: str,
                         geometry: tuple[Any, ...]) -> Any:
        """y; with its statistics where a normalization in training is likely to follow."""
        self.x, self.reader = x, (family, geometry)
        stats = True in self.needs_grad
        y = getattr(kernels, f"{family}_conv")(x.x, weight, *geometry, factors=x.factors,
                                               relu=x.relu, stats=stats)
        return ConvOutput(*y) if stats else y

    def backward(self, dy: Any) -> tuple[Any, ...]:
        if isinstance(self.x, NormOutput) and self.needs_grad[0] and self.needs_grad[1]:
            return self._backward_through(dy, self.x)
        dy = computed(dy)
        dx = dw = db = None
        if self.needs_grad[0]:
            dx = self._input_grad(dy)
        if self.needs_grad[1]:
            dw = self._weight_grad(computed(self.x), dy)
        if self.needs_grad[2]:
            db = kernels.sum(dy.reshape(1, -1, dy.shape[-1])).reshape(-1)
        return dx, dw, db

    def _backward_through(self, dy: Any, x: NormOutput) -> tuple[Any, ...]:
        family, geometry = self.reader
        behind = None
        if isinstance(dy, NormGrad):
            dy, behind = dy.dy, (dy.x, dy.factors, dy.relu, dy.centre)
        dx, dw, sums = getattr(kernels, f"{family}_backward")(
            computed(dy), x.x, self.weight, *geometry, factors=x.factors, relu=x.relu,
            behind=behind)
        return SummedGrad(dx, x, sums), dw, None

    def _input_grad(self, dy: np.ndarray) -> np.ndarray:
        kernel: Any = {"direct": kernels.conv_input_grad, "winograd": kernels.winograd_input_grad,
                       "depthwise": kernels.depthwise_input_grad}[self.algorithm]
        return kernel(dy, self.weight, self.shape, *self.geometry)

    def _weight_grad(self, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
        if self.algorithm == "winograd":
            return kernels.winograd_weight_grad(x, dy, *self.geometry)
        kernel: Any = {"direct": kernels.conv_weight_grad,
                       "depthwise": kernels.depthwise_weight_grad}[self.algorithm]
        return kernel(x, dy, self.window, *self.geometry)


def winograd_pays(x: np.ndarray | Deferred, weight: np.ndarray, stride: tuple[int, int],
                  dilation: tuple[int, int], groups: int) -> bool:
    """Whether a convolution, and its gradients, go by Winograd's F(4x4, 3x3) (Lavin & Gray 2016).

    For float32, 3x3 kernels with stride and dilation 1, one group, and channels in multiples of
    16: there it takes a third to two thirds of the direct kernel's time, with errors of a few
    1e-6 of the largest value. Not for images of less than one tile of 4x4, where most of it
    would be padding, and not with set_precision("high").
    """
    return (x.dtype == np.float32 and weight.shape[:2] == (3, 3) and groups == 1
            and stride == (1, 1) and dilation == (1, 1)
            and weight.shape[2] % 16 == 0 and weight.shape[3] % 16 == 0
            and x.shape[1] >= 4 and x.shape[2] >= 4 and get_precision() == "default")


def depthwise_fits(x: np.ndarray | Deferred, weight: np.ndarray, groups: int) -> bool:
    """Whether a convolution has a kernel for every channel that `kernels.depthwise_conv` takes."""
    kh, kw, _, channels = weight.shape
    return (x.dtype == np.float32 and groups == channels == x.shape[3] and channels % 16 == 0
            and kh * kw <= 64)


def pointwise_fits(x: NormOutput, weight: np.ndarray, stride: tuple[int, int],
                   padding: Padding, groups: int) -> bool:
    """Whether a convolution of a normalization is a product of pixels and weights that
    `kernels.pointwise_conv` takes; of an array, the direct kernel is as fast."""
    return (x.dtype == np.float32 and weight.shape[:2] == (1, 1)
            and stride == (1, 1) and padding == ((0, 0), (0, 0)) and groups == 1
            and weight.shape[2] % 16 == 0 and weight.shape[3] % 16 == 0)


def reads_through(x: NormOutput) -> bool:
    """Whether kernels that normalize what they read can take a normalization over."""
    return x.shortcut is None and not x.in_parts and x.shape[0] > 0


def conv(x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
         dilation: Any = 1, groups: int = 1) -> Tensor:
    """Convolve images x (N, H, W, C_in) with weight (KH, KW, C_in / groups, C_out), plus bias
    (C_out,), to (N, OH, OW, C_out).

        y[n, i, j, o] = bias[o] + sum over k, l, c of
                        x[n, i stride + k dilation - padding, j stride + ..., c] weight[k, l, c, o]
        OH = (H + 2 padding - dilation (KH - 1) - 1) // stride + 1

    Networks call this cross-correlation convolution. `stride` and `dilation` are ints or pairs;
    `padding`, with zeros, is an int, a pair, "valid" (none) or "same": the output then has
    ceil(size / stride) places per axis, the larger part of an odd padding at the end. Groups of
    channels are convolved apart. Which algorithm runs, see `set_precision`.

    ValueError for shapes that do not fit, TypeError for mixed dtypes or what is not float.

    >>> md.conv(md.ones((1, 3, 3, 1)), md.ones((2, 2, 1, 1)), padding="same")[0, :, :, 0]
    tensor([[4., 4., 2.],
            [4., 4., 2.],
            [2., 2., 1.]])
    """
    x, weight, b, groups = checked_operands("conv", x, weight, bias, groups)
    images, (kh, kw) = x.shape, weight.shape[:2]
    s, d = checks.pair(stride, "conv", "stride", 1), checks.pair(dilation, "conv", "dilation", 1)
    p = resolve_padding(padding, images[1:3], (kh, kw), s, d)
    for name, size, (before, after), extent in (
            ("height", images[1], p[0], d[0] * (kh - 1) + 1),
            ("width", images[2], p[1], d[1] * (kw - 1) + 1)):
        if size + before + after < extent:
            raise ValueError(f"conv: the {name} of x {images} with padding {(before, after)} is "
                             f"smaller than the kernel's {extent}")
    return Conv.apply(x, weight, b, stride=s, padding=p, dilation=d, groups=groups)


def checked_operands(where: str, x: Any, weight: Any, bias: Any, groups: Any
                     ) -> tuple[Tensor, Tensor, Tensor | None, int]:
    """Images, weight and bias as tensors that fit each other, and groups as an int."""
    x, weight = float_tensor(x, where), float_tensor(weight, where, "weight")
    b = None if bias is None else float_tensor(bias, where, "bias")
    if weight.dtype is not x.dtype or b is not None:
        same_float(where, x=x, weight=weight, bias=b)
    images, filters = x.shape, weight.shape
    if len(images) != 4:
        raise ValueError(f"{where}: x must be images (N, H, W, C), got shape {images}")
    if len(filters) != 4:
        raise ValueError(f"{where}: weight must be (KH, KW, C_in / groups, C_out), "
                         f"got shape {filters}")
    if 0 in filters:
        raise ValueError(f"{where}: weight has an empty axis: {filters}")
    groups = checks.size(groups, where, "groups")
    ci, co = filters[2:]
    if images[3] != ci * groups:
        raise ValueError(f"{where}: x has {images[3]} channels, but weight {filters} with "
                         f"groups={groups} expects {ci * groups}")
    if co % groups:
        raise ValueError(f"{where}: {co} output channels do not divide into {groups} groups")
    if b is not None and b.shape != (co,):
        raise ValueError(f"{where}: bias must have shape ({co},), got {b.shape}")
    return x, weight, b, groups


def resolve_padding(padding: Any, size: tuple[int, ...], kernel: tuple[int, int],
                    stride: tuple[int, int], dilation: tuple[int, int]) -> Padding:
    """Padding as ((top, bottom), (left, right))."""
    if isinstance(padding, str):
        if padding == "valid":
            return (0, 0), (0, 0)
        if padding != "same":
            raise ValueError(f'conv: padding must be an int, a pair, "same" or "valid", '
                             f'got {padding!r}')
        result = []
        for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
            total = max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
            result.append((total // 2, total - total // 2))
        return result[0], result[1]
    ph, pw = checks.pair(padding, "conv", "padding", 0)
    return (ph, ph), (pw, pw)
