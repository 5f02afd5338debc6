"""Saved: a trained model with its classes and preprocessing, which predicts pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import checks, kernels
from ..arrays import array_like, plain_array
from ..data import pictures
from ..nn.layer import Layer
from ..tensor import Tensor

BATCH = 128  # pictures that are decoded and predicted at a time
PREPARED_BY = ("size", "channels", "mean", "std")


class Saved:
    """A trained model, as `models.load` returns it: `model`, in evaluation mode; `classes`, a list
    of names, empty if none were saved; `preprocess`, a dict or None, and `info`, a dict, as they
    were given to `models.save`.

    It can also be created without a file: `Saved(model, classes, preprocess)` predicts in the same
    way.

    >>> from minidl import models
    >>> saved = models.Saved(models.create("mlp", classes=2), ["cat", "dog"])
    >>> saved.predict(np.zeros((28, 28, 1), np.uint8), top=2)
    [[('cat', 0.5), ('dog', 0.5)]]
    """

    def __init__(
        self,
        model: Layer,
        classes: Any = (),
        preprocess: Mapping[str, Any] | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = checks.instance(model, "Saved", "model", Layer, "a layer")
        self.classes = list(classes)
        self.preprocess = checked_preprocess(preprocess, "Saved")
        self.info = dict(info or {})

    def predict(self, images_or_paths: Any, top: int = 1) -> list[list[tuple[Any, float]]]:
        """Predict pictures: returns for each a list of `top` pairs (class, probability), the
        likeliest first. So `predict(paths)[0][0]` is the likeliest class of the first picture and
        its probability.

        images_or_paths: a path, or a list or an iterator of paths. Files are read by Pillow (the
            extra `images`) as `ImageFolder` does: rotated according to EXIF, with transparency on
            white, scaled and cropped to the size of `preprocess`, or to the model's `input_shape`
            if that has none. Or an array (H, W, C) or (N, H, W, C), a list of arrays of one shape,
            or (N, ...) for a model of other inputs than pictures: uint8, which is divided by 255,
            or floats from 0 to 1
        top: the number of classes to return; there are fewer if the model has fewer

        All pictures are normalized by `mean` and `std` of `preprocess`. Classes are names, or
        numbers if there are no names. Probabilities are the softmax of the outputs in float64. It
        may be called from any number of threads at once, and the model's mode does not matter.

        OSErrors such as FileNotFoundError, and the ValueError for a damaged picture, name the file.
        ValueError for arrays of another shape, outputs that are not finite, and a model whose
        outputs are not (N, classes); TypeError for anything but pictures or paths.

        >>> from minidl import models
        >>> saved = models.Saved(models.create("mlp", classes=2, input_shape=(2, 2, 1)))
        >>> [(best, second)] = saved.predict(np.zeros((2, 2, 1), np.uint8), top=2)
        >>> best[1] + second[1]
        1.0
        """
        top = checks.size(top, "predict", "top")
        return [
            self._best(row, top)
            for rows in self._probabilities(self._batches(images_or_paths))
            for row in rows
        ]

    def _probabilities(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the probabilities (N, classes) of each batch of prepared inputs."""
        count = 0
        for batch in batches:
            outputs = np.asarray(self.model.predict(batch, BATCH), np.float64)
            if outputs.ndim != 2 or (self.classes and outputs.shape[1] != len(self.classes)):
                raise ValueError(
                    f"predict: the model's outputs must be (N, "
                    f"{len(self.classes) or 'classes'}), got {outputs.shape}"
                )
            if not np.isfinite(outputs).all():
                first = count + int((~np.isfinite(outputs)).any(axis=1).argmax())
                raise ValueError(f"predict: the model's outputs for picture {first} are not finite")
            count += len(outputs)
            yield softmax(outputs)

    def _best(self, probabilities: np.ndarray, top: int) -> list[tuple[Any, float]]:
        order = np.argsort(-probabilities, kind="stable")[:top]
        return [
            (self.classes[k] if self.classes else int(k), float(probabilities[k])) for k in order
        ]

    # ------------------------------------------------------------------------------ the inputs

    def _batches(self, given: Any) -> Iterator[np.ndarray]:
        """Yield prepared inputs of the model, batch by batch."""
        paths = _paths(given)
        if paths is not None:
            size, channels = self.picture_size()
            for start in range(0, len(paths), BATCH):
                read = [_picture(path, size, channels) for path in paths[start : start + BATCH]]
                yield self._normalized(_stacked(read))
        else:
            images = self._images(given)
            for start in range(0, len(images), BATCH):
                yield self._normalized(images[start : start + BATCH])

    def _prepared(self, images: Any) -> np.ndarray:
        """Prepare a batch of arrays for the model."""
        return self._normalized(self._images(images))

    def picture_size(self) -> tuple[Any, int]:
        """Return the size that pictures are scaled to (None: they are not scaled), and their number
        of channels."""
        preprocess = self.preprocess or {}
        shape = self._input_shape()
        size = preprocess.get("size")
        if size is None and shape is not None:
            size = shape[0] if shape[0] == shape[1] else shape[:2]
        return size, preprocess.get("channels") or (shape[2] if shape is not None else 3)

    def _input_shape(self) -> tuple[int, ...] | None:
        """Return the shape of the model's images; None if it has no `input_shape` of an image."""
        shape = getattr(self.model, "input_shape", None)
        return shape if isinstance(shape, tuple) and len(shape) == 3 else None

    def _images(self, given: Any) -> np.ndarray:
        """Convert an array, or a list of arrays, to a batch with the batch axis and the channel
        axis."""
        if not (isinstance(given, Tensor | list | tuple) or array_like(given)):
            raise TypeError(
                checks.message(
                    "predict", "images_or_paths", "an array, a path or a list of these", given
                )
            )
        try:
            images = given.data if isinstance(given, Tensor) else plain_array(given)
        except ValueError:
            raise ValueError("predict: arrays in a list must be of one shape") from None
        if images.dtype.kind != "f" and images.dtype != np.uint8:
            raise TypeError(
                f"predict: images_or_paths must be arrays of uint8 or of floats, or "
                f"paths, got {images.dtype}"
            )
        preprocess, shape = self.preprocess or {}, self._input_shape()
        channels = preprocess.get("channels") or (shape[2] if shape is not None else None)
        if (
            channels == 1
            and images.ndim in (2, 3)
            and images.shape[-1] != 1
            and not self._are_rows(images)
        ):
            images = images[..., None]  # grey pictures without a channel axis
        if images.ndim == 3 and channels in (None, images.shape[-1]):
            images = images[None]
        size = preprocess.get("size")
        if images.ndim == 4 and size is not None:
            expected = (size, size) if isinstance(size, int) else tuple(size)
            if images.shape[1:3] != expected:
                raise ValueError(
                    f"predict: images must be {expected[0]} x {expected[1]} pixels, "
                    f"got {images.shape[1]} x {images.shape[2]}; files are scaled, but arrays are "
                    f"not"
                )
        if images.ndim < 2:
            raise ValueError(
                f"predict: images must be (H, W, C) or (N, H, W, C), got shape {images.shape}"
            )
        return images

    def _are_rows(self, images: np.ndarray) -> bool:
        """Return whether an array with two axes has a flattened image in each row, for an MLP."""
        shape = self._input_shape()
        return (
            images.ndim == 2
            and shape is not None
            and images.shape[1] == shape[0] * shape[1] * shape[2]
        )

    def _normalized(self, images: np.ndarray) -> np.ndarray:
        """Convert images to the model's dtype and normalize them by `mean` and `std`."""
        dtype = self.model._dtype()
        x = kernels.to_float(np.ascontiguousarray(images)) if images.dtype == np.uint8 else images
        x = np.array(x, dtype, order="C")
        for name, by, default in (("mean", np.subtract, 0), ("std", np.divide, 1)):
            value = np.asarray((self.preprocess or {}).get(name, default), dtype)
            if value.size not in (1, x.shape[-1]):
                raise ValueError(
                    f"predict: images of {x.shape[-1]} channels cannot be normalized "
                    f"by the {value.size} numbers of preprocess {name}"
                )
            by(x, value, out=x)
        return x


