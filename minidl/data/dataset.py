"""Data sets held in memory: arrays of one length, usually images and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import checks, hints
from ..arrays import array_of


class ArrayDataset(hints.Explained):
    """Images and labels, item by item; or images alone, or any number of arrays.

    images:  (N, ...) array of numbers, for image networks (N, H, W, C); not copied
    labels:  (N, ...) array of numbers, usually (N,) integers; not copied; None for images alone
    more:    further arrays (N, ...), whose entries follow the label of an item
    classes: the names of the classes, if they have any; a list of names may also come last

    `dataset[3]` is an image and its label (and the entries of further arrays), or an image alone;
    `dataset[a:b]` and `dataset[array]` (integers or a mask) are arrays of several items. Lists,
    pandas columns and tensors of any library are taken as arrays, lists of Python floats as
    float32. ValueError if the lengths differ or an array has no first axis, TypeError if it does
    not hold numbers.

    >>> pairs = data.ArrayDataset(np.zeros((4, 8, 8, 3), np.uint8), np.arange(4))
    >>> pairs
    ArrayDataset(images (4, 8, 8, 3) uint8, labels (4,) int64)
    >>> images, labels = pairs[1:3]
    >>> labels
    array([1, 2])
    """

    images: np.ndarray
    labels: Any  # an array, or None
    more: tuple[np.ndarray, ...]
    classes: tuple[str, ...] | None

    def __init__(
        self, images: Any, labels: Any = None, *more: Any, classes: Sequence[str] | None = None
    ) -> None:
        if more and classes is None and _are_names(more[-1]):
            classes, more = more[-1], more[:-1]
        if more and labels is None:
            raise TypeError("ArrayDataset: labels is None, but more arrays follow it")
        self.images = numbers(images, "ArrayDataset", "images")
        self.labels = None if labels is None else numbers(labels, "ArrayDataset", "labels")
        self.more = tuple(
            [numbers(array, "ArrayDataset", f"array {i}") for i, array in enumerate(more, 2)]
        )
        self.classes = (
            None
            if classes is None
            else tuple(checks.members(classes, "ArrayDataset", "classes", "a list of names"))
        )
        for array in self.arrays[1:]:
            if len(array) != len(self.images):
                name = "labels" if array is self.labels else "all arrays"
                raise ValueError(
                    f"ArrayDataset: images and {name} must have the same length, "
                    f"not {len(self.images)} and {len(array)}"
                )

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The arrays that the data set has, in the order of an item's parts."""
        return (self.images, *(() if self.labels is None else (self.labels,)), *self.more)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> Any:
        rows = places(index, len(self), type(self).__name__)
        items = tuple([array[rows] for array in self.arrays])
        return items if len(items) > 1 else items[0]

    def __repr__(self) -> str:
        classes = "" if self.classes is None else f", {len(self.classes)} classes"
        return f"{type(self).__name__}({describe(*self.arrays)}{classes})"


def places(
    index: Any,
    count: int,
    where: str,
    name: str = "index",
    expected: str = "an int, a slice, a list of ints, or a mask",
) -> Any:
    """The items, out of `count`, that an index stands for: a slice stays as it is, an int becomes
    one from 0 on, and ints or a mask (lists, arrays or tensors) become (n,) int64. IndexError for
    an item that does not exist, ValueError for a mask of another length, TypeError for anything
    else."""
    if type(index) is int and -count <= index < count:
        return index
    try:
        if isinstance(index, slice):
            index.indices(count)
            return index
        rows = np.asarray(index)
    except (TypeError, ValueError):
        raise TypeError(checks.message(where, name, expected, index)) from None
    if rows.dtype == np.bool_ and rows.ndim == 1:
        if len(rows) != count:
            raise ValueError(
                f"{where}: a mask must have the shape ({count},) for a data set of "
                f"{count}, got {rows.shape}"
            )
        return np.flatnonzero(rows)
    if rows.ndim > 1 or (rows.dtype.kind not in "iu" and (rows.size or not rows.ndim)):
        raise TypeError(checks.message(where, name, expected, index))
    wrong = rows[(rows < -count) | (rows >= count)]
    if wrong.size:
        raise IndexError(
            f"{where}: index {wrong.flat[0]} is out of range for a data set of {count}"
        )
    rows = rows.astype(np.int64)
    rows[rows < 0] += count
    return rows if rows.ndim else int(rows)


def holds_items(dataset: Any) -> bool:
    """Whether an object has a length and items that are reached by number."""
    return (
        hasattr(dataset, "__len__")
        and hasattr(dataset, "__getitem__")
        and getattr(dataset, "ndim", 1) != 0
        and not isinstance(dataset, (str, bytes, Mapping))
    )


def arrays_of(dataset: Any) -> tuple[np.ndarray, ...]:
    """The arrays that hold a whole data set; () if its items have to be computed one by one.

    That is so for a subclass with a `__getitem__` of its own, even if it has arrays.
    """
    if isinstance(dataset, ArrayDataset) and type(dataset).__getitem__ is ArrayDataset.__getitem__:
        return dataset.arrays
    return ()


def describe(*arrays: np.ndarray) -> str:
    """Shapes and dtypes in words, for a repr."""
    names = ["images", "labels", *(f"array {i}" for i in range(2, len(arrays)))]
    return ", ".join(
        [f"{name} {array.shape} {array.dtype}" for name, array in zip(names, arrays, strict=False)]
    )


def _are_names(value: Any) -> bool:
    """Whether a value can be the names of classes: None, or a list of strings."""
    return value is None or (
        isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value)
    )


def numbers(values: Any, where: str, name: str) -> np.ndarray:
    """An array of numbers with an entry for each item; errors show `where` and `name`."""
    array = array_of(values, where, name)
    name = f"{where}: {name}"
    if array.dtype.kind not in "biuf":
        hint = "; np.unique(labels, return_inverse=True) gives the number of each name"
        raise TypeError(
            f"{name} must be an array of numbers, not of dtype {array.dtype}"
            f"{hint if name.endswith(': labels') and array.dtype.kind in 'OUT' else ''}"
        )
    if array.ndim == 0:
        raise ValueError(f"{name} must have a first axis, one entry an item; got a single number")
    return array
