"""Kernels, strides and paddings of convolutions and pools, as the attributes of a node give them.
Sequences (N, C, T) are treated as images of height 1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import ops
from ...tensor import Tensor
from ..steps import Step, refuse

Pads = tuple[tuple[int, int], ...]


def check_window(step: Step, kernel: Any) -> None:
    """Refuse windows of no known size or of more than two axes, and paddings that minidl has no
    counterpart of. ValueError for attributes that are not as long as the window has axes."""
    refuse(step, kernel is None, "a kernel whose size the file does not tell is not supported")
    refuse(
        step,
        len(kernel) not in (1, 2),
        f"a kernel of {len(kernel)} axes is not supported, only of 1 or 2",
    )
    word = step.get("auto_pad", "NOTSET")
    refuse(
        step,
        word not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"),
        f"auto_pad={word!r} is not supported",
    )
    refuse(step, any(p < 0 for p in step.get("pads", ())), "negative pads are not supported")
    for name, count in (
        ("kernel_shape", 1),
        ("strides", 1),
        ("dilations", 1),
        ("pads", 2),
        ("output_padding", 1),
    ):
        given = step.get(name)
        if given and len(given) != count * len(kernel):
            raise ValueError(
                f"{step.operator} of node {step.name!r}: {name} must have "
                f"{count * len(kernel)} numbers, got {given}"
            )


def pair(values: Any, count: int) -> tuple[int, int]:
    """An attribute of one or two axes as a pair; None is a pair of ones."""
    given = tuple(values) if values is not None else (1,) * count
    return (1, given[0]) if len(given) == 1 else (given[0], given[1])


def explicit(step: Step) -> Pads:
    """((top, bottom), (left, right)) as the attribute pads gives it; zeros without one."""
    pads = tuple(step.get("pads") or (0,) * 4)
    count = len(pads) // 2
    given = tuple(zip(pads[:count], pads[count:], strict=True))
    return ((0, 0),) * (2 - count) + given


def paddings(
    step: Step,
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> Pads:
    """((before, after), ...) for images of these sizes."""
    word = step.get("auto_pad", "NOTSET")
    if word == "VALID":
        return ((0, 0),) * len(sizes)
    if word == "NOTSET":
        return explicit(step)
    pads = []
    for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = max(0, (math.ceil(n / s) - 1) * s + d * (k - 1) + 1 - n)
        less = total // 2
        pads.append((less, total - less) if word == "SAME_UPPER" else (total - less, less))
    return tuple(pads)


def as_images(x: Tensor) -> Tensor:
    """Sequences (N, T, C) as images of height 1; images as they are."""
    return ops.expand_dims(x, 1) if x.ndim == 3 else x


def as_before(y: Tensor, ndim: int) -> Tensor:
    """The inverse of `as_images` for a value that had `ndim` axes."""
    return ops.squeeze(y, 1) if ndim == 3 else y


def kernel_of(step: Step, weight: int = 1) -> Any:
    """The sizes of a kernel, from the attribute or else from the weights, input number `weight`.
    None if the file does not tell them."""
    given = step.get("kernel_shape")
    shape = step.shapes[weight] if len(step.shapes) > weight else None
    return shape[2:] if given is None and shape is not None else given


def weights_last(weight: np.ndarray) -> np.ndarray:
    """Weights (out, in, ...) as (KH, KW, in, out)."""
    if weight.ndim == 3:
        weight = weight[:, :, None]
    return np.ascontiguousarray(weight.transpose(2, 3, 1, 0))
