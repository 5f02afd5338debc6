"""Hints for users of PyTorch and Keras: the error for one of their names says what to write here.

The names and what to write in their place stand in `foreign_names`; here is how errors come to say
so. Nothing in this file runs unless a name is wrong. Python calls a module's `__getattr__` only for
a name that the module does not have; tensors, layers and optimizers hold an `Elsewhere` under each
foreign name; and the arguments of a call are examined only after the call has failed.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from .foreign_names import ARGUMENTS

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)


def attributes_of(module: str, names: dict[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a module, which is called for names that it does not have."""

    def __getattr__(name: str) -> Any:
        raise AttributeError(
            f"module {module!r} has no attribute {name!r}{_instead(names, name)}", name=name
        )

    return __getattr__


class Elsewhere:
    """A name that another library has and that a class does not: reading it raises an
    AttributeError that says what to write here. A subclass or an instance may still have an
    attribute of that name.

    Each name has an object of this class, because a `__getattr__` would slow down all other
    attributes: Python then takes five times as long for each, and the engine reads a dozen per
    operation. `dir` of an object leaves these names out. `dir` of a class cannot without a
    metaclass, which would make `isinstance` twice as slow for parameters and arrays.
    """

    def __init__(self, name: str, instead: str) -> None:
        self.name, self.instead = name, instead

    def __get__(self, x: Any, cls: type) -> Any:
        raise AttributeError(
            f"{cls.__name__!r} object has no attribute {self.name!r}; here: {self.instead}",
            name=self.name,
        )


def with_names(names: dict[str, str]) -> Callable[[C], C]:
    """A class decorator that puts an `Elsewhere` under each name, and leaves the names out of `dir`
    of an instance."""

    def decorate(cls: C) -> C:
        def __dir__(self: Any) -> list[str]:
            return [
                name
                for name in object.__dir__(self)
                if not isinstance(inspect.getattr_static(self, name, None), Elsewhere)
            ]

        for name, instead in names.items():
            setattr(cls, name, Elsewhere(name, instead))
        cls.__dir__ = __dir__  # type: ignore[method-assign,assignment]
        return cls

    return decorate


def for_newcomers(function: F) -> F:
    """A decorator: if a call fails because an argument has a name that the function does not know,
    the error says what the argument is called here. Arguments are not examined before."""

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except TypeError as error:
            inside = error.__traceback__
            # A TypeError of the call itself has no frame of the function in its traceback.
            of_call = inside is not None and inside.tb_next is None
            wrong = _wrong(function.__name__, function, args, options) if of_call else None
            if wrong is None:
                raise
        raise wrong

    return call  # type: ignore[return-value]


class _OfInit:
    """A class attribute: the signature of a class, which is that of its `__init__`.

    Some versions of Python would take that of `Explained.__new__` where `__init__` is inherited.
    """

    def __get__(self, instance: Any, cls: type) -> inspect.Signature:
        if instance is not None:
            raise AttributeError("__signature__")  # an instance is called by its `__call__`
        signature = _signature(cls.__init__)  # type: ignore[misc]
        return signature.replace(parameters=list(signature.parameters.values())[1:])


class Explained:
    """A base of classes whose `__init__` explains itself: if a call has arguments that it does not
    take, the error names the class that was called and the arguments that it takes."""

    if not TYPE_CHECKING:
        __signature__ = _OfInit()

        def __new__(cls, *args, **options):
            if args or options:  # copying and unpickling pass none
                wrong = _wrong(cls.__name__, cls.__init__, (cls, *args), options)
                if wrong is not None:
                    raise wrong
            return super().__new__(cls)


_signature = functools.lru_cache(256)(inspect.signature)  # layers are made by the dozen


def _wrong(
    where: str, function: Any, args: tuple[Any, ...], options: dict[str, Any]
) -> TypeError | None:
    """The error of a call with arguments that a function does not take; None if it takes them."""
    signature = _signature(function)
    try:
        signature.bind(*args, **options)
        return None
    except TypeError as error:
        what = str(error)
    names = [name for name in signature.parameters if name != "self"]
    unknown = next((name for name in options if name not in names), None)
    hint = ARGUMENTS.get(unknown or "", "")
    if unknown is not None:
        what = f"got an unexpected keyword argument {unknown!r}"
        if hint.startswith("leave it out") or re.split(r"\W", hint)[0] in names:
            return TypeError(f"{where}() {what}; here: {hint}")
    return TypeError(f"{where}() {what}; it takes {', '.join(names) or 'no arguments'}")


def _instead(names: dict[str, str], name: str) -> str:
    return f"; here: {names[name]}" if name in names else ""
