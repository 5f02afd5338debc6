"""Images of another size: `resize`, and averages over windows that divide an image.

Both treat one axis after the other. For each axis a table says of which neighbouring pixels, with
which weights, each pixel of the result is the sum. TypeError unless x is float32 or float64;
ValueError if x is neither images (N, H, W, C) nor sequences (N, T, C), or has no pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import checks, kernels
from ..hints import for_newcomers
from ..tensor import Tensor
from .common import float_tensor
from .operation import Operation
from .pool import avg_pool
from .shape import reshape


class Table(NamedTuple):
    """How the pixels of an axis are computed: result i is the sum over k of weights[i, k] times
    pixel starts[i] + k. From one result to the next, the first and the last pixel with a weight
    other than 0 never move backwards, so that `transposed` can find them by binary search."""

    starts: np.ndarray  # (S,) int64
    weights: np.ndarray  # (S, K) float64

    def of(self, x: np.ndarray, axis: int) -> np.ndarray:
        """Apply the table along an axis of x."""
        before, after = x.shape[:axis], x.shape[axis + 1 :]
        shape = (*before, len(self.starts), *after)
        if x.size == 0:
            return np.zeros(shape, x.dtype)
        if axis < 2:  # a task of the kernel is a whole image, and a row for later axes
            before = (*before, 1)
        y = kernels.blend(
            x.reshape(before[0], math.prod(before[1:]), x.shape[axis], math.prod(after)),
            self.starts[None],
            self.weights.astype(x.dtype)[None],
        )
        return y.reshape(shape)

    def transposed(self, length: int) -> Table:
        """The table of the gradient: each of the `length` pixels is the weighted sum over the
        results that it is part of."""
        count = self.weights.shape[1]
        some = self.weights != 0
        first = self.starts + some.argmax(axis=1)
        after = self.starts + count - some[:, ::-1].argmax(axis=1)
        pixels = np.arange(length)
        # A pixel is part of the results from `first_result` up to `end_result`.
        first_result = np.searchsorted(after, pixels, side="right")
        end_result = np.searchsorted(first, pixels, side="right")
        reach = max(1, int((end_result - first_result).max()))
        starts = np.minimum(first_result, len(self.starts) - reach)
        results = starts[:, None] + np.arange(reach)
        k = pixels[:, None] - self.starts[results]
        inside = (k >= 0) & (k < count)
        return Table(starts, np.where(inside, self.weights[results, np.where(inside, k, 0)], 0.0))


def nearest(length: int, size: int) -> Table:
    """The table that takes, for each pixel of the result, the pixel of x that its centre lies in,
    or the later one if it lies on a border."""
    i = np.arange(size)
    return Table((2 * i + 1) * length // (2 * size), np.ones((size, 1)))


def linear(length: int, size: int) -> Table:
    """The table that blends, for each pixel of the result, the two pixels of x whose centres are on
    either side of its own."""
    if length == 1:
        return nearest(length, size)
    place = ((np.arange(size) + 0.5) * (length / size) - 0.5).clip(0, length - 1)
    starts = np.minimum(place.astype(np.int64), length - 2)
    second = place - starts
    return Table(starts, np.stack([1 - second, second], axis=1))


def windows(length: int, size: int) -> Table:
    """The table that averages, for result i, the pixels from floor(i length / size) up to
    ceil((i + 1) length / size)."""
    i = np.arange(size)
    first, after = i * length // size, -(-(i + 1) * length // size)
    reach = int((after - first).max())
    starts = np.minimum(first, length - reach)
    pixels = starts[:, None] + np.arange(reach)
    inside = (pixels >= first[:, None]) & (pixels < after[:, None])
    return Table(starts, inside / (after - first)[:, None])


MODES: dict[str, Callable[[int, int], Table]] = {"nearest": nearest, "linear": linear}
ELSEWHERE = {"bilinear": "linear", "nearest-exact": "nearest"}  # PyTorch's names for the modes


class _Resampled(Operation):
    """y = x with a table applied along each axis of its positions;  dx = dy with the transposed
    tables."""

    tables: list[Table]

    def apply_tables(
        self, x: np.ndarray, size: tuple[int, ...], table: Callable[[int, int], Table]
    ) -> np.ndarray:
        self.shape, self.sides = x.shape, x.shape[1:-1]
        if x.size == 0:  # its axes may be longer than a table in memory
            return np.zeros((x.shape[0], *size, x.shape[-1]), x.dtype)
        self.tables = [table(n, s) for n, s in zip(self.sides, size, strict=True)]
        for axis, made in enumerate(self.tables, 1):
            x = made.of(x, axis)
        return x

    def backward(self, dy: np.ndarray) -> np.ndarray:
        if dy.size == 0:
            return np.zeros(self.shape, dy.dtype)
        for axis in range(len(self.sides), 0, -1):
            dy = self.tables[axis - 1].transposed(self.sides[axis - 1]).of(dy, axis)
        return dy


class Resample(Operation):
    """y = x at `places` along an axis;  dx = dy with the transposed table.

    The places never decrease. At a place between two entries y is a blend of both.
    """

    def forward(self, x: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
        self.shape, self.length, self.axis = x.shape, x.shape[axis], axis
        low = np.floor(places).astype(np.int64)
        if (places == low).all():
            self.table = Table(low, np.ones((len(low), 1)))
        else:
            low = np.minimum(low, self.length - 2)
            share = places - low
            self.table = Table(low, np.stack([1 - share, share], axis=1))
        return self.table.of(x, axis)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        if dy.size == 0:
            return np.zeros(self.shape, dy.dtype)
        return self.table.transposed(self.length).of(dy, self.axis)


class Resize(_Resampled):
    """y = images x in another size, by the nearest pixels or by blends of two along each axis."""

    def forward(self, x: np.ndarray, size: tuple[int, ...], mode: str) -> np.ndarray:
        return self.apply_tables(x, size, MODES[mode])


class AdaptiveAvgPool(_Resampled):
    """y = averages of x over windows that divide it, as evenly as possible, into `size` parts."""

    def forward(self, x: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
        return self.apply_tables(x, size, windows)


@for_newcomers
def resize(x: Any, size: Any, mode: str = "nearest") -> Tensor:
    """Images (N, H, W, C) or sequences (N, T, C) in another size: an int, or for images a pair
    (height, width). Arrays of three axes are sequences: a single image is x[None], (1, H, W, C).

    Pixels are squares that fill the image, so the centre of result i lies at (i + 1/2) H / OH - 1/2
    on the axis of x ("half-pixel centres"). "nearest" takes the pixel that this centre lies in, or
    the later one on a border, as PyTorch's "nearest-exact"; where the size is multiplied by an
    integer, PyTorch's "nearest" is the same. "linear" blends the two pixels on either side, on each
    axis, and repeats the outermost ones, as PyTorch's "linear" and "bilinear" with
    align_corners=False, and ONNX's Resize with half_pixel. A much smaller image leaves pixels out
    in both modes; `md.adaptive_avg_pool`, and `T.Resize` for pictures, average over all.

    ValueError for sizes below 1 and for another mode.

    >>> x = md.tensor([1., 2.]).reshape(1, 2, 1)
    >>> md.resize(x, 4)[0, :, 0], md.resize(x, 4, mode="linear")[0, :, 0]
    (tensor([1., 1., 2., 2.]), tensor([1.  , 1.25, 1.75, 2.  ]))
    """
    x, size = _checked("resize", x, size)
    return Resize.apply(x, size=size, mode=checked_mode(mode, "resize"))


def checked_mode(mode: Any, where: str) -> str:
    """A mode of `resize`; the error for a mode of PyTorch's names the equal one of minidl."""
    if isinstance(mode, str) and mode in ELSEWHERE:
        raise ValueError(f"{where}: mode {mode!r} is {ELSEWHERE[mode]!r} here")
    return str(checks.choice(mode, where, "mode", tuple(MODES)))


