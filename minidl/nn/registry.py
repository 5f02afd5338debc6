"""What the attributes of a layer hold: one walk through lists, tuples and dicts for all who ask."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

PLAIN = frozenset((int, float, bool, str, type(None)))      # types of attributes that hold nothing


def flatten(where: str, name: str, value: Any, kinds: tuple[type, ...]
            ) -> Iterator[tuple[str, Any]]:
    """(dotted name, object) of the objects of some kinds in a value, and in lists, tuples and
    dicts of them. TypeError for a set of them, which has no order and so no names."""
    if isinstance(value, kinds):
        yield name, value
    elif isinstance(value, (list, tuple, deque)):
        for i, item in enumerate(value):
            if type(item) not in PLAIN:
                yield from flatten(where, f"{name}.{i}", item, kinds)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from flatten(where, f"{name}.{key}", item, kinds)
    elif isinstance(value, (set, frozenset)) and any(isinstance(v, kinds) for v in value):
        raise TypeError(f"{where} is a set of layers or parameters, which has no order: use a list")


def replaced(value: Any, f: Callable[[Any], Any]) -> Any:
    """f(value); of lists, tuples and dicts, as `flatten` looks into them, f of what is inside."""
    if isinstance(value, (list, deque)):
        for i, item in enumerate(value):
            value[i] = replaced(item, f)
    elif isinstance(value, dict):
        for key in value:
            value[key] = replaced(value[key], f)
    elif isinstance(value, tuple):
        items = [replaced(item, f) for item in value]
        if any(new is not old for new, old in zip(items, value, strict=True)):
            return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    else:
        return f(value)
    return value
