"""Pools of images and sequences: the largest value, mean or p-norm of windows, or of all places."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import ops
from ...tensor import Tensor
from ..steps import FLOATS, Operator, Step, refuse
from ..values import Held, held_last
from .geometry import (
    Pads,
    as_before,
    as_images,
    check_padding,
    check_window,
    even,
    padded,
    paddings,
    pair,
)

ATTRIBUTES = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")
Window = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def _check(step: Step) -> None:
    check_window(step, step.get("kernel_shape"))
    check_padding(step)
    refuse(step, step.makes(1), "the places of the largest values (output Indices) are not "
           "supported")


def _window(step: Step, images: Tensor, count: int) -> tuple[Window, Pads]:
    """(kernel, strides, dilations) and what has to be padded; with ceil_mode also what the last
    windows reach beyond the end."""
    kernel = pair(step.get("kernel_shape"), count)
    strides, dilations = pair(step.get("strides"), count), pair(step.get("dilations"), count)
    sizes = images.shape[1:3]
    pads = paddings(step, sizes, kernel, strides, dilations)
    if step.get("ceil_mode", 0) and step.get("auto_pad", "NOTSET") == "NOTSET":
        longer = []
        for n, (before, after), k, s, d in zip(sizes, pads, kernel, strides, dilations,
                                               strict=True):
            extent = d * (k - 1) + 1
            rest = n + before + after - extent
            windows = math.ceil(rest / s) + 1
            if (windows - 1) * s >= n + before:     # the last one would begin in the padding
                windows -= 1
            longer.append((before, max(after, (windows - 1) * s + extent - n - before)))
        pads = tuple(longer)
    return (kernel, strides, dilations), pads


def _spread(x: Tensor, window: Window) -> tuple[Tensor, tuple[int, int], tuple[int, int]]:
    """Images for a pool without dilation: where windows leave places out, those that they take are
    put side by side. With them kernel and stride."""
    kernel, strides, dilations = window
    for axis in range(2):
        k, s, d = kernel[axis], strides[axis], dilations[axis]
        if d > 1 and k > 1:
            count = (x.shape[1 + axis] - d * (k - 1) - 1) // s + 1
            places = (np.arange(count)[:, None] * s + np.arange(k) * d).ravel()
            x = x[(slice(None),) * (1 + axis) + (places,)]
    return x, kernel, tuple([k if d > 1 and k > 1 else s for k, s, d in
                             zip(kernel, strides, dilations, strict=True)])  # type: ignore


def _pooled(pool: Any, x: Tensor, window: Window, pads: Pads, value: float) -> Tensor:
    kernel, strides, dilations = window
    fits = all(2 * before <= k for (before, _), k in zip(pads, kernel, strict=True))
    if max(dilations) == 1 and even(pads) and fits:
        return pool(x, kernel, strides, tuple([before for before, _ in pads]))
    return pool(*_spread(padded(x, pads, value), window))


def _max_pool(step: Step, x: Held) -> Held:
    images = as_images(x.last)
    window, pads = _window(step, images, x.ndim - 2)
    return held_last(as_before(_pooled(ops.max_pool, images, window, pads, -np.inf), x.ndim))


def _average_pool(step: Step, x: Held) -> Held:
    """The mean of the places inside of the image, or with count_include_pad of the padding too; but
    never of what a last window has beyond the padding."""
    images = as_images(x.last)
    window, pads = _window(step, images, x.ndim - 2)
    given = paddings(step, images.shape[1:3], *window)
    y = _pooled(ops.avg_pool, images, window, pads, 0.0)
    counted = pads if given == pads and step.get("count_include_pad", 0) else ((0, 0),) * 2
    if counted != pads:
        inside = np.ones((1, *images.shape[1:3], 1), images.dtype)
        if step.get("count_include_pad", 0):
            inside = np.pad(inside, ((0, 0), *given, (0, 0)), constant_values=1)
            pads = tuple([(0, p[1] - g[1]) for p, g in zip(pads, given, strict=True)])
        share = _pooled(ops.avg_pool, Tensor(inside), window, pads, 0.0)
        y = y / share
    return held_last(as_before(y, x.ndim))


def _lp_pool(step: Step, x: Held) -> Held:
    images, p = as_images(x.last), step.get("p", 2)
    window, pads = _window(step, images, x.ndim - 2)
    powers = ops.power(ops.abs(images), p)
    y = _pooled(ops.avg_pool, powers, window, pads, 0.0) * math.prod(window[0])
    return held_last(as_before(ops.power(y, 1 / p), x.ndim))


def _check_lp(step: Step) -> None:
    _check(step)
    refuse(step, not isinstance(step.get("p", 2), int), "a norm that is no integer is not "
           "supported")


def _global(f: Any) -> Any:
    def run(step: Step, x: Held) -> Held:
        y = x.last
        return held_last(f(step, y, tuple(range(1, y.ndim - 1))))

    return run


def _lp(step: Step, x: Tensor, axes: tuple[int, ...]) -> Tensor:
    p = step.get("p", 2)
    return ops.power(ops.sum(ops.power(ops.abs(x), p), axes, keepdims=True), 1 / p)


POOLS = {
    "MaxPool": Operator(_max_pool, (*ATTRIBUTES, "storage_order"), FLOATS, _check, "images"),
    "AveragePool": Operator(_average_pool, (*ATTRIBUTES, "count_include_pad"), FLOATS, _check,
                            "images"),
    "LpPool": Operator(_lp_pool, (*ATTRIBUTES, "p"), FLOATS, _check_lp, "images"),
    "GlobalAveragePool": Operator(_global(lambda step, x, axes: ops.mean(x, axes, keepdims=True)),
                                  places="images"),
    "GlobalMaxPool": Operator(_global(lambda step, x, axes: ops.max(x, axes, keepdims=True)),
                              places="images"),
    "GlobalLpPool": Operator(_global(_lp), ("p",), places="images"),
}
