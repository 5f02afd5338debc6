"""Convolution and transposed convolution, as layers where their weights are parameters, and as
functions where they are computed."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import nn, ops
from ...tensor import Tensor
from ..steps import FLOATS, Operator, Step, refuse
from ..values import Held, held_last
from .geometry import (
    as_before,
    as_images,
    check_padding,
    check_window,
    even,
    explicit,
    kernel_of,
    padded,
    paddings,
    pair,
    uneven,
)

ATTRIBUTES = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


def _check(step: Step) -> None:
    kernel = kernel_of(step)
    refuse(step, kernel is None, "a kernel whose size the file does not tell is not supported")
    check_window(step, kernel)
    check_padding(step)
    step.attributes["uneven"] = uneven(step, len(kernel))


def _check_transpose(step: Step) -> None:
    _check(step)
    kernel = kernel_of(step)
    refuse(step, None in kernel, "a kernel whose size the file does not tell is not supported")
    strides, dilations = step.get("strides"), step.get("dilations")
    extra = step.get("output_padding") or (0,) * len(kernel)
    for e, s, d in zip(extra, strides or (1,) * len(kernel), dilations or (1,) * len(kernel),
                       strict=True):
        refuse(step, e >= max(s, d), f"output_padding {tuple(extra)} that is not less than stride "
               f"or dilation is not supported")


def conv_layer(step: Step, weight: np.ndarray, bias: np.ndarray | None) -> Any:
    """The layer for a Conv of these weights (as minidl has them); uneven padding is made before."""
    count = 2 if kernel_of(step) is None else len(kernel_of(step))
    groups, word = step.get("group", 1), step.get("auto_pad", "NOTSET")
    padding: Any = 0
    if word == "SAME_UPPER":
        padding = "same"
    elif word == "NOTSET" and even(explicit(step, count)):
        before = tuple([p[0] for p in explicit(step, count)])
        padding = before if count == 2 else (0, *before)
    kh, kw, ci, co = weight.shape
    layer = nn.Conv(ci * groups, co, (kh, kw), pair(step.get("strides"), count), padding,
                    pair(step.get("dilations"), count), groups, bias is not None)
    return _filled(layer, weight, bias)


def _filled(layer: Any, weight: np.ndarray, bias: np.ndarray | None) -> Any:
    layer.weight = nn.Parameter(weight)
    if bias is not None:
        layer.bias = nn.Parameter(bias)
    return layer


def run_conv_layer(step: Step, layer: Any, x: Held) -> Held:
    images = as_images(x.last)
    if step.attributes["uneven"]:
        window = (layer.kernel_size, layer.stride, layer.dilation)
        images = padded(images, paddings(step, images.shape[1:3], *window))
    return held_last(as_before(layer(images), x.ndim))


def conv(step: Step, x: Held, weight: Held, bias: Held | None = None) -> Held:
    w = weight.plain
    count = w.ndim - 2
    if count == 1:
        w = ops.expand_dims(w, 2)
    w = ops.transpose(w, (2, 3, 1, 0))
    strides, dilations = pair(step.get("strides"), count), pair(step.get("dilations"), count)
    images = as_images(x.last)
    pads = paddings(step, images.shape[1:3], w.shape[:2], strides, dilations)
    y = ops.conv(padded(images, pads), w, None if bias is None else bias.plain, strides, 0,
                 dilations, step.get("group", 1))
    return held_last(as_before(y, x.ndim))


# ------------------------------------------------------------------------ transposed convolution

def transposed_weights(weight: np.ndarray, groups: int) -> np.ndarray:
    """Weights (in, out / groups, ...) as (KH, KW, in / groups, out)."""
    if weight.ndim == 3:
        weight = weight[:, :, None]
    ci, co, kh, kw = weight.shape
    parts = weight.reshape(groups, ci // groups, co, kh, kw).transpose(3, 4, 1, 0, 2)
    return np.ascontiguousarray(parts).reshape(kh, kw, ci // groups, groups * co)


def _sizes(step: Step, count: int) -> tuple[tuple[int, int], ...]:
    """Strides, dilations and output_padding."""
    return (pair(step.get("strides"), count), pair(step.get("dilations"), count),
            _padding(step.get("output_padding") or (0,) * count))


def _padding(values: Any) -> tuple[int, int]:
    """Paddings of one or two axes as a pair: none along the axis that there is not."""
    return (0, values[0]) if len(values) == 1 else (values[0], values[1])


def _transposed_pads(step: Step, images: tuple[int, ...], kernel: tuple[int, ...], count: int
                     ) -> tuple[list[tuple[int, int]], list[int]]:
    """What is cut off before and after each axis, and the padding that is added at its end."""
    strides, dilations, extra = _sizes(step, count)
    word, wanted = step.get("auto_pad", "NOTSET"), step.get("output_shape")
    full = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in
            zip(images, strides, dilations, kernel, strict=True)]
    if wanted is None and word not in ("SAME_UPPER", "SAME_LOWER"):
        pads = paddings(step, images, kernel, strides, dilations)
        return list(pads), list(extra)
    sizes = ([n * s for n, s in zip(images, strides, strict=True)] if wanted is None else
             list(pair(wanted[-count:], count)))
    cut, added = [], []
    for size, n, e in zip(sizes, full, extra, strict=True):
        total = n + e - size
        if total < 0:           # the output is larger than what the kernel reaches: zeros
            cut.append((0, 0))
            added.append(e - total)
            continue
        less = total // 2
        cut.append((less, total - less) if word == "SAME_UPPER" else (total - less, less))
        added.append(e)
    return cut, added


def _transposed(step: Step, x: Tensor, ndim: int, kernel: tuple[int, int], bias: Any,
                convolve: Any) -> Held:
    """`convolve(x, padding, output_padding)` with what is uneven cut off, or added, afterwards."""
    cut, added = _transposed_pads(step, x.shape[1:3], kernel, ndim - 2)
    strides, dilations, _ = _sizes(step, ndim - 2)
    if even(tuple(cut)) and all(a < max(s, d) for a, s, d in
                                zip(added, strides, dilations, strict=True)):
        y = convolve(x, tuple([before for before, _ in cut]), tuple(added))
        return held_last(as_before(y if bias is None else y + bias, ndim))
    y = convolve(x, (0, 0), (0, 0))
    for axis, ((before, after), more) in enumerate(zip(cut, added, strict=True), 1):
        if more:
            y = ops.pad(y, [(0, more if a == axis else 0) for a in range(4)])
        end = y.shape[axis] - after
        y = y[(slice(None),) * axis + (slice(before, end),)]
    return held_last(as_before(y if bias is None else y + bias, ndim))


def transpose_layer(step: Step, weight: np.ndarray, bias: np.ndarray | None) -> Any:
    """The layer for a ConvTranspose. Its padding is that of `run_transpose_layer`."""
    count = len(kernel_of(step))
    kh, kw, ci, co = weight.shape
    groups = step.get("group", 1)
    strides, dilations, extra = _sizes(step, count)
    cut = explicit(step, count) if step.get("auto_pad", "NOTSET") == "NOTSET" else ((0, 0),)
    plain = step.get("output_shape") is None and even(cut)
    padding = _padding([before for before, _ in cut]) if plain else 0
    layer = nn.ConvTranspose(ci * groups, co, (kh, kw), strides, padding, extra if plain else 0,
                             groups, bias is not None, dilations)
    return _filled(layer, weight, bias)


def run_transpose_layer(step: Step, layer: Any, x: Held) -> Held:
    images = as_images(x.last)
    apart = (step.get("output_shape") is not None or step.attributes["uneven"]
             or step.get("auto_pad") == "SAME_UPPER")
    if not apart or not isinstance(layer, nn.ConvTranspose):
        return held_last(as_before(layer(images), x.ndim))

    def convolve(images: Tensor, padding: Any, extra: Any) -> Tensor:
        return ops.conv_transpose(images, layer.effective_weight(), None, layer.stride, padding,
                                  extra, layer.groups, layer.dilation)

    return _transposed(step, images, x.ndim, layer.kernel_size, layer.bias, convolve)


def conv_transpose(step: Step, x: Held, weight: Held, bias: Held | None = None) -> Held:
    w, groups = weight.plain, step.get("group", 1)
    count = w.ndim - 2
    if count == 1:
        w = ops.expand_dims(w, 2)
    ci, co, kh, kw = w.shape
    w = ops.reshape(w, (groups, ci // groups, co, kh, kw))
    w = ops.reshape(ops.transpose(w, (3, 4, 1, 0, 2)), (kh, kw, ci // groups, groups * co))
    strides, dilations, _ = _sizes(step, count)

    def convolve(images: Tensor, padding: Any, extra: Any) -> Tensor:
        return ops.conv_transpose(images, w, None, strides, padding, extra, groups, dilations)

    return _transposed(step, as_images(x.last), x.ndim, (kh, kw),
                       None if bias is None else bias.plain, convolve)


CONVOLUTION = {
    "Conv": Operator(conv, ATTRIBUTES, FLOATS, _check, "images"),
    "ConvTranspose": Operator(conv_transpose, (*ATTRIBUTES, "output_padding", "output_shape"),
                              FLOATS, _check_transpose, "images"),
}
