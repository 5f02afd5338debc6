"""One picture, from a file or from Pillow, as an array of bytes (H, W, C)."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import numpy as np

ENDINGS = (".png", ".jpg", ".jpeg", ".jfif", ".gif", ".bmp", ".webp")

ORIENTATION = 0x0112  # the tag of EXIF
# What turns a picture of orientation 2 to 8 upright, by the names in Image.Transpose.
UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}

# Of one that is longer than this many times its shorter side only the middle is scaled: a line of
# pixels would become larger than memory.
MOST_ASPECT = 16

Size = int | tuple[int, int] | None


class BrokenPicture(Exception):
    """A file that is no picture, or a damaged one; the text says why."""


def pillow() -> Any:
    """Pillow's module Image; ImportError that says how to install it."""
    try:
        from PIL import Image
    except ImportError:
        raise ImportError(
            "pictures are read by the package Pillow, which is not installed: "
            "pip install 'minidl[images]'"
        ) from None
    return Image


def read(path: str, size: Size, channels: int) -> np.ndarray:
    """A file as a uint8 array (H, W, channels), upright, scaled as `ImageFolder` says.

    BrokenPicture for what cannot be decoded, the system's OSError for what cannot be read.
    """
    with _opened(path) as picture:
        return pixels(_scaled(_flat(_upright(picture), channels), size), channels)


def look(path: str) -> tuple[tuple[int, int], bool]:
    """The (height, width) of a picture, and whether it is stored in shades of grey; most files are
    not decoded for it. Errors as `read`."""
    with _opened(path) as picture:
        width, height = picture.size
        turned = _orientation(picture) >= 5
        return (width, height) if turned else (height, width), _is_grey(picture)


def is_pillow(value: Any) -> bool:
    """Whether something is a picture of Pillow's, which only is imported if there are any."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(value, module.Image)


def of_pillow(picture: Any) -> np.ndarray:
    """A picture of Pillow's as a uint8 array (H, W, C): one channel if it is grey, else three."""
    channels = 1 if _is_grey(picture) else 3
    return pixels(_flat(picture, channels), channels)


def pixels(picture: Any, channels: int) -> np.ndarray:
    return np.array(picture, np.uint8).reshape(picture.height, picture.width, channels)


@contextlib.contextmanager
def _opened(path: str) -> Any:
    """A file, open in Pillow. Damage shows in as many ways as there are formats: all are one kind
    of error here but those of the system, which are about the file and not about what is in it."""
    image = pillow()
    try:
        with image.open(path) as picture:
            yield picture
    except MemoryError:
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        raise BrokenPicture(_reason(error, path)) from error
    except Exception as error:
        raise BrokenPicture(_reason(error, path)) from error


def _reason(error: Exception, path: str) -> str:
    text = str(error)
    if path in text or repr(path) in text:  # whoever shows the reason names the file
        return "no picture that Pillow can identify"
    return text or type(error).__name__


def _orientation(picture: Any) -> int:
    """How the camera was held, 1 to 8. Damaged EXIF is no damaged picture: it stays as it is."""
    try:
        value = picture.getexif().get(ORIENTATION, 1)
    except Exception:
        return 1
    return value if value in UPRIGHT else 1


def _upright(picture: Any) -> Any:
    picture.load()  # before EXIF, which may stand after the pixels
    orientation = _orientation(picture)
    if orientation == 1:
        return picture
    return picture.transpose(pillow().Transpose[UPRIGHT[orientation]])


def _is_grey(picture: Any) -> bool:
    if picture.mode in ("P", "PA"):
        palette = picture.getpalette("RGB") or [0, 1, 2]
        return palette[0::3] == palette[1::3] == palette[2::3]
    return picture.mode in ("1", "L", "LA", "La", "I", "F") or picture.mode.startswith("I;16")


def _flat(picture: Any, channels: int) -> Any:
    """8 bits a channel, no palette, and no transparency: what is behind it is white."""
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        values = np.clip(np.asarray(picture), 0, 65535).astype(np.uint32)
        picture = pillow().fromarray(((values + 128) // 257).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = pillow().new("RGBA", picture.size, (255, 255, 255, 255))
        picture = pillow().alpha_composite(white, picture)
    mode = "L" if channels == 1 else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)


def _scaled(picture: Any, size: Size) -> Any:
    if size is None:
        return picture
    bilinear = pillow().Resampling.BILINEAR  # over all pixels that a smaller one stands for
    if not isinstance(size, int):
        height, width = size
        return (
            picture
            if picture.size == (width, height)
            else picture.resize((width, height), bilinear)
        )
    width, height = picture.size
    short = min(width, height)
    if max(width, height) > MOST_ASPECT * short:
        picture = _middle(
            picture, min(width, MOST_ASPECT * short), min(height, MOST_ASPECT * short)
        )
        width, height = picture.size
    if short != size:
        picture = picture.resize((size * width // short, size * height // short), bilinear)
    return _middle(picture, size, size)


def _middle(picture: Any, width: int, height: int) -> Any:
    left, top = round((picture.width - width) / 2), round((picture.height - height) / 2)
    if picture.size == (width, height):
        return picture
    return picture.crop((left, top, left + width, top + height))
