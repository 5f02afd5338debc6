"""Transforms that mix pairs of images, and their labels."""

from __future__ import annotations

import numpy as np

from ... import checks, kernels
from ..draws import Draws
from .base import Labels, LabelTransform, numbers

TRIES = 64  # rounds of drawing, of which each ends for at least 95% of what is left


class _Mix(LabelTransform):
    """What Mixup and CutMix share: the partners, the shares, and what becomes of labels."""

    def __init__(self, alpha: float, classes: int | None = None, p: float = 1.0) -> None:
        where = type(self).__name__
        self.alpha = checks.positive(alpha, where, "alpha")
        self.classes = None if classes is None else checks.size(classes, where, "classes")
        self.p = checks.fraction(p, where, "p")

    def apply_batch(
        self, images: np.ndarray, labels: Labels, draws: Draws
    ) -> tuple[np.ndarray, Labels]:
        where = type(self).__name__
        assert labels is not None
        if labels.shape[:1] != images.shape[:1]:
            raise ValueError(
                f"{where}: images and labels must have one length, got images of the "
                f"shape {images.shape} and labels of {labels.shape}"
            )
        labels = distributions(labels, self.classes or draws.classes, where).astype(
            images.dtype, copy=False
        )
        if len(images) == 0:
            return images, labels
        u = draws.uniform(2)
        # A ring of all images, in an order drawn by chance: the partner is the next one.
        order = np.argsort(u[:, 0], kind="stable")
        partners = np.empty(len(order), np.int64)
        partners[order] = np.roll(order, -1)
        shares = np.where(u[:, 1] < self.p, beta(self.alpha, draws.at(0)), 1.0)
        images, shares = self.mixed(images, partners, shares, draws)
        shares = shares.astype(images.dtype).reshape(-1, *[1] * (labels.ndim - 1))
        return images, labels * shares + labels[partners] * (1 - shares)

    def mixed(
        self, images: np.ndarray, partners: np.ndarray, shares: np.ndarray, draws: Draws
    ) -> tuple[np.ndarray, np.ndarray]:
        """The mixed images, and the share that each has kept of itself."""
        raise NotImplementedError


class Mixup(_Mix):
    """Each image mixed with another of the batch, and their labels in the same shares.

    alpha:   the share comes from a beta distribution (alpha, alpha): small ones change little
    classes: how many classes there are; None: as the loader's data set has them
    p:       the share of images that are mixed

    Takes and returns (images, labels): labels (B,) of integers become distributions (B, classes)
    in the images' dtype, which `md.cross_entropy` takes; float labels (B, ...) are mixed as they
    are. Partners are images of the same batch, so here the result depends on which ones are.
    TypeError without labels, ValueError for labels outside of the classes or where their number is
    not known. Source: Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond empirical risk
    minimization", ICLR 2018.

    >>> images, labels = T.Mixup(0.2, classes=3)(np.zeros((4, 8, 8, 1), np.uint8), [0, 1, 2, 0])
    >>> labels.shape, labels.sum(axis=1)
    ((4, 3), array([1., 1., 1., 1.], dtype=float32))
    """

    def __init__(self, alpha: float = 0.2, classes: int | None = None, p: float = 1.0) -> None:
        super().__init__(alpha, classes, p)

    def mixed(
        self, images: np.ndarray, partners: np.ndarray, shares: np.ndarray, draws: Draws
    ) -> tuple[np.ndarray, np.ndarray]:
        own = shares.astype(images.dtype)[:, None, None, None]
        return images * own + images[partners] * (1 - own), shares


class CutMix(_Mix):
    """A rectangle of each image replaced by that of another, and their labels mixed by area.

    alpha, classes, p: as `Mixup`'s; the share is of the area that stays. The rectangle has the
    image's proportions; its middle is any pixel, and what is outside of the image is lost.

    Takes and returns what `Mixup` does, with its errors. Source: Yun et al., "CutMix:
    Regularization strategy to train strong classifiers", ICCV 2019.

    >>> images, labels = T.CutMix(1.0, classes=3)(np.zeros((4, 8, 8, 1), np.uint8), [0, 1, 2, 0])
    >>> labels.shape
    (4, 3)
    """

    def __init__(self, alpha: float = 1.0, classes: int | None = None, p: float = 1.0) -> None:
        super().__init__(alpha, classes, p)

    def mixed(
        self, images: np.ndarray, partners: np.ndarray, shares: np.ndarray, draws: Draws
    ) -> tuple[np.ndarray, np.ndarray]:
        sides = np.array(images.shape[1:3])
        lengths = np.rint(np.sqrt(1 - shares)[:, None] * sides).astype(np.int64)
        corners = draws.below(sides, first=2) - lengths // 2
        first, last = np.clip(corners, 0, sides), np.clip(corners + lengths, 0, sides)
        mixed = images.copy()
        for i, (top, left, bottom, right, partner) in enumerate(numbers(first, last, partners)):
            mixed[i, top:bottom, left:right] = images[partner, top:bottom, left:right]
        return mixed, 1 - (last - first).prod(axis=1) / max(1, sides.prod())


def distributions(labels: np.ndarray, classes: int | None, where: str) -> np.ndarray:
    """Integers as rows of zeros with a one; floats as they are."""
    if labels.dtype.kind == "f":
        return labels
    if labels.ndim != 1 or labels.dtype.kind not in "biu":
        raise TypeError(
            f"{where}: labels must be integers (B,), or floats, got {labels.dtype} of "
            f"the shape {labels.shape}"
        )
    if classes is None:
        raise ValueError(f"{where}: the number of classes is not known: give classes=")
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f"{where}: labels must be from 0 to {classes - 1}, got {labels.min()} to {labels.max()}"
        )
    kernels.check_shape(f"{where}: labels", (len(labels), classes), np.float32)
    rows = np.zeros((len(labels), classes), np.float32)
    rows[np.arange(len(labels)), labels.astype(np.int64)] = 1
    return rows


def beta(alpha: float, draws: Draws) -> np.ndarray:
    """(B,) numbers of a beta distribution (alpha, alpha): a / (a + b) of two of a gamma one, by way
    of their logarithms, since for a small alpha both may be too small for a number."""
    a, b = _log_gamma(alpha, draws.at(0)), _log_gamma(alpha, draws.at(1))
    return 1 / (1 + np.exp(np.clip(b - a, -700, 700)))


def _log_gamma(alpha: float, draws: Draws) -> np.ndarray:
    """Logarithms of (B,) numbers of a gamma distribution: Marsaglia & Tsang (2000), where alpha < 1
    by way of alpha + 1. Of each item the first draw that is accepted counts."""
    d = (alpha if alpha >= 1 else alpha + 1) - 1 / 3
    result = np.full(len(draws), np.log(d))
    waiting = np.ones(len(draws), bool)
    for i in range(TRIES):
        u = 1 - draws.uniform(3, first=3 * i)  # in (0, 1]
        x = np.sqrt(-2 * np.log(u[:, 0])) * np.cos(2 * np.pi * u[:, 1])  # normal
        v = (1 + x / np.sqrt(9 * d)) ** 3
        good = v > 0
        logs = np.log(np.where(good, v, 1))
        accepted = waiting & good & (np.log(u[:, 2]) < x**2 / 2 + d * (1 - v + logs))
        result[accepted] = np.log(d) + logs[accepted]
        waiting &= ~accepted
        if not waiting.any():
            break
    if alpha < 1:
        result += np.log(1 - draws.at(0).uniform(1)[:, 0]) / alpha
    return result
