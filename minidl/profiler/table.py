"""The table that `Profile.table` returns: rows as text, with their shares of the peak rates."""

from __future__ import annotations

from collections.abc import Sequence

from .. import machine
from .peaks import Peaks
from .rows import Row, Summary

NAME = 30  # characters of a name; a longer one is shortened in the middle
HEADS = ("phase", "calls", "ms", "share", "GFLOP/s", "peak", "GB/s", "peak", "MB")
WIDTHS = (9, 6, 9, 6, 7, 5, 6, 5, 7)

SORTS = {
    "time": lambda row: -row.seconds,
    "calls": lambda row: -row.calls,
    "flops": lambda row: -row.flops,
    "bytes": lambda row: -row.bytes,
    "held": lambda row: -row.held,
    "name": lambda row: row.name,
}


def table(
    summary: Summary, rows: Sequence[Row], what: str, sort: str, limit: int | None, peaks: Peaks
) -> str:
    """Format the table: two lines about the block, the sorted rows, one row for all beyond the
    limit, and the sum. `what` is the title of the first column."""
    ordered = sorted(rows, key=SORTS[sort])
    if limit is not None and len(ordered) > limit:
        others = ordered[limit:]
        ordered = [*ordered[:limit], Row.sum(f"{len(others)} more", "", others)]
    width = min(NAME, max(len(row.name) for row in [*ordered, *rows]) + 2)
    lines = [*_head(summary, peaks), "", _line(what, HEADS, width)]
    rule = "-" * len(lines[-1])
    body = [
        _line(_cut(row.name, width), _cells(row, summary.seconds, peaks), width) for row in ordered
    ]
    total = Row.sum("sum", "", rows)
    return "\n".join(
        [*lines, rule, *body, rule, _line(total.name, _cells(total, summary.seconds, peaks), width)]
    )


def _head(summary: Summary, peaks: Peaks) -> list[str]:
    each = f"{summary.seconds * 1e3:.1f} ms"
    if summary.steps:
        each += (
            f": {summary.steps} step{'s' if summary.steps > 1 else ''} of "
            f"{summary.seconds * 1e3 / summary.steps:.1f} ms"
        )
    return [
        f"{each}; at most {summary.held / 1e6:.1f} MB held by results",
        f"{machine.cpu()}, {summary.threads} thread{'s' if summary.threads > 1 else ''}; "
        f"peaks: product {peaks.gflops:.0f} GFLOP/s, stream {peaks.gbytes:.1f} GB/s",
    ]


def _cells(row: Row, seconds: float, peaks: Peaks) -> list[str]:
    share = f"{row.seconds / seconds:.1%}" if seconds else ""
    cells = [row.phase, str(row.calls or ""), f"{row.seconds * 1e3:.2f}", share]
    for work, rate, peak, digits in (
        (row.flops, row.gflops, peaks.gflops, 1),
        (row.bytes, row.gbytes, peaks.gbytes, 1),
    ):
        cells += [f"{rate:.{digits}f}", f"{rate / peak:.0%}"] if work else ["", ""]
    return [*cells, f"{row.held / 1e6:.1f}" if row.held else ""]


def _line(name: str, cells: Sequence[str], width: int) -> str:
    """Format a line: the name and the phase are aligned to the left, numbers to the right."""
    first, *others = [cell.rjust(size) for cell, size in zip(cells, WIDTHS, strict=True)]
    return (f"{name:<{width}} {cells[0]:<{len(first)}} " + " ".join(others)).rstrip()


def _cut(name: str, width: int) -> str:
    """Shorten a name to the width: a longer one keeps its beginning and its end."""
    if len(name) <= width:
        return name
    end = (width - 3) // 2
    return f"{name[: width - 3 - end]}...{name[-end:]}"
