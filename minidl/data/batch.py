"""From items of a data set to the arrays of a batch, and what a transform makes of its images."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import kernels
from ..arrays import plain_array
from .dataset import ArrayDataset

Transform = Callable[..., np.ndarray]


def check_dataset(dataset: Any) -> None:
    """TypeError for what is no data set, ValueError for one whose arrays disagree with it."""
    if isinstance(dataset, (np.ndarray, tuple, str, bytes, Mapping)) or not (
        hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
    ) or getattr(dataset, "ndim", 1) == 0:
        raise TypeError(
            "DataLoader: dataset must have a length and items (image, label); got a "
            f"{type(dataset).__name__} (for arrays: ArrayDataset(images, labels))"
        )
    for i, array in enumerate(arrays_of(dataset)):
        if array.shape[:1] != (len(dataset),):
            name = ("images", "labels")[i] if i < 2 else f"arrays[{i}]"
            raise ValueError(
                f"DataLoader: dataset.{name} must have a first axis of len(dataset) = "
                f"{len(dataset)}; its shape is {array.shape}"
            )


def arrays_of(dataset: Any) -> tuple[np.ndarray, ...]:
    """The arrays that hold a whole data set; () where its items have to be asked for.

    They are where a class computes items of its own, whatever arrays it has beside.
    """
    if isinstance(dataset, ArrayDataset) and type(dataset).__getitem__ is ArrayDataset.__getitem__:
        return dataset.arrays
    return ()


def gather(dataset: Any, rows: range | np.ndarray) -> tuple[list[np.ndarray], bool]:
    """The arrays of some items, copied since a transform may change them: images, then labels and
    what else there is; and whether the images are alone. MemoryError for more than there is."""
    if arrays := arrays_of(dataset):
        for array in arrays:
            _check_memory(len(rows), array)
        columns = [array[rows] if isinstance(rows, np.ndarray)
                   else np.array(array[rows.start:rows.stop]) for array in arrays]
        alone = len(columns) == 1
    else:
        columns, alone = _stacked(dataset, rows.tolist() if isinstance(rows, np.ndarray) else rows)
    # Indexing may give another order of axes, and files another order of bytes.
    columns = [np.ascontiguousarray(a, a.dtype.newbyteorder("=")).reshape(a.shape)
               for a in columns]
    return [columns[0]] + [a.astype(np.int64, copy=False) if a.dtype.kind in "biu" else a
                           for a in columns[1:]], alone


def _check_memory(count: int, like: np.ndarray) -> None:
    """MemoryError at once for a batch that cannot be, rather than after a long while."""
    kernels.check_shape("DataLoader: a batch", (count, *like.shape[1:]), like.dtype)


def _stacked(dataset: Any, rows: Sequence[int]) -> tuple[list[np.ndarray], bool]:
    """The arrays of items that have to be asked for, and whether they are images alone.

    Each is copied as it comes: a data set may fill one array of its own for every item.
    """
    columns: list[np.ndarray] = []
    images: np.dtype | None = None
    alone, count = False, 0
    for i, row in enumerate(rows):
        item = dataset[row]
        if i == 0:
            alone = not isinstance(item, (tuple, list))
            count = 1 if alone else len(item)
        if alone:
            item = (item,)
        if not isinstance(item, (tuple, list)) or len(item) != count or not item:
            raise TypeError(f"dataset[{row}] must be a tuple (image, label, ...) of "
                            f"{max(count, 1)} as dataset[{rows[0]}], not {_described(item)}")
        for part, value in enumerate(item):
            array = _part(value, row, part)
            if i == 0:
                _check_memory(len(rows), array[None])
                columns.append(np.empty((len(rows), *array.shape), array.dtype))
                images = columns[0].dtype
            column = columns[part]
            if array.shape != column.shape[1:]:
                raise ValueError(f"{_what(part)}dataset[{row}] has the shape {array.shape}, that "
                                 f"of dataset[{rows[0]}] {column.shape[1:]}: those of one batch "
                                 f"must have one shape; resize, crop or pad them in the data set")
            if array.dtype != column.dtype:
                if part == 0 and (array.dtype == np.uint8) != (images == np.uint8):
                    raise TypeError(f"{_what(part)}dataset[{row}] is {array.dtype}, that of "
                                    f"dataset[{rows[0]}] {images}: only uint8 images are divided "
                                    f"by 255, so those of one data set must be all uint8 or none")
                common = np.result_type(array.dtype, column.dtype)
                if common != column.dtype:
                    column = columns[part] = column.astype(common)
            column[i] = array
    return columns, alone


def _what(part: int) -> str:
    return "the image of " if part == 0 else f"part {part} of "


def _part(value: Any, row: int, part: int) -> np.ndarray:
    """What stands in one place of an item, as an array."""
    try:
        array = plain_array(value)
    except ValueError as error:
        raise ValueError(f"{_what(part)}dataset[{row}] is no array: {error}") from None
    if array.dtype.kind not in ("biuf" if part == 0 else "biufUS"):
        raise TypeError(f"dataset[{row}] must be an image, or a tuple (image, label, ...), of "
                        f"numbers; {_what(part)}it is {_described(value)}")
    return array


def _described(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def transformed(transform: Transform, images: np.ndarray, *rng: np.random.Generator) -> np.ndarray:
    """What a transform makes of the images, in their dtype: NumPy turns to float64 easily.

    A transform may fill one array of its own again and again; batches that are prepared ahead would
    then change under the loop. An array that someone else still holds is copied, therefore.
    """
    result = transform(images, *rng)
    if not isinstance(result, np.ndarray):
        raise TypeError(f"transform must return an array, not a {type(result).__name__}")
    if result.shape[:1] != images.shape[:1]:
        raise ValueError(
            f"transform must return as many images as it got, {len(images)}; "
            f"it returned an array of shape {result.shape}"
        )
    dtype = images.dtype if images.dtype.kind == "f" else result.dtype
    new = np.empty(0)[:]    # which nobody else holds
    held = any(a > b for a, b in zip(_references(result), _references(new), strict=True))
    if not result.flags.writeable or (held and not np.may_share_memory(result, images)):
        return np.array(result, dtype, order="C")
    return np.ascontiguousarray(result, dtype)


def _references(array: np.ndarray) -> tuple[int, int]:
    """How many references there are to an array, and to what it is a view of."""
    base = array.base
    return sys.getrefcount(array), 0 if base is None else sys.getrefcount(base)


def takes_rng(transform: Transform) -> bool:
    """A second parameter that is optional is rng only by name: it may mean anything else."""
    try:
        parameters = inspect.signature(transform).parameters.values()
    except ValueError:  # some functions in C do not tell
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [parameter for parameter in parameters if parameter.kind in kinds]
    if len(positional) < 2:
        return False
    return positional[1].default is inspect.Parameter.empty or positional[1].name == "rng"
