"""Transforms of the values of pixels, not of their positions: Normalize and ColorJitter."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import checks
from ...arrays import array_of
from ..draws import Draws
from .base import Labels, Transform

GREY = 0.299, 0.587, 0.114  # weights of red, green and blue in the luma (ITU-R BT.601)


class Normalize(Transform):
    """Normalizes each channel: (images - mean) / std.

    mean, std: (C,), or a number for all channels, on the scale of the images, which is 0 to 1 for
               pictures; `data.mean_std` computes them

    ValueError if std is not positive, or if the number of channels is not that of the images.

    >>> T.Normalize(0.5, 0.25)(np.ones((1, 2, 2, 3), np.float32)).max()
    np.float32(2.0)
    """

    def __init__(self, mean: Any, std: Any) -> None:
        self.mean, self.std = (
            _per_channel(value, name) for value, name in ((mean, "mean"), (std, "std"))
        )
        if not (self.std > 0).all():
            raise ValueError(checks.message("Normalize", "std", "positive", std))

    def apply_batch(
        self, images: np.ndarray, labels: Labels, draws: Draws
    ) -> tuple[np.ndarray, Labels]:
        batch, height, width, channels = images.shape
        for name, value in (("mean", self.mean), ("std", self.std)):
            if value.size not in (1, channels):
                raise ValueError(
                    f"Normalize: {name} has {value.size} channels, images have {channels}"
                )
        # Rows of pixels are processed as one axis: NumPy's inner loop over three channels would
        # take ten times as long.
        rows = images.reshape(batch, height, width * channels)
        for operation, value in ((np.subtract, self.mean), (np.multiply, 1 / self.std)):
            row = np.broadcast_to(value, (width, channels)).reshape(-1).astype(images.dtype)
            operation(rows, row, out=rows)
        return images, labels


def _per_channel(value: Any, name: str) -> np.ndarray:
    array = array_of(value, "Normalize", name)
    if array.dtype.kind not in "iuf" or array.ndim > 1 or not np.isfinite(array).all():
        expected = "a finite number, or one for each channel"
        raise ValueError(checks.message("Normalize", name, expected, value))
    return array.astype(np.float64)


class ColorJitter(Transform):
    """Changes brightness, contrast, saturation and hue at random, in this order.

    brightness, contrast, saturation: the largest deviation x of the factor from 1, which is drawn
        from [max(0, 1 - x), 1 + x]. Contrast scales the difference from the picture's mean
        brightness, saturation that from each pixel's own brightness
    hue: the largest rotation of the hue in both directions, from 0 to 0.5, where 1 is the whole
        colour circle

    The images must be from 0 to 1, so it comes before `Normalize`; results are clipped to that
    range. Saturation and hue have no effect on images with one channel. ValueError for arguments
    out of range, and for images with another number of channels than 1 or 3.

    >>> T.ColorJitter(brightness=0.2, hue=0.1)(np.zeros((4, 8, 8, 3), np.uint8)).shape
    (4, 8, 8, 3)
    """

    def __init__(
        self,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
    ) -> None:
        self.brightness = checks.not_negative(brightness, "ColorJitter", "brightness")
        self.contrast = checks.not_negative(contrast, "ColorJitter", "contrast")
        self.saturation = checks.not_negative(saturation, "ColorJitter", "saturation")
        self.hue = checks.real(hue, "ColorJitter", "hue", 0, 0.5)

    def apply_batch(
        self, images: np.ndarray, labels: Labels, draws: Draws
    ) -> tuple[np.ndarray, Labels]:
        channels = images.shape[-1]
        if channels not in (1, 3):
            raise ValueError(f"ColorJitter: images must have 1 or 3 channels, got {channels}")
        if not images.size:
            return images, labels
        u = draws.uniform(4).astype(images.dtype)[:, :, None, None]
        # Each channel has its own array, because NumPy is slow with an inner axis of length 3.
        planes = [np.ascontiguousarray(images[..., c]) for c in range(channels)]
        if self.brightness:
            factor = _factor(self.brightness, u[:, 0])
            planes = [np.clip(plane * factor, 0, 1) for plane in planes]
        if self.contrast:
            middle = _brightness(planes).mean(axis=(1, 2), keepdims=True)
            planes = _blended(planes, middle, _factor(self.contrast, u[:, 1]))
        if self.saturation and channels == 3:
            planes = _blended(planes, _brightness(planes), _factor(self.saturation, u[:, 2]))
        if self.hue and channels == 3:
            planes = _hue_rotated(planes, (2 * u[:, 3] - 1) * self.hue)
        return np.stack(planes, axis=-1), labels


def _factor(most: float, u: np.ndarray) -> np.ndarray:
    low = max(0.0, 1 - most)
    return low + u * (1 + most - low)


def _brightness(planes: list[np.ndarray]) -> np.ndarray:
    """Return the luma of each pixel, (B, H, W)."""
    if len(planes) == 1:
        return planes[0]
    red, green, blue = (
        plane * plane.dtype.type(share) for plane, share in zip(planes, GREY, strict=True)
    )
    return red + green + blue


def _blended(planes: list[np.ndarray], other: np.ndarray, factor: np.ndarray) -> list[np.ndarray]:
    return [np.clip(other + (plane - other) * factor, 0, 1) for plane in planes]


def _hue_rotated(planes: list[np.ndarray], turns: np.ndarray) -> list[np.ndarray]:
    """Rotate the hues of pictures in the HSV colour space (Smith 1978); a turn of 1 is the whole
    circle."""
    red, green, blue = planes
    value = np.maximum(np.maximum(red, green), blue)
    low = np.minimum(np.minimum(red, green), blue)
    span = value - low
    safe = np.where(span > 0, span, 1)
    hue = np.where(
        value == red,
        (green - blue) / safe,
        np.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = hue + 6 * turns
    # A channel has the full value within a sixth of the circle to both sides of its own hue.
    away = [hue - at - 6 * np.floor((hue - at) * (1 / 6)) - 3 for at in (0, 2, 4)]
    return [low + np.clip(np.abs(x) - 1, 0, 1) * span for x in away]
