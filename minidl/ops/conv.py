"""Convolution of NHWC images with HWIO weights."""

from __future__ import annotations

import functools
from functools import partial
from typing import Any

import numpy as np

from .. import checks, kernels
from ..hints import for_newcomers
from ..kernels.choose import Padding, conv_algorithm, reading_family
from ..lazy import NOTHING, Epilogue, Lazy, computed
from ..settings import get_precision
from ..tensor import Tensor
from .common import float_tensor, same_float
from .geometry import KINDS, Sides, extents, sides
from .inference import read_only, winograd_weights
from .norm import BatchNorm, PendingGradient
from .operation import Producer
from .pool import Unpooled, unpooled


class Conv(Producer):
    """y[n,i,j,o] = b[o] + sum x[n, i s + k d - p, j s + l d - p, c] w[k,l,c,o].

    dx is the transposed convolution of dy with w; dw correlates x with dy; db = sum(dy).

    1x1 and depthwise convolutions can normalize x while they read it, if x is the Lazy of a
    normalization, and compute the gradients of both in one pass (`_extend`, `chain_backward`).
    Winograd's gradients can read dy through a max-pool, without its zeros being written.
    """

    _takes_lazy_grads = True
    x: np.ndarray | None = None
    algorithm: str  # "direct", "winograd" or "depthwise"
    geometry: tuple[Any, ...]  # the stride, padding etc. that the algorithm's kernels take
    through: Lazy | None = None  # the normalization that was computed while it was read
    reader: tuple[str, tuple[Any, ...]]  # the family of kernels that did so, and their geometry

    def forward(
        self,
        x: np.ndarray,
        weight: np.ndarray,
        bias: np.ndarray | None,
        stride: tuple[int, int],
        padding: Padding,
        dilation: tuple[int, int],
        groups: int,
    ) -> Any:
        self._choose(x, weight, stride, padding, dilation, groups)
        self.x = x if self.needs_grad[1] else None
        self.winners: list[np.ndarray] = []  # argmax of a max-pool that its pass has computed
        constant = True not in self.needs_grad and read_only(weight, bias)
        winograd = self.algorithm == "winograd"
        run = partial(convolved, self.algorithm, self.geometry, self.winners, constant, x)
        if not winograd and not constant:
            return run(weight, bias, NOTHING)
        if not constant:  # the weights may be written to before the Lazy is computed
            weight, bias = weight.copy(), None if bias is None else bias.copy()
        self.out_shape = (
            x.shape[0],
            *(
                (n + sum(p) - d * (k - 1) - 1) // s + 1
                for n, p, d, k, s in zip(
                    x.shape[1:3], padding, dilation, weight.shape[:2], stride, strict=True
                )
            ),
            weight.shape[3],
        )
        self.run = partial(run, weight, bias)
        return Lazy(
            self.run,
            self.out_shape,
            x.dtype,
            takes=(*(("residual", "relu") if constant else ()), *(("pool",) if winograd else ())),
        )

    def _extend(
        self,
        x: Lazy,
        weight: np.ndarray,
        bias: np.ndarray | None,
        stride: tuple[int, int],
        padding: Padding,
        dilation: tuple[int, int],
        groups: int,
    ) -> Any:
        if bias is not None or x.source is None or x.epilogue.residual is not None:
            return None
        family = reading_family(x.shape, x.dtype, weight.shape, stride, padding, groups)
        if family is None or x.epilogue.pool or x.epilogue.curve:
            return None
        # The kernels that compute only one of the gradients need the algorithm too.
        self._choose(x, weight, stride, padding, dilation, groups)
        self.through = x
        self.reader = family, self.geometry if family == "depthwise" else ()
        values, factors = x.source
        # In training a normalization is likely to follow, which needs the statistics of y.
        stats = True in self.needs_grad
        y = getattr(kernels, f"{family}_conv")(
            values, weight, *self.reader[1], factors=factors, relu=x.epilogue.relu, stats=stats
        )
        if stats:
            y, mean, var = y
            self._statistics = mean, var
        return y

    def _choose(
        self,
        x: np.ndarray | Lazy,
        weight: np.ndarray,
        stride: tuple[int, int],
        padding: Padding,
        dilation: tuple[int, int],
        groups: int,
    ) -> None:
        """Choose the algorithm and its geometry, and keep what all backwards need."""
        self.weight = weight if self.needs_grad[0] else None
        self.shape, self.window = x.shape, weight.shape[:2]
        self.algorithm = conv_algorithm(
            x.shape, x.dtype, weight.shape, stride, dilation, groups, get_precision()
        )
        if self.algorithm == "direct":
            self.geometry = (stride, padding, dilation, groups)
        elif self.algorithm == "winograd":
            self.geometry = (padding,)
        else:
            self.geometry = (stride, padding, dilation)

    def backward(self, dy: Any) -> tuple[Any, ...]:
        if self.through is not None and self.needs_grad[0] and self.needs_grad[1]:
            return (*self._backward_through(self.through, dy)[:2], None)
        dx = dw = db = None
        geometry = self.geometry
        if self.algorithm == "winograd" and type(dy) is Lazy and type(dy.source) is Unpooled:
            dy, argmax = dy.source
            geometry = *geometry, argmax
        else:
            dy = computed(dy)
        if self.needs_grad[0]:
            dx = self._input_grad(dy, geometry)
        if self.needs_grad[1]:
            x = self.x if self.through is None else self.through.compute()
            assert x is not None
            dw = self._weight_grad(x, dy, geometry)
        if self.needs_grad[2]:
            db = kernels.sum(dy.reshape(1, -1, dy.shape[-1])).reshape(-1)
        return dx, dw, db

    def epilogue_backward(
        self, dy: Any, dy2: np.ndarray | None, epilogue: Epilogue
    ) -> tuple[Any, ...]:
        """The gradients after a max-pool. Its pass has noted the winners; it runs now if nobody has
        asked for its values."""
        assert epilogue.pool
        if dy2 is not None:
            dy = kernels.add(dy, dy2)
        if not self.winners:
            self.run(epilogue)
        return self.backward(unpooled(dy, self.winners[0], self.out_shape))

    def chain_backward(self, dy: Any, dy2: np.ndarray | None) -> tuple[Any, ...]:
        """The gradients of the normalization that was read through, then the convolution's own."""
        norm, through = self._chain[0], self.through
        assert isinstance(norm, BatchNorm) and through is not None
        if dy2 is not None:
            dy = kernels.add(computed(dy), dy2)
        if not self.needs_grad[1]:
            dx, *own = self.backward(dy)
            return (*norm.epilogue_backward(dx, None, through.epilogue), *own)
        dx, dw, sums = self._backward_through(through, dy)
        return (*norm.from_sums(dx, sums, through.epilogue.relu), dw, None)

    def _backward_through(self, x: Lazy, dy: Any) -> tuple[Any, ...]:
        """dx, dw, and the sums of dx that the backward of the normalization before needs. x is the
        Lazy of that normalization. dy may be a PendingGradient, the gradient of the normalization
        after, which the kernel then computes while it reads it."""
        consumer = None
        if type(dy) is Lazy and type(dy.source) is PendingGradient:
            dy, *rest = dy.source
            consumer = tuple(rest)
        dy = computed(dy)
        values, factors = x.source
        family, geometry = self.reader
        return getattr(kernels, f"{family}_backward")(
            dy,
            values,
            self.weight,
            *geometry,
            factors=factors,
            relu=x.epilogue.relu,
            consumer=consumer,
        )

    def _input_grad(self, dy: np.ndarray, geometry: tuple[Any, ...]) -> np.ndarray:
        kernel: Any = {
            "direct": kernels.conv_input_grad,
            "winograd": kernels.winograd_input_grad,
            "depthwise": kernels.depthwise_input_grad,
        }[self.algorithm]
        return kernel(dy, self.weight, self.shape, *geometry)

    def _weight_grad(self, x: np.ndarray, dy: np.ndarray, geometry: tuple[Any, ...]) -> np.ndarray:
        if self.algorithm == "winograd":
            return kernels.winograd_weight_grad(x, dy, *geometry)
        kernel: Any = {
            "direct": kernels.conv_weight_grad,
            "depthwise": kernels.depthwise_weight_grad,
        }[self.algorithm]
        return kernel(x, dy, self.window, *geometry)


