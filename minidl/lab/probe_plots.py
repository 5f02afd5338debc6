"""Plots of a probe's history: a line over the steps for each layer, or a band between two
columns."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import checks, svg
from ..svg import MUTED, A, B
from ..train.report.curves import picture, save

# The columns that layers have: the label of the axis, and whether it is logarithmic.
OF_LAYERS = {
    "mean": ("mean of activations", False),
    "std": ("standard deviation of activations", True),
    "mean_before": ("mean before the normalization", False),
    "std_before": ("standard deviation before the normalization", True),
    "dead": ("dead units (share)", False),
    "saturated": ("saturated activations (share)", False),
    "drift_mean": ("drift of means (input's std)", True),
    "drift_std": ("drift of std (input's std)", True),
    "gradient": ("norm of the gradient", True),
    "effective_rate": ("effective learning rate", True),
    "shift": ("shift of the gradient (its norm)", True),
    "shift_norm": ("shift of the gradient", True),
    "shift_cosine": ("cosine of shifted gradients", False),
}
# The columns that the model has, in the same form.
OF_MODEL = {
    "loss": ("loss of the probe's batch", False),
    "smoothness": ("change of gradient / of weights", True),
    "step_norm": ("length of the step", True),
}
# Bands: the columns of their lower and upper edge, and the label of the axis.
BANDS = {
    "loss along the step": ("loss_low", "loss_high", "loss at ½ to 4 times the step"),
    "gradient along the step": ("distance_low", "distance_high", "change of gradient at ½ to 4x"),
}
OVERVIEW = (
    "loss",
    "std",
    "dead",
    "saturated",
    "gradient",
    "drift_mean",
    "drift_std",
    "shift",
    "shift_cosine",
    "loss along the step",
    "gradient along the step",
    "effective_rate",
)
SHARES = ("dead", "saturated")
COLUMNS = 3


def plot_history(
    history: Mapping[str, Any],
    path: str | os.PathLike[str],
    figures: str | Iterable[str] | None,
    where: str,
) -> None:
    """Draw the named figures of a history; None: those of `OVERVIEW` that have been measured."""
    path = checks.path(path, where)
    known = (*OF_LAYERS, *OF_MODEL, *BANDS)
    if figures is None:
        names = [name for name in OVERVIEW if _there(history, name)]
    else:
        given = (
            (figures,)
            if isinstance(figures, str)
            else checks.members(figures, where, "figures", "names in the history")
        )
        names = [checks.choice(name, where, "figures", known) for name in given]
        for name in names:
            if not _there(history, name):
                raise ValueError(f"{where}: the history has no values of {name!r}")
    if not names:
        raise ValueError(f"{where}: the history is empty, as nothing has been measured yet")
    columns = min(COLUMNS, len(names))
    figure, axes = picture(math.ceil(len(names) / columns), columns, where)
    for ax, name in zip(axes, names, strict=False):
        draw(ax, history, name)
    for ax in axes[len(names) :]:
        ax.set_visible(False)
    save(figure, path)


def draw(ax: Any, history: Mapping[str, Any], name: str, colours: tuple[str, str] = (A, B)) -> None:
    """Draw one figure of a history into the given axes."""
    from matplotlib.ticker import MaxNLocator

    svg.style(ax)
    ax.set_xlabel("step", color=MUTED, fontsize=10)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    steps = history["step"]
    if name in BANDS:
        low, high, label = BANDS[name]
        ax.fill_between(
            steps, history[low], history[high], color=colours[0], alpha=0.3, linewidth=0
        )
        for side in (low, high):
            ax.plot(steps, history[side], color=colours[0], linewidth=1)
        log = False
    elif name in OF_MODEL:
        label, log = OF_MODEL[name]
        ax.plot(steps, svg.drawable(history[name], log), color=colours[0], linewidth=1.6)
    else:
        label, log = OF_LAYERS[name]
        measured = [layer for layer in history["layers"] if _some(layer.get(name))]
        series = {layer["name"]: layer[name] for layer in measured}
        svg.layers(ax, steps, series, log, colours)
    ax.set_ylabel(label, color=MUTED, fontsize=10)
    if log:
        svg.logarithmic(ax.yaxis)
    elif name in SHARES:
        ax.set_ylim(0, max(0.1, 1.1 * ax.dataLim.y1))
    else:
        ax.margins(y=0.1)


def _there(history: Mapping[str, Any], name: str) -> bool:
    """Return whether a figure has a finite value anywhere in the history."""
    if name in OF_LAYERS:
        return any(_some(layer.get(name)) for layer in history["layers"])
    return _some(history.get(BANDS[name][1] if name in BANDS else name))


def _some(column: Sequence[float] | None) -> bool:
    return column is not None and bool(np.isfinite(column).any())
