"""Convert a recorder's spans to records: nest them, compute their own times and name them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .recorder import OTHER, Span

# Kernels that `batch_norm` calls before its operation begins; they are counted as part of it.
BEFORE = frozenset(("batch_stats", "masked_stats", "running_update"))
OUTSIDE = "outside of layers"
PYTHON = "Python and other"
IN_LAYERS = "Python in layers"


@dataclass
class Record:
    """A span after the end of the block; `own` is its duration without that of nested spans, in
    nanoseconds.

    `operation` and `layer` name the rows that its own time belongs to, each with `phase`.
    """

    kind: str
    name: str
    operation: str
    layer: str
    layer_kind: str
    phase: str
    begin: int
    end: int
    own: int
    calls: int
    flops: int
    bytes: int
    shapes: Sequence[tuple[int, ...]]
    parent: Record | None
    forward: Record | None  # the operation that a gradient belongs to


class Names:
    """The dotted names of layers within their models.

    A model, a layer that no other layer has called, is named by its class. The layers inside have
    their dotted names, with the class as a prefix if several models were called.
    """

    def __init__(self, roots: Iterable[Any]) -> None:
        self.known: dict[int, str] = {}
        held: set[int] = set()
        tops = list(roots)
        for top in tops:
            held |= {id(part) for name, part in top.named_layers() if name}
        tops = [top for top in tops if id(top) not in held]
        several = sum(bool(top.children()) for top in tops) > 1
        used: set[str] = set()
        for top in tops:
            own, count = type(top).__name__, 0
            while own in used:
                count += 1
                own = f"{type(top).__name__}_{count}"
            used.add(own)
            self.known.setdefault(id(top), own)
            for name, part in top.named_layers():
                self.known.setdefault(id(part), f"{own}.{name}" if several else name)

    def of(self, layer: Any) -> str:
        """Return the name of a layer, or "outside of layers" for None."""
        if layer is None:
            return OUTSIDE
        return self.known.get(id(layer)) or type(layer).__name__


def records_of(log: Sequence[Span], begin: int, end: int, names: Names) -> tuple[list[Record], int]:
    """Return the records of spans, in their order, and the nanoseconds outside of all of them."""
    made: list[Record] = []
    by_span: dict[int, Record] = {}
    open_ones: list[Record] = []
    outside = end - begin
    for span in log:
        while open_ones and open_ones[-1].end <= span.begin:
            open_ones.pop()
        parent = open_ones[-1] if open_ones else None
        # A span without an end failed or was still open; it ends with its parent.
        last = span.end or (end if parent is None else parent.end)
        record = _record(span, parent, last, names)
        if span.forward is not None:
            record.forward = by_span.get(id(span.forward))
        if parent is None:
            outside -= last - span.begin
        else:
            parent.own -= last - span.begin
        made.append(record)
        by_span[id(span)] = record
        open_ones.append(record)
    _join_statistics(made)
    return made, outside


def _join_statistics(records: list[Record]) -> None:
    """Assign the kernels that compute batch statistics to the operation that uses them, which is
    the next one with the same parent."""
    following: dict[int, Record] = {}
    for record in reversed(records):
        if record.kind == "operation":
            following[id(record.parent)] = record
        elif record.name in BEFORE and record.calls and id(record.parent) in following:
            found = following[id(record.parent)]
            record.operation, record.phase, record.calls = found.operation, found.phase, 0


def _record(span: Span, parent: Record | None, end: int, names: Names) -> Record:
    layer, layer_kind = names.of(span.layer), type(span.layer).__name__ if span.layer else ""
    operation, phase = span.label, span.phase
    if span.kind == "layer":
        operation = IN_LAYERS
    elif span.kind in ("walk", "part"):
        layer, layer_kind = span.label, ""
    elif span.kind == "kernel":
        if parent is not None and parent.kind != "layer":
            operation, phase = parent.operation, parent.phase
            layer, layer_kind = parent.layer, parent.layer_kind
        else:
            operation = span.name
            if parent is None:
                phase = OTHER
    calls = span.calls if span.kind != "kernel" or operation == span.name else 0
    return Record(
        span.kind,
        _shown(span, layer, layer_kind),
        operation,
        layer,
        layer_kind,
        phase,
        span.begin,
        end,
        end - span.begin,
        calls,
        span.flops,
        span.bytes,
        span.shapes,
        parent,
        None,
    )


def _shown(span: Span, layer: str, layer_kind: str) -> str:
    """Return the name that a trace viewer shows."""
    if span.kind == "layer":
        return layer if layer == layer_kind else f"{layer} ({layer_kind})"
    return span.label
