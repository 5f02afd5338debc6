"""Convolution and transposed convolution, as layers where their weights are parameters, and as
functions where they are computed."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import nn, ops
from ...tensor import Tensor
from ..steps import FLOATS, Operator, Step, refuse
from ..values import Held, held_last
from .geometry import Pads, as_before, as_images, check_window, explicit, kernel_of, paddings, pair

ATTRIBUTES = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


def _check(step: Step) -> None:
    check_window(step, kernel_of(step))


def _check_transpose(step: Step) -> None:
    _check(step)
    kernel = kernel_of(step)
    refuse(step, None in kernel, "a kernel whose size the file does not tell is not supported")
    strides, dilations = step.get("strides"), step.get("dilations")
    extra = step.get("output_padding") or (0,) * len(kernel)
    for e, s, d in zip(
        extra, strides or (1,) * len(kernel), dilations or (1,) * len(kernel), strict=True
    ):
        refuse(
            step,
            e >= max(s, d),
            f"output_padding {tuple(extra)} that is not less than stride "
            f"or dilation is not supported",
        )


def conv_layer(step: Step, weight: np.ndarray, bias: np.ndarray | None) -> Any:
    """The layer for a Conv of these weights (as minidl has them). The padding of SAME_LOWER, which
    no layer has, is left to `run_conv_layer`."""
    count = len(kernel_of(step))
    groups, word = step.get("group", 1), step.get("auto_pad", "NOTSET")
    padding = {"NOTSET": explicit(step), "SAME_UPPER": "same"}.get(word, "valid")
    kh, kw, ci, co = weight.shape
    layer = nn.Conv(
        ci * groups,
        co,
        (kh, kw),
        pair(step.get("strides"), count),
        padding,
        pair(step.get("dilations"), count),
        groups,
        bias is not None,
    )
    return _filled(layer, weight, bias)


def _filled(layer: Any, weight: np.ndarray, bias: np.ndarray | None) -> Any:
    layer.weight = nn.Parameter(weight)
    if bias is not None:
        layer.bias = nn.Parameter(bias)
    return layer


def run_conv_layer(step: Step, layer: Any, x: Held) -> Held:
    images = as_images(x.last)
    if step.get("auto_pad") == "SAME_LOWER":
        window = (layer.kernel_size, layer.stride, layer.dilation)
        pads = paddings(step, images.shape[1:3], *window)
        images = ops.pad(images, ((0, 0), *pads, (0, 0)))
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
    y = ops.conv(
        images,
        w,
        None if bias is None else bias.plain,
        strides,
        pads,
        dilations,
        step.get("group", 1),
    )
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
    """Strides, dilations and output_padding, each as a pair."""
    extra = step.get("output_padding") or (0,) * count
    return (
        pair(step.get("strides"), count),
        pair(step.get("dilations"), count),
        (0, extra[0]) if count == 1 else (extra[0], extra[1]),
    )


def _depends_on_images(step: Step) -> bool:
    """Whether the padding follows from the size of the images, so that no layer has it."""
    return step.get("output_shape") is not None or step.get("auto_pad") in (
        "SAME_UPPER",
        "SAME_LOWER",
    )


def _transposed_pads(
    step: Step, images: tuple[int, ...], kernel: tuple[int, ...], count: int
) -> tuple[Pads, tuple[int, ...]]:
    """What is cut off before and after each axis, and what is added at its end."""
    strides, dilations, extra = _sizes(step, count)
    if not _depends_on_images(step):
        return paddings(step, images, kernel, strides, dilations), extra
    wanted = step.get("output_shape")
    sizes = (
        [n * s for n, s in zip(images, strides, strict=True)]
        if wanted is None
        else pair(wanted[-count:], count)
    )
    cut, added = [], []
    for size, n, s, d, k, e in zip(sizes, images, strides, dilations, kernel, extra, strict=True):
        total = (n - 1) * s + d * (k - 1) + 1 + e - size
        less, more = max(total, 0) // 2, -(-max(total, 0) // 2)
        cut.append((less, more) if step.get("auto_pad") == "SAME_UPPER" else (more, less))
        added.append(e + max(-total, 0))  # an output larger than the kernel reaches has zeros
    return tuple(cut), tuple(added)


def _transposed(
    step: Step, x: Held, kernel: tuple[int, int], bias: Tensor | None, convolve: Any
) -> Held:
    """`convolve(images, padding, output_padding)`, and the bias. An output_padding that is not less
    than stride or dilation, which no convolution takes, is added as zeros."""
    images, count = as_images(x.last), x.ndim - 2
    cut, added = _transposed_pads(step, images.shape[1:3], kernel, count)
    zeros = tuple(
        [0 if a < max(s, d) else a for a, s, d in zip(added, *_sizes(step, count)[:2], strict=True)]
    )
    y = convolve(images, cut, tuple([a - z for a, z in zip(added, zeros, strict=True)]))
    if any(zeros):
        y = ops.pad(y, ((0, 0), *((0, z) for z in zeros), (0, 0)))
    return held_last(as_before(y if bias is None else y + bias, x.ndim))


def transpose_layer(step: Step, weight: np.ndarray, bias: np.ndarray | None) -> Any:
    """The layer for a ConvTranspose. A padding that depends on the size of the images is left to
    `run_transpose_layer`."""
    kh, kw, ci, co = weight.shape
    groups = step.get("group", 1)
    strides, dilations, extra = _sizes(step, len(kernel_of(step)))
    padding = explicit(step) if step.get("auto_pad", "NOTSET") == "NOTSET" else 0
    if _depends_on_images(step):
        padding, extra = 0, (0, 0)
    layer = nn.ConvTranspose(
        ci * groups, co, (kh, kw), strides, padding, extra, groups, bias is not None, dilations
    )
    return _filled(layer, weight, bias)


def run_transpose_layer(step: Step, layer: Any, x: Held) -> Held:
    if not _depends_on_images(step) or not isinstance(layer, nn.ConvTranspose):
        return held_last(as_before(layer(as_images(x.last)), x.ndim))

    def convolve(images: Tensor, padding: Any, extra: Any) -> Tensor:
        return ops.conv_transpose(
            images,
            layer.effective_weight(),
            None,
            layer.stride,
            padding,
            extra,
            layer.groups,
            layer.dilation,
        )

    return _transposed(step, x, layer.kernel_size, layer.bias, convolve)


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

    return _transposed(step, x, (kh, kw), None if bias is None else bias.plain, convolve)


CONVOLUTION = {
    "Conv": Operator(conv, ATTRIBUTES, FLOATS, _check, "images"),
    "ConvTranspose": Operator(
        conv_transpose,
        (*ATTRIBUTES, "output_padding", "output_shape"),
        FLOATS,
        _check_transpose,
        "images",
    ),
}
