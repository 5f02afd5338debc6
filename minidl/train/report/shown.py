"""The pictures that the page shows, read from the data sets when the report is computed."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data.batch import gather
from .duplicates import Pair, find
from .grad_cam import grad_cam

if TYPE_CHECKING:
    from .report import Misread, Report

MOST_MISREAD = 24  # wrong predictions that are shown
MOST_LOOKED_AT = 6  # right and wrong predictions that are shown with a Grad-CAM map
MOST_PAIRS = 12  # pairs of near-duplicates that are shown


@dataclasses.dataclass
class Looks:
    """A picture and the Grad-CAM maps (h, w) of some classes in it."""

    item: Misread
    image: np.ndarray
    maps: dict[int, np.ndarray]


@dataclasses.dataclass
class Shown:
    """The pictures that the page shows.

    misread: the pictures of the first items of `Report.misread`
    looks:   right and wrong predictions with maps; None if the model has no convolution maps
    pairs:   near-duplicates, the most similar first
    paths, train_paths: the files of all these items of the data set and of the training set, by
             their indices; {} if the data set has no files
    """

    misread: list[np.ndarray]
    looks: list[Looks] | None
    pairs: list[tuple[Pair, np.ndarray, np.ndarray]]
    paths: dict[int, str]
    train_paths: dict[int, str]


def show(
    found: Report, saved: Any, dataset: Any, train_set: Any
) -> tuple[Shown | None, list[Pair] | None]:
    """Return the pictures to show, None if the items are not pictures, and the duplicates, None
    without a training set."""
    if not are_pictures(dataset):
        return None, None
    misread = found.misread[:MOST_MISREAD]
    chosen = [*_right(found), *found.misread[:MOST_LOOKED_AT]]
    shown = Shown(
        _images(dataset, [item.index for item in misread]),
        _looks(saved, _images(dataset, [item.index for item in chosen]), chosen),
        [],
        {},
        {},
    )
    duplicates = None
    if train_set is not None and are_pictures(train_set):
        duplicates = find(dataset, train_set)
        pairs = sorted(duplicates, key=lambda pair: -pair.correlation)[:MOST_PAIRS]
        shown.pairs = list(
            zip(
                pairs,
                _images(dataset, [pair.index for pair in pairs]),
                _images(train_set, [pair.train for pair in pairs]),
                strict=True,
            )
        )
    duplicated = [pair for pair, _, _ in shown.pairs]
    places = [item.index for item in (*misread, *chosen)]
    shown.paths = _files(dataset, places + [pair.index for pair in duplicated])
    shown.train_paths = _files(train_set, [pair.train for pair in duplicated])
    return shown, duplicates


def _files(dataset: Any, places: list[int]) -> dict[int, str]:
    """Return the files of some items by their indices; {} if the data set has no files."""
    paths = getattr(dataset, "paths", None)
    return {} if paths is None else {i: os.fspath(paths[i]) for i in places}


def are_pictures(dataset: Any) -> bool:
    """Return whether the items of a data set are pictures (H, W, 1 or 3)."""
    images = gather(dataset, range(1)).images
    return images.ndim == 4 and images.shape[3] in (1, 3)


def _images(dataset: Any, rows: list[int]) -> list[np.ndarray]:
    return list(gather(dataset, np.array(rows, np.int64)).images) if rows else []


def _right(found: Report) -> list[Misread]:
    """Return the right predictions to show: the most confident one of each of the first classes."""
    right = np.flatnonzero(found.labels == found.predicted)
    right = right[np.argsort(-found.probability[right], kind="stable")]
    _, first = np.unique(found.labels[right], return_index=True)
    return [found._misread(int(i)) for i in right[first[:MOST_LOOKED_AT]]]


def _looks(saved: Any, images: list[np.ndarray], chosen: list[Misread]) -> list[Looks] | None:
    """Compute the Grad-CAM map of the predicted class for each picture, and that of the label if it
    is another class. None if the model has no convolution maps."""
    prepared = saved._prepared(np.stack(images))
    maps = [
        grad_cam(saved.model, prepared, np.array(classes))
        for classes in ([item.predicted for item in chosen], [item.label for item in chosen])
    ]
    if maps[0] is None or maps[1] is None:
        return None
    return [
        Looks(item, images[i], {item.predicted: maps[0][i], item.label: maps[1][i]})
        for i, item in enumerate(chosen)
    ]
