"""Transforms of the positions of pixels: crops, flips, shifts, rotations and erased squares."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import checks, kernels
from ..draws import Draws
from .base import MOST_SIDE, Labels, Transform, least_and_most, numbers, pair_size, sides_of

MODES = ("reflect", "constant", "edge")


def _cropped(
    images: np.ndarray,
    size: tuple[int, int],
    tops: np.ndarray,
    lefts: np.ndarray,
    flips: np.ndarray | None = None,
    mode: str = "constant",
    value: float = 0.0,
) -> np.ndarray:
    """Crop images. It uses one thread, because the others compute the model at the same time."""
    if flips is None:
        flips = np.zeros(len(images), np.uint8)
    tops, lefts = np.ascontiguousarray(tops), np.ascontiguousarray(lefts)
    return kernels.crop(images, size, tops, lefts, flips, mode, value, threads=1)


def _check_reflect(
    where: str, argument: str, mode: str, most: tuple[int, int], images: np.ndarray
) -> None:
    """Raise a ValueError if reflected padding would be larger than the image: it would have to be
    reflected several times, which is most likely a mistake."""
    for name, reach, side in zip(("height", "width"), most, images.shape[1:3], strict=True):
        if mode == "reflect" and reach >= max(side, 1) and reach:
            raise ValueError(
                f'{where}: with mode="reflect", {argument} must be smaller than the {name} of the '
                f'images, {side}, got {reach}: use less, or mode="constant"'
            )


class RandomCrop(Transform):
    """Crops each image to a fixed size at a random position, after padding it.

    size:    the size of the crop: an int or a pair (height, width)
    padding: the pixels added on each side first: an int or a pair (above and below, left and right)
    mode:    how the padding is filled: "reflect" (mirrored without repeating the edge), "constant"
             (with `value`) or "edge" (with the nearest pixel)

    ValueError if the crop is larger than the padded image, or if the padding is not smaller than
    the image with mode="reflect".

    >>> T.RandomCrop(32, padding=4)(np.zeros((8, 32, 32, 3), np.uint8)).shape
    (8, 32, 32, 3)
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        padding: int | tuple[int, int] = 0,
        mode: str = "reflect",
        value: float = 0.0,
    ) -> None:
        self.size = pair_size(size, "RandomCrop")
        self.padding = checks.pair(padding, "RandomCrop", "padding", 0)
        if max(self.padding) > MOST_SIDE:
            expected = f"an int or a pair of ints from 0 to {MOST_SIDE}"
            raise ValueError(checks.message("RandomCrop", "padding", expected, padding))
        self.mode = checks.choice(mode, "RandomCrop", "mode", MODES)
        self.value = checks.real(value, "RandomCrop", "value", finite=True)

    def apply_batch(
        self, images: np.ndarray, labels: Labels, draws: Draws
    ) -> tuple[np.ndarray, Labels]:
        (height, width), (down, right) = sides_of(images, "RandomCrop"), self.padding
        _check_reflect("RandomCrop", "padding", self.mode, self.padding, images)
        places = height + 2 * down - self.size[0] + 1, width + 2 * right - self.size[1] + 1
        if min(places) < 1:
            raise ValueError(
                f"RandomCrop: size must not be larger than images of {height} x {width} with a "
                f"padding of {down} and {right}, got {self.size[0]} x {self.size[1]}"
            )
        tops, lefts = draws.below(places).T
        return _cropped(
            images, self.size, tops - down, lefts - right, mode=self.mode, value=self.value
        ), labels


class RandomFlip(Transform):
    """Mirrors images horizontally at random.

    p:         the probability of each image to be mirrored
    alternate: whether each image is mirrored in every other epoch; only its state in the first
               epoch is random. Any two consecutive epochs then show both versions of each image.
               (K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv:2404.00498.)

    ValueError if p is not from 0 to 1, or not 0.5 with alternate=True.

    >>> T.RandomFlip(p=1)(np.arange(3., dtype=np.float32).reshape(1, 1, 3, 1)).ravel()
    array([2., 1., 0.], dtype=float32)
    """

    def __init__(self, p: float = 0.5, alternate: bool = False) -> None:
        self.p = checks.fraction(p, "RandomFlip", "p")
        self.alternate = checks.flag(alternate, "RandomFlip", "alternate")
        if self.alternate and self.p != 0.5:
            raise ValueError(checks.message("RandomFlip", "p", "0.5 with alternate=True", p))

    def apply_batch(
        self, images: np.ndarray, labels: Labels, draws: Draws
    ) -> tuple[np.ndarray, Labels]:
        flips = draws.uniform(1, lasting=self.alternate)[:, 0] < self.p
        if self.alternate and draws.epoch % 2:
            flips = ~flips
        zeros = np.zeros(len(images), np.int64)
        size = images.shape[1], images.shape[2]
        return _cropped(images, size, zeros, zeros, flips.astype(np.uint8)), labels


