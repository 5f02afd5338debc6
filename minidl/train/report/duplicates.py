"""Pictures of one data set that are in another one too: the same, or nearly so.

Every picture is made a vector of 8 x 8 grey values without mean and of length 1, so that the
product of two is their correlation, whatever their brightness, contrast and size. Products of whole
blocks find the few that are most alike; these are compared on 32 x 32 pixels with their colours.

Strokes and plain things are all alike, so a high correlation alone tells nothing: a near-duplicate
stands out, far more like the picture than the next ones are (as in the ratio test of Lowe 2004).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Any

import numpy as np

from ...data.batch import gather

COARSE, FINE = 8, 32  # pixels a side
LOOKED_AT = 0.95  # the correlation on the coarse pixels of what is looked at again

# A pair is the same if its fine correlation is above SAME. It is nearly the same if that is above
# NEAR and it stands out: 1 - correlation is below STANDS_OUT times that of the picture fifth (NEXT)
# in likeness, on coarse and on fine pixels.
SAME, NEAR = 0.998, 0.9
STANDS_OUT, NEXT = 0.2, 5

MOST_BYTES = 32 << 20  # at a time: of pictures as float32, and of products
TOGETHER = 100  # pictures that are compared on the fine pixels at a time


@dataclass(frozen=True)
class Pair:
    """A picture of the data set, and the one of the training set that is most like it."""

    index: int
    train: int
    correlation: float
    exact: bool


def find(dataset: Any, train_set: Any) -> list[Pair]:
    """The pictures of `dataset` that `train_set` has too, in their order, each with the one there
    that is most like it. Pictures of one colour are only compared byte for byte.

    Memory is that of both data sets' vectors of 64 numbers and hashes, and of a few times
    MOST_BYTES, or of one picture that is larger.
    """
    theirs, known = _vectors(train_set)
    own, hashes = _vectors(dataset)
    found: dict[int, Pair] = {}
    first: dict[bytes, int] = {}
    for row, digest in enumerate(known):
        first.setdefault(digest, row)
    for row, digest in enumerate(hashes):
        if digest in first:
            found[row] = Pair(row, first[digest], 1.0, True)
    wanted = [row for row in range(len(own)) if row not in found]
    for pair in _compared(dataset, train_set, _candidates(own, theirs, wanted)):
        found[pair.index] = pair
    return [found[row] for row in sorted(found)]


def _vectors(dataset: Any) -> tuple[np.ndarray, list[bytes]]:
    """(N, 64) float32, and a hash of each picture's bytes."""
    vectors = np.empty((len(dataset), COARSE * COARSE), np.float32)
    hashes: list[bytes] = []
    for images in _blocks(dataset, range(len(dataset))):
        grey = images.mean(axis=3, keepdims=True, dtype=np.float32)
        vectors[len(hashes) : len(hashes) + len(images)] = _unit(_scaled(grey, COARSE))
        hashes += [
            blake2b(image.tobytes(), digest_size=16, salt=_salt(image)).digest() for image in images
        ]
    return vectors, hashes


def _blocks(dataset: Any, rows: range | np.ndarray) -> Iterator[np.ndarray]:
    """Some pictures of a data set in their order, as many at a time as MOST_BYTES allows."""
    start, step = 0, 1  # the first one tells how large they are
    while start < len(rows):
        images = gather(dataset, rows[start : start + step]).images
        start += len(images)
        step = max(1, MOST_BYTES // max(1, 4 * images[0].size, images[0].nbytes))
        yield images


def _salt(image: np.ndarray) -> bytes:
    """What tells pictures of equal bytes and other shapes apart."""
    return blake2b(f"{image.shape} {image.dtype}".encode(), digest_size=16).digest()


def _scaled(images: np.ndarray, side: int) -> np.ndarray:
    """Pictures (n, H, W, C), each of whose pixels is the mean of the area that it stands for."""
    down, across = _areas(images.shape[1], side), _areas(images.shape[2], side)
    pixels = images.astype(np.float32, copy=False)
    return np.einsum("ih,nhwc,jw->nijc", down, pixels, across, optimize=True)


def _areas(length: int, side: int) -> np.ndarray:
    """(side, length): the share that each pixel has in each of `side` equal parts of a row."""
    edges = np.linspace(0, length, side + 1)
    low, high = edges[:-1, None], edges[1:, None]
    place = np.arange(length)
    shares = np.clip(np.minimum(high, place + 1) - np.maximum(low, place), 0, 1)
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def _unit(images: np.ndarray) -> np.ndarray:
    """Rows without mean and of length 1; zeros for a picture of one colour."""
    rows = images.reshape(len(images), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    length = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    flat = length <= 1e-3 * np.abs(images).reshape(len(images), -1).max(axis=1, keepdims=True)
    return np.where(flat, 0, rows / np.where(flat, 1, length)).astype(np.float32)


def _candidates(
    own: np.ndarray, theirs: np.ndarray, wanted: list[int]
) -> Iterator[tuple[int, np.ndarray, bool]]:
    """(row of own, rows of theirs, whether one of them stands out): for each row of own that may
    have a near-duplicate by the coarse pixels, those that are most like it."""
    step = max(1, MOST_BYTES // (4 * max(theirs.shape)))
    for start in range(0, len(wanted), step):
        block = wanted[start : start + step]
        products = own[block] @ theirs.T
        for i in np.flatnonzero(products.max(axis=1) > LOOKED_AT):
            row = products[i]
            near = (
                np.arange(len(row))
                if len(row) <= NEXT
                else np.argpartition(row, len(row) - NEXT)[-NEXT:]
            )
            near = near[np.argsort(-row[near], kind="stable")]
            stands_out = _stands_out(row[near])
            if stands_out or row[near[0]] > SAME:  # coarse pixels are alike before fine ones
                yield block[i], near, stands_out


def _stands_out(correlations: np.ndarray) -> bool:
    """Whether the largest is far above the smallest of NEXT; of fewer, far above none at all."""
    away = 1 - correlations
    return bool(away.min() < STANDS_OUT * (away.max() if len(away) == NEXT else 1.0))


def _compared(
    dataset: Any, train_set: Any, candidates: Iterable[tuple[int, np.ndarray, bool]]
) -> Iterator[Pair]:
    """The pairs that are nearly the same on the fine pixels."""
    candidates = iter(candidates)
    while some := list(islice(candidates, TOGETHER)):
        left = _fine(dataset, np.array([row for row, _, _ in some]))
        right = _fine(train_set, np.concatenate([near for _, near, _ in some]))
        if left.shape[3] != right.shape[3]:
            left, right = left.mean(axis=3, keepdims=True), right.mean(axis=3, keepdims=True)
        left, right = _unit(left), _unit(right)
        start = 0
        for one, (row, near, stands_out) in zip(left, some, strict=True):
            products = right[start : start + len(near)] @ one
            start += len(near)
            best = int(products.argmax())
            stands_out = stands_out and _stands_out(products)
            if products[best] > (NEAR if stands_out else SAME):
                yield Pair(row, int(near[best]), float(min(products[best], 1)), False)


def _fine(dataset: Any, rows: np.ndarray) -> np.ndarray:
    """(n, FINE, FINE, C) float32: some pictures of a data set."""
    return np.concatenate([_scaled(images, FINE) for images in _blocks(dataset, rows)])
