"""Writes what only imported models compute, as the operators of the file that it came from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..writer import Site, Writer, Written
from .elementwise import cast, operand

Emit = Callable[[Writer, Site], Any]
DOUBLE = np.dtype(np.float64)


def _by_name(out: Writer, site: Site) -> Written:
    x = site.inputs[0]
    return Written(out.op(site.options["name"], x.value), site.dims[0], x.axes)


def _prelu(out: Writer, site: Site) -> Written:
    values, order = out.aligned(site.inputs)
    return Written(out.op("PRelu", *values), site.dims[0], order)


def _of_two(operator: str, **attributes: int) -> Emit:
    def emit(out: Writer, site: Site) -> Written:
        values, order = out.aligned([operand(x, site.dtype) for x in site.inputs])
        return Written(out.op(operator, *values, **attributes), site.dims[0], order)

    return emit


def _is_inf(out: Writer, site: Site) -> Written:
    x, up, down = site.inputs[0], site.options["up"], site.options["down"]
    value = out.op("IsInf", x.value, detect_positive=int(up), detect_negative=int(down))
    return Written(value, site.dims[0], x.axes)


def _hardmax(out: Writer, site: Site) -> Written:
    x = site.inputs[0]
    value = out.op("Hardmax", x.value, axis=x.place(site.options["axis"]))
    return Written(value, site.dims[0], x.axes)


def _mean_of_integers(out: Writer, site: Site) -> Written:
    """The sum, which is an input, divided by the count: towards 0, as ONNX divides integers."""
    total, before = site.inputs[0], site.type_of(0)
    if site.options != site.others:
        raise out.refusal("the mean of integers over the batch is not supported")
    value = out.op("Div", total.value, np.array(site.options["count"], before))
    return Written(cast(out, value, before, site.dtype), site.dims[0], total.axes)


def _quantized(out: Writer, site: Site) -> Written:
    """round(x / scale) + zero point, limited to what the dtype holds. A QuantizeLinear would want
    scales in another shape."""
    (x, scale, zero), order = out.aligned([operand(v, DOUBLE) for v in site.inputs])
    limits = np.iinfo(site.dtype)
    rounded = cast(out, out.op("Round", out.op("Div", x, scale)), site.type_of(0), DOUBLE)
    least, most = (np.array(v, DOUBLE) for v in (limits.min, limits.max))
    value = out.op("Clip", out.op("Add", rounded, zero), least, most)
    return Written(cast(out, value, DOUBLE, site.dtype), site.dims[0], order)


COMPUTED: dict[str, Emit] = {
    "Div": _of_two("Div"),
    "Mod": _of_two("Mod", fmod=1),
    "IsInf": _is_inf,
    "Hardmax": _hardmax,
    "ReduceMean": _mean_of_integers,
    "QuantizeLinear": _quantized,
}


def _computed(out: Writer, site: Site) -> Written:
    made: Written = COMPUTED[site.options["name"]](out, site)
    return made


IMPORTED: dict[str, Emit] = {
    "Formulaic": _by_name,
    "Stepwise": _by_name,
    "PReLU": _prelu,
    "Computed": _computed,
}
