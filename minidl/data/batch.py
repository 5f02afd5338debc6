"""From items of a data set to the arrays of a batch, and what a transform makes of its images."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..tensor import plain_array
from .dataset import ArrayDataset

Transform = Callable[..., np.ndarray]


def check_dataset(dataset: Any) -> None:
    """TypeError for what is no data set, ValueError for one whose arrays disagree with it."""
    if isinstance(dataset, (np.ndarray, tuple, str, bytes, Mapping)) or not (
        hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
    ) or getattr(dataset, "ndim", 1) == 0:
        raise TypeError(
            "dataset must have a length and items (image, label); got a "
            f"{type(dataset).__name__} (for arrays: ArrayDataset(images, labels))"
        )
    for i, array in enumerate(arrays_of(dataset)):
        if array.shape[:1] != (len(dataset),):
            name = ("images", "labels")[i] if i < 2 else f"arrays[{i}]"
            raise ValueError(
                f"dataset.{name} must have a first axis of len(dataset) = {len(dataset)}; "
                f"its shape is {array.shape}"
            )


def arrays_of(dataset: Any) -> tuple[np.ndarray, ...]:
    """The arrays that hold a whole data set; () where its items have to be asked for.

    They are where a class computes items of its own, whatever arrays it has beside.
    """
    if isinstance(dataset, ArrayDataset) and type(dataset).__getitem__ is ArrayDataset.__getitem__:
        return dataset.arrays
    return ()


def gather(dataset: Any, rows: np.ndarray) -> tuple[list[np.ndarray], bool]:
    """The arrays of some items, copied since a transform may change them: images, then labels and
    what else there is; and whether the images are alone."""
    if arrays := arrays_of(dataset):
        columns = [array[rows] for array in arrays]
        alone = len(columns) == 1
    else:
        numbers = rows.tolist()
        items = [dataset[row] for row in numbers]
        alone = not isinstance(items[0], (tuple, list))
        columns = [_stacked(column, numbers, part) for part, column in
                   enumerate([items] if alone else _columns(items, numbers))]
    # Indexing may give another order of axes, and files another order of bytes.
    columns = [np.ascontiguousarray(a, a.dtype.newbyteorder("=")).reshape(a.shape)
               for a in columns]
    return [columns[0]] + [a.astype(np.int64, copy=False) if a.dtype.kind in "biu" else a
                           for a in columns[1:]], alone


def _columns(items: Sequence[Any], rows: Sequence[int]) -> list[Sequence[Any]]:
    """What stands in each place of items (image, label, ...)."""
    first = items[0]
    for item, row in zip(items, rows, strict=True):
        if not isinstance(item, (tuple, list)) or len(item) != len(first) or not item:
            raise TypeError(f"dataset[{row}] must be a tuple (image, label, ...) of "
                            f"{max(len(first), 1)} as dataset[{rows[0]}], not {_described(item)}")
    return list(zip(*items, strict=True))


def _stacked(values: Sequence[Any], rows: Sequence[int], part: int) -> np.ndarray:
    """One array of the values in one place of several items."""
    what = "the image of " if part == 0 else f"part {part} of "
    arrays: list[np.ndarray] = []
    for value, row in zip(values, rows, strict=True):
        try:
            array = plain_array(value)
        except ValueError as error:
            raise ValueError(f"{what}dataset[{row}] is no array: {error}") from None
        if array.dtype.kind not in ("biuf" if part == 0 else "biufUS"):
            raise TypeError(f"dataset[{row}] must be an image, or a tuple (image, label, ...), of "
                            f"numbers; {what}it is {_described(value)}")
        if arrays and array.shape != arrays[0].shape:
            raise ValueError(f"{what}dataset[{row}] has the shape {array.shape}, that of "
                             f"dataset[{rows[0]}] {arrays[0].shape}: those of one batch must have "
                             f"one shape; resize, crop or pad them in the data set")
        if part == 0 and arrays and (array.dtype == np.uint8) != (arrays[0].dtype == np.uint8):
            raise TypeError(f"{what}dataset[{row}] is {array.dtype}, that of dataset[{rows[0]}] "
                            f"{arrays[0].dtype}: only uint8 images are divided by 255, so those of "
                            f"one data set must be all uint8 or none")
        arrays.append(array)
    return np.stack(arrays)


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
    if held and not np.may_share_memory(result, images):
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
