"""Recorder: what a thread does while a profile is on, as spans, and the arrays that it makes.

Everything here is the price of a profile, and as short as it can be: what a span means is found out
when the block has ended.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from time import perf_counter_ns
from typing import Any

import numpy as np

from ..lazy import Lazy
from ..ops.norm import PendingGradient
from ..tensor import Tensor
from . import work

FORWARD, BACKWARD, OPTIMIZER, DATA, OTHER = "forward", "backward", "optimizer", "data", "other"
SPAN = "_span"  # where a node of the graph keeps the span of its forward
SMALL = 4096  # bytes; smaller arrays are not counted as memory held


class Span:
    """Something that began and ended: a call of a "layer", an "operation", its "gradient", the
    computing ("compute") of a lazy result, a "kernel", a "walk" back, or another "part".

    `layer` is the innermost layer that was being called, or to which the values belong. `label` is
    the name, or the names of all operations that are computed in one pass. `calls` is 0 where other
    spans count.
    """

    __slots__ = (
        "begin",
        "bytes",
        "calls",
        "end",
        "flops",
        "forward",
        "kind",
        "label",
        "layer",
        "name",
        "parts",
        "phase",
        "shapes",
    )

    def __init__(self, kind: str, name: str, layer: Any, phase: str) -> None:
        self.kind, self.layer, self.phase = kind, layer, phase
        self.name = self.label = name
        self.calls = 1
        self.flops = self.bytes = self.end = 0
        self.shapes: Sequence[tuple[int, ...]] = ()
        self.parts: tuple[Span, ...] | None = None  # whose value a "compute" computes
        self.forward: Span | None = None  # of the operation whose gradient it is
        self.begin = perf_counter_ns()


# (time, id of an array, who made it, bytes): it was made, or is gone, and bytes are negative.
Event = tuple[int, int, Span, int]


class Held(weakref.ref[np.ndarray]):
    """An array that was made, as long as it lives."""

    __slots__ = ("nbytes", "number", "span")

    nbytes: int
    number: int
    span: Span


class Recorder:
    """What one thread does. Several profiles of it, one inside the other, read one recorder."""

    def __init__(self) -> None:
        self.profiles: set[int] = set()  # by id
        self.log: list[Span] = []  # in the order in which they began
        self.memory: list[Event] = []
        self.roots: dict[int, Any] = {}  # layers that no other layer has called
        self.layer: Any = None
        self.phase = FORWARD
        self.paused = False  # kernels that run are nobody's work
        # Of gradients that are being computed, each with the lazy one that it was given, if any.
        self.gradients: list[tuple[Span, Lazy | None]] = []
        self._shapes: dict[Any, Any] = {}  # that were met before: new memory takes time
        self._live: dict[int, Held] = {}  # by id of the array

    def begin(self, kind: str, name: str) -> Span:
        """A span that begins now. Who has begun it sets its end."""
        span = Span(kind, name, self.layer, self.phase)
        self.log.append(span)
        return span

    def part(self, name: str, phase: str) -> Part:
        """A block that is neither an operation nor a layer."""
        return Part(self, name, phase)

    def kernel(
        self, span: Span, args: tuple[Any, ...], options: dict[str, Any], results: Any
    ) -> None:
        """A kernel has been called."""
        name = span.name
        if name in work.FLOPS:
            span.flops = work.FLOPS[name](results, *args, **options)
        span.bytes, shapes = work.bytes_and_shapes(name, args, options, results)
        span.shapes = self._shapes.setdefault(shapes, shapes)
        if type(results) is not np.ndarray or results.nbytes >= SMALL:
            self.hold(results, span)

    def operation(
        self, span: Span, function: Any, inputs: tuple[Any, ...], lazy: Lazy | None, result: Any
    ) -> None:
        """A Function has been applied; `lazy` is the first of its inputs that was not computed."""
        first = result[0] if type(result) is tuple else result
        node = first._node
        if node is not None:
            node.__dict__[SPAN] = span
        made = first._lazy if first._array is None else None
        if made is not None:
            extended = lazy is not None and made.run is lazy.run
            made._spans = (*spans_of(lazy), span) if extended else (span,)
            return
        if lazy is not None and lazy._made is None:  # it has read through what is not computed
            join((*spans_of(lazy), span))
        if self.log[-1] is span and not function.returns_view:  # NumPy has computed it
            tensors = (*inputs, *(result if type(result) is tuple else (result,)))
            span.bytes = work.bytes_of([x._array if isinstance(x, Tensor) else x for x in tensors])
        if type(result) is not tuple:
            self.hold(first._array, span)

    def gradient(self, node: Any, chain: tuple[Any, ...], grads: Any) -> None:
        """The walk is about to compute what a node, and the chain before it, hands on."""
        name, producer = type(node).__name__, node
        if chain:
            name = "+".join([*(type(n).__name__ for n in chain), name])
            if not node._begins_chain:
                producer = next((n for n in reversed(chain) if n._begins_chain), node)
        span = self.begin("gradient", name)
        span.forward = node.__dict__.get(SPAN)
        made_by = producer.__dict__.get(SPAN)
        if made_by is not None:
            span.layer = made_by.layer
        self.gradients.append((span, grads if type(grads) is Lazy else None))

    def handed_on(self, results: Any) -> None:
        """The walk has computed it."""
        span, given = self.gradients.pop()
        span.end = perf_counter_ns()
        if given is not None and given._made is None:  # its kernel has read through it
            span.label = f"{span.name}+{_read_through(given)}"
        for g in results:
            if type(g) is Lazy:
                g._spans = (span,)
        if self.log[-1] is span:  # NumPy has computed it
            span.bytes = 2 * work.bytes_of(results)
            self.hold(results, span)

    def hold(self, made: Any, span: Span) -> None:
        """Arrays have been made: note how long they live. What was known before, is small, or is a
        view of something, does not count."""
        for array in made if type(made) is tuple else (made,):
            if (
                type(array) is np.ndarray
                and array.nbytes >= SMALL
                and type(array.base) is not np.ndarray
                and id(array) not in self._live
            ):
                held = Held(array, self._gone)
                held.nbytes, held.number, held.span = array.nbytes, id(array), span
                self._live[held.number] = held
                self.memory.append((span.end, held.number, span, held.nbytes))

    def _gone(self, held: Any) -> None:
        self._live.pop(held.number, None)
        self.memory.append((perf_counter_ns(), held.number, held.span, -held.nbytes))

    def close(self) -> None:
        """Follow no array any more: those that live on hold neither this nor what it has noted."""
        self._live.clear()


class Part:
    """A block that a recorder is told of, and during which another phase holds."""

    def __init__(self, recorder: Recorder, name: str, phase: str) -> None:
        self.recorder, self.name, self.phase = recorder, name, phase

    def __enter__(self) -> None:
        recorder = self.recorder
        self.before, recorder.phase = recorder.phase, self.phase
        self.span = recorder.begin("part", self.name)

    def __exit__(self, *error: object) -> None:
        self.span.end = perf_counter_ns()
        self.recorder.phase = self.before


def spans_of(lazy: Lazy | None) -> tuple[Span, ...]:
    """The spans of the operations that a lazy result is made of; none if it is older than the
    profile."""
    return getattr(lazy, "_spans", ())


def _read_through(gradient: Lazy) -> str:
    """The operations whose gradient a kernel computes while it reads."""
    source = gradient.source
    if isinstance(source, PendingGradient):
        return "BatchNorm+ReLU" if source.relu else "BatchNorm"
    return "MaxPool"


def join(parts: Iterable[Span]) -> None:
    """One pass computes all of these: they get one name, and count as one call."""
    members = tuple(parts)
    label = "+".join([part.name for part in members])
    for part in members:
        part.label, part.calls = label, 0
    members[-1].calls = 1