@for_newcomers
def adaptive_avg_pool(x: Any, size: Any) -> Tensor:
    """The averages of images (N, H, W, C) or sequences (N, T, C) over windows that divide them into
    `size` parts along each axis: an int, or for images a pair (height, width).

    Window i of an axis goes from floor(i H / OH) up to ceil((i + 1) H / OH): where OH does not
    divide H, windows overlap by a pixel. Images of any size give results of one size, as a dense
    layer after them needs. The windows are PyTorch's. ValueError for sizes below 1.

    >>> x = md.arange(5.).reshape(1, 5, 1)
    >>> md.adaptive_avg_pool(x, 2)[0, :, 0], md.adaptive_avg_pool(x, 1)[0, :, 0]
    (tensor([1., 3.]), tensor([2.]))
    >>> md.adaptive_avg_pool(md.ones((8, 13, 9, 64)), (3, 2)).shape
    (8, 3, 2, 64)
    """
    x, size = _checked("adaptive_avg_pool", x, size)
    sides = x.shape[1:-1]
    if any(n % s for n, s in zip(sides, size, strict=True)):
        return AdaptiveAvgPool.apply(x, size=size)
    window = tuple([n // s for n, s in zip(sides, size, strict=True)])
    if len(sides) == 2:
        return avg_pool(x, window)
    images = reshape(x, (x.shape[0], 1, *x.shape[1:]))
    return reshape(avg_pool(images, (1, *window)), (x.shape[0], *size, x.shape[2]))


def _checked(where: str, x: Any, size: Any) -> tuple[Tensor, tuple[int, ...]]:
    """x as a tensor of images or sequences, and a size for each of its axes of positions."""
    x = float_tensor(x, where)
    if x.ndim not in (3, 4) or 0 in x.shape[1:-1]:
        raise ValueError(
            f"{where}: x must be images (N, H, W, C) or sequences (N, T, C) with at "
            f"least one position, got shape {x.shape}"
        )
    axes = x.ndim - 2
    given = (
        size
        if isinstance(size, (tuple, list)) or (isinstance(size, np.ndarray) and size.ndim)
        else (size,) * axes
    )
    expected = "an int >= 1" if axes == 1 else "an int or a pair of ints >= 1"
    try:
        sizes = checks.ints(given, where, "size")
    except TypeError:
        raise TypeError(checks.message(where, "size", expected, size)) from None
    if len(sizes) != axes or min(sizes) < 1:
        raise ValueError(f"{checks.message(where, 'size', expected, size)} for x {x.shape}")
    kernels.check_shape(where, (x.shape[0], *sizes, x.shape[-1]), x.dtype)
    for k in range(axes):  # the arrays between one axis and the next must fit memory too
        kernels.check_shape(where, (x.shape[0], *sizes[:k], *x.shape[k + 1 :]), x.dtype)
    return x, sizes
