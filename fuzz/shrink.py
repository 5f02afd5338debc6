"""This module makes cases smaller: shorter lists, fewer options, smaller numbers, plainer
arrays.
"""

import copy
from collections.abc import Iterator
from typing import Any

PLAINER = {"values": "normal", "memory": "plain", "out": None}
KEPT = ("valid", "seed", "kernel", "call", "format", "twin", "of", "fixed", "item")


def smaller(case: Any) -> Iterator[Any]:
    """Yield cases with one thing simplified. The caller finds out whether they still show the
    fault.
    """
    for path in _paths(case):
        for value in _simpler(path, _at(case, path)):
            other = copy.deepcopy(case)
            parent, last = _at(other, path[:-1]), path[-1]
            if value is _GONE:
                del parent[last]
            else:
                parent[last] = value
            yield other


_GONE = object()


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return the paths to all parts of a case, outer ones first."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    items = [(key, item) for key, item in items if key not in KEPT]
    for key, _ in items:
        yield (*path, key)
    for key, item in items:
        yield from _paths(item, (*path, key))


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _simpler(path: tuple[Any, ...], value: Any) -> Iterator[Any]:
    key = path[-1]
    inside = path[-2] if len(path) > 1 else ""
    if inside in ("options", "args", "mutations", "layers", "nodes", "dict"):
        yield _GONE
    if key in PLAINER and value != PLAINER[key]:
        yield PLAINER[key]
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, int):
        for other in (0, 1, 2, value // 2, value - 1):
            if 0 <= other < value:
                yield other
    elif isinstance(value, list) and key == "array":
        for i in range(len(value)):  # without one of the axes
            yield value[:i] + value[i + 1 :]
    elif isinstance(value, list) and len(value) > 1 and key not in ("tuple",):
        yield value[: len(value) // 2]
        yield value[len(value) // 2 :]
