"""Writes matrix products, reductions and softmax."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from ..writer import Site, Writer, Written, fixed
from .elementwise import cast, scalar

Emit = Callable[[Writer, Site], Any]


def _weights(out: Writer, x: Written, weight: Any) -> ir.Value:
    """Weights (in, out), with the rows in the order that the values of x have in the file."""
    if x.images is None:
        return out.plain(weight)
    c, *places = x.images
    turned = weight.array.reshape(*places, c, -1)
    turned = np.ascontiguousarray(np.moveaxis(turned, len(places), 0))
    return out.initializer(turned.reshape(weight.array.shape), weight.name)


def _linear(out: Writer, site: Site) -> Written:
    x, weight, bias = site.inputs
    shift = None if bias is None else out.plain(bias)
    value = x.value if x.images is not None else out.plain(x)
    if x.ndim == 2:
        return Written(out.op("Gemm", value, _weights(out, x, weight), shift), site.dims[0])
    y = out.op("MatMul", value, out.plain(weight))
    return Written(y if shift is None else out.op("Add", y, shift), site.dims[0])


def _matmul(out: Writer, site: Site) -> Written:
    a, b = site.inputs
    if isinstance(a, Written) and a.images is not None:
        return Written(out.op("MatMul", a.value, _weights(out, a, b)), site.dims[0])
    return Written(out.op("MatMul", out.plain(a), out.plain(b)), site.dims[0])


def _remaining(x: Written, site: Site, axes: tuple[int, ...]) -> Any:
    """The order of the axes that x has left after a reduction."""
    if site.options["keepdims"]:
        return x.axes
    return tuple([a - sum(g < a for g in axes) for a in x.order if a not in axes])


def _reduce(operator: str) -> Emit:
    def emit(out: Writer, site: Site) -> Written:
        x, axes = site.inputs[0], site.options["axes"]
        value = cast(out, x.value, site.type_of(0), site.dtype)
        if not axes:
            return Written(value, site.dims[0], x.axes)
        places = np.array(sorted(x.place(a) for a in axes), np.int64)
        y = out.op(operator, value, places, keepdims=int(site.options["keepdims"]))
        return Written(y, site.dims[0], _remaining(x, site, axes))

    return emit


def _any_or_all(operator: str) -> Emit:
    def emit(out: Writer, site: Site) -> Written:
        x, axes = site.inputs[0], site.options["axes"]
        bits = cast(
            out,
            cast(out, x.value, site.type_of(0), np.dtype(bool)),
            np.dtype(bool),
            np.dtype(np.int32),
        )
        if axes:
            places = np.array(sorted(x.place(a) for a in axes), np.int64)
            bits = out.op(operator, bits, places, keepdims=int(site.options["keepdims"]))
        return Written(
            cast(out, bits, np.dtype(np.int32), np.dtype(bool)),
            site.dims[0],
            _remaining(x, site, axes),
        )

    return emit


def _variance(root: bool) -> Emit:
    def emit(out: Writer, site: Site) -> Written:
        x, axes, ddof = site.inputs[0], site.options["axes"], site.options["ddof"]
        value = cast(out, x.value, site.type_of(0), site.dtype)
        places = np.array(sorted(x.place(a) for a in axes), np.int64)
        centred = out.op("Sub", value, out.op("ReduceMean", value, places, keepdims=1))
        y = out.op(
            "ReduceMean",
            out.op("Mul", centred, centred),
            places,
            keepdims=int(site.options["keepdims"]),
        )
        if ddof:
            if not all(fixed(x.dims[a]) for a in axes):
                raise out.refusal("ddof is not supported over the batch")
            count = math.prod(x.dims[a][0] for a in axes)
            with np.errstate(divide="ignore"):
                share = np.float64(count) / max(count - ddof, 0)
            y = out.op("Mul", y, scalar(share, site.dtype))
        return Written(out.op("Sqrt", y) if root else y, site.dims[0], _remaining(x, site, axes))

    return emit


def _place(operator: str) -> Emit:
    def emit(out: Writer, site: Site) -> Written:
        x, axis, keep = site.inputs[0], site.options["axis"], site.options["keepdims"]
        if axis is not None:
            y = out.op(operator, x.value, axis=x.place(axis), keepdims=int(keep))
            return Written(y, site.dims[0], _remaining(x, site, (axis,)))
        flat = out.op("Reshape", out.plain(x), np.array([-1], np.int64))
        y = out.op(operator, flat, axis=0, keepdims=0)
        if keep:
            y = out.op("Reshape", y, np.ones(x.ndim, np.int64))
        return Written(y, site.dims[0])

    return emit


def _along_last(operator: str) -> Emit:
    def emit(out: Writer, site: Site) -> Written:
        x = site.inputs[0]
        return Written(out.op(operator, x.value, axis=x.place(-1)), site.dims[0], x.axes)

    return emit


PRODUCTS: dict[str, Emit] = {
    "Linear": _linear,
    "MatMul": _matmul,
    "Sum": _reduce("ReduceSum"),
    "Mean": _reduce("ReduceMean"),
    "LabelMean": _reduce("ReduceMean"),
    "Max": _reduce("ReduceMax"),
    "Min": _reduce("ReduceMin"),
    "LogSumExp": _reduce("ReduceLogSumExp"),
    "AnyOf": _any_or_all("ReduceMax"),
    "AllOf": _any_or_all("ReduceMin"),
    "Var": _variance(False),
    "Std": _variance(True),
    "ArgMax": _place("ArgMax"),
    "ArgMin": _place("ArgMin"),
    "Softmax": _along_last("Softmax"),
    "LogSoftmax": _along_last("LogSoftmax"),
}
