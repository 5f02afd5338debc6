"""A report as text, for a terminal or a notebook."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .report import Report

MOST_ROWS = 30  # classes in the table; if there are more, it has those with the lowest f1


def table(found: Report) -> str:
    """Return the report as text: a line with the accuracies, then a line for each class."""
    low, high = found.interval
    head = (
        f"{found.valid_name}: accuracy {found.accuracy:.4f} (95%: {low:.4f} to {high:.4f}) of "
        f"{len(found.labels)}, balanced accuracy {found.balanced_accuracy:.4f}"
    )
    order = worst_first(found)
    shown = sorted(order) if len(order) <= MOST_ROWS else order[:MOST_ROWS]
    rows = [["class", "items", "recall", "precision", "f1", "most often taken for"]]
    rows += [
        [
            str(found.classes[k]),
            str(found.support[k]),
            number(found.recall[k]),
            number(found.precision[k]),
            number(found.f1[k]),
            mistaken(found, k),
        ]
        for k in shown
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = []
    for name, *figures, other in rows:
        cells = [figure.rjust(width) for figure, width in zip(figures, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *cells, other]).rstrip())
    rest = len(order) - len(shown)
    more = [f"and {rest} classes that are found better"] if rest else []
    return "\n".join([head, "", *lines, *more])


def worst_first(found: Report) -> list[int]:
    """Return the classes ordered by f1, the lowest first; those without f1 come last."""
    return np.argsort(np.where(np.isnan(found.f1), np.inf, found.f1), kind="stable").tolist()


def number(value: float) -> str:
    """Format a number with three decimals, NaN as a dash."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def mistaken(found: Report, k: int) -> str:
    """Return the wrong class that a class is most often predicted as, with the count; "" if there
    is none."""
    row = found.confusion[k].copy()
    row[k] = 0
    other = int(row.argmax())
    return f"{found.classes[other]} ({row[other]})" if row[other] else ""
