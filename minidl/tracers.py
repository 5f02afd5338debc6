"""The tracer and the profiler of each thread: `md.trace` (see `tracing`) and `md.profile` (see
`profiler`) register here to be told what the thread computes.

Both dicts are nearly always empty, so that following a thread costs operations, layers, reads,
backward walks and batches one truth test while nobody does. `Function.apply` tells a thread's
tracer of each operation, `Layer.__call__` of each call of a layer, and `reads` of each value that
goes from a tensor into Python. The backward walk tells a thread's profiler of each gradient,
`timed` of the time that loaders take, and `part` of a compiled model's plans; the profiler finds
out about everything else itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from .storage import Storage

Item = TypeVar("Item")


class Tracer:
    """An object that is told of everything that a thread computes. This one takes no notice of
    anything; a subclass overrides the methods for what it follows."""

    def operation(
        self,
        function: Any,
        inputs: tuple[Any, ...],
        options: dict[str, Any],
        outputs: tuple[Any, ...],
    ) -> None:
        """A Function has been applied to the inputs and has made these tensors."""

    def call(
        self, layer: Any, run: Callable[..., Any], inputs: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        """A layer is called: return run(*inputs, **options)."""
        return run(*inputs, **options)

    def read(self, tensor: Any) -> None:
        """Python has taken the values of a tensor."""

    def copied(self, tensor: Any, array: Any) -> None:
        """A tensor has been made from a copy of an array, and stands for that array."""


class Profiler(Protocol):
    """An object that measures everything that a thread computes."""

    def gradient(self, node: Any, chain: tuple[Any, ...], grads: Any) -> None:
        """The backward walk is about to compute the gradients of a node and of its chain."""

    def handed_on(self, results: Any) -> None:
        """The backward walk has computed these gradients and passed them on."""

    def part(self, name: str, phase: str) -> contextlib.AbstractContextManager[Any]:
        """Measure a block that is neither an operation nor a layer."""


tracers: dict[int, Tracer] = {}  # by the id of the thread
profilers: dict[int, Profiler] = {}


def applied(
    function: Any, inputs: tuple[Any, ...], options: dict[str, Any], outputs: tuple[Any, ...]
) -> None:
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
    """Tell the thread's tracer, if there is one, that a tensor holds a copy of an array."""
    tracer = tracers.get(get_ident())
    if tracer is not None:
        tracer.copied(tensor, array)


@contextlib.contextmanager
def following(tracer: Tracer) -> Iterator[None]:
    """Tell this tracer, and no other one, of everything that the thread does within the block."""
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
    """A block that the thread's profiler measures, if there is a profiler."""
    profiler = profilers.get(get_ident()) if profilers else None
    return _NOBODY if profiler is None else profiler.part(name, phase)


def timed(name: str, items: Iterator[Item]) -> Iterator[Item]:
    """The same items; the thread's profiler, if there is one, measures how long each takes."""
    end: Any = object()
    while True:
        with part(name, "data"):
            item = next(items, end)
        if item is end:
            return
        yield item
        del item
