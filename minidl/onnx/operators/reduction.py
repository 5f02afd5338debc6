"""Reductions over axes, the places of largest and smallest values, and softmax."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import ops
from ...tensor import Tensor
from ..steps import FLOATS, NUMBERS, Operator, Step
from ..values import Held
from .functions import computed
from .shapes import axes_of, places_after

Reduction = Callable[..., Tensor]


def _reduction(f: Reduction, types: tuple[str, ...] = NUMBERS) -> Operator:
    """A reduction `f(x, axes, keepdims)`. If no axes are given, it is over all axes, or with
    noop_with_empty_axes over none."""

    def run(step: Step, x: Held, given: Held | None = None) -> Held:
        axes = axes_of(step, x.ndim, given)
        if not axes:
            if step.get("noop_with_empty_axes", 0):
                return x.like(f(ops.expand_dims(x.tensor, x.ndim), (x.ndim,), False))
            axes = tuple(range(x.ndim))
        keep = bool(step.get("keepdims", 1))
        y = f(x.tensor, tuple([x.place(a) for a in axes]), keep)
        if y.dtype != x.dtype:  # md adds integers in int64, ONNX keeps their dtype
            y = ops.astype(y, x.dtype)
        return Held(y, x.axes if keep else places_after(x.order, axes))

    return Operator(run, ("axes", "keepdims", "noop_with_empty_axes"), types, places="any")


def _mean(x: Tensor, axes: Any, keep: bool) -> Tensor:
    if x.dtype.kind == "f":
        return ops.mean(x, axes, keep)
    count = math.prod(x.shape[a] for a in axes)
    return computed("ReduceMean", ops.sum(x, axes, keep), count=count, dtype=x.dtype.name)


def _extreme(f: Reduction, empty: Callable[[np.dtype], Any]) -> Reduction:
    """The largest or smallest value. Over an axis without values it is `empty(dtype)`, the least or
    the greatest value of the dtype."""

    def run(x: Tensor, axes: Any, keep: bool) -> Tensor:
        if math.prod(x.shape[a] for a in axes):
            return f(x, axes, keep)
        shape = [1 if a in axes else n for a, n in enumerate(x.shape) if keep or a not in axes]
        return ops.full(tuple(shape), empty(x.dtype), x.dtype)

    return run


def _lowest(dtype: np.dtype) -> Any:
    if dtype.kind == "b":
        return False
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def _highest(dtype: np.dtype) -> Any:
    if dtype.kind == "b":
        return True
    return np.inf if dtype.kind == "f" else np.iinfo(dtype).max


def _square(x: Tensor) -> Tensor:
    return ops.multiply(x, x)


def _log_of_sum(x: Tensor, axes: Any, keep: bool) -> Tensor:
    return ops.log(ops.sum(x, axes, keep))


def _product(x: Tensor, axes: Any, keep: bool) -> Tensor:
    """The product of all values: halves are multiplied with each other until one value is left, so
    that there is a gradient where a value is 0."""
    for axis in axes:
        before = (slice(None),) * axis
        while (n := x.shape[axis]) > 1:
            half = n // 2
            y = x[(*before, slice(0, half))] * x[(*before, slice(half, 2 * half))]
            x = y if n % 2 == 0 else ops.concatenate([y, x[(*before, slice(n - 1, n))]], axis)
        if n == 0:
            shape = tuple([1 if k == axis else size for k, size in enumerate(x.shape)])
            x = ops.ones(shape, dtype=x.dtype)
    return x if keep else ops.squeeze(x, tuple(axes))


def _place(f: Reduction) -> Operator:
    def run(step: Step, x: Held) -> Held:
        axis, keep = step.axis(x.ndim, 0), bool(step.get("keepdims", 1))
        place, t = x.place(axis), x.tensor
        if step.get("select_last_index", 0):
            y = (t.shape[place] - 1) - f(ops.flip(t, place), place, keep)
        else:
            y = f(t, place, keep)
        return Held(y, x.axes if keep else places_after(x.order, (axis,)))

    return Operator(
        run, ("axis", "keepdims", "select_last_index"), NUMBERS, places="any", gives="int64"
    )


def _hardmax(x: Tensor, axis: int) -> Tensor:
    return computed("Hardmax", x, axis=axis)


def _soft(f: Callable[[Tensor, int], Tensor]) -> Operator:
    """A softmax along `axis`; before opset 13 over all axes from `axis` on, as if they were one."""

    def run(step: Step, x: Held) -> Held:
        if step.opset >= 13:
            return x.like(f(x.tensor, x.place(step.get("axis", -1))))
        axis, t = step.axis(x.ndim, 1), x.plain
        rows = ops.reshape(t, (math.prod(t.shape[:axis]), math.prod(t.shape[axis:])))
        return Held(ops.reshape(f(rows, 1), t.shape))

    return Operator(run, ("axis",), FLOATS, places="any")


REDUCTION = {
    "ReduceSum": _reduction(ops.sum),
    "ReduceMean": _reduction(_mean),
    "ReduceMax": _reduction(_extreme(ops.max, _lowest), (*NUMBERS, "bool")),
    "ReduceMin": _reduction(_extreme(ops.min, _highest), (*NUMBERS, "bool")),
    "ReduceProd": _reduction(_product),
    "ReduceL1": _reduction(lambda x, axes, keep: ops.sum(ops.abs(x), axes, keep)),
    "ReduceL2": _reduction(lambda x, axes, keep: ops.sqrt(ops.sum(_square(x), axes, keep)), FLOATS),
    "ReduceSumSquare": _reduction(lambda x, axes, keep: ops.sum(_square(x), axes, keep)),
    "ReduceLogSum": _reduction(_log_of_sum, FLOATS),
    "ReduceLogSumExp": _reduction(ops.logsumexp, FLOATS),
    "ArgMax": _place(ops.argmax),
    "ArgMin": _place(ops.argmin),
    "Softmax": _soft(ops.softmax),
    "LogSoftmax": _soft(ops.log_softmax),
    "Hardmax": _soft(_hardmax),
}
