"""Images scaled: bilinear, over all pixels that a smaller one stands for."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import kernels

MOST_BYTES = 32 << 20       # of weights and of what stands between the two axes, at a time

Axis = tuple[Any, Any]      # where the part of each image begins, and how long it is


def whole_axis(length: int) -> Axis:
    """All of an axis."""
    return np.array([0]), np.array([length])


def resample(images: np.ndarray, size: tuple[int, int], rows: Axis, columns: Axis) -> np.ndarray:
    """A part of each image (B, H, W, C) as one of `size`: (B, *size, C).

    Two products of matrices, one an axis: a few images at a time, each by itself.
    """
    batch, height, width, channels = images.shape
    kernels.check_shape("resize: images", (batch, *size, channels), images.dtype)
    result = np.empty((batch, *size, channels), images.dtype)
    one = images.itemsize * (size[0] * (height + 2 * width * channels) + size[1] * width
                             + size[0] * size[1] * channels)
    step = max(1, MOST_BYTES // max(1, one))
    for start in range(0, batch, step):
        part = np.ascontiguousarray(images[start:start + step])
        chosen = slice(start, start + step)
        count = len(part)
        y = kernels.matmul(_weights(rows, chosen, count, height, size[0], images.dtype),
                           part.reshape(count, height, width * channels), threads=1)
        y = np.ascontiguousarray(y.reshape(count, size[0], width, channels).transpose(0, 2, 1, 3))
        y = kernels.matmul(_weights(columns, chosen, count, width, size[1], images.dtype),
                           y.reshape(count, width, size[0] * channels), threads=1)
        y = y.reshape(count, size[1], size[0], channels)
        result[chosen] = y.transpose(0, 2, 1, 3)
    return result


def _weights(axis: Axis, chosen: slice, count: int, length: int, size: int, dtype: Any
             ) -> np.ndarray:
    """(count, size, length): how much each pixel of an axis adds to each of the result.

    A triangle around the place that a pixel of the result stands for, as wide as two of its own
    pixels or two of the image's, whichever is more; pixels outside of the part add nothing.
    """
    starts, lengths = (value[chosen] if len(value) > 1 else value for value in axis)
    starts, lengths = starts[:, None, None], lengths[:, None, None]
    scale = lengths / size
    middles = starts + (np.arange(size)[:, None] + 0.5) * scale
    pixels = np.arange(length)
    weights = np.maximum(0, 1 - np.abs(pixels + 0.5 - middles) / np.maximum(scale, 1))
    weights *= (pixels >= starts) & (pixels < starts + lengths)
    weights /= weights.sum(axis=-1, keepdims=True)
    shape = (count, size, length)
    return np.ascontiguousarray(np.broadcast_to(weights.astype(dtype), shape))
