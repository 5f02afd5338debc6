"""What the page shows of the pictures themselves, taken out of the data sets at once."""

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

MOST_MISREAD = 24  # pictures of misreadings,
MOST_LOOKED_AT = 6  # of right and of wrong examples with a map of what the model looks at,
MOST_PAIRS = 12  # and of pairs of near-duplicates


@dataclasses.dataclass
class Looks:
    """A picture, and what speaks for each of some classes in it: maps (h, w)."""

    item: Misread
    image: np.ndarray
    maps: dict[int, np.ndarray]


@dataclasses.dataclass
class Shown:
    """misread: pictures of the first of `Report.misread`; looks: right and wrong examples, None if
    the model has no maps; pairs: of near-duplicates, the most alike first; paths: the files of all
    these items of the data set, by their places, if it has files; train_paths: those of the
    training set."""

    misread: list[np.ndarray]
    looks: list[Looks] | None
    pairs: list[tuple[Pair, np.ndarray, np.ndarray]]
    paths: dict[int, str]
    train_paths: dict[int, str]


def show(
    found: Report, saved: Any, dataset: Any, train_set: Any
) -> tuple[Shown | None, list[Pair] | None]:
    """The pictures, None if the items are none; and the duplicates, None without a training set."""
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
    """The files of some items; none where the data set does not say."""
    paths = getattr(dataset, "paths", None)
    return {} if paths is None else {i: os.fspath(paths[i]) for i in places}


def are_pictures(dataset: Any) -> bool:
    """Whether the items are (H, W, 1 or 3)."""
    images = gather(dataset, range(1)).images
    return images.ndim == 4 and images.shape[3] in (1, 3)


def _images(dataset: Any, rows: list[int]) -> list[np.ndarray]:
    return list(gather(dataset, np.array(rows, np.int64)).images) if rows else []


def _right(found: Report) -> list[Misread]:
    """The right answers that are shown: the surest one of each of the first classes."""
    right = np.flatnonzero(found.labels == found.predicted)
    right = right[np.argsort(-found.probability[right], kind="stable")]
    _, first = np.unique(found.labels[right], return_index=True)
    return [found._misread(int(i)) for i in right[first[:MOST_LOOKED_AT]]]


def _looks(saved: Any, images: list[np.ndarray], chosen: list[Misread]) -> list[Looks] | None:
    """Maps of the predicted class for each picture, and of the label where that is another; None
    where the model has no maps."""
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
