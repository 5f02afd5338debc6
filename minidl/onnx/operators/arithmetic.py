"""Operators of several tensors that broadcast: arithmetic, comparisons, logic and choices."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import ops
from ...tensor import Tensor
from ..steps import ANY, FLOATS, NUMBERS, Operator, Step, refuse
from ..values import Held, aligned
from .functions import computed

Two = Callable[[Any, Any], Tensor]


def _operands(step: Step, values: tuple[Held, ...]) -> tuple[list[Any], Any]:
    """The operands, with their axes in one order, and that order. A float that is known becomes a
    number of Python, which takes the dtype of the other operand."""
    if step.opset < 7 and len(values) == 2 and step.get("broadcast", 0):
        values = (values[0], _old_broadcast(values[0], values[1], step.get("axis")))
    tensors, axes = aligned(values)
    given: list[Any] = list(tensors)
    for k, value in enumerate(values):
        other = values[1 - k] if len(values) == 2 else None
        if (
            value.constant
            and other is not None
            and not other.constant
            and value.tensor.size == 1
            and value.ndim <= other.ndim
            and value.dtype.kind == other.dtype.kind == "f"
        ):
            given[k] = value.scalar()
    return given, axes


def _old_broadcast(a: Held, b: Held, axis: int | None) -> Held:
    """The second operand as opset 6 has it: its axes are those of the first operand from `axis`
    on."""
    start = a.ndim - b.ndim if axis is None else axis
    if not 0 <= start <= a.ndim - b.ndim:
        raise ValueError(
            f"an operand of shape {b.shape} does not fit into {a.shape} from axis {axis}"
        )
    return Held(
        ops.reshape(b.plain, (*b.shape, *(1,) * (a.ndim - start - b.ndim))), None, b.constant
    )


def _two(f: Two, *attributes: str, types: tuple[str, ...] = NUMBERS, gives: Any = 0) -> Operator:
    def run(step: Step, *values: Held) -> Held:
        (a, b), axes = _operands(step, values)
        return Held(f(a, b), axes)

    return Operator(run, ("axis", "broadcast", *attributes), types, places="any", gives=gives)


def _many(f: Two, mean: bool = False, types: tuple[str, ...] = NUMBERS) -> Operator:
    def run(step: Step, *values: Held) -> Held:
        tensors, axes = aligned(values)
        y = functools.reduce(f, tensors)
        return Held(y / len(values) if mean else y, axes)

    return Operator(run, (), types, places="any")


def _divided(a: Any, b: Any) -> Tensor:
    """a / b. The quotients of integers are rounded towards 0."""
    if not any(isinstance(v, Tensor) and v.dtype.kind in "iu" for v in (a, b)):
        return ops.divide(a, b)
    return computed("Div", a, b)


def _modulo(step: Step, *values: Held) -> Held:
    (a, b), axes = aligned(values)
    if step.get("fmod", 0):
        return Held(computed("Mod", a, b), axes)
    return Held(ops.remainder(a, b), axes)


def _power(step: Step, *values: Held) -> Held:
    (a, b), axes = _operands(step, values)
    if isinstance(a, Tensor) and isinstance(b, Tensor) and a.dtype != b.dtype:
        if a.dtype.kind in "iu":  # the result has the dtype of the first operand
            return Held(ops.astype(ops.power(ops.astype(a, np.float64), b), a.dtype), axes)
        b = ops.astype(b, a.dtype)
    return Held(ops.power(a, b), axes)


def _check_power(step: Step) -> None:
    for dtype in step.types:
        refuse(
            step,
            dtype is not None and dtype.name not in NUMBERS,
            f"values of {dtype} are not supported",
        )


def _compared(relation: np.ufunc) -> Two:
    return lambda a, b: ops.compare(relation, a, b)


def _bitwise(operation: np.ufunc) -> Two:
    return lambda a, b: ops.bitwise(operation, a, b)


def _shift(step: Step, *values: Held) -> Held:
    (a, b), axes = aligned(values)
    f = np.left_shift if step.get("direction") == "LEFT" else np.right_shift
    return Held(ops.bitwise(f, a, b), axes)


def _where(step: Step, condition: Held, a: Held, b: Held) -> Held:
    tensors, axes = aligned([condition, a, b])
    return Held(ops.where(*tensors), axes)


def _clip(step: Step, x: Held, low: Held | None = None, high: Held | None = None) -> Held:
    """x between two limits, which are attributes before opset 11 and inputs from then on."""
    limits: list[Any] = [step.get("min"), step.get("max")]
    for k, limit in enumerate((low, high)):
        if limit is not None:
            if limit.tensor.size == 0:
                raise ValueError(f"Clip: limits must be numbers, got an array {limit.shape}")
            limits[k] = limit.scalar() if limit.constant else ops.reshape(limit.plain, ())
    least, most = limits
    if least is None and most is None:
        return x
    if most is None and not isinstance(least, Tensor) and least == 0 and x.dtype.kind == "f":
        return x.like(ops.relu(x.tensor))
    return x.like(ops.clip(x.tensor, *limits))


BITS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")

ARITHMETIC = {
    "Add": _two(ops.add),
    "Sub": _two(ops.subtract),
    "Mul": _two(ops.multiply),
    "Div": _two(_divided),
    "Pow": Operator(_power, ("axis", "broadcast"), NUMBERS, _check_power, "any"),
    "Mod": Operator(_modulo, ("fmod",), NUMBERS, places="any"),
    "Max": _many(ops.maximum),
    "Min": _many(ops.minimum),
    "Sum": _many(ops.add, types=FLOATS),
    "Mean": _many(ops.add, mean=True, types=FLOATS),
    "Equal": _two(_compared(np.equal), types=ANY, gives="bool"),
    "Less": _two(_compared(np.less), gives="bool"),
    "LessOrEqual": _two(_compared(np.less_equal), gives="bool"),
    "Greater": _two(_compared(np.greater), gives="bool"),
    "GreaterOrEqual": _two(_compared(np.greater_equal), gives="bool"),
    "And": _two(_bitwise(np.bitwise_and), types=("bool",)),
    "Or": _two(_bitwise(np.bitwise_or), types=("bool",)),
    "Xor": _two(_bitwise(np.bitwise_xor), types=("bool",)),
    "BitwiseAnd": _two(_bitwise(np.bitwise_and), types=BITS),
    "BitwiseOr": _two(_bitwise(np.bitwise_or), types=BITS),
    "BitwiseXor": _two(_bitwise(np.bitwise_xor), types=BITS),
    "BitShift": Operator(_shift, ("direction",), BITS, places="any"),
    "Where": Operator(_where, (), ("bool",), places="any", gives=1),
    "Clip": Operator(_clip, ("min", "max"), NUMBERS, places="any"),
}
