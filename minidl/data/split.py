"""Parts of a data set: `Subset` has some of its items, and `split` divides all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import checks
from ..ops.common import warn
from .dataset import ArrayDataset, arrays_of, holds_items, numbers, places

MOST_SEED = 2**64 - 1


class Subset:
    """Some items of a data set, by their indices. Nothing is copied.

    dataset: anything with a length and items; a subset of a subset refers to the first data set,
             that of a pandas table to the array of its rows
    indices: integers (n,), which may be negative or repeated; or a mask (N,) of bools

    `subset[i]` is `dataset[indices[i]]`. If the data set has `.images`, `.labels`, `.classes` or
    `.paths`, the subset has those of its items; arrays are indexed anew at each access. TypeError
    for indices that are no integers, IndexError for one that is not in the data set.

    >>> digits = data.ArrayDataset(np.zeros((9, 8, 8, 1), np.uint8), np.arange(9))
    >>> some = data.Subset(digits, [2, 3, 5])
    >>> len(some), some.labels
    (3, array([2, 3, 5]))
    """

    def __init__(self, dataset: Any, indices: Any) -> None:
        dataset = _dataset(dataset, "Subset")
        count = len(dataset)
        expected = "a list of ints, or a mask"
        rows = places(indices, count, "Subset", "indices", expected)
        if not isinstance(rows, np.ndarray):
            raise TypeError(checks.message("Subset", "indices", expected, indices))
        if type(dataset) is Subset:
            rows = dataset.indices[rows]
            dataset = dataset.dataset
        self.dataset: Any = dataset
        self.indices: np.ndarray = rows

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        """An item for an int. For a slice or an array it gives arrays if the data set is an
        `ArrayDataset`, else a subset."""
        rows = self.indices[places(index, len(self), "Subset")]
        if rows.ndim == 0:
            return self.dataset[int(rows)]
        return self.dataset[rows] if arrays_of(self.dataset) else Subset(self.dataset, rows)

    @property
    def images(self) -> np.ndarray:
        """The images, copied: (n, ...)."""
        return self.dataset.images[self.indices]

    @property
    def labels(self) -> Any:
        """The labels, copied: (n, ...); None if there are none."""
        labels = self.dataset.labels
        return None if labels is None else labels[self.indices]

    @property
    def classes(self) -> Any:
        """The names of the classes, as the whole data set has them."""
        return self.dataset.classes

    @property
    def paths(self) -> tuple[str, ...]:
        """The files of the items."""
        paths = self.dataset.paths
        return tuple([paths[i] for i in self.indices])

    def __repr__(self) -> str:
        return f"Subset({len(self)} of {self.dataset!r})"


def split(
    dataset: Any, fractions: Sequence[float], seed: int = 0, stratify: bool = False
) -> tuple[Subset, ...]:
    """Divide a data set into parts, as `Subset`s: each item is in exactly one of them.

    fractions: the fraction of each part, which add up to 1; or numbers of items (ints), which add
               up to the length
    seed:      the parts depend on the seed (and on the length), not on what was drawn before
    stratify:  give each part its share of each class, to within one item. Items of a class with few
               of them go to the largest part first, and a warning names the classes of which it has
               none. The classes are the data set's `.labels` (or `.targets`), one for each item, or
               else the labels of its items.

    Items keep the order of the data set. TypeError and ValueError for arguments that do not fit,
    ValueError for a part without items.

    >>> pictures = data.ArrayDataset(np.zeros((10, 8, 8, 1), np.uint8), np.arange(10) % 2)
    >>> train, valid = data.split(pictures, (0.8, 0.2), stratify=True)
    >>> len(train), len(valid), sorted(valid.labels.tolist())
    (8, 2, [0, 1])
    """
    dataset = _dataset(dataset, "split")
    count = len(dataset)
    sizes = _sizes(fractions, count)
    seed = checks.integer(seed, "split", "seed", 0, MOST_SEED)
    rng = np.random.Generator(np.random.Philox(seed))
    names, groups = np.zeros(1, np.int64), np.zeros(count, np.int64)
    if checks.flag(stratify, "split", "stratify"):
        names, groups = _classes(dataset, count)
    parts = _parts(groups, sizes, rng)
    _warn_of_missing(names, groups[parts[_by_size(sizes)[-1]]], dataset)
    return tuple([Subset(dataset, np.sort(rows)) for rows in parts])


def _warn_of_missing(names: np.ndarray, groups: np.ndarray, dataset: Any) -> None:
    """Warn of classes that are so small that the largest part has no item of them."""
    missing = names[~np.isin(np.arange(len(names)), groups)].tolist()
    if missing:
        classes = getattr(dataset, "classes", None)
        if classes is not None and names.dtype.kind in "iu" and max(missing) < len(classes):
            missing = [classes[label] for label in missing]
        shown = ", ".join(map(repr, missing[:5])) + (" ..." if len(missing) > 5 else "")
        warn(
            f"split: there are too few items for a share of every class in every part: the "
            f"largest part, usually what is trained on, has none of {shown}"
        )


def _sizes(fractions: Any, count: int) -> list[int]:
    """The number of items of each part."""
    given = list(
        checks.members(fractions, "split", "fractions", "a list of fractions or of counts")
    )
    expected = f"fractions that add up to 1, or counts that add up to {count}"
    if given and all(isinstance(f, (int, np.integer)) and not isinstance(f, bool) for f in given):
        sizes = [checks.integer(f, "split", "fractions", 0) for f in given]
        if sum(sizes) != count:
            raise ValueError(checks.message("split", "fractions", expected, fractions))
    else:
        shares = [checks.fraction(f, "split", "fractions") for f in given]
        if abs(sum(shares) - 1) > 1e-6:
            raise ValueError(checks.message("split", "fractions", expected, fractions))
        edges = np.rint(np.cumsum([0.0, *shares]) * count).astype(np.int64)
        edges[-1] = count
        sizes = np.diff(edges).tolist()
    if min(sizes) < 1:
        raise ValueError(
            f"split: part {sizes.index(min(sizes))} would have no items: "
            f"{count} make parts of {', '.join(map(str, sizes))}"
        )
    return sizes


def _parts(groups: np.ndarray, sizes: list[int], rng: np.random.Generator) -> list[np.ndarray]:
    """The rows of each part: exactly as many as `sizes` says, and a share of each group to within
    one row.

    One part after another takes its rows from those that are left, the largest part last. It takes
    its share of each group, rounded down, and then one more row of the groups with the largest
    remainders; ties are drawn. The last row of a group is left for the largest part, as long as
    other groups have more rows.
    """
    order = rng.permutation(len(groups))
    order = order[np.argsort(groups[order], kind="stable")]
    left = np.bincount(groups)
    start = np.cumsum(left) - left
    parts: list[np.ndarray] = [np.empty(0, np.int64)] * len(sizes)
    *small, largest = _by_size(sizes)
    for part in small:
        share = left * (sizes[part] / left.sum())
        taken = np.floor(share + 1e-9).astype(np.int64)
        rest = share - taken + 1e-6 * rng.random(len(left))
        more = sizes[part] - taken.sum()
        ranked = np.lexsort((-rest, left - taken <= 1))
        ranked = ranked[(left - taken)[ranked] > 0]
        taken[ranked[:more]] += 1
        parts[part] = order[_runs(start, taken)]
        start, left = start + taken, left - taken
    parts[largest] = order[_runs(start, left)]
    return parts


def _by_size(sizes: list[int]) -> list[int]:
    """The indices of the parts, in ascending order of their sizes."""
    return sorted(range(len(sizes)), key=lambda part: sizes[part])


def _runs(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The numbers start, start + 1, ... of each run, one run after another."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)


def _classes(dataset: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The different labels, sorted, and for each item the index of its label among them."""
    labels = getattr(dataset, "labels", None)
    if labels is None:
        labels = getattr(dataset, "targets", None)
    if labels is None:
        labels = [_label(dataset[i], i) for i in range(count)]
    labels = np.asarray(labels)
    if labels.shape != (count,) or labels.dtype.kind not in "biuUS":
        raise ValueError(
            f"split: stratify=True needs one class (an integer or a name) an item; "
            f"the labels have the shape {labels.shape} and the dtype {labels.dtype}"
        )
    names, groups = np.unique(labels, return_inverse=True)
    return names, groups.reshape(-1)


def _label(item: Any, row: int) -> Any:
    if isinstance(item, dict):
        label = item.get("label", item.get("labels"))
    else:
        label = item[1] if isinstance(item, (tuple, list)) and len(item) > 1 else None
    if label is None:
        raise ValueError(f"split: stratify=True needs labels, and dataset[{row}] has none")
    return label


def _dataset(dataset: Any, where: str) -> Any:
    """Check a data set and return it. A table or column of pandas finds its rows by label, so that
    a data set of its array, which finds them by number, takes its place. TypeError for a tuple,
    because (images, labels) would be taken for a data set of two items."""
    if isinstance(dataset, tuple) or not holds_items(dataset):
        expected = "a data set, with a length and items"
        if isinstance(dataset, tuple):
            expected += ", and no tuple: ArrayDataset(images, labels) makes one of arrays"
        raise TypeError(checks.message(where, "dataset", expected, dataset))
    return ArrayDataset(numbers(dataset, where, "dataset")) if hasattr(dataset, "iloc") else dataset