def convolved(
    algorithm: str,
    geometry: tuple[Any, ...],
    winners: list[np.ndarray],
    constant: bool,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    epilogue: Epilogue,
) -> np.ndarray:
    """The output of a convolution after its epilogue. If that pools, the argmax of the windows is
    put into `winners`. With `constant` weights their transform is kept for the next call."""
    residual, relu = epilogue.residual, epilogue.relu
    kernel: Any = kernels.conv
    if algorithm == "direct":
        return kernel(x, weight, bias, *geometry, residual, relu)
    if algorithm == "depthwise":
        kernel = kernels.depthwise_conv
        return kernel(x, weight, *geometry, bias=bias, residual=residual, relu_out=relu)
    transformed = winograd_weights(weight) if constant else None
    if epilogue.pool:
        kernel = kernels.winograd_conv_pool
        y, argmax = kernel(x, weight, *geometry, bias, relu, transformed)
        winners[:] = [argmax]
        return y
    kernel = kernels.winograd_conv
    return kernel(x, weight, *geometry, bias, residual, relu, transformed)


@for_newcomers
def conv(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve images x (N, H, W, C_in) with weight (KH, KW, C_in / groups, C_out), plus bias
    (C_out,), to (N, OH, OW, C_out).

        y[n, i, j, o] = bias[o] + sum over k, l, c of
                        x[n, i stride + k dilation - padding, j stride + ..., c] weight[k, l, c, o]
        OH = (H + 2 padding - dilation (KH - 1) - 1) // stride + 1

    Networks call this cross-correlation convolution. `stride` and `dilation` are ints or pairs;
    `padding`, with zeros, is an int, a pair, ((top, bottom), (left, right)), "valid" (none) or
    "same": the output then has ceil(size / stride) places per axis, and the larger part of an odd
    padding is at the end. Each group of channels is convolved with its own weights.
    `set_precision` says which algorithm runs.

    ValueError for shapes that do not fit, TypeError for mixed dtypes or what is not float.

    >>> md.conv(md.ones((1, 3, 3, 1)), md.ones((2, 2, 1, 1)), padding="same")[0, :, :, 0]
    tensor([[4., 4., 2.],
            [4., 4., 2.],
            [2., 2., 1.]])
    """
    x, weight, b, groups = checked_operands("conv", x, weight, bias, groups)
    s = checks.pair(stride, "conv", "stride", 1)
    d = checks.pair(dilation, "conv", "dilation", 1)
    padding = checks.padding(padding, "conv", "padding")
    p = resolve_padding("conv", padding, x._shape, weight._shape[:2], s, d)
    return Conv.apply(x, weight, b, stride=s, padding=p, dilation=d, groups=groups)


def checked_operands(
    where: str, x: Any, weight: Any, bias: Any, groups: Any, axes: int = 4
) -> tuple[Tensor, Tensor, Tensor | None, int]:
    """Images (or sequences, if `axes` is 3), weight and bias as tensors that fit each other, and
    groups as an int."""
    if _fit(x, weight, bias, groups, axes):
        return x, weight, bias, groups
    x, weight = float_tensor(x, where), float_tensor(weight, where, "weight")
    b = None if bias is None else float_tensor(bias, where, "bias")
    if weight.dtype is not x.dtype or b is not None:
        same_float(where, x=x, weight=weight, bias=b)
    images, filters = x.shape, weight.shape
    if len(images) != axes:
        raise ValueError(f"{where}: x must be {KINDS[axes]}, got shape {images}")
    if len(filters) != axes:
        taps = "KH, KW" if axes == 4 else "K"
        raise ValueError(
            f"{where}: weight must be ({taps}, C_in / groups, C_out), got shape {filters}"
        )
    if 0 in filters:
        raise ValueError(f"{where}: weight has an empty axis: {filters}")
    groups = checks.size(groups, where, "groups")
    ci, co = filters[-2:]
    if images[-1] != ci * groups:
        raise ValueError(
            f"{where}: x has {images[-1]} channels, but weight {filters} with "
            f"groups={groups} expects {ci * groups}"
        )
    if co % groups:
        raise ValueError(f"{where}: {co} output channels do not divide into {groups} groups")
    if b is not None and b.shape != (co,):
        raise ValueError(f"{where}: bias must have shape ({co},), got {b.shape}")
    return x, weight, b, groups


def _fit(x: Any, weight: Any, bias: Any, groups: Any, axes: int) -> bool:
    """Whether operands are as they nearly always are. This is quick; `checked_operands` finds out
    the rest."""
    if not (isinstance(x, Tensor) and isinstance(weight, Tensor) and type(groups) is int):
        return False
    filters, dtype = weight._shape, weight._dtype
    return (
        dtype.char in "fd"
        and x._dtype is dtype
        and len(x._shape) == len(filters) == axes
        and 0 not in filters
        and groups > 0
        and x._shape[-1] == filters[-2] * groups
        and filters[-1] % groups == 0
        and (
            bias is None
            or (isinstance(bias, Tensor) and bias._dtype is dtype and bias._shape == filters[-1:])
        )
    )


@functools.lru_cache(1024)
def resolve_padding(
    where: str,
    padding: Any,
    images: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Any:
    """Padding as (before, after) of each axis; ValueError if the kernel is larger than the padded
    images."""
    extent, sizes = extents(kernel, dilation), images[1:-1]
    padded: Sides = sides(padding, sizes, extent, stride)
    names = ("height", "width") if len(kernel) == 2 else ("length",)
    for name, size, around, needed in zip(names, sizes, padded, extent, strict=True):
        if size + sum(around) < needed:
            raise ValueError(
                f"{where}: the {name} of x {images} with padding {around} is "
                f"smaller than the kernel's {needed}"
            )
    return padded
