"""Profile: the context manager that measures a block, and the results that it gives afterwards."""

from __future__ import annotations

import json
import os
from functools import cached_property
from threading import get_ident
from time import perf_counter_ns

from .. import checks, kernels, machine
from ..atomic import replace_file
from . import switch
from .memory import at_peak, levels
from .peaks import Peaks, peaks
from .recorder import Recorder
from .rows import Row, Summary, summary_of
from .spans import Names, Record, records_of
from .table import SORTS, table
from .trace import events

VIEWS = ("operation", "layer", "kernel")


class Profile:
    """The profile of a block of code: `with md.profile() as p:`.

    `md.profile` makes it. It can be read after the block, even if that ended with an exception.

    >>> with md.profile() as p:
    ...     y = md.ones((64, 32)) @ md.ones((32, 16))
    >>> [(row.name, row.phase, row.calls, row.flops) for row in p.summary.operations if row.flops]
    [('MatMul', 'forward', 1, 65536)]
    >>> p.summary.held == y.data.nbytes == 4096
    True
    """

    def __init__(self) -> None:
        self._recorder: Recorder | None = None
        self._on = self._done = False
        self._begin = self._end = 0
        self._records: list[Record] = []
        self._memory: list[tuple[int, int]] = []  # (time, bytes held from then on)
        self._summary: Summary | None = None

    # ------------------------------------------------------------------------------- the block

    def __enter__(self) -> Profile:
        if self._on or self._done:
            raise RuntimeError(
                "profile: a profile measures one block only; md.profile() makes another one"
            )
        try:
            self._on = True
            self._recorder = switch.on(id(self), get_ident())
            self._first = len(self._recorder.log), len(self._recorder.memory)
            self._begin = perf_counter_ns()
        except BaseException:
            self._switch_off()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._end = perf_counter_ns()
        self._switch_off()
        self._gather()

    def __del__(self) -> None:
        # Ctrl-C may have interrupted the block before its end could switch the profile off.
        if self._on:
            self._switch_off()

    def _switch_off(self) -> None:
        """Switch the profile off, even if Ctrl-C is pressed meanwhile."""
        interrupted: KeyboardInterrupt | None = None
        while self._on:
            try:
                switch.off(id(self))
                self._on = False
            except KeyboardInterrupt as error:
                interrupted = error
        if interrupted is not None:
            raise interrupted

    def _gather(self) -> None:
        """Convert the recorded spans to plain data, so that the profile keeps no layers and arrays
        alive."""
        recorder, self._recorder = self._recorder, None
        assert recorder is not None
        spans, changes = self._first
        log = recorder.log[spans:]
        memory = recorder.memory[changes:]
        self._memory = list(levels(memory))
        self._records, outside = records_of(
            log, self._begin, self._end, Names(list(recorder.roots.values()))
        )
        most, held = at_peak(memory)
        by_span = {id(span): record for span, record in zip(log, self._records, strict=True)}
        self._summary = summary_of(
            self._records,
            outside,
            (self._end - self._begin) / 1e9,
            kernels.get_num_threads(),
            most,
            held,
            by_span,
        )
        self._done = True

    # ---------------------------------------------------------------------------------- results

    @property
    def summary(self) -> Summary:
        """All results as data.

        `seconds` is the wall time of the block. `operations`, `layers` and `kernels` are tuples of
        rows, the longest first; the times of each tuple add up to `seconds`. `steps` is the number
        of optimizer steps, `threads` the largest number of threads that kernels use, `held` the
        peak of the bytes held by results. `as_dict()` returns all of this for `json.dump`.

        A row has `name`, `phase` ("forward", "backward", "optimizer", "data" or "other"), `calls`,
        `seconds`, `flops` (0 for memory-bound operations), `bytes` read and written, `held` (bytes
        of its results at the peak), `gflops` and `gbytes` per second. RuntimeError before the end
        of the block.
        """
        if self._summary is None:
            raise RuntimeError("profile: the results can be read only after the end of the block")
        return self._summary

    @cached_property
    def peaks(self) -> Peaks:
        """The peak rates of the machine, measured once for each backend and number of threads,
        which takes half a second: `gflops` of a product of float32 matrices, `gbytes` read and
        written by a sum of large arrays."""
        return peaks()

    def table(
        self,
        by: str = "operation",
        sort: str = "time",
        limit: int | None = 30,
        depth: int | None = None,
    ) -> str:
        """Return a table as text: a line for each row, and their sum.

        by:    what a row stands for: "operation", "layer" or "kernel" (a kernel with the shapes of
               its arguments)
        sort:  "time", "calls", "flops", "bytes", "held" or "name"
        limit: the number of rows; one more row adds up all others. None: all rows
        depth: the number of parts of layers' dotted names to group by: with 1, "blocks.0.conv"
               counts as "blocks". None: all parts

        "ms" and "share" are the row's own time, without that of nested calls that have their own
        rows. The columns "peak" are the percentages of the machine's measured peak GFLOP/s and
        GB/s. "MB" is the memory that the row's results held at the peak. ValueError for another
        value of `by` or `sort`, RuntimeError before the end of the block.
        """
        checks.choice(by, "table", "by", VIEWS)
        checks.choice(sort, "table", "sort", tuple(SORTS))
        if limit is not None:
            limit = checks.count(limit, "table", "limit", 1)
        if depth is not None:
            depth = checks.count(depth, "table", "depth", 1)
        summary = self.summary
        rows = {
            "operation": summary.operations,
            "layer": summary.layers,
            "kernel": summary.kernels,
        }[by]
        if depth is not None and by == "layer":
            rows = _shortened(rows, depth)
        return table(summary, rows, by, sort, limit, self.peaks)

    def trace(self, path: str | os.PathLike[str]) -> None:
        """Write the timeline as JSON for chrome://tracing, https://ui.perfetto.dev and others: the
        nested layers, operations and kernels, the memory held, and arrows from operations to their
        gradients. RuntimeError before the end of the block.
        """
        path = checks.path(path, "trace", "path")
        summary = self.summary
        about = {**machine.versions(), "cpu": machine.cpu(), "threads": summary.threads}
        replace_file(path, json.dumps(events(self._records, self._memory, self._begin, about)))

    def __repr__(self) -> str:
        if self._summary is None:
            return f"Profile({'in its block' if self._on else 'before its block'})"
        return (
            f"Profile({self._summary.seconds * 1e3:.1f} ms, {len(self._summary.operations)} rows)"
        )


