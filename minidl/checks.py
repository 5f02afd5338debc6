"""Checks of arguments: one vocabulary for operations, layers, optimizers, data and settings.

Every check takes (value, where, name) and perhaps more; `where` is the function or class that the
user has called, and `name` the argument. It returns the value as a plain Python object.

All of minidl keeps one policy: a wrong type is a TypeError, a wrong value a ValueError. A bool is
no number, and neither is NaN. A flag is True or False (or 0 or 1); anything else is a wrong type.
NumPy's scalars are accepted wherever a number or a size is. The message reads

    function: argument must be <what is expected>, got <what was given>

with a fix after it where there is one.

This module knows nothing of tensors; `ops.common` turns arguments into tensors.
"""

from __future__ import annotations

import functools
import math
import operator
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from numbers import Real
from typing import Any, TypeVar

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
Check = Callable[[Any, str, str], Any]  # a check whose further arguments are bound

MOST = sys.maxsize  # the largest size
MOST_COUNT = 2**53  # the largest count: up to here every integer is exactly a float
MOST_OF_PAIR = 2**31 - 1  # the largest window, stride, dilation and padding that kernels take
MOST_EMPTY = 65536  # the most members without values: rows, parts that are made or put together
SHOWN = 100  # how many characters of the given value a message shows


# ------------------------------------------------------------------------------------ numbers


def integer(value: Any, where: str, name: str, least: int = -MOST, most: float = MOST) -> int:
    """An integer from `least` to `most`, as an int; `most` may be infinite."""
    if type(value) is int and least <= value <= most:
        return value
    try:
        number = _index(value)
    except TypeError:
        raise TypeError(message(where, name, _range(least, most, least), value)) from None
    if least <= number <= most:
        return number
    raise ValueError(message(where, name, _range(least, most, number), value))


def _range(least: int, most: float, given: int) -> str:
    """What `integer` expects, in words. A very large `most` is named only if `given` exceeds it."""
    if most < MOST_COUNT or given > most:
        return f"an int from {least} to {most}"
    return "an int" if least == -MOST else f"an int >= {least}"


def size(value: Any, where: str, name: str) -> int:
    """A size, an integer >= 1, as an int: NumPy's small integers would overflow in products."""
    return integer(value, where, name, 1)


def shape(value: Any, where: str, name: str) -> int | tuple[int, ...]:
    """A size, or a tuple of several sizes; a tuple of one is that size."""
    if not _is_list(value):
        return size(value, where, name)
    sizes = ints(value, where, name)
    if not sizes or min(sizes) < 1:
        raise ValueError(message(where, name, "an int or a tuple of ints >= 1", value))
    return sizes if len(sizes) > 1 else sizes[0]


def count(value: Any, where: str, name: str, least: int = 0) -> int:
    """A number of steps or epochs >= `least`, small enough to be exact as a float too."""
    return integer(value, where, name, least, MOST_COUNT)


def real(
    value: Any,
    where: str,
    name: str,
    least: float = -math.inf,
    most: float = math.inf,
    *,
    above: float | None = None,
    below: float | None = None,
    finite: bool = False,
) -> float:
    """A real number as a float, with least <= number <= most and above < number < below. Infinity
    is allowed unless `finite`."""
    if type(value) is float:
        number = value
    elif isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(message(where, name, _interval(least, most, above, below, finite), value))
    else:
        try:
            number = float(value)
        except OverflowError:  # the int is larger than any float
            number = math.nan
    if (
        least <= number <= most
        and (above is None or number > above)
        and (below is None or number < below)
        and not (finite and math.isinf(number))
    ):
        return number
    raise ValueError(message(where, name, _interval(least, most, above, below, finite), value))


def positive(value: Any, where: str, name: str) -> float:
    """A finite number > 0."""
    return real(value, where, name, above=0, finite=True)


def not_negative(value: Any, where: str, name: str) -> float:
    """A finite number >= 0."""
    return real(value, where, name, 0, finite=True)


def fraction(value: Any, where: str, name: str) -> float:
    """A number from 0 to 1."""
    return real(value, where, name, 0, 1)


def _interval(
    least: float, most: float, above: float | None, below: float | None, finite: bool
) -> str:
    """What `real` expects, in words."""
    low = "" if least == -math.inf else f">= {least:g}"
    high = "" if most == math.inf else f"<= {most:g}"
    low = low if above is None else f"> {above:g}"
    high = high if below is None else f"< {below:g}"
    if low == f">= {least:g}" and high == f"<= {most:g}":
        return f"a number from {least:g} to {most:g}"
    words = [
        "a finite number" if finite and not high else "a number",
        low,
        "and" if low and high else "",
        high,
    ]
    return " ".join(word for word in words if word)


# ---------------------------------------------------------------------------------- several ints


