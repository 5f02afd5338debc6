"""Transform and LabelTransform: the base classes and protocol of transforms, the adapter for the
user's functions, and the checks of their results."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import checks, hints, kernels
from ...arrays import array_of
from ..draws import Draws

Labels = np.ndarray | None
MOST_SIDE = 1 << 30  # pixels; kernels compute positions in and around images with 32 bits


class Transform(hints.Explained):
    """The base class of transforms of whole batches of images, with random numbers for each item.

    `transform(images)` or `transform(images, rng)`, where `rng` is a NumPy generator, returns new
    float images (B, H, W, C); uint8 images are divided by 255 first. Without `rng` the generator of
    `md.manual_seed` is used.

    A loader calls `apply_batch(images, labels, draws)` instead, on any object that has this method.
    It gets images, which it may change, labels (None if items have none) and a source of random
    numbers: `draws.uniform(n)` returns (B, n) numbers in [0, 1) that depend only on seed, epoch and
    item. It returns (images, labels), arrays to which it keeps no reference. Transforms that change
    labels have the base class `LabelTransform`.

    >>> class Darker(T.Transform):
    ...     def apply_batch(self, images, labels, draws):
    ...         return images * draws.uniform(1)[:, :, None, None], labels
    >>> Darker()(np.ones((2, 4, 4, 3), np.float32), np.random.default_rng(0)).shape
    (2, 4, 4, 3)
    """

    takes_labels = False
    _any_array = False  # whether it also takes arrays that are not batches of pictures

    def __init__(self) -> None:  # so that the TypeError for needless arguments names the class
        pass

    def apply_batch(
        self, images: np.ndarray, labels: Labels, draws: Draws
    ) -> tuple[np.ndarray, Labels]:
        """Return new images and labels; `images` may be changed in place."""
        raise NotImplementedError(f"{type(self).__name__} has no apply_batch")

    def __call__(self, images: Any, rng: Any = None) -> Any:
        return self._called(images, None, rng)[0]

    def _called(self, images: Any, labels: Any, rng: Any) -> tuple[np.ndarray, Labels]:
        """Apply the transform to a copy of the images, with random numbers of a generator."""
        where = type(self).__name__
        batch = _own(images, where)
        labels = None if labels is None else array_of(labels, where, "labels")
        return run(self, batch, labels, _draws_of(rng, len(batch), where))

    def __repr__(self) -> str:
        options = ", ".join(
            f"{name}={value!r}" for name, value in vars(self).items() if name[0] != "_"
        )
        return f"{type(self).__name__}({options})"


class LabelTransform(Transform):
    """The base class of transforms of images and labels. `transform(images, labels)` and
    `transform(images, labels, rng)` return both, and so does `apply_batch`, whose labels are never
    None.

    >>> class Mirrored(T.LabelTransform):
    ...     def apply_batch(self, images, labels, draws):
    ...         return images[:, :, ::-1], labels + 10
    >>> Mirrored()(np.zeros((2, 4, 4, 3), np.uint8), [0, 1])[1]
    array([10, 11])
    """

    takes_labels = True

    def __call__(self, images: Any, labels: Any, rng: Any = None) -> Any:  # type: ignore[override]
        return self._called(images, labels, rng)


def _own(images: Any, where: str) -> np.ndarray:
    """Copy images to a new array; uint8 becomes float."""
    array = array_of(images, where, "images")
    if array.ndim == 0:
        raise ValueError(checks.message(where, "images", "an array (B, H, W, C)", images))
    if array.dtype == np.uint8:
        return kernels.to_float(np.ascontiguousarray(array))
    return np.array(array, array.dtype.newbyteorder("="), order="C")


def _draws_of(rng: Any, count: int, where: str) -> Draws:
    if rng is None:
        from ...random import generator

        rng = generator()
    checks.instance(rng, where, "rng", np.random.Generator, "a generator of NumPy's")
    return Draws(int(rng.integers(2**63)), 0, np.arange(count), lambda: rng)


class OfFunction(Transform):
    """A user's function of (images), (images, rng), (images, labels) or (images, labels, rng) as a
    transform."""

    _any_array = True

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._takes_rng, self.takes_labels = _takes(function)

    def apply_batch(
        self, images: np.ndarray, labels: Labels, draws: Draws
    ) -> tuple[np.ndarray, Labels]:
        rng = [draws.generator()] if self._takes_rng else []
        if not self.takes_labels:
            return transformed(self.function, images, *rng), labels
        assert labels is not None
        return transformed_both(self.function, images, labels, *rng)


def as_transform(transform: Any, where: str, name: str) -> Any:
    """Return an object with `apply_batch`: the transform itself, or an adapter for a function."""
    if isinstance(transform, type) and hasattr(transform, "apply_batch"):
        raise TypeError(
            f"{where}: {name} must be a transform, got the class {transform.__name__}; "
            f"write {transform.__name__}(...)"
        )
    if not hasattr(transform, "apply_batch"):
        expected = "a function of images" + (", or None" if name == "transform" else "")
        checks.function(transform, where, name, expected)
    return transform if hasattr(transform, "apply_batch") else OfFunction(transform)


def run(
    transform: Any, images: np.ndarray, labels: Labels, draws: Draws
) -> tuple[np.ndarray, Labels]:
    """Call `apply_batch` of a transform with checks of its input and its result. Images keep their
    dtype."""
    dtype, where = images.dtype, type(transform).__name__
    if labels is None and getattr(transform, "takes_labels", False):
        name = "transform" if isinstance(transform, OfFunction) else where
        raise TypeError(f"{name} takes images and labels, but there are no labels")
    if isinstance(transform, Transform) and not transform._any_array:
        if images.ndim != 4:
            raise ValueError(
                f"{where}: images must have the shape (B, H, W, C), got {images.shape}"
            )
        if max(images.shape[1:3]) > MOST_SIDE:
            raise ValueError(
                f"{where}: images must have sides of at most {MOST_SIDE} pixels, got {images.shape}"
            )
        if dtype.kind != "f":
            raise TypeError(f"{where}: images must be floats or uint8, not {dtype}")
        if dtype.itemsize < 4:
            images = images.astype(np.float32)
    result = transform.apply_batch(images, labels, draws)
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(
            f"apply_batch of {where} must return (images, labels), not a {type(result).__name__}"
        )
    check_images(result[0], images)
    return as_dtype(result[0], dtype), result[1]


def check_images(result: Any, images: np.ndarray) -> None:
    if not isinstance(result, np.ndarray):
        raise TypeError(f"transform must return an array, not a {type(result).__name__}")
    if result.shape[:1] != images.shape[:1]:
        raise ValueError(
            f"transform must return as many images as it got, {len(images)}; "
            f"it returned an array of shape {result.shape}"
        )


def as_dtype(result: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Convert a result to the images' dtype if that is a float type, because NumPy code easily
    promotes to float64. The array is writable, as all batches are."""
    array = np.ascontiguousarray(result, dtype if dtype.kind == "f" else result.dtype)
    return array if array.flags.writeable else array.copy()


