"""Rows: records added up by operation, by layer and by kernel; and the summary that they are in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .recorder import FORWARD, Span
from .spans import PYTHON, Record


@dataclasses.dataclass(frozen=True)
class Row:
    """What one operation, layer or kernel took in one phase.

    `name` is that of the operation (of several in one pass: "BatchNorm+Add+ReLU"), the layer's
    dotted name, or a kernel with the shapes of what it was given. `phase` is "forward", "backward",
    "optimizer", "data" or "other". `seconds` is time in which nothing else that has a row ran.
    `flops` are 0 where memory is the limit, `bytes` those read and written. `held` are bytes of its
    results that lived when most memory was held.
    """

    name: str
    phase: str
    calls: int
    seconds: float
    flops: int
    bytes: int
    held: int

    @classmethod
    def sum(cls, name: str, phase: str, rows: Sequence[Row]) -> Row:
        """Several rows as one, of this name and phase."""
        return cls(
            name,
            phase,
            sum(row.calls for row in rows),
            sum(row.seconds for row in rows),
            sum(row.flops for row in rows),
            sum(row.bytes for row in rows),
            sum(row.held for row in rows),
        )

    @property
    def gflops(self) -> float:
        """10^9 floating point operations a second."""
        return self.flops / self.seconds / 1e9 if self.seconds else 0.0

    @property
    def gbytes(self) -> float:
        """10^9 bytes a second, each array read or written once a kernel."""
        return self.bytes / self.seconds / 1e9 if self.seconds else 0.0


@dataclasses.dataclass(frozen=True)
class Summary:
    """All that a profile has found, as plain data.

    `seconds` is the wall time of the block, which the rows of `operations`, of `layers` and of
    `kernels` each add up to; `steps` the number of optimizer steps in it, `threads` that of kernels
    at most, `held` the most bytes that results held at one time.
    """

    seconds: float
    steps: int
    threads: int
    held: int
    operations: tuple[Row, ...]
    layers: tuple[Row, ...]
    kernels: tuple[Row, ...]

    def as_dict(self) -> dict[str, Any]:
        """The same as dicts, lists and numbers, for `json.dump`."""
        found = dataclasses.asdict(self)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in found.items()
        }


Key = tuple[str, str]  # (name, phase)


def rows_of(
    records: Iterable[Record],
    outside: int,
    held: Iterable[tuple[Record | None, int]],
    key: Callable[[Record], Key],
    counts: Callable[[Record], int],
) -> tuple[Row, ...]:
    """A row for each key, the one of most time first. `outside` are nanoseconds that are no
    record's, `counts` says how many calls a record is."""
    sums: dict[Key, list[int]] = {}
    for record in records:
        row = sums.setdefault(key(record), [0] * 5)
        row[0] += counts(record)
        row[1] += record.own
        row[2] += record.flops
        row[3] += record.bytes
    for owner, nbytes in held:
        if owner is not None:
            sums[key(owner)][4] += nbytes
    python = sums.setdefault((PYTHON, ""), [0] * 5)
    python[1] += outside
    rows = [
        Row(name, phase, calls, nanoseconds / 1e9, flops, moved, alive)
        for (name, phase), (calls, nanoseconds, flops, moved, alive) in sums.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.seconds, row.name, row.phase)))


def by_operation(record: Record) -> Key:
    """Whose operation a record is."""
    return record.operation, record.phase


def by_layer(record: Record) -> Key:
    """Whose layer a record is."""
    return record.layer, record.phase


def by_kernel(record: Record) -> Key:
    """A kernel and the shapes that it was given; all else is Python, and NumPy."""
    if record.kind != "kernel":
        return PYTHON, ""
    shapes = " ".join("x".join(map(str, shape)) for shape in record.shapes[:2] if shape)
    return f"{record.name} {shapes}".strip(), record.phase


def operation_calls(record: Record) -> int:
    """Calls of operations, and of kernels that are part of none."""
    return 0 if record.kind == "layer" else record.calls


def layer_calls(record: Record) -> int:
    """Calls of layers; backward, and outside of layers, of their operations."""
    if record.phase == FORWARD and record.layer_kind:
        return int(record.kind == "layer")
    return operation_calls(record)


def kernel_calls(record: Record) -> int:
    """Calls of kernels."""
    return int(record.kind == "kernel")


def summary_of(
    records: list[Record],
    outside: int,
    seconds: float,
    threads: int,
    most: int,
    held: list[tuple[Span, int]],
    by_span: dict[int, Record],
) -> Summary:
    """The summary of a block's records."""
    owners = [(by_span.get(id(span)), nbytes) for span, nbytes in held]
    steps = sum(record.kind == "part" and record.phase == "optimizer" for record in records)
    return Summary(
        seconds,
        steps,
        threads,
        most,
        rows_of(records, outside, owners, by_operation, operation_calls),
        rows_of(records, outside, owners, by_layer, layer_calls),
        rows_of(records, outside, owners, by_kernel, kernel_calls),
    )
