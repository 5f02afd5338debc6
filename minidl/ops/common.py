"""What operations share: turning arguments into tensors, axes, and pairs."""

from __future__ import annotations

import numbers
import operator
import sys
import warnings
from typing import Any

import numpy as np

from ..arguments import choice
from ..arrays import array_like, plain_array
from ..grad_mode import no_grad
from ..graph import Function
from ..tensor import Tensor

MOST = 2**31 - 1        # of windows, strides, dilations and paddings, as kernels take them


class NoGradient(Function):
    """Base of operations through which no gradient goes, also where they make floats."""

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Any:
        with no_grad():
            return super().apply(*inputs, **options)


class Copy(NoGradient):
    """y = x in memory of its own and in a dtype: for values that a backward needs again, and that
    the user who gave them may change before."""

    def forward(self, x: np.ndarray, dtype: np.dtype) -> np.ndarray:
        return np.array(x, dtype, order="C")


def warn(message: str) -> None:
    """A warning that points to the line outside of minidl that led here."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("minidl."):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def as_tensor(x: Any, where: str, name: str = "x") -> Tensor:
    """x as a tensor; arrays and numbers become constants."""
    if isinstance(x, Tensor):
        return x
    if isinstance(x, (np.ndarray, np.generic, int, float, list, tuple)) or array_like(x):
        try:
            array = plain_array(x)
        except ValueError as error:
            raise TypeError(f"{where}: {name} must be a tensor or an array, got a "
                            f"{type(x).__name__} that is none: {error}") from None
        except TypeError as error:
            raise TypeError(f"{where}: {name} must be a tensor or an array, got {error}") from None
        if array.dtype.kind == "c":
            raise TypeError(f"{where}: complex numbers are not supported, got {array.dtype}")
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{where}: {name} must be numbers, got {array.dtype}")
        return Tensor(array)
    raise TypeError(f"{where}: {name} must be a tensor or an array, got {type(x).__name__}")


def float_tensor(x: Any, where: str, name: str = "x") -> Tensor:
    """x as a float32 or float64 tensor; anything else is a TypeError."""
    t = x if isinstance(x, Tensor) else as_tensor(x, where, name)
    if t.dtype.char not in "fd":
        hint = "images of bytes are divided by 255, x.astype(np.float32) / 255, as predict and " \
            "DataLoader do" if t.dtype == np.uint8 and t.ndim > 1 else "convert it with astype"
        raise TypeError(f"{where}: {name} must be float32 or float64, got {t.dtype}; {hint}")
    return t


def same_float(where: str, **tensors: Tensor | None) -> None:
    """All given tensors have one float dtype."""
    given = {name: t.dtype for name, t in tensors.items() if t is not None}
    if len(set(given.values())) > 1:
        listed = ", ".join(f"{name} {dtype}" for name, dtype in given.items())
        raise TypeError(f"{where}: mixed dtypes: {listed}; convert with astype"
                        f"{origin_of_float64(tensors)}")


def origin_of_float64(tensors: dict[str, Tensor | None]) -> str:
    """For an error: where a float64 tensor beside others came from, as far as the graph tells."""
    found = [(name, t) for name, t in tensors.items() if t is not None and t.dtype == np.float64]
    if not found:
        return ""
    name, tensor = found[0]
    t: Tensor | None = tensor
    while t is not None and t._node is not None:
        inputs = [x for x in t._node._inputs or () if x is not None]
        if any(x.dtype == np.float32 for x in inputs):
            operation = type(t._node).__name__
            return (f" ({name} is float64 since astype has made it so)" if operation == "Cast" else
                    f" ({name} is float64 since {operation} has met a float32 and a float64 "
                    f"operand: give it a float32 one)")
        t = next((x for x in inputs if x.dtype == np.float64), None)
    return (f" ({name} is float64, as NumPy's arrays are unless told otherwise, and as everything "
            f"is that is computed with one)")


def reduced(losses: Tensor, reduction: str, where: str) -> Tensor:
    """The losses themselves ("none"), their sum or their mean."""
    from .reduce import mean, sum

    choice(reduction, ("mean", "sum", "none"), where, "reduction")
    return losses if reduction == "none" else sum(losses) if reduction == "sum" else mean(losses)


def real_number(value: Any, where: str, name: str) -> float:
    """A real number as a float; a TypeError for anything else."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{where}: {name} must be a number, got {type(value).__name__}")
    return float(value)


def not_negative(value: Any, where: str, name: str) -> float:
    """A real number as a float; a ValueError if it is below 0, or NaN."""
    number = real_number(value, where, name)
    if not number >= 0:
        raise ValueError(f"{where}: {name} must be >= 0, got {value!r}")
    return number


def whole(value: Any, where: str, name: str, least: int, most: int = sys.maxsize) -> int:
    """A whole number as an int; a ValueError for anything else, for less than `least` and for
    more than `most`, which is what a size may be at all if it is not given."""
    try:
        number = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ValueError(f"{where}: {name} must be an int >= {least}, got {value!r}")
    if number > most:
        raise ValueError(f"{where}: {name} must be at most {most}, got {value!r}")
    return number


def normalize_axes(axis: Any, ndim: int, where: str) -> tuple[int, ...]:
    """axis (None, int or tuple of ints, negative allowed) as a sorted tuple."""
    if axis is None:
        return tuple(range(ndim))
    if not isinstance(axis, (tuple, list)):
        axis = (axis,)
    result = []
    for a in axis:
        try:
            a = operator.index(a)
        except TypeError:
            raise TypeError(f"{where}: axis must be an int or a tuple of ints, "
                            f"got {axis!r}") from None
        if not -ndim <= a < ndim:
            raise ValueError(f"{where}: axis {a} is out of range for {ndim} axes")
        result.append(a % ndim)
    if len(set(result)) < len(result):
        raise ValueError(f"{where}: the same axis twice in {tuple(axis)}")
    return tuple(sorted(result))


def one_axis(axis: Any, ndim: int, where: str) -> int:
    """axis, an int (negative allowed), as one from 0 on."""
    if axis is None or isinstance(axis, list | tuple):
        raise TypeError(f"{where}: axis must be an int, got {axis!r}")
    return normalize_axes(axis, ndim, where)[0]


def pair(value: Any, where: str, name: str, least: int) -> tuple[int, int]:
    """An int or a pair of ints as a pair, each from `least` to `MOST`."""
    if type(value) is tuple and len(value) == 2:        # what a layer has checked before
        a, b = value
        if type(a) is int and type(b) is int and least <= a <= MOST and least <= b <= MOST:
            return value
    try:
        values = tuple(value) if isinstance(value, (tuple, list, np.ndarray)) else (value, value)
        values = tuple(operator.index(v) for v in values)
    except TypeError:
        values = ()
    if len(values) != 2 or min(values) < least:
        raise ValueError(f"{where}: {name} must be an int or a pair of ints >= {least}, "
                         f"got {value!r}")
    if max(values) > MOST:
        raise ValueError(f"{where}: {name} must be at most {MOST}, got {value!r}")
    return values[0], values[1]
