"""What twins share: the types of their arguments, outputs, options."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray
Operand = np.ndarray | float  # of a function of two arrays, of which one may be a number
Shape = Sequence[int]
Pair = Sequence[int]  # (rows, columns)
Padding = Sequence[Sequence[int]]  # ((top, bottom), (left, right))
Activation = Sequence[Any]  # (name of a kernel, its options)


def into(out: Array | None, value: Array) -> Array:
    """`value`, or `out` filled with it."""
    if out is None:
        return value
    out[...] = value
    return out


def floats(*options: Any) -> tuple[float, ...]:
    """Options as Python's floats, as the native kernels take them: NumPy's scalars would have a say
    in dtypes, and 1 - 2 of its small integers is 255."""
    return tuple([float(option) for option in options])


def ints(*options: Any) -> tuple[Any, ...]:
    """Sizes, pairs and shapes as Python's ints, in tuples as deep as they were given, as the native
    kernels take them: of NumPy's small integers -2 is 254. None stays None."""
    return tuple([_int(option) for option in options])


def _int(option: Any) -> Any:
    if option is None:
        return None
    if isinstance(option, (tuple, list, np.ndarray)):
        return ints(*option)
    return operator.index(option)


def rows_of(x: Array) -> Array:
    """x (..., C) as rows (M, C), in the same memory. Without channels there are no rows, whatever
    the other axes are, as for the native kernels."""
    channels = x.shape[-1]
    return x.reshape(x.size // max(1, channels), channels)
