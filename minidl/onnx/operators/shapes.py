"""Operators that change shapes, and those that tell shapes, whose results depend on no values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import kernels, ops
from ...tensor import Tensor
from ..steps import ANY, Operator, Step, refuse
from ..values import Axes, Held, constant


def places_after(order: Axes, gone: tuple[int, ...]) -> Axes:
    """The numbers that the axes of a tensor have in the file's value after some of the axes are
    gone."""
    return tuple([a - sum(g < a for g in gone) for a in order if a not in gone])


def axes_of(step: Step, ndim: int, given: Held | None, default: Any = None) -> tuple[int, ...]:
    """The axes that a node asks for, counted from 0. In newer opsets they are an input, in older
    ones an attribute."""
    axes = step.get("axes", default) if given is None else given.ints()
    wrong = [a for a in axes or () if not -ndim <= a < ndim]
    if wrong:
        raise ValueError(
            f"{step.operator} of node {step.name!r}: axis {wrong[0]} is none of {ndim} axes"
        )
    return tuple([int(a) % ndim for a in axes or ()])


def _reshape(step: Step, x: Held, shape: Held | None = None) -> Held:
    sizes = list(step.get("shape", ()) if shape is None else shape.ints())
    if not step.get("allowzero", 0):
        sizes = [x.shape[k] if n == 0 else n for k, n in enumerate(sizes)]
    if -1 in sizes and 0 not in x.shape:
        known = -math.prod(sizes)
        if known and x.tensor.size % known == 0:
            sizes[sizes.index(-1)] = x.tensor.size // known
    return Held(_rows(step, x, tuple(sizes)))


def _rows(step: Step, x: Held, sizes: tuple[int, ...]) -> Tensor:
    """x in another shape. Where the rows of the weights that follow have been reordered (by
    `Builder`), images of `keeps_places` channels are flattened in the order that minidl has."""
    channels = step.get("keeps_places")
    if channels is None:
        return ops.reshape(x.plain, sizes)
    shape = x.shape
    if len(sizes) == 2 and shape[1:2] == (channels,) and sizes == (shape[0], math.prod(shape[1:])):
        return ops.reshape(x.last, sizes)
    # The images are held in another way: bring the values into that order, channels last.
    parts = ops.reshape(x.plain, (-1, channels, sizes[-1] // channels))
    return ops.reshape(ops.transpose(parts, (0, 2, 1)), sizes)


def _flatten(step: Step, x: Held) -> Held:
    axis = x.ndim if step.get("axis", 1) == x.ndim else step.axis(x.ndim, 1)
    return Held(_rows(step, x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))))


def _transpose(step: Step, x: Held) -> Held:
    """No value moves: only the names of the axes change."""
    perm = tuple(step.get("perm", tuple(range(x.ndim))[::-1]))
    if len(perm) != x.ndim:
        raise ValueError(f"perm must hold the axes of a value of shape {x.shape}, got {list(perm)}")
    return Held(x.tensor, tuple([perm.index(axis) for axis in x.order]))


def _check_transpose(step: Step) -> None:
    perm = step.get("perm", [])
    if sorted(perm) != list(range(len(perm))):
        raise ValueError(
            f"{step.operator} of node {step.name!r}: perm must hold each of "
            f"{len(perm)} axes once, got {perm}"
        )


def _squeeze(step: Step, x: Held, axes: Held | None = None) -> Held:
    if axes is None and step.get("axes") is None:
        gone = tuple([k for k, n in enumerate(x.shape) if n == 1])
    else:
        gone = axes_of(step, x.ndim, axes)
    places = tuple([x.place(a) for a in gone])
    y = ops.squeeze(x.tensor, places) if places else x.tensor
    return Held(y, places_after(x.order, gone))


def _unsqueeze(step: Step, x: Held, axes: Held | None = None) -> Held:
    count = len(step.get("axes", ()) if axes is None else axes.ints())
    new = axes_of(step, x.ndim + count, axes)
    old = [a for a in range(x.ndim + count) if a not in new]
    if x.axes is None:
        return Held(ops.expand_dims(x.tensor, new) if new else x.tensor)
    y = ops.reshape(x.tensor, (*x.tensor.shape, *(1,) * count))
    return Held(y, (*(old[a] for a in x.order), *new))


def _expand(step: Step, x: Held, shape: Held) -> Held:
    sizes = np.broadcast_shapes(x.shape, shape.ints())
    kernels.check_shape("Expand", sizes, x.dtype)
    return Held(ops.broadcast_to(x.plain, sizes))


def _tile(step: Step, x: Held, repeats: Held) -> Held:
    times, t = repeats.ints(), x.plain
    kernels.check_shape(
        "Tile", tuple([n * r for n, r in zip(t.shape, times, strict=True)]), t.dtype
    )
    inner = tuple([size for n in t.shape for size in (1, n)])
    wide = tuple([size for n, r in zip(t.shape, times, strict=True) for size in (r, n)])
    y = ops.broadcast_to(ops.reshape(t, inner), wide)
    return Held(ops.reshape(y, tuple([n * r for n, r in zip(t.shape, times, strict=True)])))


def _concat(step: Step, *values: Held) -> Held:
    lead = next((v for v in values if v.axes is not None), values[0])
    axis = lead.place(step.get("axis", 1))
    order = lead.order
    dtypes = {v.dtype for v in values}
    if len(dtypes) > 1:
        raise TypeError(
            f"Concat of node {step.name!r}: mixed dtypes: {', '.join(sorted(map(str, dtypes)))}"
        )
    return lead.like(ops.concatenate([v.ordered(order) for v in values], axis))


def _split(step: Step, x: Held, sizes: Held | None = None) -> Any:
    place, count = x.place(step.get("axis", 0)), len(step.outputs)
    length = x.tensor.shape[place]
    parts = step.get("split") if sizes is None else sizes.ints()
    if parts is None:
        size = math.ceil(length / count)
        parts = [min(size, max(0, length - k * size)) for k in range(count)]
    if sum(parts) != length or len(parts) != count:
        raise ValueError(
            f"Split of node {step.name!r}: an axis of length {length} does not split "
            f"into {count} parts of {list(parts)}"
        )
    ends = np.cumsum(parts)[:-1].tolist()
    return tuple([x.like(t) for t in ops.split(x.tensor, ends, place)])


def _shape(step: Step, x: Held) -> Held:
    return constant(np.array(x.shape[slice(step.get("start", 0), step.get("end"))], np.int64))


def _size(step: Step, x: Held) -> Held:
    return constant(np.array(x.tensor.size, np.int64))


def _constant_of_shape(step: Step, shape: Held) -> Held:
    value = step.get("value", np.zeros(1, np.float32))
    sizes = shape.ints()
    kernels.check_shape("ConstantOfShape", sizes, value.dtype)
    return constant(np.full(sizes, value.reshape(()), value.dtype))


def _dtype_of_value(step: Step) -> np.dtype:
    return step.get("value", np.zeros(1, np.float32)).dtype


def _range(step: Step, start: Held, limit: Held, delta: Held) -> Held:
    first, last, by = (v.array().reshape(()) for v in (start, limit, delta))
    count = max(0, math.ceil((last.item() - first.item()) / by.item())) if by else 0
    kernels.check_shape("Range", (count,), first.dtype)
    y = first + np.arange(count, dtype=first.dtype) * by
    return constant(np.asarray(y, first.dtype).reshape(count))


def _constant(step: Step) -> Held:
    for name, dtype in (
        ("value_float", np.float32),
        ("value_floats", np.float32),
        ("value_int", np.int64),
        ("value_ints", np.int64),
    ):
        if name in step.attributes:
            return constant(np.array(step.attributes[name], dtype))
    return constant(step.attributes["value"])


def _check_constant(step: Step) -> None:
    refuse(step, not step.attributes, "it has no value")


def _blocks(step: Step, x: Held, shape: Any, order: tuple[int, ...], after: Any) -> Held:
    n, c, h, w = x.shape
    b = step.get("blocksize")
    if b < 1:
        raise ValueError(f"blocksize must be at least 1, got {b}")
    y = ops.transpose(ops.reshape(x.plain, shape(n, c, h, w, b)), order)
    return Held(ops.reshape(y, after(n, c, h, w, b)))


def _depth_to_space(step: Step, x: Held) -> Held:
    """Blocks of channels become blocks of places. Among channels, the place within a block is the
    slower index in mode DCR, and the faster one in mode CRD."""
    dcr = step.get("mode", "DCR") == "DCR"
    return _blocks(
        step,
        x,
        (lambda n, c, h, w, b: (n, b, b, c // (b * b), h, w))
        if dcr
        else (lambda n, c, h, w, b: (n, c // (b * b), b, b, h, w)),
        (0, 3, 4, 1, 5, 2) if dcr else (0, 1, 4, 2, 5, 3),
        lambda n, c, h, w, b: (n, c // (b * b), h * b, w * b),
    )


def _space_to_depth(step: Step, x: Held) -> Held:
    return _blocks(
        step,
        x,
        lambda n, c, h, w, b: (n, c, h // b, b, w // b, b),
        (0, 3, 5, 1, 2, 4),
        lambda n, c, h, w, b: (n, c * b * b, h // b, w // b),
    )


SHAPES = {
    "Reshape": Operator(_reshape, ("allowzero", "shape"), ANY),
    "Flatten": Operator(_flatten, ("axis",), ANY),
    "Transpose": Operator(_transpose, ("perm",), ANY, _check_transpose),
    "Squeeze": Operator(_squeeze, ("axes",), ANY),
    "Unsqueeze": Operator(_unsqueeze, ("axes",), ANY),
    "Expand": Operator(_expand, (), ANY),
    "Tile": Operator(_tile, (), ANY),
    "Concat": Operator(_concat, ("axis",), ANY, places="any"),
    "Split": Operator(_split, ("axis", "split", "num_outputs"), ANY, places="any"),
    "Shape": Operator(_shape, ("start", "end"), ANY, gives="int64"),
    "Size": Operator(_size, (), ANY, gives="int64"),
    "ConstantOfShape": Operator(_constant_of_shape, ("value",), ANY, gives=_dtype_of_value),
    "Range": Operator(_range, (), ANY),
    "Constant": Operator(
        _constant,
        ("value", "value_float", "value_floats", "value_int", "value_ints"),
        ANY,
        _check_constant,
        gives=None,
    ),
    "DepthToSpace": Operator(_depth_to_space, ("blocksize", "mode"), ANY),
    "SpaceToDepth": Operator(_space_to_depth, ("blocksize",), ANY),
}
