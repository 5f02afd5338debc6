"""Transforms that scale images, by bilinear interpolation with antialiasing."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import checks, kernels
from ..draws import Draws
from .base import Labels, Transform, least_and_most, pair_size, sides_of

MOST_BYTES = 4 << 20  # size of a block's intermediate result, which then stays in cache

Axis = tuple[Any, Any]  # the start and the length of each image's part along an axis


def whole_axis(length: int) -> Axis:
    """Return the part that covers a whole axis."""
    return np.array([0]), np.array([length])


def resample(images: np.ndarray, size: tuple[int, int], rows: Axis, columns: Axis) -> np.ndarray:
    """Scale a part of each image (B, H, W, C) to `size`; returns (B, *size, C).

    The interpolation is separable: rows are scaled first, then columns, for a few images at a time.
    """
    batch, height, width, channels = images.shape
    kernels.check_shape("resize: images", (batch, *size, channels), images.dtype)
    result = np.empty((batch, *size, channels), images.dtype)
    step = max(1, MOST_BYTES // max(1, images.itemsize * size[0] * width * channels))
    for start in range(0, batch, step):
        part = np.ascontiguousarray(images[start : start + step])
        chosen = slice(start, start + step)
        count = len(part)
        y = kernels.blend(
            part.reshape(count, 1, height, width * channels),
            *_taps(rows, chosen, height, size[0], images.dtype),
            threads=1,
        )
        kernels.blend(
            y.reshape(count, size[0], width, channels),
            *_taps(columns, chosen, width, size[1], images.dtype),
            out=result[chosen],
            threads=1,
        )
    return result


def _taps(
    axis: Axis, chosen: slice, length: int, size: int, dtype: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return the interpolation along an axis: for each pixel of the result, the index of the first
    of the K pixels that it is computed from, (n, size), and their weights, (n, size, K). n is 1 if
    all images are scaled alike.

    The filter is a triangle around the pixel's position in the image. Its half width is one pixel
    of the image, or one of the result if that is larger, which averages over all pixels when an
    image is made smaller. Pixels outside of the part have weight 0.
    """
    starts, lengths = ((value[chosen] if len(value) > 1 else value)[:, None] for value in axis)
    scale = lengths / size
    middles = starts + (np.arange(size) + 0.5) * scale
    reach = np.maximum(scale, 1)
    taps = min(length, int(np.ceil(2 * reach.max(initial=1))) + 1)
    first = np.ceil(middles - reach - 0.5).astype(np.int64).clip(0, length - taps)
    pixels = first[..., None] + np.arange(taps)
    weights = np.maximum(0, 1 - np.abs(pixels + 0.5 - middles[..., None]) / reach[..., None])
    weights *= (pixels >= starts[..., None]) & (pixels < (starts + lengths)[..., None])
    weights /= weights.sum(axis=-1, keepdims=True)
    return first, weights.astype(dtype)


class Resize(Transform):
    """Scales images, by bilinear interpolation with antialiasing.

    size: an int, to which the shorter side is scaled, and the other side in proportion; or a pair
          (height, width)

    >>> T.Resize(16)(np.zeros((8, 32, 48, 3), np.uint8)).shape
    (8, 16, 24, 3)
    """

    def __init__(self, size: int | tuple[int, int]) -> None:
        self.size: Any = (
            pair_size(size, "Resize")
            if isinstance(size, (tuple, list))
            else checks.integer(size, "Resize", "size", 1, checks.MOST_OF_PAIR)
        )

    def apply_batch(
        self, images: np.ndarray, labels: Labels, draws: Draws
    ) -> tuple[np.ndarray, Labels]:
        height, width = sides_of(images, "Resize")
        size = self.size
        if isinstance(size, int):
            short = min(height, width)
            size = size * height // short, size * width // short
        return resample(images, size, whole_axis(height), whole_axis(width)), labels


class RandomResizedCrop(Transform):
    """Crops a part with random area and aspect ratio from each image, and scales it to a fixed
    size as `Resize` does.

    size:  the size of the result: an int or a pair (height, width)
    scale: (least, most), the area of the part as a share of the image's
    ratio: (least, most), width divided by height; its logarithm is drawn uniformly

    Up to ten parts are drawn. If none of them fits into the image, the part is the largest central
    one whose aspect ratio is allowed. ValueError for arguments out of range. Source: Szegedy et
    al., "Going deeper with convolutions", CVPR 2015.

    >>> T.RandomResizedCrop(24)(np.zeros((8, 32, 48, 3), np.uint8)).shape
    (8, 24, 24, 3)
    """

    TRIES = 10

    def __init__(
        self,
        size: int | tuple[int, int],
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        self.size = pair_size(size, "RandomResizedCrop")
        self.scale = least_and_most(scale, "RandomResizedCrop", "scale", above=0, most=1)
        self.ratio = least_and_most(ratio, "RandomResizedCrop", "ratio", above=0, finite=True)

    def apply_batch(
        self, images: np.ndarray, labels: Labels, draws: Draws
    ) -> tuple[np.ndarray, Labels]:
        height, width = sides_of(images, "RandomResizedCrop")
        tops, lefts, heights, widths = self.parts(height, width, draws)
        return resample(images, self.size, (tops, heights), (lefts, widths)), labels

    def parts(self, height: int, width: int, draws: Draws) -> tuple[np.ndarray, ...]:
        """Draw the part of each image; returns (tops, lefts, heights, widths), integers (B,)."""
        u = draws.uniform(2 * self.TRIES)
        area = (
            height * width * (self.scale[0] + (self.scale[1] - self.scale[0]) * u[:, : self.TRIES])
        )
        low, high = np.log(self.ratio)
        ratio = np.exp(low + (high - low) * u[:, self.TRIES :])
        heights = np.rint(np.sqrt(area / ratio)).astype(np.int64)
        widths = np.rint(np.sqrt(area * ratio)).astype(np.int64)
        fits = (heights >= 1) & (heights <= height) & (widths >= 1) & (widths <= width)
        items, first = np.arange(len(u)), fits.argmax(axis=1)
        heights, widths = heights[items, first], widths[items, first]
        v = draws.uniform(2, first=2 * self.TRIES)
        tops = (v[:, 0] * (height - heights + 1)).astype(np.int64)
        lefts = (v[:, 1] * (width - widths + 1)).astype(np.int64)
        shape = min(max(width / height, self.ratio[0]), self.ratio[1])
        largest = (
            max(1, min(height, round(width / shape))),
            max(1, min(width, round(height * shape))),
        )
        none = ~fits.any(axis=1)
        heights[none], widths[none] = largest
        tops[none], lefts[none] = (height - largest[0]) // 2, (width - largest[1]) // 2
        return tops, lefts, heights, widths
