"""Functions that operations share: they turn arguments into tensors, and warn. Checks of numbers,
axes and other arguments that are no tensors are in `minidl.checks`."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np

from ..arrays import array_like, plain_array
from ..grad_mode import is_recording
from ..tensor import Tensor
from ..tracers import copied, tracers

SMALL = 1 << 16  # the most bytes of an array operand that is copied


def warn(message: str) -> None:
    """Give a warning that points to the line outside of minidl that led here."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("minidl."):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def as_tensor(x: Any, where: str, name: str = "x") -> Tensor:
    """x as a tensor; arrays and numbers become tensors without a gradient. TypeError for a list of
    tensors whose gradients would be lost."""
    if isinstance(x, Tensor):
        return x
    if isinstance(x, (np.ndarray, np.generic, int, float, list, tuple)) or array_like(x):
        try:
            array = plain_array(x)
        except ValueError as error:
            raise TypeError(
                f"{where}: {name} must be a tensor or an array, got a "
                f"{type(x).__name__} that is none: {error}"
            ) from None
        except TypeError as error:
            raise TypeError(f"{where}: {name} must be a tensor or an array, got {error}") from None
        # Lists nested too deep, or in themselves, have been refused as no array.
        if loses_gradient(x):
            raise TypeError(
                f"{where}: {name} is a {type(x).__name__} with tensors that require a gradient, "
                "which would be lost; make one tensor of them with md.stack or md.concatenate"
            )
        if array.dtype.kind == "c":
            raise TypeError(f"{where}: complex numbers are not supported, got {array.dtype}")
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{where}: {name} must be numbers, got {array.dtype}")
        return constant(array, x)
    raise TypeError(f"{where}: {name} must be a tensor or an array, got {type(x).__name__}")


def loses_gradient(x: Any) -> bool:
    """Whether x is a list with tensors that require a gradient, which an array of it would lose."""
    return isinstance(x, (list, tuple)) and is_recording() and _requires_grad(x)


def _requires_grad(items: Any) -> bool:
    """Whether a tensor in nested lists and tuples requires a gradient."""
    if isinstance(items, (list, tuple)):
        return any(map(_requires_grad, items))
    return isinstance(items, Tensor) and items._requires_grad


def constant(array: np.ndarray, given: Any) -> Tensor:
    """An array that a user has given, as a tensor. A small array is copied, because a backward may
    need its values again, while the user, or a layer that holds it as a buffer, may change them.
    `given` may be an object of another library, whose memory the array then shares as a rule."""
    if array.nbytes > SMALL or not array_like(given):
        return Tensor(array)
    t = Tensor(array.copy())
    if tracers:
        copied(t, array)
    return t


def outside(numbers: np.ndarray, count: int) -> np.ndarray:
    """Where int64 numbers are not in 0 .. count - 1. One comparison is enough, because negative
    numbers are large when they are read as unsigned."""
    return numbers.view(np.uint64) >= count


def float_tensor(x: Any, where: str, name: str = "x") -> Tensor:
    """x as a float32 or float64 tensor; anything else is a TypeError."""
    t = x if isinstance(x, Tensor) else as_tensor(x, where, name)
    if t._dtype.char not in "fd":
        hint = (
            "images of bytes are divided by 255, x.astype(np.float32) / 255, as predict and "
            "DataLoader do"
            if t.dtype == np.uint8 and t.ndim > 1
            else "convert it with astype"
        )
        raise TypeError(f"{where}: {name} must be float32 or float64, got {t.dtype}; {hint}")
    return t


def same_float(where: str, **tensors: Tensor | None) -> None:
    """Raise TypeError unless all given tensors have one dtype."""
    given = {name: t.dtype for name, t in tensors.items() if t is not None}
    if len(set(given.values())) > 1:
        listed = ", ".join(f"{name} {dtype}" for name, dtype in given.items())
        raise TypeError(
            f"{where}: mixed dtypes: {listed}; convert with astype{origin_of_float64(tensors)}"
        )


def origin_of_float64(tensors: dict[str, Tensor | None]) -> str:
    """Words for an error about mixed dtypes: where a float64 tensor among them came from, as far as
    the graph tells."""
    found = [(name, t) for name, t in tensors.items() if t is not None and t.dtype == np.float64]
    if not found:
        return ""
    name, tensor = found[0]
    t: Tensor | None = tensor
    while t is not None and t._node is not None:
        inputs = [x for x in t._node._inputs or () if x is not None]
        if any(x.dtype == np.float32 for x in inputs):
            operation = type(t._node).__name__
            return (
                f" ({name} is float64 since astype has made it so)"
                if operation == "Cast"
                else f" ({name} is float64 since {operation} has met a float32 and a float64 "
                f"operand: give it a float32 one)"
            )
        t = next((x for x in inputs if x.dtype == np.float64), None)
    return (
        f" ({name} is float64, as NumPy's arrays are unless told otherwise, and as everything "
        f"is that is computed with one)"
    )
