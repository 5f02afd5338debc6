"""Checks of the numbers that optimizers and schedules are made of.

Each takes the place, the argument's name and its value, and returns the value as a plain Python
number; TypeError or ValueError say what was expected and what was given.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from numbers import Real
from typing import Any

from .. import arguments

Check = Callable[[str, str, Any], Any]
MOST = 2**53        # of what is counted: up to here every whole number is a float, too


def _number(where: str, name: str, value: Any, allowed: Callable[[float], bool], expected: str
            ) -> float:
    message = f"{where}: {name} must be {expected}, got {value!r}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(message)
    if not math.isfinite(value) or not allowed(float(value)):
        raise ValueError(message)
    return float(value)


def positive(where: str, name: str, value: Any) -> float:
    return _number(where, name, value, lambda x: x > 0, "a number above 0")


def not_negative(where: str, name: str, value: Any) -> float:
    return _number(where, name, value, lambda x: x >= 0, "a number >= 0")


def fraction(where: str, name: str, value: Any) -> float:
    return _number(where, name, value, lambda x: 0 <= x <= 1, "a number from 0 to 1")


def shrinking(where: str, name: str, value: Any) -> float:
    return _number(where, name, value, lambda x: 0 < x < 1, "a number between 0 and 1")


def _whole(where: str, name: str, value: Any, least: int) -> int:
    message = f"{where}: {name} must be a whole number >= {least}, got {value!r}"
    try:
        whole = operator.index(value)
    except TypeError:
        raise TypeError(message) from None
    if isinstance(value, bool):
        raise TypeError(message)
    if whole > MOST:
        raise ValueError(f"{where}: {name} must be at most 2**53, got {value!r}")
    if whole < least:
        raise ValueError(message)
    return whole


def positive_int(where: str, name: str, value: Any) -> int:
    return _whole(where, name, value, 1)


def not_negative_int(where: str, name: str, value: Any) -> int:
    return _whole(where, name, value, 0)


def flag(where: str, name: str, value: Any) -> bool:
    return arguments.flag(value, where, name)


def each(check: Check) -> Check:
    """The check of a list (or tuple) whose members pass `check`."""
    def checked(where: str, name: str, values: Any) -> list[Any]:
        if not isinstance(values, list | tuple):
            raise TypeError(f"{where}: {name} must be a list, got {values!r}")
        return [check(where, f"{name}[{i}]", value) for i, value in enumerate(values)]
    return checked
