"""The pictures of the page: arrays encoded as PNG in data URIs."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np

MOST_SIDE = 72  # pixels; larger pictures are scaled down to keep the page small
HEAT = np.array((240, 82, 26), np.float32)  # the colour of regions that speak for a class


def data_uri(image: np.ndarray) -> str:
    """Encode a picture (H, W, 1 or 3) of uint8, or of floats from 0 to 1, as a data URI. A large
    one is scaled down."""
    return _encoded(_small(as_bytes(image)))


def overlay(image: np.ndarray, heat: np.ndarray) -> str:
    """Encode a picture in grey, overlaid with a heat map (h, w) that is scaled from its minimum to
    its maximum, as a data URI."""
    from PIL import Image

    small = _small(as_bytes(image))
    scale = max(1, MOST_SIDE // max(small.size))  # small pictures are enlarged for a smooth map
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
    """Convert a picture to uint8. Floats outside of 0 to 1 are rescaled from their own range."""
    if image.dtype == np.uint8:
        return image
    values = np.nan_to_num(np.asarray(image, np.float32))
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        values = (values - low) / (high - low or 1.0)
    return (values * 255 + 0.5).astype(np.uint8)


def _small(image: np.ndarray) -> Any:
    """Return a Pillow image whose longer side is at most MOST_SIDE."""
    from PIL import Image

    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    if max(picture.size) > MOST_SIDE:
        picture.thumbnail((MOST_SIDE, MOST_SIDE), Image.Resampling.BILINEAR)
    return picture


def _encoded(picture: Any) -> str:
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
