"""`curves`: plot the history of a training."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ... import checks
from ...atomic import replace_file

NOT_CURVES = ("lr", "seconds")


def curves(history: Mapping[str, Sequence[float]], path: str | os.PathLike[str]) -> None:
    """Plot a history as `Trainer.fit` returns it: the loss, each metric and the learning rate over
    the epochs. Training and validation share a panel.

    path: the file, whose ending decides the format (.png, .svg, .pdf ...; PNG without an ending)

    The file is written completely or not at all. The backend and the settings of matplotlib's
    pyplot are not changed. ImportError without matplotlib, which the extra `report` installs;
    TypeError or ValueError if `history` is not a history or the format is unknown.

    >>> import os, tempfile
    >>> history = {"loss": [2.1, 1.2], "valid_loss": [1.9, 1.3], "lr": [0.1, 0.1]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     train.curves(history, folder + "/curves.png")
    ...     os.listdir(folder)
    ['curves.png']
    """
    path = checks.path(path, "curves")
    panels = panels_of(history, "curves")
    if not panels:
        raise ValueError("curves: history has no epoch")
    figure, axes = picture(1, len(panels), "curves")
    from matplotlib.ticker import MaxNLocator

    for ax, (name, lines) in zip(axes, panels.items(), strict=True):
        for (label, values), colour in zip(lines.items(), ("#3567b7", "#d2642a"), strict=False):
            epochs = range(1, len(values) + 1)
            ax.plot(
                epochs,
                values,
                color=colour,
                label=label,
                marker="o" if len(values) < 12 else None,
                markersize=3,
            )
        ax.set_title(name)
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
        if len(lines) > 1:
            ax.legend(frameon=False)
    save(figure, path)


def picture(rows: int, columns: int, where: str) -> tuple[Any, list[Any]]:
    """Return a figure with rows * columns panels, and their axes row by row. ImportError without
    matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(f"{where}: needs matplotlib: pip install 'minidl[report]'") from None
    figure = Figure(figsize=(4.2 * columns, 3.2 * rows), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def save(figure: Any, path: str) -> None:
    """Write a figure to a file, completely or not at all, in the format that the ending says."""
    ending = os.path.splitext(path)[1][1:].lower() or "png"
    content = io.BytesIO()
    figure.savefig(content, format=ending)
    replace_file(path, content.getvalue())


def panels_of(history: Any, where: str) -> dict[str, dict[str, list[float]]]:
    """Return {title: {label: values}} for each panel of a history, the learning rate last; {} if it
    has no epoch. TypeError or ValueError if it is not a history."""
    expected = "a dict of lists of one length, as Trainer.fit returns it"
    if not isinstance(history, Mapping):
        raise TypeError(checks.message(where, "history", expected, history))
    columns: dict[str, list[float]] = {}
    for name, column in history.items():
        try:
            columns[str(name)] = [float(value) for value in column]
        except (TypeError, ValueError):
            raise TypeError(
                checks.message(where, f"history[{name!r}]", "a list of numbers", column)
            ) from None
    if len({len(column) for column in columns.values()}) > 1:
        raise ValueError(checks.message(where, "history", expected, history))
    panels: dict[str, dict[str, list[float]]] = {}
    for name, column in columns.items():
        title = name.removeprefix("valid_")
        if column and title not in NOT_CURVES:
            label = "validation" if name.startswith("valid_") else "training"
            panels.setdefault(title, {})[label] = column
    if columns.get("lr"):
        panels["learning rate"] = {"learning rate": columns["lr"]}
    return panels
