"""Operands of the operations that take two: conversion to tensors or numbers, and broadcasting."""

from __future__ import annotations

import contextlib
import numbers
from typing import Any

import numpy as np

from .. import kernels
from ..arrays import plain_array
from ..tensor import Tensor
from .common import as_tensor, loses_gradient
from .operation import Operation
from .reduce import sum_to


def operand(x: Any, other: Any, where: str) -> Any:
    """An operand as a tensor or a Python number, ready for `apply`; `other` is the other one."""
    if isinstance(x, Tensor) or type(x) in (float, int, bool):
        return x
    if type(x) in (list, tuple):
        x = _weak(x, other)
    if isinstance(x, (np.generic, np.ndarray)) and x.ndim == 0 and x.dtype.kind in "fiub":
        if isinstance(other, Tensor) and other.dtype.kind != "f":
            return Tensor(np.asarray(x))  # beside integers a NumPy scalar keeps its dtype
        return {"f": float, "b": bool}.get(x.dtype.kind, int)(x)
    if isinstance(x, numbers.Real):
        return float(x)
    if isinstance(x, complex):
        raise TypeError(f"{where}: complex numbers are not supported")
    return as_tensor(x, where, "operand")


def operands(where: str, a: Any, b: Any) -> tuple[Any, Any]:
    """Two operands as tensors or Python numbers, ready for `apply`."""
    return (
        a if isinstance(a, Tensor) else operand(a, b, where),
        b if isinstance(b, Tensor) else operand(b, a, where),
    )


def _weak(x: Any, other: Any) -> Any:
    """A list as it is; but a list of Python numbers beside a float tensor gets that dtype."""
    if isinstance(other, Tensor) and other.dtype.kind == "f":
        with contextlib.suppress(ValueError):  # as_tensor says what is wrong with it
            typed = plain_array(x)
            if typed.dtype == np.float32 and not loses_gradient(x):
                return np.asarray(x, dtype=np.result_type(typed, other.dtype))
    return x


def check_broadcast(where: str, a: Any, b: Any) -> None:
    """Raise ValueError unless the shapes of two operands broadcast."""
    if isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape != b.shape:
        check_shapes(where, a.shape, b.shape)


def check_shapes(where: str, *shapes: tuple[int, ...]) -> None:
    """ValueError unless several shapes broadcast; MemoryError if they do so to one without values
    whose other axes are longer than NumPy counts, which it calls a wrong value."""
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        *others, last = map(str, shapes)
        raise ValueError(
            f"{where}: shapes {', '.join(others)} and {last} do not broadcast"
        ) from None
    if 0 in shape:
        kernels.check_shape(where, shape, np.float64)


def overflow(where: str, error: OverflowError) -> OverflowError:
    """NumPy's error about a number that does not fit the other operand's dtype, with the name of
    the function that the user has called."""
    return OverflowError(f"{where}: {error}")


class Binary(Operation):
    """Base of operations with two operands; it remembers their shapes for the backward.

    `to_a` and `to_b` give the gradient of an operand in the shape of the result. Each is called
    only if that gradient is wanted, and its result is summed to the operand's own shape before the
    other is computed. For the result of a broadcast may be thousands of times as large as the
    operands, and only a few arrays of that size should exist at a time. For the same reason both
    compute in place where they can.
    """

    def shapes(self, a: Any, b: Any) -> None:
        self.shape_a = np.shape(a)
        self.shape_b = np.shape(b)

    def to_a(self, dy: Any) -> Any:
        """The gradient of a, before it is summed to a's shape."""
        return dy

    def to_b(self, dy: Any) -> Any:
        """The gradient of b, before it is summed to b's shape."""
        return dy

    def backward(self, dy: Any) -> Any:
        return (
            sum_to(self.to_a(dy), self.shape_a) if self.needs_grad[0] else None,
            sum_to(self.to_b(dy), self.shape_b) if self.needs_grad[1] else None,
        )
