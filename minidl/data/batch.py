"""Batches: the items of a data set are stacked into arrays, which keep the structure of items."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import kernels
from ..arrays import array_like, plain_array
from ..tensor import Tensor
from .dataset import ArrayDataset, arrays_of, holds_items, numbers
from .pictures import is_pillow, of_pillow
from .split import Subset

# The names by which the image and the label of an item that is a dict are found.
IMAGES, LABELS = ("image", "images"), ("label", "labels")


@dataclass
class Batch:
    """The arrays of some items.

    columns: an array for each part of an item, all of the batch's length
    names:   the names of the parts if items are dicts; () for tuples, None for images alone
    image:   the index of the column with the images
    label:   the index of the column with the labels; None if there is only one column
    """

    columns: list[np.ndarray]
    names: tuple[Hashable, ...] | None
    image: int = 0
    label: int | None = None

    @property
    def images(self) -> np.ndarray:
        return self.columns[self.image]

    @property
    def labels(self) -> np.ndarray | None:
        return None if self.label is None else self.columns[self.label]

    def structured(self) -> Any:
        """A tensor of images and the other arrays, in the structure of the items."""
        values = [
            Tensor(column) if part == self.image else column
            for part, column in enumerate(self.columns)
        ]
        if self.names is None:
            return values[0]
        return dict(zip(self.names, values, strict=True)) if self.names else tuple(values)


def as_dataset(dataset: Any, where: str) -> Any:
    """A data set from which a loader can read items; an array becomes a data set of images.

    TypeError for an object that is no data set, ValueError for one whose arrays have another length
    than it.
    """
    if array_like(dataset) and not is_pillow(dataset) and getattr(dataset, "ndim", 1) != 0:
        dataset = ArrayDataset(numbers(dataset, where, "dataset"))
    if isinstance(dataset, tuple) or not holds_items(dataset):
        raise TypeError(
            f"{where}: dataset must have a length and items (image, label); got a "
            f"{type(dataset).__name__} (for arrays: ArrayDataset(images, labels))"
        )
    for i, array in enumerate(arrays_of(dataset)):
        if array.shape[:1] != (len(dataset),):
            name = ("images", "labels")[i] if i < 2 else f"arrays[{i}]"
            raise ValueError(
                f"{where}: dataset.{name} must have a first axis of len(dataset) = "
                f"{len(dataset)}; its shape is {array.shape}"
            )
    return dataset


def gather(dataset: Any, rows: range | np.ndarray) -> Batch:
    """The arrays of some items. They are copied, because a transform may change them. MemoryError
    for a batch that is larger than the memory."""
    if type(dataset) is Subset and arrays_of(dataset.dataset):
        places = dataset.indices
        rows = places[rows] if isinstance(rows, np.ndarray) else places[rows.start : rows.stop]
        dataset = dataset.dataset
    if arrays := arrays_of(dataset):
        for array in arrays:
            _check_memory(len(rows), array)
        columns = [
            array[rows] if isinstance(rows, np.ndarray) else np.array(array[rows.start : rows.stop])
            for array in arrays
        ]
        batch = Batch(columns, None if len(columns) == 1 else ())
    else:
        batch = _stacked(dataset, rows.tolist() if isinstance(rows, np.ndarray) else rows)
    if batch.label is None and len(batch.columns) > 1:
        batch.label = 1 if batch.image == 0 else 0
    for part, a in enumerate(batch.columns):
        # Indexing may give another order of axes, and files another order of bytes.
        a = np.ascontiguousarray(a, a.dtype.newbyteorder("=")).reshape(a.shape)
        if part != batch.image and a.dtype.kind in "biu":
            a = a.astype(np.int64, copy=False)
        batch.columns[part] = a
    return batch


def _check_memory(count: int, like: np.ndarray) -> None:
    """Raise MemoryError for a batch that cannot fit into memory, before any time is spent on it."""
    kernels.check_shape("DataLoader: a batch", (count, *like.shape[1:]), like.dtype)


def _stacked(dataset: Any, rows: Sequence[int]) -> Batch:
    """The arrays of items that a data set computes one by one.

    Each item is copied at once, because a data set may use one array for all of its items.
    """
    batch = Batch([], None)
    images: np.dtype | None = None
    for i, row in enumerate(rows):
        item = dataset[row]
        if i == 0:
            batch = _form(item)
        for part, value in enumerate(_values(item, batch, row, rows[0], first=i == 0)):
            what = _what(batch, part)
            array = _part(value, row, what, is_image=part == batch.image)
            if i == 0:
                _check_memory(len(rows), array[None])
                batch.columns.append(np.empty((len(rows), *array.shape), array.dtype))
                if part == batch.image:
                    images = array.dtype
            column = batch.columns[part]
            if array.shape != column.shape[1:]:
                raise ValueError(
                    f"{what}dataset[{row}] has the shape {array.shape}, that "
                    f"of dataset[{rows[0]}] {column.shape[1:]}: those of one batch "
                    f"must have one shape; resize, crop or pad them in the data set"
                )
            if array.dtype != column.dtype:
                if part == batch.image and (array.dtype == np.uint8) != (images == np.uint8):
                    raise TypeError(
                        f"{what}dataset[{row}] is {array.dtype}, that of "
                        f"dataset[{rows[0]}] {images}: only uint8 images are divided "
                        f"by 255, so those of one data set must be all uint8 or none"
                    )
                common = np.result_type(array.dtype, column.dtype)
                if common != column.dtype:
                    column = batch.columns[part] = column.astype(common)
            column[i] = array
    return batch


def _form(item: Any) -> Batch:
    """A batch without columns, in the structure of an item."""
    if isinstance(item, Mapping):
        names = tuple(item)
        image = image_place(names)
        label = next((i for i, name in enumerate(names) if name in LABELS), None)
        return Batch([], names, image, label)
    return Batch([], () if isinstance(item, (tuple, list)) else None)


def image_place(names: Sequence[Hashable]) -> int:
    """The index of the image among a dict's entries: of the one that is called so, or the first."""
    return next((i for i, name in enumerate(names) if name in IMAGES), 0)


