"""Help for data sets with classes of few items: a sampler that balances classes, and class
weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks
from ..arrays import array_of


def balanced(labels: Any) -> Balanced:
    """A sampler for `DataLoader(..., sampler=balanced(labels))`: in every epoch each class comes
    equally often (within one), however many items it has.

    `labels` are class indices, one for each item, or a data set with an attribute `labels`. An
    epoch is as long as without the sampler. From a class with many items it has a new random
    choice each time; items of a class with few items are repeated, each of them equally often
    (within one). TypeError or ValueError for labels that are no class indices.

    >>> sampler = data.balanced([0, 0, 0, 0, 0, 1])
    >>> order = sampler(np.random.default_rng(0))
    >>> sorted(np.array([0, 0, 0, 0, 0, 1])[order].tolist())
    [0, 0, 0, 1, 1, 1]
    """
    return Balanced(_classes(labels, "balanced"))


class Balanced:
    """The sampler that `balanced` returns: a function that takes an epoch's generator and returns
    the indices of its items."""

    def __init__(self, found: np.ndarray) -> None:
        self.count = len(found)
        self._rows = [np.flatnonzero(found == label) for label in np.unique(found)]

    def __call__(self, rng: np.random.Generator) -> np.ndarray:
        """The indices of an epoch's items, in their order."""
        each, rest = divmod(self.count, len(self._rows))
        wanted = np.full(len(self._rows), each)
        wanted[rng.permutation(len(wanted))[:rest]] += 1
        chosen = []
        for rows, count in zip(self._rows, wanted.tolist(), strict=True):
            times, more = divmod(count, len(rows))
            chosen += [np.tile(rows, times), rng.permutation(rows)[:more]]
        return rng.permutation(np.concatenate(chosen))

    def __repr__(self) -> str:
        return f"balanced({self.count} items of {len(self._rows)} classes)"


def class_weights(labels: Any, classes: int | None = None) -> np.ndarray:
    """Weights (classes,), float32, for `md.cross_entropy(..., weight=...)`, with which every class
    counts the same: items / (classes with items * items of the class), and 0 for a class without
    items.

    `labels` are those of `balanced`. `classes` is the number of classes; with None the largest
    label is the last class. ValueError if a label is larger.

    >>> data.class_weights([0, 0, 0, 1])
    array([0.6666667, 2.       ], dtype=float32)
    """
    found = _classes(labels, "class_weights")
    least = int(found.max()) + 1
    size = least if classes is None else checks.integer(classes, "class_weights", "classes", least)
    counts = np.bincount(found, minlength=size)
    there = counts > 0
    return np.where(there, len(found) / (there.sum() * np.maximum(counts, 1)), 0).astype(np.float32)


def _classes(labels: Any, where: str) -> np.ndarray:
    """Labels as class indices (N,), checked."""
    found = array_of(getattr(labels, "labels", labels), where, "labels")
    if found.dtype.kind not in "iu":
        raise TypeError(f"{where}: labels must be class indices, integers; got {found.dtype}")
    if found.ndim != 1 or not len(found) or found.min() < 0:
        raise ValueError(
            f"{where}: labels must be class indices from 0 on, one an item; got "
            f"an array of shape {found.shape}"
            + (f" with {found.min()}" if found.size and found.min() < 0 else "")
        )
    return found.astype(np.int64)
