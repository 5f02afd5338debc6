"""Checks of arguments: one vocabulary for operations, layers, optimizers, data and settings.

Every check takes (value, where, name, and what else it asks), `where` being the function or class
that the user has called and `name` the argument, and returns the value as plain Python has it.

The policy, here and wherever minidl checks something itself: a wrong type is a TypeError, a wrong
value a ValueError. A bool is no number, NaN is not accepted as one, and a flag is True or
False (0 and 1 stand for them), so that anything else is a wrong type. NumPy's scalars are welcome
wherever a number or a size is. The message reads

    function: argument must be <what is expected>, got <what was given>

with a fix after it where there is one.

This module knows NumPy and nothing of tensors; `ops.common` makes tensors of arguments.
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
Check = Callable[[Any, str, str], Any]      # with whatever else it asks bound to it

MOST = sys.maxsize          # of a size
MOST_COUNT = 2**53          # of what is counted: up to here every whole number is a float, too
MOST_OF_PAIR = 2**31 - 1    # of windows, strides, dilations and paddings, as kernels take them
SHOWN = 100                 # characters of what was given that a message shows


# ------------------------------------------------------------------------------------ numbers

def whole(value: Any, where: str, name: str, least: int = -MOST, most: float = MOST) -> int:
    """A whole number from `least` to `most` as an int; `most` may be infinite."""
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
    """What `whole` expects, in words; of the largest size or count only if that is the point."""
    if most < MOST_COUNT or given > most:
        return f"an int from {least} to {most}"
    return "an int" if least == -MOST else f"an int >= {least}"


def size(value: Any, where: str, name: str) -> int:
    """A size: a whole number >= 1. NumPy's small ones would overflow in products."""
    return whole(value, where, name, 1)


def shape(value: Any, where: str, name: str) -> int | tuple[int, ...]:
    """A size, or a tuple of several sizes; a tuple of one is that size."""
    if not _is_list(value):
        return size(value, where, name)
    sizes = ints(value, where, name)
    if not sizes or min(sizes) < 1:
        raise ValueError(message(where, name, "an int or a tuple of ints >= 1", value))
    return sizes if len(sizes) > 1 else sizes[0]


def count(value: Any, where: str, name: str, least: int = 0) -> int:
    """A number of steps or epochs, from 0 or 1 on, small enough to be a float, too."""
    return whole(value, where, name, least, MOST_COUNT)


def real(value: Any, where: str, name: str, least: float = -math.inf, most: float = math.inf, *,
         above: float | None = None, below: float | None = None, finite: bool = False) -> float:
    """A real number as a float: from `least` to `most`, or beyond `above` and under `below`, which
    are themselves not allowed; infinite ones unless it must be `finite`."""
    if type(value) is float:
        number = value
    elif isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(message(where, name, _interval(least, most, above, below, finite), value))
    else:
        try:
            number = float(value)
        except OverflowError:       # an int beyond all floats
            number = math.nan
    if (least <= number <= most and (above is None or number > above)
            and (below is None or number < below) and not (finite and math.isinf(number))):
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


def _interval(least: float, most: float, above: float | None, below: float | None, finite: bool
              ) -> str:
    """What `real` expects, in words."""
    low = "" if least == -math.inf else f">= {least:g}"
    high = "" if most == math.inf else f"<= {most:g}"
    low = low if above is None else f"> {above:g}"
    high = high if below is None else f"< {below:g}"
    if low == f">= {least:g}" and high == f"<= {most:g}":
        return f"a number from {least:g} to {most:g}"
    words = ["a finite number" if finite and not high else "a number", low,
             "and" if low and high else "", high]
    return " ".join(word for word in words if word)


# ---------------------------------------------------------------------------------- several ints

def pair(value: Any, where: str, name: str, least: int, what: str = "an int or a pair of ints"
         ) -> tuple[int, int]:
    """An int or a pair of ints as a pair, each from `least` to `MOST_OF_PAIR`; `what` says so."""
    if type(value) is int and least <= value <= MOST_OF_PAIR:
        return value, value
    if type(value) is tuple and len(value) == 2:        # what a layer has checked before
        a, b = value
        if (type(a) is int and type(b) is int and least <= a <= MOST_OF_PAIR
                and least <= b <= MOST_OF_PAIR):
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
    """The padding around images: an int or a pair of ints as a pair, ((top, bottom), (left, right))
    as a tuple of pairs, one of some words as it is."""
    if type(value) is int and 0 <= value <= MOST_OF_PAIR:
        return value, value
    what = "an int, a pair or ((top, bottom), (left, right)) of ints"
    if type(value) is tuple and value and type(value[0]) is int:    # as of layers
        return pair(value, where, name, 0, what)
    if words and isinstance(value, str):
        return _word(value, where, name, "an int, a pair, ((top, bottom), (left, right))", words)
    if _is_list(value) and len(value) == 2 and all(map(_is_list, value)):
        if len(value[0]) != 2 or len(value[1]) != 2:
            raise ValueError(message(where, name, f"{what} >= 0", value))
        return tuple([pair(sides, where, name, 0, what) for sides in value])
    return pair(value, where, name, 0, what)


def padding_1d(value: Any, where: str, name: str) -> Any:
    """The padding around sequences: an int, a pair (before, after), or one of some words."""
    if isinstance(value, str):
        return _word(value, where, name, "an int, (before, after)", ("same", "valid", "causal"))
    sides = pair(value, where, name, 0, "an int or (before, after) of ints")
    return sides if _is_list(value) else sides[0]