class Cutout(Transform):
    """Sets a random square of each image to a constant.

    size:  the side of the square, or (height, width) of a rectangle. Its centre is a random pixel,
           and it is clipped to the image
    value: the constant; 0 is the mean after `Normalize`, and black before it
    p:     the probability of each image to be changed

    Source: DeVries & Taylor, "Improved regularization of convolutional neural networks with
    Cutout", arXiv:1708.04552, 2017.

    >>> T.Cutout(8)(np.ones((4, 32, 32, 3), np.float32)).min(axis=(1, 2, 3))
    array([0., 0., 0., 0.], dtype=float32)
    """

    def __init__(self, size: int | tuple[int, int], value: float = 0.0, p: float = 1.0) -> None:
        self.size = pair_size(size, "Cutout")
        self.value = checks.real(value, "Cutout", "value", finite=True)
        self.p = checks.fraction(p, "Cutout", "p")

    def apply_batch(
        self, images: np.ndarray, labels: Labels, draws: Draws
    ) -> tuple[np.ndarray, Labels]:
        height, width = images.shape[1:3]
        if not images.size:
            return images, labels
        corners = draws.below((height, width)) - np.array(self.size) // 2
        chosen = np.flatnonzero(draws.uniform(1, first=2)[:, 0] < self.p)
        for i, top, left, bottom, right in numbers(
            chosen, np.maximum(corners, 0)[chosen], (corners + self.size)[chosen]
        ):
            images[i, top:bottom, left:right] = self.value
        return images, labels


class RandomTranslate(Transform):
    """Shifts each image by a random number of whole pixels, vertically and horizontally.

    amount: the largest shift in both directions: pixels (an int), or a share of the side (a float
            below 1); or a pair (vertical, horizontal)
    mode:   how the uncovered pixels are filled: "constant" (with `value`), "reflect" or "edge"

    ValueError for arguments out of range, and for shifts that are not smaller than the image with
    mode="reflect".

    >>> T.RandomTranslate(2)(np.zeros((8, 32, 32, 3), np.uint8)).shape
    (8, 32, 32, 3)
    """

    def __init__(self, amount: Any, mode: str = "constant", value: float = 0.0) -> None:
        pair = amount if isinstance(amount, (tuple, list)) else (amount, amount)
        if len(pair) != 2:
            raise ValueError(
                checks.message("RandomTranslate", "amount", "a number or a pair", amount)
            )
        self.amount = tuple(
            [
                checks.real(x, "RandomTranslate", "amount", 0, below=1)
                if isinstance(x, float)
                else checks.integer(x, "RandomTranslate", "amount", 0, checks.MOST_OF_PAIR)
                for x in pair
            ]
        )
        self.mode = checks.choice(mode, "RandomTranslate", "mode", MODES)
        self.value = checks.real(value, "RandomTranslate", "value", finite=True)

    def apply_batch(
        self, images: np.ndarray, labels: Labels, draws: Draws
    ) -> tuple[np.ndarray, Labels]:
        size = images.shape[1], images.shape[2]
        down, right = (
            round(x * side) if isinstance(x, float) else x
            for x, side in zip(self.amount, size, strict=True)
        )
        _check_reflect("RandomTranslate", "amount", self.mode, (down, right), images)
        tops, lefts = draws.below((2 * down + 1, 2 * right + 1)).T
        return _cropped(
            images, size, tops - down, lefts - right, mode=self.mode, value=self.value
        ), labels


class CenterCrop(Transform):
    """Crops the centre of each image.

    size: an int or a pair (height, width)

    ValueError if images are smaller.

    >>> T.CenterCrop(24)(np.zeros((8, 32, 32, 3), np.uint8)).shape
    (8, 24, 24, 3)
    """

    def __init__(self, size: int | tuple[int, int]) -> None:
        self.size = pair_size(size, "CenterCrop")

    def apply_batch(
        self, images: np.ndarray, labels: Labels, draws: Draws
    ) -> tuple[np.ndarray, Labels]:
        height, width = images.shape[1:3]
        if self.size[0] > height or self.size[1] > width:
            raise ValueError(
                f"CenterCrop: size must not be larger than images of {height} x {width}, got "
                f"{self.size[0]} x {self.size[1]}"
            )
        top, left = round((height - self.size[0]) / 2), round((width - self.size[1]) / 2)
        return images[:, top : top + self.size[0], left : left + self.size[1]], labels


class RandomRotation(Transform):
    """Rotates each image about its centre by a random angle, with bilinear interpolation. The size
    stays the same.

    degrees: the largest angle in both directions, or a pair (least, most) of angles, which are
             counter-clockwise; from -360 to 360
    mode:    how the uncovered corners are filled: "constant" (with `value`), "reflect" or "edge"

    ValueError for arguments out of range.

    >>> T.RandomRotation(15)(np.zeros((8, 32, 32, 3), np.uint8)).shape
    (8, 32, 32, 3)
    """

    def __init__(
        self, degrees: float | tuple[float, float], mode: str = "constant", value: float = 0.0
    ) -> None:
        if isinstance(degrees, (tuple, list)):
            self.degrees = least_and_most(
                degrees, "RandomRotation", "degrees", least=-360, most=360
            )
        else:
            most = checks.real(degrees, "RandomRotation", "degrees", 0, 360)
            self.degrees = -most, most
        self.mode = checks.choice(mode, "RandomRotation", "mode", MODES)
        self.value = checks.real(value, "RandomRotation", "value", finite=True)

    def apply_batch(
        self, images: np.ndarray, labels: Labels, draws: Draws
    ) -> tuple[np.ndarray, Labels]:
        height, width = images.shape[1:3]
        low, high = self.degrees
        angle = np.deg2rad(low + (high - low) * draws.uniform(1)[:, 0])
        cos, sin = np.cos(angle), np.sin(angle)
        row, column = (height - 1) / 2, (width - 1) / 2
        # The affine map from each pixel of the result to its position in the image; the centre is
        # a fixed point.
        maps = np.stack(
            [
                cos,
                sin,
                row - cos * row - sin * column,
                -sin,
                cos,
                column + sin * row - cos * column,
            ],
            axis=1,
        )
        return kernels.warp(images, (height, width), maps, self.mode, self.value, threads=1), labels
