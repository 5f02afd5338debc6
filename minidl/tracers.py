"""Who follows what a thread computes: nobody, unless `md.trace` does (see `tracing`).

The dict is nearly always empty, so that one truth test of it is all that operations, layers and
reads cost. A thread's tracer is told of each operation by `Function.apply`, of each layer that is
called by `Layer.__call__`, and of each value that goes from a tensor into Python by `reads`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .storage import Storage


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


tracers: dict[int, Tracer] = {}     # by thread


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
