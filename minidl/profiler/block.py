"""Profile: the block that is measured, and what is asked of it afterwards."""

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
    """What a block of code has spent its time on: `with md.profile() as p:`.

    It is made by `md.profile`, and read after the block, also where that ended with an exception.

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
            raise RuntimeError("profile: a profile is of one block; md.profile() makes another one")
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
        # An interruption may have come before the block's end could switch it off.
        if self._on:
            self._switch_off()

    def _switch_off(self) -> None:
        """Leave nothing switched on, also where Ctrl-C is pressed meanwhile."""
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
        """Keep what was recorded in the block, as plain data: the recorder, and with it layers and
        arrays, are let go."""
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

    # -------------------------------------------------------------------------------- questions

    @property
    def summary(self) -> Summary:
        """All figures as data.

        `seconds` is the wall time of the block; `operations`, `layers` and `kernels` are tuples of
        rows, each of which add up to it, the longest first; `steps` counts steps of optimizers,
        `threads` is the most that kernels used, `held` the most bytes that results held.
        `as_dict()` is all that for `json.dump`.

        A row has `name`, `phase` ("forward", "backward", "optimizer", "data" or "other"), `calls`,
        `seconds`, `flops` (0 where memory is the limit), `bytes` read and written, `held` (of its
        results, when most was held), `gflops` and `gbytes` a second. RuntimeError before the end of
        the block.
        """
        if self._summary is None:
            raise RuntimeError("profile: there is nothing to read before the end of the block")
        return self._summary

    @cached_property
    def peaks(self) -> Peaks:
        """What the machine can do, measured in half a second, once for each backend and number of
        threads: `gflops` of a product of float32 matrices, `gbytes` read and written by a sum of
        large arrays."""
        return peaks()

    def table(
        self,
        by: str = "operation",
        sort: str = "time",
        limit: int | None = 30,
        depth: int | None = None,
    ) -> str:
        """The rows as text: a line each, and their sum.

        by:    "operation", "layer" or "kernel": one for each kernel and the shapes it was given
        sort:  "time", "calls", "flops", "bytes", "held" or "name"
        limit: the number of rows; all others are one row more. None: all
        depth: parts of the dotted names of layers: with 1 "blocks.0.conv" counts to "blocks"

        "ms" and "share" are time in which nothing else that has a row ran; both "peak" columns say
        how much of the machine's measured peak GFLOP/s and GB/s are, "MB" what its results held
        when most memory was held. ValueError for another word, RuntimeError before the block's end.
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
        """Write what ran when as JSON, for chrome://tracing, https://ui.perfetto.dev and others:
        layers, operations and kernels inside one another, the memory held, and arrows from
        operations to their gradients. RuntimeError before the end of the block.
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
    """The rows of layers, added up by the first parts of their names."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((".".join(row.name.split(".")[:depth]), row.phase), []).append(row)
    return tuple(Row.sum(*key, group) for key, group in groups.items())


def profile() -> Profile:
    """Measure what this thread spends the time of a block on: `with md.profile() as p:`.

    Afterwards `p.table()` is text, by operation, layer or kernel; `p.summary` the same as data,
    `p.trace(path)` writes a file for viewers of traces. Each row has its calls, its time, how many
    floating point operations and bytes a second that were, beside what the machine can do, and the
    memory that its results held at the peak; forward and backward are apart. The rows add up to the
    time of the block: what is no operation's is in rows of its own, as "Python in layers", "walk
    back", "SGD.step", "DataLoader", and "Python and other" for all in between.

    Several operations that one pass over memory computes are one row, "BatchNorm+Add+ReLU", where
    that pass runs; its layer is that of the normalization or convolution. Floating point operations
    are counted of products and convolutions by their shapes, bytes as if each kernel read and wrote
    its arrays once. Memory is that of arrays of at least 4 KB which were made in the block. What
    plans of a compiled model compute (`md.compile`) is one row, "Plan.run", with its time alone.

    A profile belongs to the thread that begins it; profiles may lie inside each other. It costs a
    few microseconds for each operation while it is on, and nothing when it is off.

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
