"""Arrays from what users pass: NumPy arrays, lists of numbers, and objects of other libraries that
convert to an array."""

from __future__ import annotations

from typing import Any

import numpy as np


def array_like(obj: Any) -> bool:
    """Whether an object is an array or converts to one, as tensors of other libraries, pictures and
    tables do."""
    return hasattr(obj, "__array__") or hasattr(obj, "__array_interface__")


def plain_array(obj: Any) -> np.ndarray:
    """Convert obj to an array. Values with a dtype keep it; Python floats, in lists too, become
    float32.

    Raises TypeError for an object that does not convert, such as another library's tensor that
    requires a gradient.
    """
    try:
        array = np.asarray(obj)
    except (RuntimeError, TypeError) as error:
        hint = (
            "; detach() it first: gradients do not pass from one library to the other"
            if "requires grad" in str(error)
            else ""
        )
        raise TypeError(
            f"a {type(obj).__module__}.{type(obj).__qualname__} that gives no array: {error}{hint}"
        ) from None
    return array.astype(np.float32) if array.dtype == np.float64 and not _has_typed(obj) else array


def array_of(values: Any, where: str, name: str) -> np.ndarray:
    """Convert an argument as `plain_array` does; the errors name the function and the argument."""
    try:
        return plain_array(values)
    except TypeError as error:
        raise TypeError(f"{where}: {name} must be an array, got {error}") from None
    except ValueError as error:
        raise ValueError(
            f"{where}: {name} must be an array, all items of one shape: {error}"
        ) from None


def _has_typed(obj: Any) -> bool:
    """Whether obj, or anything in its nested lists and tuples, has a dtype of its own."""
    if isinstance(obj, (list, tuple)):
        return any(_has_typed(inner) for inner in obj)
    return array_like(obj)
