"""Writes sorting, running sums, sines, and images of another size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from ...ops.resample import windows
from ..writer import Site, Writer, Written, channels_first, fixed
from .elementwise import cast

Emit = Callable[[Writer, Site], Any]


def _length(out: Writer, x: Written, axis: int) -> int:
    """The length of an axis; refused for the batch's, which has no fixed one."""
    if not fixed(x.dims[axis]):
        raise out.refusal("values cannot be put in order along the batch axis")
    return int(x.dims[axis][0])


def _largest(out: Writer, x: Written, k: int, axis: int, largest: bool) -> list[ir.Value]:
    """The values and places of TopK, of equal values the first."""
    return list(
        out.ops(
            "TopK",
            2,
            x.value,
            np.array([k], np.int64),
            axis=x.place(axis),
            largest=int(largest),
            sorted=1,
        )
    )


def _sorted(result: int) -> Emit:
    """All values (result 0), or their places (result 1), the smallest first."""

    def emit(out: Writer, site: Site) -> Written:
        x, axis = site.inputs[0], site.options["axis"]
        made = _largest(out, x, _length(out, x, axis), axis, False)
        return Written(made[result], site.dims[0], x.axes)

    return emit


def _top_k(out: Writer, site: Site) -> tuple[Written, Written]:
    x, axis, k = site.inputs[0], site.options["axis"], site.options["k"]
    _length(out, x, axis)
    values, places = _largest(out, x, k, axis, True)
    return Written(values, site.dims[0], x.axes), Written(places, site.dims[1], x.axes)


def _cumsum(out: Writer, site: Site) -> Written:
    x = site.inputs[0]
    value = cast(out, x.value, site.type_of(0), site.dtype)
    axis = np.array(x.place(site.options["axis"]), np.int64)
    return Written(out.op("CumSum", value, axis), site.dims[0], x.axes)


def _one(operator: str) -> Emit:
    def emit(out: Writer, site: Site) -> Written:
        x = site.inputs[0]
        return Written(out.op(operator, x.value), site.dims[0], x.axes)

    return emit


def _resize(out: Writer, site: Site) -> Written:
    """The nearest pixel is the one that the centre of a result lies in, and on a border between
    two pixels the later one. The sizes of all axes are given, also of those that stay: ONNX Runtime
    moves a Resize before the transposes around it and does not change the attribute `axes` then.
    """
    x, dims = site.inputs[0], site.dims[0]
    count = len(dims)
    sizes = out.shape(tuple([dims[axis] for axis in channels_first(count)]))
    y = out.op(
        "Resize",
        out.first(x),
        None,
        None,
        sizes,
        mode=site.options["mode"],
        coordinate_transformation_mode="half_pixel",
        nearest_mode="round_prefer_ceil",
    )
    return Written(y, site.dims[0], channels_first(count))


def _adaptive_avg_pool(out: Writer, site: Site) -> Written:
    """A product with the shares that pixels have in each window, for each axis: ONNX has only
    windows of one size."""
    x, count = site.inputs[0], len(site.dims[0])
    value = out.first(x)
    for axis, size in enumerate(site.options["size"], 1):
        shares = _matrix(_length(out, x, axis), size).astype(site.dtype)
        value = (
            out.op("MatMul", shares, value)
            if count == 4 and axis == 1
            else out.op("MatMul", value, np.ascontiguousarray(shares.T))
        )
    return Written(value, site.dims[0], channels_first(count))


def _matrix(length: int, size: int) -> np.ndarray:
    """(size, length): row i has the shares of all pixels in window i."""
    table = windows(length, size)
    matrix = np.zeros((size, length))
    for i, (start, weights) in enumerate(zip(table.starts, table.weights, strict=True)):
        matrix[i, start : start + len(weights)] = weights
    return matrix


ORDERING: dict[str, Emit] = {
    "Sin": _one("Sin"),
    "Cos": _one("Cos"),
    "CumSum": _cumsum,
    "Sort": _sorted(0),
    "ArgSort": _sorted(1),
    "TopK": _top_k,
    "Resize": _resize,
    "AdaptiveAvgPool": _adaptive_avg_pool,
}
