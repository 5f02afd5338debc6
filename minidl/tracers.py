"""Who follows what a thread computes: nobody, unless `md.trace` (see `tracing`) or `md.profile`
(see `profiler`) does.

Both dicts are nearly always empty, so that one truth test of them is all that operations, layers,
reads, walks and batches cost. A thread's tracer is told of each operation by `Function.apply`, of
each layer that is called by `Layer.__call__`, and of each value that goes from a tensor into Python
by `reads`. A thread's profiler is told of each gradient by the walk back, of what loaders take by
`timed`, and of a compiled model's plans by `part`; to all else it goes by itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from .storage import Storage

Item = TypeVar("Item")


class Tracer(Protocol):
    """What is told of all that a thread does."""

    def operation(self, function: Any, inputs: tuple[Any, ...], options: dict[str, Any],
                  outputs: tuple[Any, ...]) -> None:
        """A Function has been applied to the inputs and has made these tensors."""

    def call(self, layer: Any, run: Callable[..., Any], inputs: tuple[Any, ...],
             options: dict[str, Any]) -> Any:
        """A layer is called: return run(*inputs, **options)."""

    def read(self, tensor: Any) -> None:
        """Python has taken the values of a tensor."""

    def copied(self, tensor: Any, array: Any) -> None:
        """A tensor has been made of a copy of an array, and stands for that."""


class Profiler(Protocol):
    """What measures all that a thread does."""

    def gradient(self, node: Any, chain: tuple[Any, ...], grads: Any) -> None:
        """The walk is about to compute what a node hands on, and the chain of nodes before it."""

    def handed_on(self, results: Any) -> None:
        """The walk has computed it."""

    def part(self, name: str, phase: str) -> contextlib.AbstractContextManager[Any]:
        """A block that is neither an operation nor a layer."""


tracers: dict[int, Tracer] = {}     # by thread
profilers: dict[int, Profiler] = {}


def applied(function: Any, inputs: tuple[Any, ...], options: dict[str, Any],
            outputs: tuple[Any, ...]) -> None:
    """Tell the thread's tracer, if there is one, that a Function has been applied."""
    tracer = tracers.get(get_ident())
    if tracer is not None:
        tracer.operation(function, inputs, options, outputs)


def reads(tensor: Storage) -> None:
    """Tell the thread's tracer, if there is one, that Python takes the values of a tensor."""
    tracer = tracers.get(get_ident())
    if tracer is not None:
        tracer.read(tensor)


def copied(tensor: Storage, array: Any) -> None:
    """Tell the thread's tracer, if there is one, of which array a tensor holds a copy."""
    tracer = tracers.get(get_ident())
    if tracer is not None:
        tracer.copied(tensor, array)


@contextlib.contextmanager
def following(tracer: Tracer) -> Iterator[None]:
    """Within the block the tracer is told of all that this thread does, and no other one is."""
    thread = get_ident()
    before = tracers.get(thread)
    tracers[thread] = tracer
    try:
        yield
    finally:
        if before is None:
            del tracers[thread]
        else:
            tracers[thread] = before


_NOBODY: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()


def part(name: str, phase: str) -> contextlib.AbstractContextManager[Any]:
    """A block that the thread's profiler, if there is one, is told of."""
    profiler = profilers.get(get_ident()) if profilers else None
    return _NOBODY if profiler is None else profiler.part(name, phase)


def timed(name: str, items: Iterator[Item]) -> Iterator[Item]:
    """The same items; the thread's profiler, if there is one, is told how long each takes."""
    end: Any = object()
    while True:
        with part(name, "data"):
            item = next(items, end)
        if item is end:
            return
        yield item
        del item