def _values(item: Any, batch: Batch, row: int, other: int, first: bool) -> Sequence[Any]:
    """The parts of an item, in the order of the batch's columns; TypeError if its structure differs
    from that of the first item."""
    if batch.names is None and not isinstance(item, (tuple, list, Mapping)):
        return (item,)
    if batch.names and isinstance(item, Mapping):
        if set(item) == set(batch.names):
            return [item[name] for name in batch.names]
        raise TypeError(
            f"dataset[{row}] must be a dict of {', '.join(map(repr, batch.names))} as "
            f"dataset[{other}], not of {', '.join(map(repr, item)) or 'nothing'}"
        )
    if (
        batch.names == ()
        and isinstance(item, (tuple, list))
        and item
        and (first or len(item) == len(batch.columns))
    ):
        return item
    if batch.names is None:
        form = "an image alone"
    elif batch.names:
        form = "a dict"
    else:
        form = f"a tuple (image, label, ...) of {max(len(batch.columns), 1)}"
    raise TypeError(f"dataset[{row}] must be {form} as dataset[{other}], not {_described(item)}")


def _what(batch: Batch, part: int) -> str:
    if batch.names:
        return f"entry {batch.names[part]!r} of "
    return "the image of " if part == batch.image else f"part {part} of "


def _part(value: Any, row: int, what: str, is_image: bool) -> np.ndarray:
    """A part of an item as an array."""
    try:
        array = of_pillow(value) if is_pillow(value) else plain_array(value)
    except ValueError as error:
        raise ValueError(f"{what}dataset[{row}] is no array: {error}") from None
    if array.dtype.kind not in ("biuf" if is_image else "biufUS"):
        raise TypeError(
            f"dataset[{row}] must be an image, or a tuple or dict (image, label, ...), "
            f"of numbers; {what}it is {_described(value)}"
        )
    return array


def _described(value: Any) -> str:
    if isinstance(value, (tuple, list, Mapping)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"
