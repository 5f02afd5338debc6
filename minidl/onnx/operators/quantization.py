"""Quantization: floats to integers of a scale and a zero point, and back."""

from __future__ import annotations

import numpy as np

from ... import ops
from ...tensor import Tensor
from ..dtypes import dtype_of
from ..steps import FLOATS, Operator, Step, refuse
from ..values import Held
from .functions import computed

BYTES = ("int8", "uint8", "int16", "uint16", "int32")


def _along(step: Step, value: Held, x: Held) -> Tensor:
    """A scale or zero point in a shape that broadcasts along its axis of x."""
    t = value.plain
    if t.size == 1:
        return ops.reshape(t, ())
    axis = step.axis(x.ndim, 1)
    return ops.reshape(t, (-1, *(1,) * (x.ndim - axis - 1)))


def _quantize(step: Step, x: Held, scale: Held, zero: Held | None = None) -> Held:
    asked = dtype_of(step.get("output_dtype") or 2)
    dtype = asked if zero is None else zero.dtype
    assert dtype is not None
    shift = (
        Tensor(np.zeros((), np.float64))
        if zero is None
        else ops.astype(_along(step, zero, x), np.float64)
    )
    divisor = _along(step, scale, x)
    return Held(computed("QuantizeLinear", x.plain, divisor, shift, dtype=dtype.name))


def _quantized(step: Step) -> np.dtype | None:
    return step.types[2] if step.has(2) else dtype_of(step.get("output_dtype") or 2)


def _check(step: Step) -> None:
    refuse(step, step.get("block_size", 0), "scales of blocks are not supported")
    refuse(step, step.get("precision", 0) not in (0, 1), "precision is not supported")
    asked = step.get("output_dtype") or 1
    refuse(step, dtype_of(asked) is None, "this output_dtype is not supported")


def _dequantize(step: Step, x: Held, scale: Held, zero: Held | None = None) -> Held:
    s, t = _along(step, scale, x), x.plain
    y = ops.astype(t, s.dtype)
    if zero is not None:
        y = y - ops.astype(_along(step, zero, x), s.dtype)
    return Held(y * s)


ATTRIBUTES = ("axis", "block_size", "output_dtype", "precision", "saturate")

QUANTIZATION = {
    "QuantizeLinear": Operator(_quantize, ATTRIBUTES, FLOATS, _check, gives=_quantized),
    "DequantizeLinear": Operator(_dequantize, ATTRIBUTES, BYTES, _check, gives=1),
}