def pair(
    value: Any, where: str, name: str, least: int, what: str = "an int or a pair of ints"
) -> tuple[int, int]:
    """An int or a pair of ints as a pair, each from `least` to `MOST_OF_PAIR`. `what` describes the
    argument in messages."""
    if type(value) is int and least <= value <= MOST_OF_PAIR:
        return value, value
    if type(value) is tuple and len(value) == 2:  # the fast path: a layer has checked it
        a, b = value
        if (
            type(a) is int
            and type(b) is int
            and least <= a <= MOST_OF_PAIR
            and least <= b <= MOST_OF_PAIR
        ):
            return value
    expected = f"{what} >= {least}"
    try:
        values = tuple([_index(v) for v in (value if _is_list(value) else (value, value))])
    except TypeError:
        raise TypeError(message(where, name, expected, value)) from None
    if len(values) != 2 or min(values) < least:
        raise ValueError(message(where, name, expected, value))
    if max(values) > MOST_OF_PAIR:
        expected = f"{what} from {least} to {MOST_OF_PAIR}"
        raise ValueError(message(where, name, expected, value))
    return values[0], values[1]


def padding(value: Any, where: str, name: str, words: tuple[str, ...] = ("same", "valid")) -> Any:
    """The padding around images: an int or a pair of ints becomes a pair, ((top, bottom), (left,
    right)) a tuple of pairs, and one of `words` stays as it is."""
    if type(value) is int and 0 <= value <= MOST_OF_PAIR:
        return value, value
    what = "an int, a pair or ((top, bottom), (left, right)) of ints"
    if type(value) is tuple and value and type(value[0]) is int:  # a layer's, checked before
        return pair(value, where, name, 0, what)
    if words and isinstance(value, str):
        return _word(value, where, name, "an int, a pair, ((top, bottom), (left, right))", words)
    if _is_list(value) and len(value) == 2 and all(map(_is_list, value)):
        if len(value[0]) != 2 or len(value[1]) != 2:
            raise ValueError(message(where, name, f"{what} >= 0", value))
        return tuple([pair(sides, where, name, 0, what) for sides in value])
    return pair(value, where, name, 0, what)


def padding_1d(value: Any, where: str, name: str) -> Any:
    """The padding around sequences: an int, a pair (before, after), "same", "valid" or "causal"."""
    if isinstance(value, str):
        return _word(value, where, name, "an int, (before, after)", ("same", "valid", "causal"))
    sides = pair(value, where, name, 0, "an int or (before, after) of ints")
    return sides if _is_list(value) else sides[0]


def _word(value: str, where: str, name: str, numbers: str, words: tuple[str, ...]) -> str:
    """Check that a word is one of `words`; the error says that `numbers` are accepted too."""
    if value in words:
        return str(value)
    *others, last = [f'"{word}"' for word in words]
    expected = f"{numbers}, {', '.join(others)} or {last}"
    raise ValueError(message(where, name, expected, value))


def ints(values: Any, where: str, name: str) -> tuple[int, ...]:
    """A list of ints as a tuple; the caller decides whether they may be negative."""
    try:
        return tuple([n if type(n) is int else _index(n) for n in values])
    except TypeError:
        raise TypeError(message(where, name, "a list of ints", values)) from None


def axis(value: Any, where: str, name: str, ndim: int) -> int:
    """An axis out of `ndim`, counted from 0; a negative one is given from the end."""
    if type(value) is int and -ndim <= value < ndim:
        return value % ndim
    try:
        number = _index(value)
    except TypeError:
        raise TypeError(message(where, name, "an int", value)) from None
    return _in_range(number, where, name, ndim)


def axes(value: Any, where: str, name: str, ndim: int) -> tuple[int, ...]:
    """The axes that None (all of them), an int or a tuple of different ints stands for, as a sorted
    tuple of numbers from 0."""
    if value is None:
        return tuple(range(ndim))
    if type(value) is int and -ndim <= value < ndim:
        return (value % ndim,)
    try:
        given = [_index(a) for a in (value if isinstance(value, (tuple, list)) else (value,))]
    except TypeError:
        raise TypeError(message(where, name, "an int or a tuple of ints", value)) from None
    found = sorted([_in_range(a, where, name, ndim) for a in given])
    if len(set(found)) < len(found):
        raise ValueError(message(where, name, "a tuple of different axes", value))
    return tuple(found)


def _in_range(number: int, where: str, name: str, ndim: int) -> int:
    if -ndim <= number < ndim:
        return number % ndim
    expected = (
        f"an int from {-ndim} to {ndim - 1} for {ndim} ax{'i' if ndim == 1 else 'e'}s"
        if ndim
        else "() or None where there are no axes"
    )
    raise ValueError(message(where, name, expected, number))


