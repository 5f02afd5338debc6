"""The parts that a layer's attributes hold: one walk through lists, tuples and dicts, which all
methods of layers share."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..tensor import Tensor
from .parameter import Parameter

if TYPE_CHECKING:
    from .layer import Layer

PLAIN = frozenset((int, float, bool, str, type(None)))  # types of attributes without parts


def flatten(
    where: str, name: str, value: Any, kinds: tuple[type, ...], around: tuple[int, ...] = ()
) -> Iterator[tuple[str, Any]]:
    """(dotted name, object) of each object of some `kinds` in a value, which may be the object
    itself, or lists, tuples and dicts around it. A container that holds itself is not entered
    again. TypeError for a set of such objects, which has no order and so gives no names, and for
    layers in a NumPy array.

    `around` are the ids of the containers that the value is in.
    """
    if (
        isinstance(value, np.ndarray)
        and value.dtype.hasobject
        and any(isinstance(v, kinds) and not isinstance(v, np.ndarray) for v in value.flat)
    ):
        raise TypeError(
            f"{where} is a NumPy array of layers or parameters, in which they would "
            f"not be found: use a list"
        )
    if isinstance(value, kinds):
        yield name, value
    elif isinstance(value, (list, tuple, deque, dict)):
        if id(value) in around:
            return
        around = (*around, id(value))
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            if type(item) not in PLAIN:
                yield from flatten(where, f"{name}.{key}", item, kinds, around)
    elif isinstance(value, (set, frozenset)) and any(isinstance(v, kinds) for v in value):
        raise TypeError(f"{where} is a set of layers or parameters, which has no order: use a list")


def replaced(value: Any, f: Callable[[Any], Any], around: tuple[int, ...] = ()) -> Any:
    """f(value), or, for the lists, tuples and dicts that `flatten` enters, the container with f
    applied to everything inside. Lists and dicts are changed in place."""
    if id(value) in around:
        return value
    inner = (*around, id(value))
    if isinstance(value, (list, deque)):
        for i, item in enumerate(value):
            value[i] = replaced(item, f, inner)
    elif isinstance(value, dict):
        for key in value:
            value[key] = replaced(value[key], f, inner)
    elif isinstance(value, tuple):
        items = [replaced(item, f, inner) for item in value]
        if any(new is not old for new, old in zip(items, value, strict=True)):
            return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    else:
        return f(value)
    return value


def refuse_over(where: str, held: Any, value: Any, layer: type) -> None:
    """Raise TypeError if an attribute would silently cease to be a part of the layer: if `held` is
    a parameter, layer or buffer, and `value` is to take its place but would not be a part. `layer`
    is the class Layer."""
    array = isinstance(value, (np.ndarray, Tensor))
    name, given = where.rpartition(".")[2], type(value).__name__
    if isinstance(held, Parameter) and value is not None:
        raise TypeError(
            f"{where} is a Parameter, and a {given} in its place would not learn: "
            f"write {name}.data = ... for new values, or {name} = nn.Parameter(...)"
        )
    if isinstance(held, layer) and array:
        raise TypeError(
            f"{where} is a layer ({type(held).__name__}), whose parameters would get "
            f"lost with a {given} in its place: set {name} to None first, if that is "
            f"meant"
        )
    if (
        isinstance(held, np.ndarray)
        and not held.dtype.hasobject
        and not isinstance(value, np.ndarray | type(None))
        and not name.startswith("_")
        and not any(flatten(where, name, value, (Parameter, layer, np.ndarray)))
    ):
        raise TypeError(
            f"{where} is a buffer, and a {given} in its place would not be saved: write "
            f"{name}[...] = ... for new values, or give an array"
            f"{' (tensor.data.copy())' if isinstance(value, Tensor) else ''}; set {name} to None "
            f"first, if that is meant"
        )


def refuse_of_class(cls: str, name: str, value: Any, kinds: tuple[type, ...]) -> None:
    """Raise TypeError for a layer or parameter that is an attribute of a class."""
    for _, part in flatten(f"{cls}.{name}", name, value, kinds):
        raise TypeError(
            f"class {cls}: {name} holds a {type(part).__name__} as an attribute of "
            f"the class, which is no part of its layers: write self.{name} = ... in "
            f"__init__"
        )


def uniquely_named(layer: Layer, named: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The (name, object) pairs of a walk through a layer; ValueError if one name stands for two
    objects, because a state would hold only one of them."""
    known: dict[str, Any] = {}
    for name, value in named:
        if known.setdefault(name, value) is not value:
            places = [
                _place(layer, found, type(layer).__name__, set()) for found in (known[name], value)
            ]
            raise ValueError(
                f"{type(layer).__name__}: {places[0]} and {places[1]} would both be "
                f"named {name!r}, and a state would hold only one of them: rename one"
            )
        yield name, value


def _attribute(name: str) -> str:
    """How an attribute is reached, as the end of a Python expression; children are `layer[k]`."""
    if name == "_layers":
        return ""
    return f".{name}" if name.isidentifier() else f".__dict__[{name!r}]"


def _place(held: Any, wanted: Any, place: str, seen: set[int]) -> str | None:
    """The place of an object in a layer, as a Python expression."""
    if held is wanted:
        return place
    if type(held) in PLAIN or id(held) in seen:
        return None
    seen.add(id(held))
    inside: Iterable[tuple[str, Any]] = ()
    if isinstance(held, dict):
        inside = [(f"[{key!r}]", item) for key, item in held.items()]
    elif isinstance(held, (list, tuple, deque)):
        inside = [(f"[{i}]", item) for i, item in enumerate(held)]
    elif hasattr(held, "named_parameters"):
        attributes = [item for item in held.__dict__.items() if item[0] != "unregistered"]
        inside = [(_attribute(name), item) for name, item in attributes]
    for step, item in inside:
        found = _place(item, wanted, place + step, seen)
        if found is not None:
            return found
    return None
