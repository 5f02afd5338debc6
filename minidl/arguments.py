"""Arguments of functions that are called rarely: checks, and errors that name the function."""

from __future__ import annotations

import functools
import numbers
import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])


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
        except (TypeError, ValueError, IndexError, ArithmeticError) as error:
            if str(error).startswith((f"{name}:", f"{name}()")):
                raise
            raise renamed(name, error) from error

    return call  # type: ignore[return-value]


def renamed(where: str, error: Exception) -> Exception:
    """The same error of a plain kind, with the function's name before its text. Overflow and
    division by zero come from a wrong value."""
    kind = next((k for k in (TypeError, IndexError) if isinstance(error, k)), ValueError)
    return kind(f"{where}: {error}")


def flag(value: Any, where: str, name: str) -> bool:
    """True or False; 0 and 1 stand for them. A TypeError for anything else."""
    if not isinstance(value, bool | np.bool_ | numbers.Real) or value not in (0, 1):
        raise TypeError(f"{where}: {name} must be True or False, got {value!r}")
    return bool(value)


def check_flags(where: str, **values: Any) -> None:
    """TypeError unless each is True or False."""
    for name, value in values.items():
        flag(value, where, name)


def choice(value: Any, options: tuple[str | None, ...], where: str, name: str) -> Any:
    """The value, if it is one of the options; else a ValueError that lists them."""
    if not (value is None or isinstance(value, str)) or value not in options:
        *others, last = [f'"{option}"' if option else "None" for option in options]
        raise ValueError(f"{where}: {name} must be {', '.join(others)} or {last}, got {value!r}")
    return value


def dtype_of(dtype: Any, where: str) -> np.dtype:
    """What NumPy makes a dtype of, as one; a TypeError for anything else."""
    try:
        return np.dtype(dtype)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{where}: dtype {dtype!r} is none: {error}") from None


def listed(values: Iterable[Any], where: str, name: str, members: str) -> list[Any]:
    """What an iterable gives, as a list; a TypeError for what is none."""
    try:
        return list(values)
    except TypeError:
        raise TypeError(f"{where}: {name} must be {members}, got {type(values).__name__} "
                        f"{values!r}") from None


def path_of(path: Any, where: str) -> str:
    """A path as text; a TypeError for what is none, a ValueError for one that no file can have."""
    try:
        given = os.fsdecode(path)
    except TypeError:
        raise TypeError(f"{where}: path must be a str or a path, got a {type(path).__name__}"
                        ) from None
    if "\0" in given:
        raise ValueError(f"{where}: path has a null character in it, got {path!r}")
    return given
