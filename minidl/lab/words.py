"""Formatting the numbers in the texts of experiments.

Settings and figures are filled into the texts, so that a text cannot state another number than the
run has. A text has fields as in `str.format`: "{steps} steps at {c6[rates]}" for settings, and
"{figure[points that BatchNorm is ahead]}" for figures.
"""

from __future__ import annotations

import math
import string
from collections.abc import Mapping, Sequence
from typing import Any

from .verdict import Interval

ABSENT = "(not run)"  # replaces a figure that a run does not have


def filled(text: str, values: Mapping[str, Any]) -> str:
    """Return the text with its fields replaced by the values.

    Integers are written with commas, floats as by `%g`, lists as "0.1, 0.5 and 2", and a figure
    with an interval with as many digits as the interval justifies, at least three. A format in the
    field takes precedence. Raises KeyError for a name that `values` lacks.

    >>> from minidl.lab.words import filled
    >>> filled("{steps} steps at {rates}", {"steps": 12000, "rates": [0.1, 1.0]})
    '12,000 steps at 0.1 and 1'
    """
    return _Fields().vformat(text, (), values)


class Figures(dict[str, Any]):
    """The figures of a run, for `filled`. A figure that the run does not have is "(not run)"."""

    def __missing__(self, name: str) -> str:
        return ABSENT


def words(value: Any, form: str = "") -> str:
    """Return a value as the text that `filled` puts in its place."""
    if isinstance(value, Interval):
        return words(value.value, form or f".{digits_of(value)}g")
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return format(value, form or ",")
    if isinstance(value, float):
        return format(value, form or "g") if math.isfinite(value) else "–"
    parts = [words(part, form) for part in value]
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)


def listed(settings: Mapping[str, Any]) -> str:
    """Return settings in one line. The settings of a group follow its name in parentheses.

    >>> from minidl.lab.words import listed
    >>> listed({"steps": 12000, "c6": {"rates": [0.1, 0.2]}, "warm": None})
    'steps 12,000; c6 (rates 0.1, 0.2); warm none'
    """
    return "; ".join(
        f"{name} ({listed(value)})" if isinstance(value, Mapping) else f"{name} {_row(value)}"
        for name, value in settings.items()
    )


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural unless the count is 1.

    >>> from minidl.lab.words import counted
    >>> counted(1, "seed"), counted(3, "seed")
    ('1 seed', '3 seeds')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def agree(size: float) -> str:
    """Return a phrase that says how far two results agree whose largest difference is `size`.

    >>> from minidl.lab.words import agree
    >>> agree(0.0), agree(1e-6)
    ('are equal to the last bit', 'differ by 1e-06 at most')
    """
    return "are equal to the last bit" if size == 0 else f"differ by {size:.0e} at most"


def digits_of(figure: Interval) -> int:
    """Return how many digits to print: about two of them distinguish the ends of the interval. They
    are at least three and at most six."""
    width, size = figure.high - figure.low, max(abs(figure.low), abs(figure.high))
    if not (math.isfinite(width) and width > 0):
        return 3
    return min(6, max(3, 2 + math.ceil(math.log10(size / width))))


def _row(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(words(part) for part in value)
    return words(value)


class _Fields(string.Formatter):
    def format_field(self, value: Any, form: str) -> str:
        return words(value, form)
