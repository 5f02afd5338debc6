"""Rows: records added up by operation, by layer and by kernel, and the summary of a profile."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .recorder import FORWARD, Span
from .spans import PYTHON, Record


@dataclasses.dataclass(frozen=True)
class Row:
    """The time, work and memory of one operation, layer or kernel in one phase.

    name:    the operation (fused ones: "BatchNorm+Add+ReLU"), the layer's dotted name, or the
             kernel with the shapes of its arguments
    phase:   "forward", "backward", "optimizer", "data" or "other"
    calls:   the number of calls
    seconds: the own time, without that of nested calls that have their own rows
    flops:   floating point operations; 0 if it is memory-bound
    bytes:   bytes read and written
    held:    bytes of its results that were alive at the peak of memory
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
        """Add several rows up to one with this name and phase."""
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
        """10^9 floating point operations per second."""
        return self.flops / self.seconds / 1e9 if self.seconds else 0.0

    @property
    def gbytes(self) -> float:
        """10^9 bytes read and written per second, as if each kernel used each array once."""
        return self.bytes / self.seconds / 1e9 if self.seconds else 0.0


@dataclasses.dataclass(frozen=True)
class Summary:
    """The results of a profile, as plain data.

    `seconds` is the wall time of the block, to which the rows of `operations`, of `layers` and of
    `kernels` each add up; `steps` is the number of optimizer steps, `threads` the largest number of
    threads that kernels use, `held` the peak of the bytes held by results.
    """

    seconds: float
    steps: int
    threads: int
    held: int
    operations: tuple[Row, ...]
    layers: tuple[Row, ...]
    kernels: tuple[Row, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the results as dicts, lists and numbers, for `json.dump`."""
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
    """Add records up to a row for each key, the longest first.

    outside: nanoseconds of the block outside of all records
    held:    bytes held at the peak, with the record that created each array
    key:     returns the row that a record belongs to
    counts:  returns the number of calls that a record counts as
    """
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
    """Return the key of a record's operation."""
    return record.operation, record.phase


def by_layer(record: Record) -> Key:
    """Return the key of a record's layer."""
    return record.layer, record.phase


def by_kernel(record: Record) -> Key:
    """Return the key of a kernel and the shapes of its first arguments; all other time is that of
    Python and NumPy."""
    if record.kind != "kernel":
        return PYTHON, ""
    shapes = " ".join("x".join(map(str, shape)) for shape in record.shapes[:2] if shape)
    return f"{record.name} {shapes}".strip(), record.phase


def operation_calls(record: Record) -> int:
    """Count calls of operations, and of kernels that are not part of an operation."""
    return 0 if record.kind == "layer" else record.calls


def layer_calls(record: Record) -> int:
    """Count calls of layers in the forward phase; in other phases, and outside of layers, those of
    operations."""
    if record.phase == FORWARD and record.layer_kind:
        return int(record.kind == "layer")
    return operation_calls(record)


def kernel_calls(record: Record) -> int:
    """Count calls of kernels."""
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
    """Add the records of a block up to a summary."""
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