def transformed(transform: Callable[..., Any], images: np.ndarray, *rest: Any) -> np.ndarray:
    """Apply a user's function to images, and convert the result to their dtype.

    A function may return the same array in every call and overwrite it in the next one, which would
    change prefetched batches. So a result to which there are other references is copied.
    """
    result = transform(images, *rest)
    check_images(result, images)
    new = np.empty(0)[:]  # a view without other references, for comparison
    held = any(a > b for a, b in zip(_references(result), _references(new), strict=True))
    if held and not np.may_share_memory(result, images):
        return np.array(result, images.dtype if images.dtype.kind == "f" else None, order="C")
    return as_dtype(result, images.dtype)


def transformed_both(
    transform: Callable[..., Any], images: np.ndarray, labels: np.ndarray, *rest: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Apply a user's function of (images, labels), which returns both. They are copied, since the
    function may keep references to them."""
    results = transform(images, labels, *rest)
    if not isinstance(results, (tuple, list)) or len(results) != 2:
        raise TypeError(f"transform must return (images, labels), not a {type(results).__name__}")
    result, new = results
    check_images(result, images)
    new = array_of(new, "transform", "the labels that it returns")
    if new.shape[:1] != images.shape[:1]:
        raise ValueError(
            f"transform must return as many labels as it got, {len(images)}; "
            f"it returned an array of shape {new.shape}"
        )
    if result is not images:
        result = np.array(result)
    return as_dtype(result, images.dtype), np.array(new)


def _references(array: np.ndarray) -> tuple[int, int]:
    """Return the reference counts of an array and of its base."""
    base = array.base
    return sys.getrefcount(array), 0 if base is None else sys.getrefcount(base)


def numbers(*arrays: np.ndarray) -> Iterator[tuple[int, ...]]:
    """Iterate over the rows of integer arrays (B,) or (B, n), joined side by side, as tuples of
    ints, with which loops are faster than with NumPy's scalars. It is a generator because a list of
    all rows could be larger than the images."""
    columns = [column for a in arrays for column in (a.T if a.ndim == 2 else a[None])]
    return zip(*[memoryview(column) for column in columns], strict=True)


def pair_size(size: Any, where: str) -> tuple[int, int]:
    """Convert an int or a pair to (height, width)."""
    return checks.pair(size, where, "size", 1)


def sides_of(images: np.ndarray, where: str) -> tuple[int, int]:
    """Return height and width of images. ValueError if they have no pixels."""
    if 0 in images.shape[1:3]:
        raise ValueError(f"{where}: images of the shape {images.shape} have no pixels")
    return images.shape[1], images.shape[2]


def least_and_most(values: Any, where: str, name: str, **bounds: Any) -> tuple[float, float]:
    """Return a pair (least, most). ValueError if the first number is larger than the second."""
    pair = [
        checks.real(value, where, name, **bounds)
        for value in checks.members(values, where, name, "a pair (least, most)")
    ]
    if len(pair) != 2 or pair[0] > pair[1]:
        raise ValueError(checks.message(where, name, "a pair (least, most)", values))
    return pair[0], pair[1]


def _takes(transform: Callable[..., Any]) -> tuple[bool, bool]:
    """Return whether a function takes rng, and whether it takes labels. An optional parameter is
    the generator only if its name is `rng`: it may mean anything else."""
    try:
        parameters = inspect.signature(transform).parameters.values()
    except ValueError:  # functions in C may have no signature
        return False, False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [parameter for parameter in parameters if parameter.kind in kinds]
    labels = len(positional) > 1 and positional[1].name == "labels"
    rng = positional[2:3] if labels else positional[1:2]
    return any(p.default is inspect.Parameter.empty or p.name == "rng" for p in rng), labels
