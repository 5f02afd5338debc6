"""The lab's report: one page without network, the same in Markdown, and each plot as a file."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import math
import os
import re
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from .. import svg
from ..atomic import replace_file
from . import store, words
from .experiment import Figure
from .results import Found, collect_all
from .summary import NOT_HERE, summary
from .verdict import Interval, Verdict
from .words import digits_of

PLOTS = "plots"
QUICK = (
    "A quick run: fewer seeds, smaller settings. Its verdicts are provisional; those of "
    "`minidl lab run all` count. What explains a claim was written after the full run; the "
    "numbers in it are those of this one."
)
MARKS = {"SUPPORTED": "✓", "REFUTED": "✗", "INCONCLUSIVE": "?"}
SHOWN = 6  # figures of an experiment that are seen at once
PARTS = (
    (
        "identities",
        "Identities",
        "exact sentences, in double precision, on real activations",
        range(1, 11),
    ),
    ("training", "Training", "sentences about trainings, from paired seeds", range(11, 100)),
)


def write_report(folder: str | os.PathLike[str]) -> str:
    """Write report.html, report.md and plots/ of what a folder has, and return the page's path.

    ValueError where nothing has been run in the folder, ImportError without the extra `lab`.
    """
    folder = os.fspath(folder)
    found = collect_all(folder)
    os.makedirs(os.path.join(folder, PLOTS), exist_ok=True)
    drawn = {}
    for place, one in enumerate(found):
        id = one.experiment.id
        if one.seeds:
            try:
                figure = one.experiment.plot(one.seeds)
                replace_file(os.path.join(folder, PLOTS, f"{id}.svg"), svg.document(id, figure))
                drawn[id] = drawings(id, figure)
            except (ImportError, OSError):
                raise
            except Exception:  # a fault of one experiment is told, and ends no other
                found[place] = dataclasses.replace(one, fault=traceback.format_exc())
    quick = store.read_kind(folder)
    replace_file(os.path.join(folder, "report.md"), markdown(found, quick))
    path = os.path.join(folder, "report.html")
    replace_file(path, html(found, drawn, quick))
    return path


def drawings(id: str, figure: Any) -> list[tuple[str, str]]:
    """(class, SVG) of a figure: one, or for axes beside each other one for wide pages and one, with
    the axes below each other, for narrow ones."""
    if len(figure.axes) == 1:
        return [("", svg.element(id, figure))]
    wide = svg.element(id, figure)
    svg.stack(figure)
    return [("wide", wide), ("narrow", svg.element(f"{id}-narrow", figure))]


def html(found: Sequence[Found], plots: Mapping[str, list[tuple[str, str]]], quick: bool) -> str:
    """The page."""
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError as error:
        raise ImportError(
            f"lab: the report needs {error.name}: pip install 'minidl[lab]'"
        ) from None
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [
                jinja2.PackageLoader("minidl.lab", "templates"),
                jinja2.PackageLoader("minidl.train.report", "templates"),
            ]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "value": value,
        "bounds": bounds,
        "took": took,
        "id": anchor,
        "counted": words.counted,
    }
    return environment.get_template("lab.html").render(
        parts=[
            (name, title, text, [one for one in found if number(one) in numbers])
            for name, title, text, numbers in PARTS
        ],
        counts=counts(found),
        marks=MARKS,
        plots=plots,
        svg=Markup,
        shown=SHOWN,
        quick=quick,
        machine=next((one.machine for one in found if one.machine), {}),
        light=svg.LIGHT,
        dark=svg.DARK,
        today=datetime.date.today().isoformat(),
        seconds=sum(one.seconds for one in found),
        groups=summary(found),
        not_here=NOT_HERE,
        surprises=[one for one in found if one.surprising],
    )


def markdown(found: Sequence[Found], quick: bool) -> str:
    """The same without plots: in short, a table of the verdicts, and the figures of each claim."""
    lines = ["# The normalization lab", ""]
    if quick:
        lines += [QUICK, ""]
    for title, rows in summary(found):
        lines += [
            f"**{title}**",
            "",
            *(
                f"- {row.sentence} ({', '.join(one.experiment.id for one in row.claims)})"
                f"{_otherwise(row.otherwise)}"
                for row in rows
            ),
            "",
        ]
    lines += ["| | claim | verdict | why |", "| --- | --- | --- | --- |"]
    for one in found:
        lines.append(
            _row(one.experiment.id, one.experiment.claim, _verdict(one), one.judgement.why)
        )
    surprises = [f"{one.experiment.id} ({one.verdict})" for one in found if one.surprising]
    if surprises:
        lines += ["", f"The lab's authors expected another verdict in: {', '.join(surprises)}."]
    for one in found:
        e = one.experiment
        lines += [
            "",
            f"## {e.id} {e.title}",
            "",
            f"*{e.claim}* (notes {e.notes}; {e.source})",
            "",
            f"**{_verdict(one)}** {one.judgement.why}",
            "",
        ]
        if one.explanation:
            lines += [one.explanation, ""]
        lines += [
            f"Rule: {one.rule}",
            "",
            f"Set-up: {one.setup}",
            "",
            f"Settings of this run: {one.settings_line}",
            "",
            f"Paper: {e.paper}",
            "",
            "| figure | ours | interval |",
            "| --- | --- | --- |",
            *(
                _row(name, value(figure), bounds(figure))
                for name, figure in one.judgement.figures.items()
            ),
        ]
        if one.examination:
            lines += ["", f"Examined: {one.examination}"]
        if one.left_out:
            lines += ["", f"Left out: {'; '.join(one.left_out)}."]
        for text in filter(None, (one.error, one.fault)):
            lines += ["", "```text", text.strip(), "```"]
        lines += [
            "",
            f"`minidl lab run {e.id}`: {words.counted(len(one.seeds), 'seed')}, "
            f"{took(one.seconds)} of one process.",
        ]
    lines += ["", "## What is not here", "", *(f"- {text}" for text in NOT_HERE)]
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------ the numbers


def number(one: Found) -> int:
    """18 of E18 and 30 of E30b."""
    return int(re.sub(r"\D", "", one.experiment.id))


def counts(found: Sequence[Found]) -> dict[str, int]:
    """How many claims have each verdict."""
    seen = collections.Counter(str(one.verdict) for one in found)
    return {str(verdict): seen[str(verdict)] for verdict in Verdict}


def value(figure: Figure, digits: int = 3) -> str:
    """A figure in the digits that matter; up to eight of a list."""
    if isinstance(figure, Interval):
        rounding = 1e-12 * max(abs(figure.low), abs(figure.high))  # NaN where there is none
        return value(0.0 if abs(figure.value) < rounding else figure.value, digits_of(figure))
    if isinstance(figure, str):
        return figure
    if isinstance(figure, bool):
        return "yes" if figure else "no"
    if isinstance(figure, int):
        return f"{figure:,}"
    if isinstance(figure, float):
        if not math.isfinite(figure):
            return "–" if math.isnan(figure) else "infinite"
        if 1000 <= abs(figure) < 1e7:
            return f"{figure:,.0f}"
        if figure == 0 or 1e-3 <= abs(figure) < 1000:
            return f"{figure:.{digits}g}"
        return f"{figure:.1e}"
    shown = [value(part) for part in figure[:8]]
    return ", ".join(shown) + (", ..." if len(figure) > 8 else "")


def bounds(figure: Figure) -> str:
    """The interval of a figure that has one."""
    if not isinstance(figure, Interval) or not math.isfinite(figure.low):
        return ""
    digits = digits_of(figure)
    return f"{value(figure.low, digits)} to {value(figure.high, digits)}"


def took(seconds: float) -> str:
    """12 s, 3 min, 2.5 h."""
    if seconds < 1:
        return "under a second"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def anchor(one: Found) -> str:
    return one.experiment.id.lower()


def _row(*cells: str) -> str:
    """A row of a table in Markdown, whatever stands in its cells."""
    texts = (" ".join(cell.split()).replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(texts)} |"


def _otherwise(found: Sequence[Found]) -> str:
    """What a sentence of the summary has behind it where claims came out otherwise."""
    return f" Not so in this run: {', '.join(map(_said, found))}." if found else ""


def _said(one: Found) -> str:
    return f"{one.experiment.id} is {str(one.verdict).lower()}"


def _verdict(one: Found) -> str:
    return f"{one.verdict}{' (provisional)' if one.provisional else ''}"
