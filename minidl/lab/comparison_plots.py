"""Plots of a comparison: the scores, the metric over the epochs, and the probes' measurements."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks, svg
from ..svg import GREY, INK, MUTED, A, B, C, D, E
from ..train.report.curves import picture, save
from .plots import COLOURS, legend

if TYPE_CHECKING:
    from .comparison import Comparison

# The measurements of the probes that are plotted: columns of the model, or means over the layers
# that have such a column. Each has the label of its axis, and whether that is logarithmic.
MEASURED = {
    "gradient": ("norm of the gradient (mean of layers)", True),
    "shift": ("shift of the gradient (mean of layers)", True),
    "drift_mean": ("drift of means (mean of layers)", True),
    "loss range": ("range of the loss along the step", True),
    "smoothness": ("change of gradient / of weights", True),
}


def plot_comparison(found: Comparison, path: str | os.PathLike[str]) -> None:
    """Write an image file with a plot of the scores, one of the trainings, and one of each
    measurement that the probes have taken."""
    path = checks.path(path, "Comparison.plot")
    curves = {
        name: {norm: [_figure(run.probe, name) for run in found.of(norm)] for norm in found.norms}
        for name in MEASURED
    }
    there = [
        name
        for name, of_norms in curves.items()
        if any(np.isfinite(row).any() for rows in of_norms.values() for row in rows)
    ]
    columns = min(3, 2 + len(there))
    figure, axes = picture(math.ceil((2 + len(there)) / columns), columns, "Comparison.plot")
    colours = _colours(found.norms)
    for ax in axes:
        svg.style(ax)
    _scores(axes[0], found, colours)
    _trainings(axes[1], found, colours)
    for ax, name in zip(axes[2:], there, strict=False):
        label, log = MEASURED[name]
        # A training that diverged has fewer measurements, so the steps are those of the longest.
        steps = {
            norm: max((run.probe["step"] for run in found.of(norm)), key=len)
            for norm in found.norms
        }
        _lines(ax, steps, curves[name], colours)
        ax.set_xlabel("step", color=MUTED)
        ax.set_ylabel(label, color=MUTED)
        if log:
            svg.logarithmic(ax.yaxis)
    for ax in axes[2 + len(there) :]:
        ax.set_visible(False)
    save(figure, path)


def _scores(ax: Any, found: Comparison, colours: Mapping[str, str]) -> None:
    """Draw the score of each seed as a dot, their mean as a line, and its interval as a bar."""
    for place, norm in enumerate(found.norms):
        score = found.score(norm)
        ax.plot(
            [place, place],
            [score.low, score.high],
            color=colours[norm],
            linewidth=5,
            alpha=0.3,
            solid_capstyle="butt",
        )
        ax.plot([place - 0.2, place + 0.2], [score.value] * 2, color=colours[norm], linewidth=2)
        scores = [run.score for run in found.of(norm)]
        ax.plot(
            [place] * len(scores), scores, linestyle="none", marker="o", markersize=3.5, color=INK
        )
    ax.set_xticks(range(len(found.norms)), [svg.text(norm) for norm in found.norms])
    ax.set_ylabel(f"{found.metric} on the test data", color=MUTED)
    ax.margins(x=0.12, y=0.15)


def _trainings(ax: Any, found: Comparison, colours: Mapping[str, str]) -> None:
    from matplotlib.ticker import MaxNLocator

    rows = {
        norm: [run.history.get(f"valid_{found.metric}", []) for run in found.of(norm)]
        for norm in found.norms
    }
    longest = max((len(row) for of_norm in rows.values() for row in of_norm), default=0)
    _lines(ax, {norm: list(range(1, longest + 1)) for norm in found.norms}, rows, colours)
    ax.set_xlabel("epoch", color=MUTED)
    ax.set_ylabel(f"{found.metric} on the test data", color=MUTED)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    legend(ax)


def _lines(
    ax: Any,
    x: Mapping[str, Sequence[float]],
    rows: Mapping[str, Sequence[Sequence[float]]],
    colours: Mapping[str, str],
) -> None:
    """Draw a line for each normalization: at each step the mean over the seeds that got so far, as
    a training that diverged has a shorter row."""
    for norm, of_seeds in rows.items():
        length = max((len(row) for row in of_seeds), default=0)
        table = np.full((len(of_seeds), length), math.nan)
        for i, row in enumerate(of_seeds):
            table[i, : len(row)] = row
        places = list(x[norm])[:length]
        with (
            warnings.catch_warnings()
        ):  # nanmean warns where all values are NaN; NaN is right there
            warnings.simplefilter("ignore")
            means = np.nanmean(table, axis=0)[: len(places)]
        ax.plot(
            places,
            means,
            color=colours[norm],
            linewidth=1.6,
            label=svg.text(norm),
            marker="o" if len(places) <= 12 else None,
            markersize=3,
        )


def _figure(history: Mapping[str, Any], name: str) -> list[float]:
    """Return a column of the model, or the means over the layers that have such a column. What a
    logarithmic axis cannot show (NaN, infinity, 0 and below) becomes NaN."""
    if not history:
        return []
    if name == "loss range":
        high, low = history.get("loss_high", []), history.get("loss_low", [])
        with np.errstate(invalid="ignore"):  # along a step that blows up, this is inf minus inf
            columns = [np.subtract(high, low).tolist()]
    elif name in history:
        columns = [history[name]]
    else:
        columns = [layer[name] for layer in history["layers"] if name in layer]
    if not columns or not columns[0]:
        return []
    table = np.array(columns, np.float64)
    table[~np.isfinite(table) | (table <= 0)] = math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.nanmean(table, axis=0).tolist()


def _colours(norms: Sequence[str]) -> dict[str, str]:
    """Return a colour for each normalization: the lab's own for those that it has one for, and one
    that is still free for the others."""
    free = cycle(
        [c for c in (E, GREY, D, C, B, A) if c not in {COLOURS.get(norm) for norm in norms}]
        or [GREY]
    )
    return {norm: COLOURS[norm] if norm in COLOURS else next(free) for norm in norms}
