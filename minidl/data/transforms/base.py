"""What a transform is: the protocol that loaders use, and functions of the user's behind it."""

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
MOST_SIDE = 1 << 30  # pixels: places around an image, and in a turned one, are of 32 bits


class Transform(hints.Explained):
    """A transform of whole batches of images that draws for each item by itself.

    `transform(images)` or `transform(images, rng)`, where `rng` is a generator of NumPy's, gives
    new images: (B, H, W, C) float; uint8 ones are divided by 255 first. Without `rng` the generator
    of `md.manual_seed` is used.

    A loader calls `apply_batch(images, labels, draws)` instead, which any class may have: it gets
    images that it may change, labels (None if items have none) and the random numbers `draws`,
    whose `draws.uniform(n)` gives (B, n) numbers in [0, 1) that depend on seed, epoch and item
    alone; and returns (images, labels), arrays that it does not keep. `LabelTransform` is the base
    of those that change labels.

    >>> class Darker(T.Transform):
    ...     def apply_batch(self, images, labels, draws):
    ...         return images * draws.uniform(1)[:, :, None, None], labels
    >>> Darker()(np.ones((2, 4, 4, 3), np.float32), np.random.default_rng(0)).shape
    (2, 4, 4, 3)
    """

    takes_labels = False
    _any_array = False  # whether it takes what is no batch of pictures, too

    def __init__(self) -> None:  # so that a call with arguments names the class
        pass

    def apply_batch(
        self, images: np.ndarray, labels: Labels, draws: Draws
    ) -> tuple[np.ndarray, Labels]:
        """New images and labels; `images` may be changed."""
        raise NotImplementedError(f"{type(self).__name__} has no apply_batch")

    def __call__(self, images: Any, rng: Any = None) -> Any:
        return self._called(images, None, rng)[0]

    def _called(self, images: Any, labels: Any, rng: Any) -> tuple[np.ndarray, Labels]:
        """What comes of a call by hand: copies, and random numbers of the generator."""
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
    """A transform of images and labels: `transform(images, labels)` or `transform(images, labels,
    rng)` gives both, and so does `apply_batch`, whose labels are never None.

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
    """Images in an array of their own, bytes as floats."""
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
    """A function of the user's as a transform: of (images), (images, rng), (images, labels) or
    (images, labels, rng)."""

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
    """What has `apply_batch`: the transform itself, or what stands for a function."""
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
    """`apply_batch` of a transform: what comes in and out is checked, images keep their dtype."""
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
    """A result in the images' dtype, if that is a float one: NumPy turns to float64 easily. It can
    be written to, as batches can."""
    array = np.ascontiguousarray(result, dtype if dtype.kind == "f" else result.dtype)
    return array if array.flags.writeable else array.copy()


def transformed(transform: Callable[..., Any], images: np.ndarray, *rest: Any) -> np.ndarray:
    """What a function makes of the images, in their dtype.

    A transform may fill one array of its own again and again; batches that are prepared ahead would
    then change under the loop. An array that someone else still holds is copied, therefore.
    """
    result = transform(images, *rest)
    check_images(result, images)
    new = np.empty(0)[:]  # which nobody else holds
    held = any(a > b for a, b in zip(_references(result), _references(new), strict=True))
    if held and not np.may_share_memory(result, images):
        return np.array(result, images.dtype if images.dtype.kind == "f" else None, order="C")
    return as_dtype(result, images.dtype)


def transformed_both(
    transform: Callable[..., Any], images: np.ndarray, labels: np.ndarray, *rest: Any
) -> tuple[np.ndarray, np.ndarray]:
    """The same for a function that takes and returns (images, labels). Both are copied where the
    function may still hold them."""
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
    """How many references there are to an array, and to what it is a view of."""
    base = array.base
    return sys.getrefcount(array), 0 if base is None else sys.getrefcount(base)


def numbers(*arrays: np.ndarray) -> Iterator[tuple[int, ...]]:
    """For each image the whole numbers that arrays (B,) or (B, n) hold of it, side by side, as
    ints, which loops take faster than NumPy's. One image after another, since a list of all of
    them would be larger than the images may be."""
    columns = [column for a in arrays for column in (a.T if a.ndim == 2 else a[None])]
    return zip(*[memoryview(column) for column in columns], strict=True)


def pair_size(size: Any, where: str) -> tuple[int, int]:
    """An int or a pair as (height, width)."""
    return checks.pair(size, where, "size", 1)


def sides_of(images: np.ndarray, where: str) -> tuple[int, int]:
    """Height and width of images; ValueError for those without pixels."""
    if 0 in images.shape[1:3]:
        raise ValueError(f"{where}: images of the shape {images.shape} have no pixels")
    return images.shape[1], images.shape[2]


def least_and_most(values: Any, where: str, name: str, **bounds: Any) -> tuple[float, float]:
    """A pair of numbers of which the first is not the larger one."""
    pair = [
        checks.real(value, where, name, **bounds)
        for value in checks.members(values, where, name, "a pair (least, most)")
    ]
    if len(pair) != 2 or pair[0] > pair[1]:
        raise ValueError(checks.message(where, name, "a pair (least, most)", values))
    return pair[0], pair[1]


def _takes(transform: Callable[..., Any]) -> tuple[bool, bool]:
    """Whether a function takes rng, and labels. A parameter that is optional is rng only by name:
    it may mean anything else."""
    try:
        parameters = inspect.signature(transform).parameters.values()
    except ValueError:  # some functions in C do not tell
        return False, False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [parameter for parameter in parameters if parameter.kind in kinds]
    labels = len(positional) > 1 and positional[1].name == "labels"
    rng = positional[2:3] if labels else positional[1:2]
    return any(p.default is inspect.Parameter.empty or p.name == "rng" for p in rng), labels
