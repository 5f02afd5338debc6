"""Writes what works value by value: arithmetic, activations, comparisons, choices, casts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from ..writer import Known, Operand, Site, Writer, Written

Emit = Callable[[Writer, Site], Any]


def cast(out: Writer, value: ir.Value, before: np.dtype, dtype: np.dtype) -> ir.Value:
    """A value of dtype `before` in another dtype."""
    if before == dtype:
        return value
    return out.op("Cast", value, to=int(ir.DataType.from_numpy(dtype)))


def operand(x: Any, dtype: np.dtype) -> Operand:
    """A tensor as it is, and a number as an array of a dtype."""
    if isinstance(x, (Written, Known)):
        return x
    number = np.array(x, dtype)
    return Known("number", number, number)


def operands(
    out: Writer, site: Site, dtype: np.dtype, inputs: Any = None
) -> tuple[list[ir.Value], Any]:
    """The inputs of a node that broadcasts, in one dtype and order of axes."""
    given = site.inputs if inputs is None else inputs
    wanted = [operand(x, dtype) for x in given]
    values, order = out.aligned(wanted)
    types = [
        site.type_of(k) if isinstance(x, (Written, Known)) else dtype for k, x in enumerate(given)
    ]
    return [cast(out, v, t, dtype) for v, t in zip(values, types, strict=True)], order


def _two(operator: str) -> Emit:
    def emit(out: Writer, site: Site) -> Written:
        _same_numbers(out, site)
        (a, b), order = operands(out, site, site.dtype)
        return Written(out.op(operator, a, b), site.dims[0], order)

    return emit


def _same_numbers(out: Writer, site: Site) -> None:
    """Refuse a node that takes other numbers for other sizes of the batch."""
    if site.changing:
        raise out.refusal("a number that Python has computed depends on the size of the batch")


def _one(operator: str, *options: tuple[str, str]) -> Emit:
    """An operator of one tensor, with attributes by the names of the options."""

    def emit(out: Writer, site: Site) -> Written:
        x = site.inputs[0]
        given = {attribute: float(site.options[option]) for option, attribute in options}
        return Written(out.op(operator, x.value, **given), site.dims[0], x.axes)

    return emit


def scalar(x: float, dtype: np.dtype) -> np.ndarray:
    """A number as an array of a dtype."""
    return np.array(x, dtype)


def _multiply_or_zero(out: Writer, site: Site) -> Written:
    (a, b), order = operands(out, site, site.dtype)
    zero = scalar(0, site.dtype)
    return Written(
        out.op("Where", out.op("Equal", b, zero), zero, out.op("Mul", a, b)), site.dims[0], order
    )


def _remainder(out: Writer, site: Site) -> Written:
    (a, b), order = operands(out, site, site.dtype)
    if site.dtype.kind != "f":
        return Written(out.op("Mod", a, b), site.dims[0], order)
    quotient = out.op("Floor", out.op("Div", a, b))
    return Written(out.op("Sub", a, out.op("Mul", quotient, b)), site.dims[0], order)


def _floor_divide(out: Writer, site: Site) -> Written:
    (a, b), order = operands(out, site, site.dtype)
    if site.dtype.kind == "f":
        return Written(out.op("Floor", out.op("Div", a, b)), site.dims[0], order)
    exact = out.op("Sub", a, out.op("Mod", a, b))
    return Written(out.op("Div", exact, b), site.dims[0], order)


def _softplus(out: Writer, site: Site) -> Written:
    x, beta = site.inputs[0], site.options["beta"]
    value, limit = x.value, site.options["threshold"]
    scaled = value if beta == 1 else out.op("Mul", value, scalar(beta, site.dtype))
    y = out.op("Softplus", scaled)
    y = y if beta == 1 else out.op("Div", y, scalar(beta, site.dtype))
    if limit < 17:  # beyond, log(1 + exp(x)) is x in float32
        y = out.op("Where", out.op("Greater", scaled, scalar(limit, site.dtype)), value, y)
    return Written(y, site.dims[0], x.axes)


def _silu(out: Writer, site: Site) -> Written:
    x = site.inputs[0]
    return Written(out.op("Mul", x.value, out.op("Sigmoid", x.value)), site.dims[0], x.axes)


def _gelu(out: Writer, site: Site) -> Written:
    x = site.inputs[0]
    return Written(
        out.op("Gelu", x.value, approximate="tanh" if site.options["tanh"] else "none"),
        site.dims[0],
        x.axes,
    )


def _tlu(out: Writer, site: Site) -> Written:
    values, order = operands(out, site, site.dtype)
    return Written(out.op("Max", *values), site.dims[0], order)


COMPARISONS = {
    "equal": "Equal",
    "less": "Less",
    "less_equal": "LessOrEqual",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
}


def _compare(out: Writer, site: Site) -> Written:
    _same_numbers(out, site)
    relation = site.options["relation"].__name__
    types = [site.type_of(k) for k, x in enumerate(site.inputs) if isinstance(x, (Written, Known))]
    dtype = np.result_type(*types)
    if any(isinstance(x, float) for x in site.inputs) and dtype.kind != "f":
        dtype = np.dtype(np.float64)
    values, order = operands(out, site, dtype)
    if relation == "not_equal":
        y = out.op("Not", out.op("Equal", *values))
    else:
        y = out.op(COMPARISONS[relation], *values)
    return Written(y, site.dims[0], order)


BITS = {
    "bitwise_and": ("And", "BitwiseAnd"),
    "bitwise_or": ("Or", "BitwiseOr"),
    "bitwise_xor": ("Xor", "BitwiseXor"),
    "invert": ("Not", "BitwiseNot"),
}


def _bitwise(out: Writer, site: Site) -> Written:
    name = site.options["operation"].__name__
    if name not in BITS:
        raise out.refusal(f"{name} is not supported")
    values, order = operands(out, site, site.dtype)
    return Written(out.op(BITS[name][site.dtype.kind != "b"], *values), site.dims[0], order)


def _where(out: Writer, site: Site) -> Written:
    a, b = (operand(x, site.dtype) for x in site.inputs[:2])
    condition = site.inputs[2]
    (mask, *values), order = out.aligned([condition, a, b])
    types = [
        site.type_of(k) if isinstance(site.inputs[k], (Written, Known)) else site.dtype
        for k in range(2)
    ]
    given = [cast(out, v, t, site.dtype) for v, t in zip(values, types, strict=True)]
    return Written(
        out.op("Where", cast(out, mask, site.type_of(2), np.dtype(bool)), *given),
        site.dims[0],
        order,
    )


def _clip(out: Writer, site: Site) -> Written:
    _same_numbers(out, site)
    x, low, high = site.inputs
    if not isinstance(low, (Written, Known)) and not isinstance(high, (Written, Known)):
        limits = [None if v is None else scalar(v, site.dtype) for v in (low, high)]
        value = cast(out, x.value, site.type_of(0), site.dtype)
        return Written(out.op("Clip", value, *limits), site.dims[0], x.axes)
    given = [x, *(v for v in (low, high) if v is not None)]
    values, order = out.aligned([operand(v, site.dtype) for v in given])
    y = values.pop(0)
    for operator, limit in (("Max", low), ("Min", high)):
        if limit is not None:
            y = out.op(operator, y, values.pop(0))
    return Written(y, site.dims[0], order)


def _cast(out: Writer, site: Site) -> Written:
    x = site.inputs[0]
    return Written(cast(out, x.value, site.type_of(0), site.dtype), x.dims, x.axes)


def same(out: Writer, site: Site) -> Written:
    """The input itself, for an operation that matters to the graph of gradients alone."""
    return site.inputs[0]


def _dropout(out: Writer, site: Site) -> Written:
    """A dropout that the model asks for in evaluation mode, too."""
    x = site.inputs[0]
    ratio = np.array(site.options["p"], np.float32)
    return Written(out.op("Dropout", x.value, ratio, np.array(True)), x.dims, x.axes)


ELEMENTWISE: dict[str, Emit] = {
    "Add": _two("Add"),
    "Subtract": _two("Sub"),
    "Multiply": _two("Mul"),
    "Divide": _two("Div"),
    "Maximum": _two("Max"),
    "Minimum": _two("Min"),
    "Power": _two("Pow"),
    "MultiplyOrZero": _multiply_or_zero,
    "Remainder": _remainder,
    "FloorDivide": _floor_divide,
    "Negative": _one("Neg"),
    "Exp": _one("Exp"),
    "Log": _one("Log"),
    "Sqrt": _one("Sqrt"),
    "Abs": _one("Abs"),
    "ReLU": _one("Relu"),
    "Tanh": _one("Tanh"),
    "Sigmoid": _one("Sigmoid"),
    "LeakyReLU": _one("LeakyRelu", ("slope", "alpha")),
    "ELU": _one("Elu", ("alpha", "alpha")),
    "Softplus": _softplus,
    "SiLU": _silu,
    "GELU": _gelu,
    "TLU": _tlu,
    "Compare": _compare,
    "Bitwise": _bitwise,
    "Where": _where,
    "Clip": _clip,
    "Cast": _cast,
    "Copy": _cast,
    "Detach": same,
    "Dropout": _dropout,
}