def _word(value: str, where: str, name: str, numbers: str, words: tuple[str, ...]) -> str:
    """One of the words that stand for a padding, or for `numbers`."""
    if value in words:
        return str(value)
    *others, last = [f'"{word}"' for word in words]
    expected = f"{numbers}, {', '.join(others)} or {last}"
    raise ValueError(message(where, name, expected, value))


def ints(values: Any, where: str, name: str) -> tuple[int, ...]:
    """A list of ints as a tuple; whether they may be negative is left to the caller."""
    try:
        return tuple([n if type(n) is int else _index(n) for n in values])
    except TypeError:
        raise TypeError(message(where, name, "a list of ints", values)) from None


def axis(value: Any, where: str, name: str, ndim: int) -> int:
    """An axis of `ndim` (negative: from the end) as one from 0 on."""
    if type(value) is int and -ndim <= value < ndim:
        return value % ndim
    try:
        number = _index(value)
    except TypeError:
        raise TypeError(message(where, name, "an int", value)) from None
    return _in_range(number, where, name, ndim)


def axes(value: Any, where: str, name: str, ndim: int) -> tuple[int, ...]:
    """None (all axes), an axis or a tuple of different ones, as a sorted tuple from 0 on."""
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
    expected = (f"an int from {-ndim} to {ndim - 1} for {ndim} ax{'i' if ndim == 1 else 'e'}s"
                if ndim else "() or None where there are no axes")
    raise ValueError(message(where, name, expected, number))


def _index(value: Any) -> int:
    """A whole number as an int; a TypeError for anything else, also for a bool."""
    if isinstance(value, bool) or getattr(value, "dtype", None) == np.bool_:
        raise TypeError
    try:
        return operator.index(value)
    except ValueError:      # of a tensor of several numbers
        raise TypeError from None


def _is_list(value: Any) -> bool:
    return isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.ndim > 0)


# ------------------------------------------------------------------------------------ other kinds

def flag(value: Any, where: str, name: str) -> bool:
    """True or False; 0 and 1 stand for them."""
    if value is True or value is False:
        return value
    if not isinstance(value, np.bool_ | Real) or value not in (0, 1):
        raise TypeError(message(where, name, "True or False", value))
    return bool(value)


def choice(value: Any, where: str, name: str, options: tuple[str | None, ...]) -> Any:
    """One of some words; None if it is one of the options."""
    word = isinstance(value, str)
    if (word or value is None) and value in options:
        return value if value is None else str(value)
    *others, last = [f'"{option}"' if option else "None" for option in options]
    expected = f"{', '.join(others)} or {last}"
    raise (ValueError if word else TypeError)(message(where, name, expected, value))


def instance(value: Any, where: str, name: str, kind: type[T] | tuple[type[T], ...],
             expected: str) -> T:
    """An object of a kind, which is described by `expected`."""
    if not isinstance(value, kind):
        raise TypeError(message(where, name, expected, value))
    return value


def function(value: Any, where: str, name: str, expected: str) -> Any:
    """What can be called, and is described by `expected`."""
    if not callable(value):
        raise TypeError(message(where, name, expected, value))
    return value


def members(values: Iterable[Any], where: str, name: str, expected: str) -> Iterator[Any]:
    """What an iterable gives; `expected` describes it. One after another, so that who finds the
    first row of an array where a tensor should be does not make the other millions."""
    try:
        return iter(values)
    except TypeError:
        raise TypeError(message(where, name, expected, values)) from None


def each(check: Check) -> Check:
    """The check of a list (or tuple) whose members pass `check`."""
    def checked(values: Any, where: str, name: str) -> list[Any]:
        if not isinstance(values, (list, tuple)):
            raise TypeError(message(where, name, "a list", values))
        return [check(value, where, f"{name}[{i}]") for i, value in enumerate(values)]
    return checked


def dtype(value: Any, where: str, name: str = "dtype") -> np.dtype:
    """What NumPy makes a dtype of, as one. What it cannot is a TypeError, as it is there."""
    try:
        return np.dtype(value)
    except (TypeError, ValueError):
        raise TypeError(message(where, name, "a dtype of NumPy", value)) from None


def path(value: Any, where: str, name: str = "path") -> str:
    """A path as text. One that no file can have is a ValueError."""
    try:
        given = os.fsdecode(value)
    except TypeError:
        raise TypeError(message(where, name, "a str or a path", value)) from None
    if "\0" in given:
        raise ValueError(message(where, name, "a path without null characters", value))
    return given


# ------------------------------------------------------------------------------------ the messages

def message(where: str, name: str, expected: str, value: Any) -> str:
    """What is wrong with an argument. `where` may be empty in what runs in a `named` function."""
    return f"{f'{where}: ' if where else ''}{name} must be {expected}, got {shown(value)}"


def shown(value: Any) -> str:
    """What was given, as a message shows it: its repr, if that is short."""
    try:
        text = " ".join(repr(value).split("\n"))
    except Exception:       # of an int of 5,000 digits, or of a class of the user's
        return f"a {type(value).__name__}"
    return text if len(text) <= SHOWN else f"a {type(value).__name__}, {text[:SHOWN]}..."


def named(function: F) -> F:
    """The function, but all errors about its arguments name it: those too that NumPy or Python
    raise, who do not know for whom they work.

    It costs a call, so it is not for operations that a training step is made of.
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
    """The same error of a plain kind, with the function's name before its text. Overflow and
    division by zero come from a wrong value."""
    kinds = (TypeError, IndexError, MemoryError)
    kind = next((k for k in kinds if isinstance(error, k)), ValueError)
    return kind(f"{where}: {error}")
