"""The timeline that `Profile.trace` writes, for chrome://tracing and ui.perfetto.dev.

It has Chrome's trace event format in the object form. Each span is a complete event ("X") of one
track, so that viewers draw it inside its parent; the memory held is a counter ("C"); an arrow ("s",
"f") leads from an operation to its gradient. Times are in microseconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from .spans import Record

TRACK = 1


def events(
    records: list[Record], memory: Sequence[tuple[int, int]], begin: int, about: dict[str, Any]
) -> dict[str, Any]:
    """Return the trace as an object for `json.dump`.

    memory: (time, bytes held from then on) of each change
    begin:  the time at which the block began, which becomes 0
    about:  versions and the like, stored as "otherData"
    """
    process = os.getpid()
    head = [
        {"ph": "M", "pid": process, "tid": TRACK, "ts": 0, "name": name, "args": {"name": text}}
        for name, text in (("process_name", "minidl"), ("thread_name", "the profiled thread"))
    ]
    where = {"pid": process, "tid": TRACK}
    body = [*_spans(records, begin), *_arrows(records, begin), *_held(memory, begin)]
    return {
        "traceEvents": [*head, *({**event, **where} for event in body)],
        "displayTimeUnit": "ms",
        "otherData": about,
    }


def _time(nanoseconds: int) -> float:
    return nanoseconds / 1e3


def _spans(records: list[Record], begin: int) -> Iterator[dict[str, Any]]:
    for record in records:
        args: dict[str, Any] = {"phase": record.phase, "layer": record.layer}
        if record.kind == "kernel":
            args["operation"] = record.operation
        if record.shapes:
            args["shapes"] = [list(shape) for shape in record.shapes]
        seconds = (record.end - record.begin) / 1e9
        for name, amount in (("GFLOP/s", record.flops), ("GB/s", record.bytes)):
            if amount and seconds:
                args[name] = round(amount / seconds / 1e9, 3)
        yield {
            "ph": "X",
            "name": record.name,
            "cat": record.kind,
            "ts": _time(record.begin - begin),
            "dur": _time(record.end - record.begin),
            "args": args,
        }


def _arrows(records: list[Record], begin: int) -> Iterator[dict[str, Any]]:
    for number, record in enumerate(records):
        if record.forward is not None:
            both = {"name": "gradient", "cat": "gradient", "id": number}
            yield {**both, "ph": "s", "ts": _time(record.forward.begin - begin)}
            yield {**both, "ph": "f", "bp": "e", "ts": _time(record.begin - begin)}


def _held(memory: Sequence[tuple[int, int]], begin: int) -> Iterator[dict[str, Any]]:
    for time, held in memory:
        yield {"ph": "C", "name": "held", "ts": _time(time - begin), "args": {"bytes": held}}
