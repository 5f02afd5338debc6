"""Recorder: records the calls of a thread while a profile is on, as spans, and the arrays that they
create.

All code here runs during the profiled block and slows it down, so it does as little as possible.
The spans are interpreted after the end of the block.
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
SPAN = "_span"  # the attribute in which a node of the graph keeps the span of its forward
SMALL = 4096  # bytes; smaller arrays are not counted as memory held


class Span:
    """A recorded call. Its `kind` is "layer", "operation", "gradient", "compute" (the computation
    of a lazy result), "kernel", "walk" (a backward pass through the graph) or "part" (any other
    block).

    `layer` is the innermost layer that was being called, or the layer of the values computed.
    `label` is the name, or for fused operations the names of all of them. `calls` is 0 if another
    span counts for this one.
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
        self.parts: tuple[Span, ...] | None = None  # the operations that a "compute" computes
        self.forward: Span | None = None  # the operation that a "gradient" belongs to
        self.begin = perf_counter_ns()


# (time, id of an array, span that created it, bytes): bytes are negative if the array was freed.
Event = tuple[int, int, Span, int]


class Held(weakref.ref[np.ndarray]):
    """A weak reference to an array, by which the recorder is told when the array is freed."""

    __slots__ = ("created",)

    created: tuple[int, Span, int]  # the id of the array, the span that created it, and its bytes


class Recorder:
    """Records the calls of one thread. Nested profiles of the thread share one recorder."""

    def __init__(self) -> None:
        self.profiles: set[int] = set()  # ids of the profiles that are on
        self.log: list[Span] = []  # in the order in which they began
        self.memory: list[Event] = []
        self.roots: dict[int, Any] = {}  # by id: layers that no other layer has called
        self.layer: Any = None  # the innermost layer that is being called
        self.phase = FORWARD
        self.paused = False  # whether kernels are not recorded, while `peaks` measures
        # The gradients being computed, each with its incoming gradient if that is lazy.
        self.gradients: list[tuple[Span, Lazy | None]] = []
        self.shapes: dict[Any, Any] = {}  # equal tuples of shapes are shared, which saves memory
        self._live: dict[int, Held] = {}  # by id of the array

    def begin(self, kind: str, name: str) -> Span:
        """Begin a span now. The caller sets its end."""
        span = Span(kind, name, self.layer, self.phase)
        self.log.append(span)
        return span

    def part(self, name: str, phase: str) -> Part:
        """Return a context manager for a block that is neither an operation nor a layer."""
        return Part(self, name, phase)

    def operation(
        self, span: Span, function: Any, inputs: tuple[Any, ...], lazy: Lazy | None, result: Any
    ) -> None:
        """Record the application of a Function; `lazy` is the first of its inputs that was not
        computed before it."""
        first = result[0] if type(result) is tuple else result
        node = first._node
        if node is not None:
            node.__dict__[SPAN] = span
        made = first._lazy if first._array is None else None
        if made is not None:
            extended = lazy is not None and made.run is lazy.run
            made._spans = (*spans_of(lazy), span) if extended else (span,)
            return
        if lazy is not None and lazy._made is None:  # its kernel has computed the input as well
            join((*spans_of(lazy), span))
        if self.log[-1] is span and not function.returns_view:  # no kernel ran: NumPy computed it
            tensors = (*inputs, *(result if type(result) is tuple else (result,)))
            span.bytes = work.bytes_of([x._array if isinstance(x, Tensor) else x for x in tensors])
        if type(result) is not tuple:
            self.hold(first._array, span)

    def gradient(self, node: Any, chain: tuple[Any, ...], grads: Any) -> None:
        """Begin the gradient of a node, or of a chain of fused nodes that ends with it."""
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
        """End the gradient that was begun last, with the gradients of the node's inputs."""
        span, given = self.gradients.pop()
        span.end = perf_counter_ns()
        if given is not None and given._made is None:  # its kernel has computed `given` as well
            span.label = f"{span.name}+{_read_through(given)}"
        for g in results:
            if type(g) is Lazy:
                g._spans = (span,)
        if self.log[-1] is span:  # no kernel ran: NumPy computed it
            span.bytes = 2 * work.bytes_of(results)
            for g in results:
                self.hold(g, span)

    def hold(self, made: Any, span: Span) -> None:
        """Record the memory of a new array until it is freed. Known and small arrays and views do
        not count, nor does anything but an array."""
        if (
            type(made) is np.ndarray
            and made.nbytes >= SMALL
            and type(made.base) is not np.ndarray
            and id(made) not in self._live
        ):
            held = Held(made, self._gone)
            number, size = id(made), made.nbytes
            held.created = number, span, size
            self._live[number] = held
            self.memory.append((span.end, number, span, size))

    def _gone(self, held: Any) -> None:
        number, span, size = held.created
        self._live.pop(number, None)
        self.memory.append((perf_counter_ns(), number, span, -size))

    def close(self) -> None:
        """Drop the weak references, whose callbacks would keep this recorder alive."""
        self._live.clear()


class Part:
    """A context manager that records a block as a span and sets the phase within it."""

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
    """Return the spans of the operations that a lazy result consists of; () if it was created
    before the profile."""
    return getattr(lazy, "_spans", ())


def _read_through(gradient: Lazy) -> str:
    """Name the operations whose gradient a kernel computes on the fly while it reads its input."""
    source = gradient.source
    if isinstance(source, PendingGradient):
        return "BatchNorm+ReLU" if source.relu else "BatchNorm"
    return "MaxPool"


def join(parts: Iterable[Span]) -> None:
    """Mark spans as fused into one pass: they get a common label and count as one call."""
    members = tuple(parts)
    label = "+".join([part.name for part in members])
    for part in members:
        part.label, part.calls = label, 0
    members[-1].calls = 1
