"""Plots as SVG that stands within the page, in colours that the page's style decides.

Matplotlib draws with the colours of the light page; in the SVG they are replaced by the style's
variables, so that the same plot is readable in the dark. Text stays text.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

# What is drawn with, and the variable of `report.css` that takes its place.
INK, MUTED, RULE, GREY, A, B = "#111213", "#616263", "#d1d2d3", "#a1a2a3", "#2151a1", "#c15121"
VARIABLES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", GREY: "--grey", A: "--a", B: "--b"}
SIZE = (4.7, 2.9)       # inches: as wide as a phone, so that text is not scaled down there
POINTS = 12             # up to which each value has a mark

Lines = Mapping[str, Sequence[float]]


def lines(name: str, series: Lines, zero: bool = False) -> str:
    """Up to two lines that have names, over the epochs from 1 on; the axis begins at 0 if asked."""
    figure, ax = _figure("epoch")
    for (label, values), colour in zip(series.items(), (A, B), strict=False):
        ax.plot(range(1, len(values) + 1), _drawn(values, False), color=colour, linewidth=1.6,
                label=_text(label), marker="o" if len(values) <= POINTS else None, markersize=3.5)
    if len(series) > 1:
        _legend(ax)
    if zero:
        ax.set_ylim(0, 1.12 * _largest(series) or 1)
    return _finished(name, figure, ax, False, None)


def many(name: str, series: Lines, x: Sequence[float], log: bool = False,
         guides: Mapping[str, float] | None = None, percent: bool = False) -> str:
    """A line for each layer, in the order in which they compute: the first and the last stand out.
    """
    figure, ax = _figure("epoch")
    names = list(series)
    for label, values in series.items():
        colour = A if label == names[0] else B if label == names[-1] else GREY
        ends = colour != GREY
        place = "first" if colour == A else "last"
        ax.plot(x, _drawn(values, log), color=colour, linewidth=1.8 if ends else 0.8,
                alpha=1 if ends else 0.7, zorder=3 if ends else 2,
                marker="o" if ends and len(values) <= POINTS else None, markersize=3.5,
                label=_text(f"{label} (the {place})") if ends else None)
    _legend(ax)
    if percent:
        from matplotlib.ticker import PercentFormatter

        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.set_ylim(0, max(0.1, 1.1 * _largest(series)))
    return _finished(name, figure, ax, log, guides)


def depth(name: str, before: Lines, after: Lines, xlabel: str) -> str:
    """Two groups of lines over the depth of a network: before something (dashed) and after it
    (solid), each at the start (the first colour) and at the end of the training."""
    figure, ax = _figure(xlabel)
    for group, style in ((before, (0, (4, 2))), (after, "solid")):
        for (label, values), colour in zip(group.items(), (A, B), strict=False):
            ax.plot(range(1, len(values) + 1), _drawn(values, True), color=colour,
                    linestyle=style, linewidth=1.6, label=_text(label),
                    marker="o" if len(values) <= 2 * POINTS else None, markersize=3)
    _legend(ax)
    return _finished(name, figure, ax, True, None)


def _figure(xlabel: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=SIZE, layout="constrained")
    figure.patch.set_visible(False)
    ax = figure.add_subplot()
    ax.patch.set_visible(False)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(RULE)
    ax.tick_params(which="both", color=RULE, labelcolor=MUTED, labelsize=10, length=3)
    ax.set_xlabel(xlabel, color=MUTED, fontsize=10)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    ax.grid(axis="y", color=RULE, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.margins(x=0.02)
    return figure, ax


def _drawn(values: Sequence[float], log: bool) -> list[float]:
    """The values, NaN where there is none and where a logarithm has none."""
    numbers = [float(value) for value in values]
    return [v if math.isfinite(v) and (v > 0 or not log) else math.nan for v in numbers]


def _largest(series: Lines) -> float:
    """The largest number that is finite; 0 if none is above it."""
    return max([0.0, *(float(v) for values in series.values() for v in values
                       if math.isfinite(v) and v > 0)])


def _text(label: str) -> str:
    """A user's text: no formula in it, and no name that a legend leaves out."""
    return label.replace("$", r"\$").lstrip("_") or "_ "


def _legend(ax: Any) -> None:
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=10,
              labelcolor=INK, borderaxespad=0.2, handlelength=1.8, columnspacing=1.4)


def _finished(name: str, figure: Any, ax: Any, log: bool,
              guides: Mapping[str, float] | None) -> str:
    if log:
        _logarithmic(ax)
    elif ax.get_autoscaley_on():
        ax.margins(y=0.12)
    for label, value in (guides or {}).items():
        ax.axhline(value, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
        ax.annotate(_text(label), (1, value), (0, 3), xycoords=("axes fraction", "data"),
                    textcoords="offset points", ha="right", fontsize=9, color=MUTED)
    return _svg(name, figure)


def _logarithmic(ax: Any) -> None:
    """A logarithmic axis with plain numbers: 0.01, 0.02, 0.05 where few powers of ten are seen."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    ax.set_yscale("log")
    low, high = ax.get_ylim()
    decades = math.log10(high / low)
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2.5 else (1,), numticks=8))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_minor_formatter(NullFormatter())


def _svg(name: str, figure: Any) -> str:
    """The figure as an SVG element: no prolog, no metadata, no addresses, and ids of its own."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    content = io.StringIO()
    # These two have no other place than matplotlib's settings, which are put back.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(content)
    text = content.getvalue()
    text = text[text.index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r' (?:xmlns(?::xlink)?|version|width|height)="[^"]*"', "",
                  text[:text.index(">")]) + text[text.index(">"):]
    text = text.replace("xlink:href", "href")
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    text = re.sub(r' id="([^"]*)"',
                  lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", text)
    text = re.sub(r'(href="|url\()#', rf"\1#{name}-", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return re.sub(r"\n\s*", "\n", text)