def _shortened(rows: tuple[Row, ...], depth: int) -> tuple[Row, ...]:
    """Add up the rows of layers by the first parts of their names."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((".".join(row.name.split(".")[:depth]), row.phase), []).append(row)
    return tuple(Row.sum(*key, group) for key, group in groups.items())


def profile() -> Profile:
    """Measure where this thread spends its time in a block: `with md.profile() as p:`.

    Afterwards `p.table()` returns a table by operation, layer or kernel, `p.summary` has the same
    as data, and `p.trace(path)` writes a file for trace viewers. Each row has the number of calls,
    the time, the rates of floating point operations and bytes, compared to the peaks of the
    machine, and the memory that its results held at the peak. Forward and backward have separate
    rows. The times of the rows add up to that of the block: time outside of operations is in rows
    such as "Python in layers", "walk back" (the backward pass through the graph), "SGD.step",
    "DataLoader", and "Python and other" for the rest.

    Operations that are fused into one pass over memory are one row, such as "BatchNorm+Add+ReLU",
    at the time of that pass; its layer is that of the normalization or convolution. Floating point
    operations are counted for matrix products and convolutions, by their shapes; bytes are counted
    as if each kernel read and wrote its arrays once. Memory is that of the arrays of at least 4 KB
    which were created in the block. A compiled model (`md.compile`) is one row, "Plan.run", with
    its time only.

    A profile belongs to the thread that starts it; profiles may be nested. It costs a few
    microseconds for each operation while it is on, and nothing while it is off.

    >>> model = nn.Sequential(nn.Dense(8, 16), nn.BatchNorm(16), nn.ReLU(), nn.Dense(16, 2))
    >>> with md.profile() as p:
    ...     md.cross_entropy(model(md.randn(32, 8)), np.zeros(32, int)).backward()
    >>> {row.phase for row in p.summary.operations if row.name == "BatchNorm+ReLU"} == {
    ...     "forward", "backward"}
    True
    >>> "BatchNorm+ReLU" in p.table(), sum(row.seconds for row in p.summary.layers) > 0
    (True, True)
    """
    return Profile()
