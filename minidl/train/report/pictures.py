"""Pictures on the page: arrays as PNG within the page itself."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np

MOST_SIDE = 72  # pixels: of larger pictures the page would be too large
HEAT = np.array((240, 82, 26), np.float32)  # the colour of what speaks for a class


def data_uri(image: np.ndarray) -> str:
    """A picture (H, W, 1 or 3) of bytes, or of floats from 0 to 1, as a data URI; a large one is
    scaled down."""
    return _encoded(_small(as_bytes(image)))


def overlay(image: np.ndarray, heat: np.ndarray) -> str:
    """The picture in grey with a map (h, w) of what speaks for a class over it, from its smallest
    value to its largest, as a data URI."""
    from PIL import Image

    small = _small(as_bytes(image))
    scale = max(1, MOST_SIDE // max(small.size))  # a coarse picture would make a coarse map
    size = small.width * scale, small.height * scale
    grey = np.asarray(small.convert("L").resize(size, Image.Resampling.NEAREST), np.float32)
    above = heat - heat.min()
    shown = Image.fromarray((above / (above.max() or 1)).astype(np.float32))
    strength = np.asarray(shown.resize(size, Image.Resampling.BILINEAR))[..., None]
    strength = np.clip(strength, 0, 1)
    base = grey[..., None] * 0.75 + 24
    mixed = base * (1 - 0.8 * strength) + HEAT * 0.8 * strength
    return _encoded(Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8)))


def as_bytes(image: np.ndarray) -> np.ndarray:
    """An image as uint8 (H, W, 1 or 3). Floats are stretched by their range unless it is 0 to 1."""
    if image.dtype == np.uint8:
        return image
    values = np.nan_to_num(np.asarray(image, np.float32))
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        values = (values - low) / (high - low or 1.0)
    return (values * 255 + 0.5).astype(np.uint8)


def _small(image: np.ndarray) -> Any:
    """Pillow's picture, its longer side at most MOST_SIDE."""
    from PIL import Image

    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    if max(picture.size) > MOST_SIDE:
        picture.thumbnail((MOST_SIDE, MOST_SIDE), Image.Resampling.BILINEAR)
    return picture


def _encoded(picture: Any) -> str:
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
