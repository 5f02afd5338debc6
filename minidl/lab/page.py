"""The lab's report: an HTML page that needs no network, the same in Markdown, and a file for each
plot."""

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
    "This is a quick run, with fewer seeds and smaller settings. Its verdicts are provisional; the "
    "verdicts that count are those of `minidl lab run all`. The explanations were written after a "
    "full run, but their numbers are those of this quick run."
)
MARKS = {"SUPPORTED": "✓", "REFUTED": "✗", "INCONCLUSIVE": "?"}
SHOWN = 6  # figures of an experiment that are visible before a reader asks for more
PARTS = (
    (
        "identities",
        "Identities",
        "exact statements, checked in double precision on real activations",
        range(1, 11),
    ),
    ("training", "Training", "statements about training, judged from paired seeds", range(11, 100)),
)


def write_report(folder: str | os.PathLike[str]) -> str:
    """Write report.html, report.md and plots/ from the results in a folder, and return the path of
    the HTML page.

    Raises ValueError if no experiment has been run in the folder, and ImportError without the extra
    `lab`.
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
            except Exception:  # the report shows the error; the other experiments go on
                found[place] = dataclasses.replace(one, fault=traceback.format_exc())
    quick = store.read_kind(folder)
    replace_file(os.path.join(folder, "report.md"), markdown(found, quick))
    path = os.path.join(folder, "report.html")
    replace_file(path, html(found, drawn, quick))
    return path


def drawings(id: str, figure: Any) -> list[tuple[str, str]]:
    """Return (CSS class, SVG) pairs for a figure. A figure with several axes is drawn twice: with
    the axes side by side for wide pages, and stacked for narrow ones."""
    if len(figure.axes) == 1:
        return [("", svg.element(id, figure))]
    wide = svg.element(id, figure)
    svg.stack(figure)
    return [("wide", wide), ("narrow", svg.element(f"{id}-narrow", figure))]


def html(found: Sequence[Found], plots: Mapping[str, list[tuple[str, str]]], quick: bool) -> str:
    """Return the report as an HTML page."""
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
    """Return the report in Markdown, without plots: a summary, a table of the verdicts, and a
    section with the figures of each claim."""
    lines = ["# The normalization lab", ""]
    if quick:
        lines += [QUICK, ""]
    for title, rows in summary(found):
        lines += [
            f"**{title}**",
            "",
            *(
                f"- {row.sentence} ({', '.join(one.experiment.id for one in row.claims)})"
                f"{_contradicted(row.contradicting)}"
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
        lines += ["", f"The lab's authors expected another verdict on {', '.join(surprises)}."]
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
            lines += ["", f"Ignored files: {'; '.join(one.left_out)}."]
        for text in filter(None, (one.error, one.fault)):
            lines += ["", "```text", text.strip(), "```"]
        lines += [
            "",
            f"`minidl lab run {e.id}`: {words.counted(len(one.seeds), 'seed')}, "
            f"{took(one.seconds)} of one process.",
        ]
    lines += ["", "## What the lab does not test", "", *(f"- {text}" for text in NOT_HERE)]
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------ the numbers


def number(one: Found) -> int:
    """Return the number in an experiment's id: 18 for E18, 30 for E30b."""
    return int(re.sub(r"\D", "", one.experiment.id))


def counts(found: Sequence[Found]) -> dict[str, int]:
    """Return how many claims have each verdict."""
    seen = collections.Counter(str(one.verdict) for one in found)
    return {str(verdict): seen[str(verdict)] for verdict in Verdict}


def value(figure: Figure, digits: int = 3) -> str:
    """Return a figure as text, with no more digits than it deserves; of a list, the first eight."""
    if isinstance(figure, Interval):
        rounding = 1e-12 * max(abs(figure.low), abs(figure.high))  # NaN without an interval
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
    """Return the interval of a figure as text; "" if it has none."""
    if not isinstance(figure, Interval) or not math.isfinite(figure.low):
        return ""
    digits = digits_of(figure)
    return f"{value(figure.low, digits)} to {value(figure.high, digits)}"


def took(seconds: float) -> str:
    """Return a duration as text, such as "12 s", "3 min" or "2.5 h"."""
    if seconds < 1:
        return "under a second"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def anchor(one: Found) -> str:
    return one.experiment.id.lower()


def _row(*cells: str) -> str:
    """Return a row of a Markdown table. Line breaks and bars in the cells must not break it."""
    texts = (" ".join(cell.split()).replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(texts)} |"


def _contradicted(found: Sequence[Found]) -> str:
    """Return the remark behind a sentence of the summary that verdicts of this run contradict."""
    return f" This run disagrees: {', '.join(map(_id_and_verdict, found))}." if found else ""


def _id_and_verdict(one: Found) -> str:
    return f"{one.experiment.id} is {str(one.verdict).lower()}"


def _verdict(one: Found) -> str:
    return f"{one.verdict}{' (provisional)' if one.provisional else ''}"
