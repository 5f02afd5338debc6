"""Data sets held in memory: images and labels in two arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class ArrayDataset:
    """Images and labels, item by item.

    images:  (N, ...) array of numbers, for image networks (N, H, W, C); not copied
    labels:  (N, ...) array of numbers, usually (N,) integers; not copied
    classes: the names of the classes, if they have any

    `dataset[3]` is an image and its label; `dataset[a:b]` and `dataset[array]` (integers or a
    mask) are arrays of them. ValueError where the lengths differ or an array has no first axis,
    TypeError where it holds something else than numbers.

    >>> pairs = data.ArrayDataset(np.zeros((4, 8, 8, 3), np.uint8), np.arange(4))
    >>> pairs
    ArrayDataset(images (4, 8, 8, 3) uint8, labels (4,) int64)
    >>> images, labels = pairs[1:3]
    >>> labels
    array([1, 2])
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...] | None

    def __init__(self, images: Any, labels: Any, classes: Sequence[str] | None = None) -> None:
        self.images = _numbers("images", images)
        self.labels = _numbers("labels", labels)
        self.classes = None if classes is None else tuple(classes)
        if len(self.images) != len(self.labels):
            raise ValueError(
                "images and labels must have the same length, "
                f"not {len(self.images)} and {len(self.labels)}"
            )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        return self.images[index], self.labels[index]

    def __repr__(self) -> str:
        classes = "" if self.classes is None else f", {len(self.classes)} classes"
        return f"{type(self).__name__}({describe(self.images, self.labels)}{classes})"


def describe(images: np.ndarray, labels: np.ndarray) -> str:
    """Shapes and dtypes in words, for a repr."""
    return f"images {images.shape} {images.dtype}, labels {labels.shape} {labels.dtype}"


def _numbers(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be an array of numbers, not of dtype {array.dtype}")
    if array.ndim == 0:
        raise ValueError(f"{name} must have a first axis, one entry an item; got a single number")
    return array
