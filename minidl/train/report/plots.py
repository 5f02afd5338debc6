"""The plots of a report: curves over epochs, layers over epochs, and figures over depth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ... import svg
from ...svg import MUTED, POINTS, A, B

Lines = Mapping[str, Sequence[float]]


def lines(name: str, series: Lines, zero: bool = False) -> str:
    """Plot up to two named series over the epochs from 1 on; with `zero` the y axis starts at 0."""
    figure, ax = _figure("epoch")
    for (label, values), colour in zip(series.items(), (A, B), strict=False):
        ax.plot(
            range(1, len(values) + 1),
            svg.drawable(values),
            color=colour,
            linewidth=1.6,
            label=svg.text(label),
            marker="o" if len(values) <= POINTS else None,
            markersize=3.5,
        )
    if len(series) > 1:
        svg.legend(ax)
    if zero:
        ax.set_ylim(0, 1.12 * _largest(series) or 1)
    return _finished(name, figure, ax, False, None)


def many(
    name: str,
    series: Lines,
    x: Sequence[float],
    log: bool = False,
    guides: Mapping[str, float] | None = None,
    percent: bool = False,
) -> str:
    """Plot a line for each layer; the first and the last layer are highlighted."""
    figure, ax = _figure("epoch")
    svg.layers(ax, x, series, log)
    if percent:
        from matplotlib.ticker import PercentFormatter

        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.set_ylim(0, max(0.1, 1.1 * _largest(series)))
    return _finished(name, figure, ax, log, guides)


def depth(name: str, before: Lines, after: Lines, xlabel: str) -> str:
    """Plot two groups of series over the depth of a network: before (dashed) and after (solid) each
    layer, at the start (first colour) and at the end (second colour) of the training."""
    figure, ax = _figure(xlabel)
    for group, style in ((before, (0, (4, 2))), (after, "solid")):
        for (label, values), colour in zip(group.items(), (A, B), strict=False):
            ax.plot(
                range(1, len(values) + 1),
                svg.drawable(values, True),
                color=colour,
                linestyle=style,
                linewidth=1.6,
                label=svg.text(label),
                marker="o" if len(values) <= 2 * POINTS else None,
                markersize=3,
            )
    svg.legend(ax)
    return _finished(name, figure, ax, True, None)


def _figure(xlabel: str) -> tuple[Any, Any]:
    from matplotlib.ticker import MaxNLocator

    figure, (ax,) = svg.new()
    ax.set_xlabel(xlabel, color=MUTED, fontsize=10)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    return figure, ax


def _largest(series: Lines) -> float:
    """Return the largest finite value, at least 0."""
    return max(
        [
            0.0,
            *(float(v) for values in series.values() for v in values if math.isfinite(v) and v > 0),
        ]
    )


def _finished(
    name: str, figure: Any, ax: Any, log: bool, guides: Mapping[str, float] | None
) -> str:
    if log:
        svg.logarithmic(ax.yaxis)
    elif ax.get_autoscaley_on():
        ax.margins(y=0.12)
    for label, value in (guides or {}).items():
        svg.guide(ax, value, label)
    return svg.element(name, figure)
