"""Functions and constants that the plots of the experiments share: a colour for each normalization,
curves with their range over the seeds, bars, legends, and axes with labels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import svg
from ..svg import GREY, INK, MUTED, RULE, A, B, C, D, E

__all__ = [
    "COLOURS",
    "GREY",
    "INK",
    "MUTED",
    "NAMES",
    "RULE",
    "A",
    "B",
    "C",
    "D",
    "E",
    "band",
    "bars",
    "guide",
    "legend",
    "logarithmic",
    "names",
    "new",
]

# A normalization has the same colour in every plot.
COLOURS = {"batch": A, "none": B, "group": C, "layer": D, "instance": E, "renorm": GREY}
NAMES = {
    "batch": "BatchNorm",
    "none": "none",
    "group": "GroupNorm",
    "layer": "LayerNorm",
    "instance": "InstanceNorm",
    "renorm": "BatchRenorm",
}


def names(*norms: str) -> dict[str, str]:
    """Return the names that texts and legends use for these normalizations."""
    return {norm: NAMES[norm] for norm in norms}


def new(*labels: tuple[str, str], size: tuple[float, float] | None = None) -> tuple[Any, list[Any]]:
    """Return a figure and its axes side by side. `labels` has a pair for each of the axes: the
    labels, with units, of its x and its y axis."""
    wide = (svg.SIZE[0] * max(1, 0.82 * len(labels)), svg.SIZE[1])
    figure, axes = svg.new(len(labels), size or wide)
    for ax, (x, y) in zip(axes, labels, strict=True):
        ax.set_xlabel(x, color=MUTED, fontsize=10)
        ax.set_ylabel(y, color=MUTED, fontsize=10)
    return figure, axes


def band(
    ax: Any,
    x: Sequence[float],
    seeds: Sequence[Sequence[float]],
    label: str,
    colour: str,
    **style: Any,
) -> None:
    """Draw the mean over the seeds as a line, and their range as a band around it. NaNs are
    ignored, and where all seeds are NaN nothing is drawn."""
    values = np.asarray(seeds, np.float64)
    with warnings.catch_warnings():  # nanmean warns where all values are NaN; NaN is right there
        warnings.simplefilter("ignore")
        low, mean, high = (of(values, axis=0) for of in (np.nanmin, np.nanmean, np.nanmax))
    ax.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    ax.plot(
        x,
        mean,
        color=colour,
        linewidth=1.7,
        label=svg.text(label),
        **{"marker": "o" if len(values[0]) <= 12 else None, "markersize": 3.5, **style},
    )


def bars(
    ax: Any, labels: Sequence[str], seeds: Sequence[Sequence[float]], colours: Sequence[str]
) -> None:
    """Draw a bar for each label, which is the mean over the seeds, and each seed as a dot on it."""
    values = np.asarray(seeds, np.float64)
    places = np.arange(len(labels))
    ax.bar(places, values.mean(axis=0), color=list(colours), width=0.62)
    for row in values:
        ax.plot(places, row, linestyle="none", marker="o", markersize=3.5, color=INK)
    ax.set_xticks(places, [svg.text(label) for label in labels])


def legend(ax: Any, most: int = 4) -> None:
    """Draw a legend above the axes, in as many columns as fit, but not more than `most`."""
    longest = max((len(text) for text in ax.get_legend_handles_labels()[1]), default=0)
    inches = ax.figure.get_size_inches()[0] / len(ax.figure.axes)
    columns = max(1, min(most, int((inches - 0.6) / (0.08 * longest + 0.5))))
    svg.legend(ax, columns)


guide, logarithmic = svg.guide, svg.logarithmic
