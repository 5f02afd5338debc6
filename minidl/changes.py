"""What minidl itself has written to since a graph was made: so that a backward which needs the
values of before says so, instead of computing with others.

Whoever writes into the array of a leaf or a buffer (an optimizer's step, `load_state_dict`) calls
`writes` first. Graph and writes share one clock, so that an operation costs nothing: when a
backward walk begins, one comparison tells whether anything was written after its oldest node was
made. Only then is it found out whether memory that a node has kept was written to. A new array in
place of the old one (`.data = `, `astype`) is no such write: the old one is still what it was. Nor
is a training batch that moves running statistics, which happens at every step.
"""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from .lazy import Lazy
from .locks import lock
from .storage import Storage

if TYPE_CHECKING:
    from .graph import Function
    from .tensor import Tensor

# What holds no array, or is looked into.
SEEN_INTO = (dict, list, tuple, functools.partial, Storage, Lazy, int, float, complex, str, bytes,
             type, type(None), slice, np.generic, np.dtype)

tick = itertools.count(1).__next__      # the clock: nodes and writes are ordered by it
_last = 0                               # when the last write was
# Held by who records a write: two threads would else find no record of one memory and make two, and
# the earlier write could be noted as the last. (A thread may come again, through a finalizer.)
_writing = lock()


class Written:
    """Memory that has been written to: when last, and by what."""

    __slots__ = ("bounds", "last", "owner", "shape")

    def __init__(self, array: np.ndarray, owner: weakref.ref[np.ndarray]) -> None:
        self.shape, self.bounds, self.owner = array.shape, byte_bounds(array), owner
        self.last = 0, ""


# By the first and the last address of the memory; as long as that lives.
_written: dict[tuple[int, int], Written] = {}


def writes(by: str, leaves: Iterable[Tensor], buffers: Iterable[np.ndarray] = ()) -> None:
    """Say that the arrays of leaves, and buffers, are going to be written to, and by what."""
    global _last
    with _writing:
        change = tick(), by
        for x in leaves:
            (x._written or _record_of(x)).last = change
        for array in buffers:
            _record(array).last = change
        _last = tick()


def _record_of(x: Tensor) -> Written:
    x._open()           # a Lazy that will read it keeps the array of before
    record = x._written = _record(x._values())
    return record


def _record(array: np.ndarray) -> Written:
    """The record of an array's memory, kept as long as the array that owns it."""
    bounds = byte_bounds(array)
    found = _written.get(bounds)
    if found is None or found.owner() is None:
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base      # views of the memory keep this one alive
        found = Written(array, weakref.ref(owner, lambda ref: _forget(bounds, ref)))
        _written[bounds] = found
    return found


def _forget(bounds: tuple[int, int], owner: weakref.ref[np.ndarray]) -> None:
    found = _written.get(bounds)
    if found is not None and found.owner is owner:
        del _written[bounds]


def check(nodes: list[Function]) -> None:
    """RuntimeError if one of the nodes, oldest first, has kept memory that was written to since."""
    if not nodes or nodes[0]._order > _last:
        return
    oldest = nodes[0]._order
    # A list at once: the garbage collector may take records away at any time.
    recent = [record for record in list(_written.values()) if record.last[0] > oldest]
    for node in nodes:
        if node._order > _last:
            return
        later = [record for record in recent if record.last[0] > node._order]
        for array in _arrays(_kept(node), {}):
            start, end = byte_bounds(array)
            for record in later:
                first, after = record.bounds
                if first < end and start < after:
                    raise RuntimeError(
                        f"backward: {type(node).__name__} needs the values, of shape "
                        f"{record.shape}, that it was computed from, but {record.last[1]} has "
                        f"changed them since; call backward before that, or compute the forward "
                        f"again after it")


def _kept(node: Function) -> dict[str, Any]:
    """What an operation has kept for its backward. A user's may have slots for it, and may keep its
    inputs in objects and functions, into which nobody can look: then they count as kept."""
    kept = dict(node.__dict__)
    if node.trusted:
        return kept
    for cls in type(node).__mro__:
        if cls.__module__ != "minidl.graph":
            slots = cls.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                kept[name] = getattr(node, name, None)
    seen: dict[int, Any] = {}
    for _ in _arrays(kept, seen):
        pass
    if not all(isinstance(value, SEEN_INTO) for value in seen.values()):
        kept["inputs of the operation"] = node._inputs
    return kept


def _arrays(value: Any, seen: dict[int, Any]) -> Iterator[np.ndarray]:
    """The arrays in what a node has kept; `seen` gathers, by id, what else there is."""
    if isinstance(value, np.ndarray):
        if value.size:
            yield value
        return
    inside: Iterable[Any] = ()
    if isinstance(value, dict):
        inside = value.values()
    elif isinstance(value, (list, tuple)):
        inside = value
    elif isinstance(value, functools.partial):
        inside = (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, Storage):
        inside = (value._array, value._lazy)
    elif isinstance(value, Lazy):
        inside = (value.run, value.source, value.epilogue)
    if id(value) in seen:
        return
    seen[id(value)] = value
    for item in inside:
        yield from _arrays(item, seen)
