"""Matplotlib figures as SVG elements of a page, in colours that the page's style decides.

Matplotlib draws with marker colours; in the SVG these are replaced by the variables of the page's
style, so that one plot is readable on a light and on a dark page. Text stays text.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# The colours to draw with, and the variable of the page's style that replaces each.
INK, MUTED, RULE, GREY, A, B = "#111213", "#616263", "#d1d2d3", "#a1a2a3", "#2151a1", "#c15121"
C, D, E = "#21812f", "#8131a1", "#917111"
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    GREY: "--grey",
    A: "--a",
    B: "--b",
    C: "--c",
    D: "--d",
    E: "--e",
}
# The values of the variables on a light and on a dark page.
LIGHT = {
    "--ink": "#1d2126",
    "--muted": "#646b74",
    "--rule": "#dddeda",
    "--grey": "#a3a8ae",
    "--a": "#2a62b0",
    "--b": "#c2541c",
    "--c": "#2f7d3b",
    "--d": "#7d3fa3",
    "--e": "#8d6f14",
}
DARK = {
    "--ink": "#e6e8ea",
    "--muted": "#9aa2ab",
    "--rule": "#31363d",
    "--grey": "#646b74",
    "--a": "#7fb0f5",
    "--b": "#f29a66",
    "--c": "#79c786",
    "--d": "#c79be6",
    "--e": "#d9bb5c",
}
SIZE = (4.7, 2.9)  # inches
POINTS = 12  # lines with at most so many values have a marker at each
PHONE = 4.0  # inches, about the width of a phone, where text is then hardly scaled down


def new(columns: int = 1, size: tuple[float, float] = SIZE) -> tuple[Any, list[Any]]:
    """A figure of some columns of axes, side by side, with a transparent background."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    figure.patch.set_visible(False)
    axes = [figure.add_subplot(1, columns, place + 1) for place in range(columns)]
    for ax in axes:
        ax.patch.set_visible(False)
        style(ax)
    return figure, axes


def style(ax: Any) -> None:
    """Style axes quietly, with two spines and horizontal grid lines."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(RULE)
    ax.tick_params(which="both", color=RULE, labelcolor=MUTED, labelsize=10, length=3)
    ax.grid(axis="y", color=RULE, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.margins(x=0.02)


def stack(figure: Any) -> None:
    """Put the axes of a figure below each other, each as large as a narrow page has room for."""
    from matplotlib.gridspec import GridSpec

    axes = figure.axes
    grid = GridSpec(len(axes), 1, figure=figure)
    for place, ax in enumerate(axes):
        ax.set_subplotspec(grid[place])
    figure.set_size_inches(PHONE, SIZE[1] * len(axes))


def text(label: str) -> str:
    """A user's text, changed so that matplotlib reads no formula in it, and so that a legend does
    not leave it out because it begins with an underscore."""
    return label.replace("$", r"\$").lstrip("_") or "_ "


def drawable(values: Iterable[float], log: bool = False) -> list[float]:
    """The values, with NaN where they are not finite or, if `log`, have no logarithm."""
    numbers = [float(value) for value in values]
    return [v if math.isfinite(v) and (v > 0 or not log) else math.nan for v in numbers]


def layers(
    ax: Any,
    x: Sequence[float],
    series: Mapping[str, Sequence[float]],
    log: bool = False,
    colours: tuple[str, str] = (A, B),
) -> None:
    """Draw a line for each layer, by its name. The first and the last layer are drawn in colour and
    named in a legend, the others in grey. Short lines have a marker at each value."""
    for number, (name, values) in enumerate(series.items()):
        first = number == 0
        end = first or number == len(series) - 1
        ax.plot(
            x,
            drawable(values, log),
            color=colours[0] if first else colours[1] if end else GREY,
            linewidth=1.8 if end else 0.8,
            alpha=1 if end else 0.7,
            zorder=3 if end else 2,
            marker="o" if end and len(values) <= POINTS else None,
            markersize=3.5,
            label=text(f"{name} (the {'first' if first else 'last'})") if end else None,
        )
    legend(ax)


def guide(ax: Any, value: float, label: str, below: bool = False) -> None:
    """Draw a dotted horizontal line with its label above it, or `below` where a curve is in the
    way."""
    ax.axhline(value, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
    ax.annotate(
        text(label),
        (1, value),
        (0, -3 if below else 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="top" if below else "baseline",
        fontsize=9,
        color=MUTED,
    )


def legend(ax: Any, columns: int = 2) -> None:
    """Put a legend above the axes."""
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=columns,
        frameon=False,
        fontsize=10,
        labelcolor=INK,
        borderaxespad=0.2,
        handlelength=1.8,
        columnspacing=1.4,
    )


def logarithmic(axis: Any) -> None:
    """Make an axis (`ax.xaxis` or `ax.yaxis`) logarithmic, with plain numbers as labels: 0.01,
    0.02, 0.05 where few powers of ten are visible."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = axis.get_view_interval()
    decades = math.log10(high / low) if low > 0 else 0.0  # low <= 0: no value is positive
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2.5 else (1,), numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def element(name: str, figure: Any) -> str:
    """The figure as an SVG element without prolog, metadata and addresses. Its ids begin with
    `name`, so that several elements fit on one page."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    content = io.StringIO()
    # These two can only be set in matplotlib's global settings, which are restored afterwards.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(content)
    found = content.getvalue()
    found = found[found.index("<svg") :]
    found = re.sub(r"<metadata>.*?</metadata>", "", found, flags=re.S)
    found = re.sub(r"<!--.*?-->", "", found, flags=re.S)
    found = (
        re.sub(r' (?:xmlns(?::xlink)?|version|width|height)="[^"]*"', "", found[: found.index(">")])
        + found[found.index(">") :]
    )
    found = found.replace("xlink:href", "href")
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', found))
    found = re.sub(
        r' id="([^"]*)"',
        lambda match: f' id="{name}-{match[1]}"' if match[1] in used else "",
        found,
    )
    found = re.sub(r'(href="|url\()#', rf"\1#{name}-", found)
    for colour, variable in VARIABLES.items():
        found = found.replace(colour, f"var({variable})")
    return re.sub(r"\n\s*", "\n", found)


def document(name: str, figure: Any) -> str:
    """The figure as an SVG file of its own, whose colours follow the reader's choice of light or
    dark."""
    found = element(name, figure)
    style = (
        f":root {{ {_declared(LIGHT)} }} "
        f"@media (prefers-color-scheme: dark) {{ :root {{ {_declared(DARK)} }} }} "
        f"text {{ font-family: system-ui, sans-serif !important }}"
    )
    width, height = figure.get_size_inches() * 96
    end = found.index(">") + 1
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f"{found[4:end]}<style>{style}</style>{found[end:]}"
    )


def _declared(colours: dict[str, str]) -> str:
    return " ".join(f"{name}: {colour};" for name, colour in colours.items())
