"""A record of minidl's own writes to arrays. A backward that needs values which were overwritten
after its graph was made raises an error, instead of computing with the new values.

Whoever writes into the array of a leaf or a buffer (an optimizer's step, `load_state_dict`) calls
`writes` first. Nodes and writes are numbered by one clock, so that recording costs operations
nothing: when a backward walk begins, one comparison tells whether anything was written after its
oldest node was made. Only then does `check` look for nodes that have kept memory which was written
to. Two changes need no record: a new array in place of the old one (`.data = `, `astype`), because
the old one keeps its values, and running statistics, which move at every training step.
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

# Types that hold no array, or whose contents `_arrays` searches.
SEEN_INTO = (
    dict,
    list,
    tuple,
    functools.partial,
    Storage,
    Lazy,
    int,
    float,
    complex,
    str,
    bytes,
    type,
    type(None),
    slice,
    np.generic,
    np.dtype,
)

tick = itertools.count(1).__next__  # the clock, which orders nodes and writes
_last = 0  # the time of the last write
# A thread holds this lock while it records a write. Without it two threads could make two records
# of one memory, or note the earlier of two writes as the last. A finalizer may take it again.
_writing = lock()


class Written:
    """A record of memory that has been written to: when it was last written, and by what."""

    __slots__ = ("bounds", "last", "owner", "shape")

    def __init__(self, array: np.ndarray, owner: weakref.ref[np.ndarray]) -> None:
        self.shape, self.bounds, self.owner = array.shape, byte_bounds(array), owner
        self.last = 0, ""


# The records by the bounds of the memory; each is kept as long as the memory lives.
_written: dict[tuple[int, int], Written] = {}


def writes(by: str, leaves: Iterable[Tensor], buffers: Iterable[np.ndarray] = ()) -> None:
    """Record that `by` is about to write to the arrays of leaves, and to buffers."""
    global _last
    with _writing:
        change = tick(), by
        for x in leaves:
            (x._written or _record_of(x)).last = change
        for array in buffers:
            _record(array).last = change
        _last = tick()


def _record_of(x: Tensor) -> Written:
    x._open()  # a Lazy that will read the tensor keeps the array from before the write
    record = x._written = _record(x._values())
    return record


def _record(array: np.ndarray) -> Written:
    """The record of an array's memory, kept as long as the array that owns it."""
    bounds = byte_bounds(array)
    found = _written.get(bounds)
    if found is None or found.owner() is None:
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base  # every view of the memory keeps its owner alive
        found = Written(array, weakref.ref(owner, lambda ref: _forget(bounds, ref)))
        _written[bounds] = found
    return found


def _forget(bounds: tuple[int, int], owner: weakref.ref[np.ndarray]) -> None:
    found = _written.get(bounds)
    if found is not None and found.owner is owner:
        del _written[bounds]


def check(nodes: list[Function]) -> None:
    """Raise RuntimeError if memory that one of the nodes has kept was written to after the node was
    made. The nodes are given oldest first."""
    if not nodes or nodes[0]._order > _last:
        return
    oldest = nodes[0]._order
    # This copies the values at once, because the garbage collector may remove records at any time.
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
                        f"again after it"
                    )


def _kept(node: Function) -> dict[str, Any]:
    """What an operation has kept for its backward, by name.

    A user's operation may keep arrays in slots, which are searched too. It may also keep them in
    objects and functions that cannot be searched: then all of its inputs count as kept.
    """
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
    """The arrays in what a node has kept; `seen` collects all other objects, by id."""
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
