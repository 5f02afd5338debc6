"""Mean and standard deviation of the images of a data set."""

from __future__ import annotations

from typing import Any

import numpy as np

from .batch import as_dataset, gather

MOST_BYTES = 32 << 20  # of images that are held at a time
LEAST_ROWS = 16


def mean_std(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the standard deviation of each channel, (C,) float64 each.

    dataset: as a `DataLoader` takes it; images (..., C)

    On the scale on which a loader gives images: uint8 images are divided by 255, others are as they
    are. Whole integers are summed for uint8 images, doubles for others; a part of the data set is
    in memory at a time. The deviation divides by the number of pixels, as `np.std` does. TypeError
    and ValueError as `DataLoader`'s, ValueError for no images.

    >>> mean, std = data.mean_std(data.MNIST())
    >>> mean.round(4), std.round(4)
    (array([0.1307]), array([0.3081]))
    """
    dataset = as_dataset(dataset, "mean_std")
    count = len(dataset)
    if count == 0:
        raise ValueError("mean_std: the data set has no images")
    sums: _Bytes | _Floats | None = None
    start, rows = 0, LEAST_ROWS
    while start < count:
        images = gather(dataset, range(start, min(count, start + rows))).images
        if images.ndim > 1 and images[:1].size == 0:
            raise ValueError(f"mean_std: images of the shape {images.shape[1:]} have no pixels")
        if images.ndim < 2:
            raise ValueError(
                f"mean_std: images must have a last axis of channels, got images of "
                f"the shape {images.shape[1:]}"
            )
        if sums is None:
            sums = _Bytes(images.shape[-1]) if images.dtype == np.uint8 else _Floats()
        sums.add(images.reshape(-1, images.shape[-1]))
        start += len(images)
        rows = max(1, MOST_BYTES // max(1, images[:1].nbytes))
    assert sums is not None
    return sums.result()


class _Bytes:
    """How often each of the 256 values comes in each channel: that holds for any number of them."""

    def __init__(self, channels: int) -> None:
        self.counts = np.zeros((channels, 256), np.int64)

    def add(self, rows: np.ndarray) -> None:
        for channel, counts in enumerate(self.counts):
            counts += np.bincount(rows[:, channel], minlength=256)

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        values = np.arange(256) / 255
        number = self.counts.sum(axis=1)
        mean = self.counts @ values / number
        square = (self.counts * (values - mean[:, None]) ** 2).sum(axis=1)
        return mean, np.sqrt(square / number)


class _Floats:
    """Means and squared deviations of parts, merged after Chan, Golub & LeVeque (1979)."""

    def __init__(self) -> None:
        self.number = 0
        self.mean: Any = 0.0
        self.square: Any = 0.0

    def add(self, rows: np.ndarray) -> None:
        rows = rows.astype(np.float64)
        number = self.number + len(rows)
        mean = rows.mean(axis=0)
        square = ((rows - mean) ** 2).sum(axis=0)
        away = mean - self.mean
        self.square = self.square + square + away**2 * (self.number * len(rows) / number)
        self.mean = self.mean + away * (len(rows) / number)
        self.number = number

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        return self.mean, np.sqrt(self.square / self.number)
