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


def apart(where: str, written: dict[str, Array], read: dict[str, Array]) -> None:
    """ValueError if a contiguous array that is written shares memory with another one, whatever
    their order is; those that are only read may share memory with each other."""
    ranges = sorted(
        (a.__array_interface__["data"][0], a.nbytes, name)
        for name, a in (*written.items(), *read.items())
        if a.size
    )
    last = last_written = (0, "")  # the furthest end so far, and whose it is
    for begin, nbytes, name in ranges:
        end, other = last if name in written else last_written
        if begin < end:
            raise ValueError(f"{where}: {name} overlaps {other} in memory")
        last = max(last, (begin + nbytes, name))
        if name in written:
            last_written = max(last_written, (begin + nbytes, name))


def floats(*options: Any) -> tuple[float, ...]:
    """Options as Python's floats, as the native kernels take them: NumPy's scalars would have a say
    in dtypes, and 1 - 2 of its small integers is 255."""
    return tuple([float(option) for option in options])


def ints(*options: Any) -> tuple[Any, ...]:
    """Sizes, pairs and shapes as Python's ints, in tuples as deep as they were given, as the native
    kernels take them: of NumPy's small integers -2 is 254. None stays None."""
    return tuple([_int(option) for option in options])


def pairs(where: str, **options: Any) -> tuple[Any, ...]:
    """Options that are pairs of positive numbers, as `ints` gives them."""
    for name, option in options.items():
        rows, columns = ints(*option)
        if rows < 1 or columns < 1:
            raise ValueError(f"{where}: {name} must be positive, got {option}")
    return ints(*options.values())


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