def _index(value: Any) -> int:
    """An integer as an int; a TypeError without a message for anything else, even a bool."""
    if isinstance(value, bool) or getattr(value, "dtype", None) == np.bool_:
        raise TypeError
    try:
        return operator.index(value)
    except ValueError:  # a tensor of several numbers raises it
        raise TypeError from None


def _is_list(value: Any) -> bool:
    return isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.ndim > 0)


# ------------------------------------------------------------------------------------ other kinds


def flag(value: Any, where: str, name: str) -> bool:
    """True or False; 0 and 1 are accepted for them."""
    if value is True or value is False:
        return value
    if not isinstance(value, np.bool_ | Real) or value not in (0, 1):
        raise TypeError(message(where, name, "True or False", value))
    return bool(value)


def choice(value: Any, where: str, name: str, options: tuple[str | None, ...]) -> Any:
    """One of the words in `options`; None is accepted if it is one of them."""
    word = isinstance(value, str)
    if (word or value is None) and value in options:
        return value if value is None else str(value)
    *others, last = [f'"{option}"' if option else "None" for option in options]
    expected = f"{', '.join(others)} or {last}" if others else last
    raise (ValueError if word else TypeError)(message(where, name, expected, value))


def instance(
    value: Any, where: str, name: str, kind: type[T] | tuple[type[T], ...], expected: str
) -> T:
    """An instance of `kind`; `expected` describes it in the message."""
    if not isinstance(value, kind):
        raise TypeError(message(where, name, expected, value))
    return value


def function(value: Any, where: str, name: str, expected: str) -> Any:
    """Something that can be called; `expected` describes it in the message."""
    if not callable(value):
        raise TypeError(message(where, name, expected, value))
    return value


def members(values: Iterable[Any], where: str, name: str, expected: str) -> Iterator[Any]:
    """An iterator over the values, which `expected` describes. It is no list: callers stop at a
    wrong row. More than MOST_EMPTY rows without values, which take no memory, are refused."""
    shape = getattr(values, "shape", None)
    if type(shape) is tuple and 0 in shape[1:] and shape[0] > MOST_EMPTY:
        raise ValueError(f"{where}: {name} must be {expected}, not {shape[0]} empty rows")
    try:
        return iter(values)
    except TypeError:
        raise TypeError(message(where, name, expected, values)) from None


def each(check: Check) -> Check:
    """A check that takes a list or tuple and applies `check` to each member."""

    def checked(values: Any, where: str, name: str) -> list[Any]:
        if not isinstance(values, (list, tuple)):
            raise TypeError(message(where, name, "a list", values))
        return [check(value, where, f"{name}[{i}]") for i, value in enumerate(values)]

    return checked


def dtype(value: Any, where: str, name: str = "dtype") -> np.dtype:
    """Anything that NumPy accepts as a dtype, as a dtype; TypeError for anything else."""
    try:
        return np.dtype(value)
    except (TypeError, ValueError):
        raise TypeError(message(where, name, "a dtype of NumPy", value)) from None


def path(value: Any, where: str, name: str = "path") -> str:
    """A path as text; ValueError for a path that no file can have."""
    try:
        given = os.fsdecode(value)
    except TypeError:
        raise TypeError(message(where, name, "a str or a path", value)) from None
    if "\0" in given:
        raise ValueError(message(where, name, "a path without null characters", value))
    return given


# ------------------------------------------------------------------------------------ the messages


def message(where: str, name: str, expected: str, value: Any) -> str:
    """The message about a wrong argument; `where` may be empty inside a `named` function."""
    return f"{f'{where}: ' if where else ''}{name} must be {expected}, got {shown(value)}"


def shown(value: Any) -> str:
    """The given value as a message shows it: its repr, shortened if it is long."""
    try:
        text = " ".join(repr(value).split("\n"))
    except Exception:  # the repr of a very large int fails, and that of a user's class may
        return f"a {type(value).__name__}"
    return text if len(text) <= SHOWN else f"a {type(value).__name__}, {text[:SHOWN]}..."


def named(function: F) -> F:
    """A decorator that puts the function's name into all errors about its arguments, including
    those of NumPy and Python, which do not know the name.

    It costs an extra call, so operations that a training step consists of do without it.
    """
    name = function.__name__

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except (TypeError, ValueError, IndexError, ArithmeticError, MemoryError) as error:
            if str(error).startswith((f"{name}:", f"{name}()")):
                raise
            raise renamed(error, name) from error

    return call  # type: ignore[return-value]


def renamed(error: Exception, where: str) -> Exception:
    """The error as a TypeError, IndexError, MemoryError or ValueError, with the function's name
    before its text. Overflow and division by zero become ValueErrors: a wrong value causes them."""
    kinds = (TypeError, IndexError, MemoryError)
    kind = next((k for k in kinds if isinstance(error, k)), ValueError)
    return kind(f"{where}: {error}")
