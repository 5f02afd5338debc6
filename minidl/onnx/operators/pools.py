"""Pools of images and sequences: the largest value, mean or p-norm of windows, or of all places."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from ... import ops
from ...ops.pool import AvgPool, pool_options
from ...tensor import Tensor
from ..steps import FLOATS, Operator, Step, refuse
from ..values import Held, held_last
from .geometry import as_before, as_images, check_window, paddings, pair

ATTRIBUTES = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")


def _check(step: Step) -> None:
    check_window(step, step.get("kernel_shape"))
    refuse(
        step, step.makes(1), "the places of the largest values (output Indices) are not supported"
    )


def _pooled(step: Step, x: Held, pool: Callable[..., Tensor]) -> Held:
    """The result of `pool(images, window, stride, padding, ceil_mode, dilation)`. The attribute
    ceil_mode matters for explicit pads alone: auto_pad itself says how many windows there are."""
    images, count = as_images(x.last), x.ndim - 2
    window, stride, dilation = (
        pair(step.get(name), count) for name in ("kernel_shape", "strides", "dilations")
    )
    ceil = bool(step.get("ceil_mode", 0)) and step.get("auto_pad", "NOTSET") == "NOTSET"
    padding = paddings(step, images.shape[1:3], window, stride, dilation)
    return held_last(as_before(pool(images, window, stride, padding, ceil, dilation), x.ndim))


def _max_pool(step: Step, x: Held) -> Held:
    return _pooled(step, x, ops.max_pool)


def _average_pool(step: Step, x: Held) -> Held:
    counted = bool(step.get("count_include_pad", 0))
    return _pooled(step, x, partial(ops.avg_pool, count_padding=counted))


def _lp_pool(step: Step, x: Held) -> Held:
    """The p-th root of the sum of |x|^p in each window. The sum is the mean times the number of
    places in a window: all of them count, also those beyond the padding, as zeros."""
    p = step.get("p", 2)

    def pool(images: Tensor, window: Any, *geometry: Any) -> Tensor:
        options = pool_options("LpPool", images.shape, window, *geometry)
        powers = ops.power(ops.abs(images), p)
        means = AvgPool.apply(powers, **options, counted=options["padding"])
        return ops.power(means * math.prod(window), 1 / p)

    return _pooled(step, x, pool)


def _check_lp(step: Step) -> None:
    _check(step)
    refuse(
        step, not isinstance(step.get("p", 2), int), "a norm that is no integer is not supported"
    )


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
    "AveragePool": Operator(
        _average_pool, (*ATTRIBUTES, "count_include_pad"), FLOATS, _check, "images"
    ),
    "LpPool": Operator(_lp_pool, (*ATTRIBUTES, "p"), FLOATS, _check_lp, "images"),
    "GlobalAveragePool": Operator(
        _global(lambda step, x, axes: ops.mean(x, axes, keepdims=True)), places="images"
    ),
    "GlobalMaxPool": Operator(
        _global(lambda step, x, axes: ops.max(x, axes, keepdims=True)), places="images"
    ),
    "GlobalLpPool": Operator(_global(_lp), ("p",), places="images"),
}
