"""Operators that choose values by their places: slices, indices, borders, the largest values."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import kernels, ops
from ...tensor import Tensor
from ..dtypes import dtype_of
from ..steps import ANY, NUMBERS, Operator, Step, refuse
from ..values import Held, constant
from .shapes import axes_of, places_after


def _slice(
    step: Step,
    x: Held,
    starts: Held | None = None,
    ends: Held | None = None,
    axes: Held | None = None,
    steps: Held | None = None,
) -> Held:
    first = step.get("starts") if starts is None else starts.ints()
    after = step.get("ends") if ends is None else ends.ints()
    if axes is not None or step.get("axes") is not None:
        along = axes_of(step, x.ndim, axes)
    else:
        along = tuple(range(len(first)))
    by = (1,) * len(first) if steps is None else steps.ints()
    index = [slice(None)] * x.ndim
    for axis, a, b, c in zip(along, first, after, by, strict=True):
        index[x.place(axis)] = slice(a, b, c)
    return x.like(x.tensor[tuple(index)])


def _gather(step: Step, x: Held, indices: Held) -> Held:
    """Entries along an axis, by their numbers. Those of a table of vectors are an `embedding`."""
    axis = step.axis(x.ndim, 0)
    chosen = indices.plain
    if indices.constant or chosen.dtype != np.int64:
        chosen = Tensor(indices.array().astype(np.int64))
    if chosen.ndim > 1 or not indices.constant:
        t = x.plain
        if t.ndim == 2 and axis == 0 and t.dtype.kind == "f":
            return Held(ops.embedding(ops.where(chosen < 0, chosen + len(t), chosen), t))
        return Held(t[(slice(None),) * axis + (chosen,)])
    place = x.place(axis)
    if chosen.ndim == 0:
        y = x.tensor[(slice(None),) * place + (int(chosen.item()),)]
        return Held(y, places_after(x.order, (axis,)))
    return x.like(x.tensor[(slice(None),) * place + (chosen.data,)])


def _grid(shape: tuple[int, ...], axis: int, along: Any) -> tuple[Any, ...]:
    """An index of all places of a shape, in which `along` stands for the places on one axis."""
    grid = list(np.indices(shape, sparse=True))
    grid[axis] = along
    return tuple(grid)


def _gather_elements(step: Step, x: Held, indices: Held) -> Held:
    axis = step.axis(x.ndim, 0)
    chosen = indices.plain
    return Held(x.plain[_grid(chosen.shape, axis, chosen)])


def _gather_nd(step: Step, x: Held, indices: Held) -> Held:
    batch, chosen, t = step.get("batch_dims", 0), indices.array(), x.plain
    shape = chosen.shape[:-1]
    if not 0 <= batch < min(t.ndim, chosen.ndim) or chosen.shape[-1] > t.ndim - batch:
        raise ValueError(f"batch_dims {batch} does not fit shapes {t.shape} and {chosen.shape}")
    before = [
        np.arange(t.shape[k]).reshape((-1,) + (1,) * (len(shape) - k - 1)) for k in range(batch)
    ]
    return Held(t[(*before, *(np.asarray(chosen[..., k]) for k in range(chosen.shape[-1])))])


def _pad(
    step: Step,
    x: Held,
    pads: Held | None = None,
    value: Held | None = None,
    axes: Held | None = None,
) -> Held:
    widths = step.get("pads", step.get("paddings")) if pads is None else pads.ints()
    along = tuple(range(x.ndim)) if axes is None else axes_of(step, x.ndim, axes)
    border, cut = [(0, 0)] * x.ndim, [slice(None)] * x.ndim
    for k, axis in enumerate(along):
        before, after = widths[k], widths[k + len(along)]
        place = x.place(axis)
        border[place] = max(0, before), max(0, after)
        cut[place] = slice(max(0, -before), min(0, after) or None)
    number = step.get("value", 0.0) if value is None or not value.tensor.size else value.scalar()
    t = (
        x.tensor
        if all(c == slice(0, None) or c == slice(None) for c in cut)
        else x.tensor[tuple(cut)]
    )
    return x.like(ops.pad(t, border, step.get("mode", "constant"), number))


def _check_pad(step: Step) -> None:
    mode = step.get("mode", "constant")
    refuse(
        step, mode not in ("constant", "reflect", "edge", "wrap"), f"mode={mode!r} is not supported"
    )


def _one_hot(step: Step, indices: Held, depth: Held, values: Held) -> Held:
    count, off_on = int(depth.scalar()), values.plain
    numbers = ops.astype(indices.plain, np.int64)
    axis = step.axis(numbers.ndim + 1, -1)
    kernels.check_shape("OneHot", (*numbers.shape, count), off_on.dtype)
    numbers = ops.expand_dims(ops.where(numbers < 0, numbers + count, numbers), axis)
    classes = np.arange(count).reshape(-1, *(1,) * (numbers.ndim - axis - 1))
    return Held(ops.where(numbers == classes, off_on[1], off_on[0]))


def _eye_like(step: Step, x: Held) -> Held:
    dtype = dtype_of(step.get("dtype")) or x.dtype
    rows, columns = x.shape
    return constant(np.eye(rows, columns, step.get("k", 0), dtype))


def _check_eye(step: Step) -> None:
    refuse(
        step,
        step.get("dtype") is not None and dtype_of(step.get("dtype")) is None,
        "this dtype is not supported",
    )


def _non_zero(step: Step, x: Held) -> Held:
    return Held(Tensor(np.array(np.nonzero(x.array()), np.int64)), None, x.constant)


def _trilu(step: Step, x: Held, k: Held | None = None) -> Held:
    t, shift = x.plain, 0 if k is None else int(k.scalar())
    ones = np.ones(t.shape[-2:], bool)
    kept = np.triu(ones, shift) if step.get("upper", 1) else np.tril(ones, shift)
    return Held(ops.where(kept, t, ops.zeros((), dtype=t.dtype)))


def _cumsum(step: Step, x: Held, axis: Held) -> Held:
    """The sums of the values up to each place, from the end if `reverse`. If `exclusive`, the value
    at the place itself is left out: the values move on by one place, after a zero."""
    t, place = x.tensor, x.place(int(axis.scalar()))
    t = ops.flip(t, place) if step.get("reverse", 0) else t
    if step.get("exclusive", 0):
        t = ops.pad(t, [(int(k == place), 0) for k in range(t.ndim)])
        t = t[(slice(None),) * place + (slice(x.tensor.shape[place]),)]
    y = ops.cumsum(t, place)
    y = y if y.dtype == x.dtype else ops.astype(y, x.dtype)  # integers are added in int64
    return x.like(ops.flip(y, place) if step.get("reverse", 0) else y)


def _top_k(step: Step, x: Held, k: Held | None = None) -> Any:
    """The k largest values and their places, or the k smallest. Of equal values the first comes
    first; NaN is larger than any number, as in PyTorch and ONNX Runtime. `sorted=0`, for any order,
    is served by a sorted one."""
    t, place = x.tensor, x.place(step.get("axis", -1))
    count = step.get("k") if k is None else int(k.scalar())
    if step.get("largest", 1):
        return tuple([x.like(y) for y in ops.topk(t, count, place)])
    if not 0 <= count <= t.shape[place]:
        raise ValueError(f"an axis of length {t.shape[place]} has no {count} smallest values")
    first = (slice(None),) * place + (slice(count),)
    return x.like(ops.sort(t, place)[first]), x.like(ops.argsort(t, place)[first])


SELECTION = {
    "Slice": Operator(_slice, ("starts", "ends", "axes"), ANY, places="any"),
    "Gather": Operator(_gather, ("axis",), ANY),
    "GatherElements": Operator(_gather_elements, ("axis",), ANY),
    "GatherND": Operator(_gather_nd, ("batch_dims",), ANY),
    "Pad": Operator(_pad, ("pads", "paddings", "mode", "value"), NUMBERS, _check_pad, "any"),
    "OneHot": Operator(_one_hot, ("axis",), NUMBERS, gives=2),
    "EyeLike": Operator(
        _eye_like,
        ("dtype", "k"),
        ANY,
        _check_eye,
        gives=lambda step: dtype_of(step.get("dtype")) or 0,
    ),
    "NonZero": Operator(_non_zero, (), ANY, gives="int64"),
    "Trilu": Operator(_trilu, ("upper",), ANY),
    "CumSum": Operator(_cumsum, ("exclusive", "reverse"), ("float32", "float64", "int32", "int64")),
    "TopK": Operator(_top_k, ("axis", "k", "largest", "sorted"), NUMBERS, gives=(0, "int64")),
}