def checked_preprocess(given: Any, where: str) -> dict[str, Any] | None:
    """Return a preprocessing as plain values. TypeError or ValueError, which name `where`, if it is
    invalid."""
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise TypeError(
            checks.message(where, "preprocess", f"a dict of {', '.join(PREPARED_BY)}", given)
        )
    unknown = [str(name) for name in given if name not in PREPARED_BY]
    if unknown:
        raise ValueError(
            f"{where}: preprocess has no {', '.join(unknown)}; it takes {', '.join(PREPARED_BY)}"
        )
    found: dict[str, Any] = {}  # in a fixed order, so that files of equal content are equal
    size, channels = given.get("size"), given.get("channels")
    if size is not None:
        pair = checks.pair(size, where, "preprocess size", 1)
        found["size"] = list(pair) if np.ndim(size) else pair[0]
    if channels is not None:
        if checks.size(channels, where, "preprocess channels") not in (1, 3):
            raise ValueError(checks.message(where, "preprocess channels", "1 or 3", channels))
        found["channels"] = int(channels)
    for name in ("mean", "std"):
        if given.get(name) is not None:
            found[name] = _of_channels(given[name], where, name, channels)
    return found


def _of_channels(value: Any, where: str, name: str, channels: int | None) -> Any:
    """Return a mean or standard deviation as a number, or as a list with one for each channel."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    many = isinstance(value, list | tuple)
    above = 0 if name == "std" else None
    numbers = [
        checks.real(number, where, f"preprocess {name}", above=above, finite=True)
        for number in (value if many else [value])
    ]
    if many and channels is not None and len(numbers) not in (1, channels):
        raise ValueError(
            checks.message(where, f"preprocess {name}", f"a number or {channels} of them", value)
        )
    return numbers if many else numbers[0]


def softmax(outputs: np.ndarray) -> np.ndarray:
    """Return exp(x) / sum(exp(x)) of each row."""
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _paths(given: Any) -> list[Any] | None:
    """Return the given paths as a list: one, a list, an iterator, an array or another column of
    them. None if the argument is not paths."""
    if isinstance(given, str | os.PathLike):
        return [given]
    if isinstance(given, Iterator):  # folder.glob("*.png")
        given = list(given)
    elif not isinstance(given, list | tuple | Tensor) and array_like(given):
        array = np.asarray(given)
        given = array.tolist() if array.dtype.kind in "OU" and array.ndim == 1 else None
    if isinstance(given, list | tuple) and all(isinstance(p, str | os.PathLike) for p in given):
        return list(given)
    return None


def _picture(path: Any, size: Any, channels: int) -> np.ndarray:
    name = checks.path(path, "predict")
    try:
        return pictures.read(name, size, channels)
    except pictures.BrokenPicture as error:
        raise ValueError(f"predict: {name} cannot be read as a picture: {error}") from None


def _stacked(images: list[np.ndarray]) -> np.ndarray:
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise ValueError(
            f"predict: pictures must be of one size unless they are scaled, got "
            f"{sorted(shapes)[0]} and {sorted(shapes)[-1]}: give a size by models.save(..., "
            f"preprocess={{'size': ...}})"
        )
    return np.stack(images)
