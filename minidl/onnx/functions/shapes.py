"""Writes operations that move, join, cut and choose values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..writer import Dims, Known, Site, Writer, Written, channels_first, fixed

Emit = Callable[[Writer, Site], Any]
TO_THE_END = np.iinfo(np.int64).max


def _unchanged(out: Writer, site: Site, *names: str) -> None:
    """Refuse a node with an option that depends on the size of the batch."""
    for name in names:
        if not np.array_equal(site.options[name], site.others[name]):
            raise out.refusal(
                f"{name} depends on the size of the batch: {site.options[name]}, "
                f"{site.others[name]}"
            )


def _reshape(out: Writer, site: Site) -> Written:
    """A new shape. Images that only dense layers take are flattened in the order that the file has
    them in, and the rows of the weights are reordered instead (`products`)."""
    x, dims = site.inputs[0], site.dims[0]
    if len(dims) == 2 and _is_flattened(x, dims) and _feeds_products(site):
        sizes = tuple([d[0] for d in x.dims[1:]])
        return Written(out.op("Flatten", x.value, axis=1), dims, None, (sizes[-1], *sizes[:-1]))
    value = out.plain(x)
    if len(dims) == 2 and x.ndim > 2 and dims[0] == x.dims[0] and not fixed(dims[0]):
        return Written(out.op("Flatten", value, axis=1), dims)
    return Written(out.op("Reshape", value, out.shape(dims, one_open=True)), dims)


def _is_flattened(x: Written, dims: Dims) -> bool:
    return (
        x.ndim > 2
        and x.axes == channels_first(x.ndim)
        and x.dims[0] == dims[0]
        and all(fixed(d) for d in x.dims[1:])
        and dims[1][0] == math.prod(d[0] for d in x.dims[1:])
    )


def _feeds_products(site: Site) -> bool:
    """Whether all consumers of the rows are products with weights that are known."""
    value = site.node.outputs[0]
    return (
        not site.returned
        and bool(value.consumers)
        and all(
            node.operation in ("Linear", "MatMul")
            and node.inputs[0] is value
            and node.inputs[1].kind == "parameter"
            and len(node.inputs[1].consumers) == 1
            for node in value.consumers
        )
    )


def _transpose(out: Writer, site: Site) -> Written:
    """No node is written: only the names of the axes change."""
    x, axes = site.inputs[0], site.options["axes"]
    return Written(x.value, site.dims[0], tuple([axes.index(axis) for axis in x.order]))


def _broadcast_to(out: Writer, site: Site) -> Written:
    x, dims = site.inputs[0], site.dims[0]
    known = ((1, 1),) * (len(dims) - x.ndim) + x.dims
    wanted = tuple([(1, 1) if d == k else d for d, k in zip(dims, known, strict=True)])
    return Written(out.op("Expand", out.plain(x), out.shape(wanted)), dims)


def _concatenate(out: Writer, site: Site) -> Written:
    lead = next(
        (x for x in site.inputs if isinstance(x, Written) and x.axes is not None), site.inputs[0]
    )
    order = lead.order if isinstance(lead, Written) else tuple(range(lead.ndim))
    values = [out.ordered(x, order) for x in site.inputs]
    return Written(
        out.op("Concat", *values, axis=order.index(site.options["axis"])), site.dims[0], order
    )


def _split(out: Writer, site: Site) -> tuple[Written, ...]:
    x, axis = site.inputs[0], site.options["axis"]
    sizes = [dims[axis] for dims in site.dims]
    if sum(d[0] for d in sizes) != x.dims[axis][0]:
        raise out.refusal("parts that overlap are not supported")
    values = (
        [x.value]
        if len(sizes) == 1
        else out.ops("Split", len(sizes), x.value, out.shape(tuple(sizes)), axis=x.place(axis))
    )
    return tuple([Written(v, dims, x.axes) for v, dims in zip(values, site.dims, strict=True)])


def _flip(out: Writer, site: Site) -> Written:
    x, axes = site.inputs[0], site.options["axes"]
    return _sliced(out, x, site.dims[0], [(a, -1, -TO_THE_END, -1) for a in axes])


def _sliced(out: Writer, x: Written, dims: Dims, parts: list[tuple[int, int, int, int]]) -> Written:
    """x cut along axes, by an (axis, start, end, step) for each."""
    if not parts:
        return x
    axes, starts, ends, steps = (
        np.array(column, np.int64)
        for column in zip(*[(x.place(a), *rest) for a, *rest in parts], strict=True)
    )
    return Written(out.op("Slice", x.value, starts, ends, axes, steps), dims, x.axes)


def _pad(out: Writer, site: Site) -> Written:
    _unchanged(out, site, "pad_width")
    x, widths = site.inputs[0], site.options["pad_width"]
    sides = [widths[a] for a in x.order]
    pads = np.array([b for b, _ in sides] + [a for _, a in sides], np.int64)
    value = np.array(site.options["value"], site.dtype)
    constant = site.options["mode"] == "constant"
    return Written(
        out.op("Pad", x.value, pads, value if constant else None, mode=site.options["mode"]),
        site.dims[0],
        x.axes,
    )


def _getitem(out: Writer, site: Site) -> Written:
    """An index of slices, numbers and new axes, and of at most one array of numbers."""
    x, *arrays = site.inputs
    if isinstance(x, Known):  # a table, of which entries are taken
        x = Written(out.plain(x), x.dims)
    index = site.options["index"]
    index = index if isinstance(index, tuple) else (index,)
    taken = sum(part is not None and part is not Ellipsis for part in index)
    if Ellipsis not in index:
        index = (*index, Ellipsis)
    at = index.index(Ellipsis)
    full = (*index[:at], *(slice(None),) * (x.ndim - taken), *index[at + 1 :])
    if site.changing or _differ(site.options["index"], site.others["index"]):
        raise out.refusal("an index that depends on the size of the batch is not supported")
    slices: list[tuple[int, int, int, int]] = []
    gone: list[int] = []
    new: list[int] = []
    chosen: list[int] = []
    axis = 0
    for k, part in enumerate(full):
        if part is None:
            new.append(k - len(gone))
            continue
        if isinstance(part, str):
            chosen.append(axis)
        elif isinstance(part, slice):
            if part != slice(None):
                slices.append((axis, *_bounds(part)))
        else:
            gone.append(axis)
            slices.append((axis, int(part), TO_THE_END if part == -1 else int(part) + 1, 1))
        axis += 1
    y = _sliced(out, x, x.dims, slices)
    if chosen:
        if len(chosen) > 1 or gone or new or site.type_of(1).kind == "b":
            raise out.refusal(
                "an index of booleans, of several arrays, or of one beside numbers "
                "and new axes is not supported"
            )
        numbers = arrays[0]
        if numbers.ndim != 1:
            value = out.op("Gather", out.plain(y), out.plain(numbers), axis=chosen[0])
            return Written(value, site.dims[0])
        return Written(
            out.op("Gather", y.value, out.plain(numbers), axis=y.place(chosen[0])),
            site.dims[0],
            y.axes,
        )
    value = out.plain(y) if gone or new else y.value
    if gone:
        value = out.op("Squeeze", value, np.array(gone, np.int64))
    if new:
        value = out.op("Unsqueeze", value, np.array(new, np.int64))
    return Written(value, site.dims[0], None if gone or new else y.axes)


def _bounds(part: slice) -> tuple[int, int, int]:
    step = 1 if part.step is None else int(part.step)
    start, end = (0, TO_THE_END) if step > 0 else (-1, -TO_THE_END)
    return (
        start if part.start is None else int(part.start),
        end if part.stop is None else int(part.stop),
        step,
    )


def _differ(first: Any, second: Any) -> bool:
    return repr(first) != repr(second)


def _resample(out: Writer, site: Site) -> Written:
    """Entries at whole numbers, or blends of the two on either side of a place."""
    _unchanged(out, site, "places", "axis")
    x, places = site.inputs[0], site.options["places"]
    axis, low = x.place(site.options["axis"]), np.floor(places)
    share = (places - low).astype(site.dtype).reshape(-1, *(1,) * (x.ndim - axis - 1))
    y = out.op("Gather", x.value, low.astype(np.int64), axis=axis)
    if share.any():
        above = out.op("Gather", x.value, np.ceil(places).astype(np.int64), axis=axis)
        y = out.op("Add", out.op("Mul", y, 1 - share), out.op("Mul", above, share))
    return Written(y, site.dims[0], x.axes)


def _embedding(out: Writer, site: Site) -> Written:
    weight, ids = site.inputs
    return Written(out.op("Gather", out.plain(weight), out.plain(ids), axis=0), site.dims[0])


def _one_hot(out: Writer, site: Site) -> Written:
    depth = np.array([site.options["depth"]], np.int64)
    return Written(
        out.op("OneHot", out.plain(site.inputs[0]), depth, np.array([0, 1], np.float32), axis=-1),
        site.dims[0],
    )


SHAPES: dict[str, Emit] = {
    "Reshape": _reshape,
    "Transpose": _transpose,
    "BroadcastTo": _broadcast_to,
    "Concatenate": _concatenate,
    "Split": _split,
    "Flip": _flip,
    "Pad": _pad,
    "GetItem": _getitem,
    "Embedding": _embedding,
    "OneHot": _one_hot,
    "Resample": _resample,
}
