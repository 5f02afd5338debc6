"""Transforms that mix pairs of images and their labels: Mixup and CutMix."""

from __future__ import annotations

import numpy as np

from ... import checks, kernels
from ..draws import Draws
from .base import Labels, LabelTransform, numbers

TRIES = 64  # rounds of rejection sampling; each accepts at least 95% of the remaining draws


class _Mix(LabelTransform):
    """The base class of Mixup and CutMix: it draws partners and shares, and mixes the labels."""

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
        # The images form a ring in random order, and each one's partner is the next in the ring.
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
        """Return the mixed images, and the share of each image that is its own."""
        raise NotImplementedError


class Mixup(_Mix):
    """Replaces each image by a weighted mean of it and another image of the batch, and mixes their
    labels with the same weights.

    alpha:   the weight is drawn from the beta distribution (alpha, alpha); a small alpha changes
             most images little
    classes: the number of classes; None: that of the loader's data set
    p:       the share of images that are mixed

    It takes and returns (images, labels). Integer labels (B,) become distributions (B, classes) in
    the images' dtype, which `md.cross_entropy` takes; float labels (B, ...) are mixed directly. The
    partners are images of the same batch, so the result depends on the batch, unlike that of other
    transforms. TypeError without labels, ValueError for labels outside of the classes or if the
    number of classes is unknown. Source: Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond empirical
    risk minimization", ICLR 2018.

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
    """Replaces a rectangle of each image by the same rectangle of another image of the batch, and
    mixes their labels by area.

    alpha, classes, p: as for `Mixup`; the weight drawn is the share of the area that is kept. The
        rectangle has the proportions of the image. Its centre is a random pixel, and it is clipped
        to the image

    Input, output and errors are those of `Mixup`. Source: Yun et al., "CutMix: Regularization
    strategy to train strong classifiers", ICCV 2019.

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
    """Convert integer labels to one-hot rows; float labels stay as they are."""
    if labels.dtype.kind == "f":
        return labels
    if labels.ndim != 1 or labels.dtype.kind not in "biu":
        raise TypeError(
            f"{where}: labels must be integers (B,), or floats, got {labels.dtype} of "
            f"the shape {labels.shape}"
        )
    if classes is None:
        raise ValueError(f"{where}: classes must be given, since the data set does not name them")
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f"{where}: labels must be from 0 to {classes - 1}, got {labels.min()} to {labels.max()}"
        )
    kernels.check_shape(f"{where}: labels", (len(labels), classes), np.float32)
    rows = np.zeros((len(labels), classes), np.float32)
    rows[np.arange(len(labels)), labels.astype(np.int64)] = 1
    return rows


def beta(alpha: float, draws: Draws) -> np.ndarray:
    """Draw (B,) numbers from the beta distribution (alpha, alpha): a / (a + b) with a and b from
    the gamma distribution. Their logarithms are used, since both may underflow for a small
    alpha."""
    a, b = _log_gamma(alpha, draws.at(0)), _log_gamma(alpha, draws.at(1))
    return 1 / (1 + np.exp(np.clip(b - a, -700, 700)))


def _log_gamma(alpha: float, draws: Draws) -> np.ndarray:
    """Draw (B,) logarithms of numbers from the gamma distribution, by the rejection method of
    Marsaglia & Tsang (2000). For alpha < 1 they are derived from the distribution of alpha + 1."""
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
