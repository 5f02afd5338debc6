"""The page of a report: the values that the template shows, section by section."""

from __future__ import annotations

import datetime
import math
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import machine
from . import figures, plots
from .curves import panels_of
from .findings import findings
from .pictures import data_uri, overlay
from .shown import MOST_MISREAD, Looks
from .table import mistaken, worst_first

if TYPE_CHECKING:
    from .report import Report

MOST_NUMBERS = 20  # classes up to which the confusion matrix is a table; a larger one is drawn
MOST_CELLS = 3000  # cells of a drawn matrix
MOST_DRAWN = 120  # classes of a drawn matrix; if there are more, it has the most confused ones
MOST_CONFUSIONS = 10  # pairs of confused classes in the list
MOST_TEXT = 400  # characters shown of an entry of the configuration


def page(found: Report) -> str:
    """Return the page as HTML."""
    try:
        import jinja2
        import matplotlib
        import PIL
        from markupsafe import Markup
    except ImportError as error:
        raise ImportError(
            f"Report.html: needs {error.name}: pip install 'minidl[report]'"
        ) from None
    del matplotlib, PIL
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("minidl.train.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"share": share, "count": count, "figure": figure, "ending": ending}
    environment.globals["svg"] = Markup
    return environment.get_template("report.html").render(
        report=found,
        today=datetime.date.today().isoformat(),
        findings=findings(found),
        uneven=figures.uneven(found.support),
        curves=_curves(found),
        matrix=_matrix(found),
        confusions=figures.confusions(found.confusion, MOST_CONFUSIONS),
        classes=_classes(found),
        misread=_misread(found),
        looks=_looks(found),
        layers=_layers(found),
        pairs=_pairs(found),
        config=list(_flat(found._config or {})),
        machine=machine.facts(),
    )


# ------------------------------------------------------------------------------------ the numbers


def share(value: float, digits: int = 1) -> str:
    """Format 0.9412 as 94.1%, and NaN or infinity as a dash."""
    return "–" if not math.isfinite(value) else f"{100 * value:.{digits}f}%"


def count(value: int) -> str:
    return f"{value:,}"


def figure(value: float) -> str:
    """Format a number with three significant digits, and NaN or infinity as a dash."""
    if not math.isfinite(value):
        return "–"
    if value and not 1e-3 <= abs(value) < 1e3:
        return f"{value:.1e}"
    return f"{value:#.3g}".rstrip(".")


# ----------------------------------------------------------------------------------- the sections


def _curves(found: Report) -> list[dict[str, Any]]:
    """Return a plot for each panel of the history, with an alternative text."""
    drawn = []
    panels = panels_of(found._history or {}, "report")
    for place, (title, lines) in enumerate(panels.items()):
        ends = [
            f"{label} {figure(values[0])} to {figure(values[-1])}"
            for label, values in lines.items()
        ]
        drawn.append(
            {
                "title": title,
                "alt": f"{title} over {len(next(iter(lines.values())))} epochs: {', '.join(ends)}",
                "svg": plots.lines(f"curve{place}", lines, zero=title == "learning rate"),
            }
        )
    return drawn


def _matrix(found: Report) -> dict[str, Any]:
    """Return the confusion matrix: rows of a table for few classes, else cells to draw."""
    confusion = found.confusion
    support = np.maximum(confusion.sum(axis=1), 1)
    total = len(confusion)
    if total <= MOST_NUMBERS:
        rows = []
        for i, row in enumerate(confusion):
            figures = zip(row.tolist(), (row / support[i]).tolist(), found.classes, strict=True)
            numbers = [
                {"count": count, "share": share, "right": i == k, "column": column}
                for k, (count, share, column) in enumerate(figures)
            ]
            rows.append({"name": found.classes[i], "cells": numbers})
        longest = max(len(str(name)) for name in found.classes)
        return {"rows": rows, "cells": None, "upright": longest > 4}
    order = np.arange(total)
    if total > MOST_DRAWN:
        wrong = confusion.copy()
        np.fill_diagonal(wrong, 0)
        worst = np.argsort(-(wrong.sum(axis=0) + wrong.sum(axis=1)), kind="stable")
        order = np.sort(worst[:MOST_DRAWN])
    part = confusion[np.ix_(order, order)]
    shares = part / support[order][:, None]
    places = np.argwhere(part)
    first = np.argsort(-shares[tuple(places.T)], kind="stable")[:MOST_CELLS]
    cells = [
        {
            "row": int(i),
            "column": int(k),
            "count": int(part[i, k]),
            "share": float(shares[i, k]),
            "right": bool(i == k),
        }
        for i, k in places[first]
    ]
    names = [str(found.classes[k]) for k in order]
    return {
        "rows": None,
        "cells": cells,
        "names": names,
        "left_out": total - len(order),
        "margin": min(112, 14 + 6 * max(map(len, names))),
    }


def _classes(found: Report) -> list[dict[str, Any]]:
    """Return a row for each class, the one with the lowest f1 first."""
    return [
        {
            "name": found.classes[k],
            "support": int(found.support[k]),
            "recall": float(found.recall[k]),
            "precision": float(found.precision[k]),
            "f1": float(found.f1[k]),
            "mistaken": mistaken(found, k),
        }
        for k in worst_first(found)
    ]


def _misread(found: Report) -> list[dict[str, Any]]:
    """Return a row for each of the most confident wrong predictions, with its picture if any."""
    images = found._shown.misread if found._shown else []
    return [
        {
            "item": item,
            "label": found.classes[item.label],
            "predicted": found.classes[item.predicted],
            "path": _path(found, item.index),
            "file": os.path.basename(_path(found, item.index)),
            "image": data_uri(images[i]) if images else None,
        }
        for i, item in enumerate(found.misread[:MOST_MISREAD])
    ]


def ending(path: str) -> str:
    """Return the end of a path: a file's name after that of its folder, which is its class."""
    return "/".join(path.replace(os.sep, "/").split("/")[-2:])


def _train_path(found: Report, index: int) -> str:
    """Return the file of an item of the training set; "" if it has none."""
    return found._shown.train_paths.get(index, "") if found._shown else ""


def _path(found: Report, index: int) -> str:
    """Return the file of an item that is shown; "" if it has none."""
    return found._shown.paths.get(index, "") if found._shown else ""


def _looks(found: Report) -> dict[str, list[dict[str, Any]]] | None:
    """Return the right and wrong predictions with their Grad-CAM maps; None without maps."""
    if found._shown is None or found._shown.looks is None:
        return None

    def row(looks: Looks) -> dict[str, Any]:
        item = looks.item
        return {
            "index": item.index,
            "label": found.classes[item.label],
            "predicted": found.classes[item.predicted],
            "probability": item.probability,
            "image": data_uri(looks.image),
            "maps": [
                {
                    "name": found.classes[k],
                    "image": overlay(looks.image, heat),
                    "some": bool(heat.max() > 0),
                }
                for k, heat in looks.maps.items()
            ],
        }

    looks = found._shown.looks
    return {
        "right": [row(x) for x in looks if x.item.label == x.item.predicted],
        "wrong": [row(x) for x in looks if x.item.label != x.item.predicted],
    }


def _layers(found: Report) -> dict[str, Any] | None:
    """Return the plots of the layer statistics and the newest statistics of each layer; None if
    there are no statistics."""
    statistics = found._statistics
    if statistics is None or not statistics["epoch"]:
        return None
    epochs, layers = statistics["epoch"], statistics["layers"]
    drawn = []
    norms = [layer for layer in layers if "std_before" in layer]
    if norms:
        before = {
            "before, start": [layer["std_before"][0] for layer in norms],
            "before, end": [layer["std_before"][-1] for layer in norms],
        }
        after = {
            "after, start": [layer["std"][0] for layer in norms],
            "after, end": [layer["std"][-1] for layer in norms],
        }
        drawn.append(
            {
                "title": "What normalization does",
                "svg": plots.depth(
                    "norms", before, after, "normalization, in the order of computation"
                ),
                "alt": "Standard deviation of activations before and after each of "
                f"{len(norms)} normalizations, at the start and at the end of the training",
                "text": f"The standard deviation of the inputs (dashed) and of the outputs (solid) "
                f"of each of the {len(norms)} normalizations. Whatever the layers before them do, "
                "the outputs have a standard deviation near 1 (gamma starts at 1 and is learned): "
                "each layer gets inputs of the same scale throughout the training, in a deep "
                "network too.",
            }
        )
    for name, title, log, text, guides in PLOTS:
        series = {
            layer["name"]: layer[name]
            for layer in layers
            if name in layer and any(math.isfinite(v) for v in layer[name])
        }
        if series:
            drawn.append(
                {
                    "title": title,
                    "text": text,
                    "svg": plots.many(name, series, epochs, log, guides, percent=name == "dead"),
                    "alt": f"{title} of {len(series)} layers over {len(epochs) - 1} epochs",
                }
            )
    rows = [
        {name: layer[name] if isinstance(layer[name], str) else layer[name][-1] for name in layer}
        for layer in layers
    ]
    return {"plots": drawn, "rows": rows}


PLOTS = (
    (
        "std",
        "Spread of activations",
        True,
        "The standard deviation of the outputs of each layer and each activation. Level lines are "
        "fine; a line that grows by powers of ten will soon overflow, and one that falls to 0 "
        "carries no signal any more.",
        None,
    ),
    (
        "gradient",
        "Gradients",
        True,
        "The norm of the gradient of each layer's weights. Layers within two powers of ten of each "
        "other learn together; if the first layers are far below the last, they do not learn.",
        None,
    ),
    (
        "update",
        "Size of a step",
        True,
        "The norm of the change by each epoch's last step, divided by the norm of the weights. "
        "About 0.001 is usual. If it is far above, the learning rate is high; if it is far below, "
        "the learning rate is low or its schedule has reduced it.",
        {"0.001": 1e-3},
    ),
    (
        "dead",
        "Dead units",
        False,
        "The share of a ReLU's units that are 0 for the whole batch, so that no gradient flows "
        "through them. A few do no harm; many mean that a step was too large and pushed their "
        "inputs below 0.",
        None,
    ),
)


def _pairs(found: Report) -> list[dict[str, Any]]:
    return [
        {
            "pair": pair,
            "left": data_uri(left),
            "right": data_uri(right),
            "label": found.classes[found.labels[pair.index]],
            "path": _path(found, pair.index),
            "train_path": _train_path(found, pair.train),
        }
        for pair, left, right in (found._shown.pairs if found._shown else ())
    ]


def _flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (name, value) of each entry of nested dicts, with the names joined by dots."""
    if isinstance(tree, Mapping) and tree:
        for name, value in tree.items():
            yield from _flat(value, f"{prefix}.{name}" if prefix else str(name))
    elif prefix:
        text = str(tree)
        yield prefix, text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}..."
