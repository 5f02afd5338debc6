"""Find the pictures of one data set that are in another one too, exactly or nearly.

Every picture becomes a vector of 8 x 8 grey values with mean 0 and length 1, so that the product of
two vectors is the correlation of the pictures, whatever their brightness, contrast and size. Matrix
products of blocks find the few candidates with the highest correlation; these are compared again on
32 x 32 pixels in colour.

A high correlation alone is not enough, since all pictures of simple strokes or shapes are alike. A
near-duplicate has to stand out: it must be far more similar than the next most similar pictures, as
in the ratio test of Lowe (2004).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Any

import numpy as np

from ...data.batch import gather

COARSE, FINE = 8, 32  # pixels per side of the two scales
LOOKED_AT = 0.95  # coarse correlation above which a picture is a candidate

# A pair is the same if its fine correlation is above SAME. It is nearly the same if its fine
# correlation is above NEAR and it stands out: on both scales, 1 - correlation is below STANDS_OUT
# times that of the fifth (NEXT) most similar picture.
SAME, NEAR = 0.998, 0.9
STANDS_OUT, NEXT = 0.2, 5

MOST_BYTES = 32 << 20  # memory for a block of float32 pictures or of products
TOGETHER = 100  # candidates that are compared on the fine scale at a time


@dataclass(frozen=True)
class Pair:
    """A picture of the data set and the most similar picture of the training set, by their indices;
    `exact` if their bytes are equal."""

    index: int
    train: int
    correlation: float
    exact: bool


def find(dataset: Any, train_set: Any) -> list[Pair]:
    """Return the pictures of `dataset` that are also in `train_set`, in their order, each with the
    most similar picture there. Pictures of a single colour are only compared byte for byte.

    The memory used is that of a vector of 64 numbers and a hash for each picture of both data sets,
    and a few times MOST_BYTES or the size of the largest picture.
    """
    train_vectors, train_hashes = _vectors(train_set)
    vectors, hashes = _vectors(dataset)
    found: dict[int, Pair] = {}
    first: dict[bytes, int] = {}
    for row, digest in enumerate(train_hashes):
        first.setdefault(digest, row)
    for row, digest in enumerate(hashes):
        if digest in first:
            found[row] = Pair(row, first[digest], 1.0, True)
    wanted = [row for row in range(len(vectors)) if row not in found]
    for pair in _compared(dataset, train_set, _candidates(vectors, train_vectors, wanted)):
        found[pair.index] = pair
    return [found[row] for row in sorted(found)]


def _vectors(dataset: Any) -> tuple[np.ndarray, list[bytes]]:
    """Return the coarse vectors (N, 64) float32 of all pictures, and a hash of each one's bytes."""
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
    """Yield some pictures of a data set in blocks of at most MOST_BYTES."""
    start, step = 0, 1  # the first block is one picture, which shows the size of all
    while start < len(rows):
        images = gather(dataset, rows[start : start + step]).images
        start += len(images)
        step = max(1, MOST_BYTES // max(1, 4 * images[0].size, images[0].nbytes))
        yield images


def _salt(image: np.ndarray) -> bytes:
    """Return a salt of the shape and the dtype, which pictures of equal bytes may differ in."""
    return blake2b(f"{image.shape} {image.dtype}".encode(), digest_size=16).digest()


def _scaled(images: np.ndarray, side: int) -> np.ndarray:
    """Scale pictures (n, H, W, C) to (n, side, side, C); each pixel is the mean of its area."""
    down, across = _areas(images.shape[1], side), _areas(images.shape[2], side)
    pixels = images.astype(np.float32, copy=False)
    return np.einsum("ih,nhwc,jw->nijc", down, pixels, across, optimize=True)


def _areas(length: int, side: int) -> np.ndarray:
    """Return the matrix (side, length) that averages `length` pixels over `side` equal parts."""
    edges = np.linspace(0, length, side + 1)
    low, high = edges[:-1, None], edges[1:, None]
    place = np.arange(length)
    shares = np.clip(np.minimum(high, place + 1) - np.maximum(low, place), 0, 1)
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def _unit(images: np.ndarray) -> np.ndarray:
    """Flatten pictures to rows with mean 0 and length 1, or zeros for a picture of one colour."""
    rows = images.reshape(len(images), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    length = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    flat = length <= 1e-3 * np.abs(images).reshape(len(images), -1).max(axis=1, keepdims=True)
    return np.where(flat, 0, rows / np.where(flat, 1, length)).astype(np.float32)


def _candidates(
    vectors: np.ndarray, train_vectors: np.ndarray, wanted: list[int]
) -> Iterator[tuple[int, np.ndarray, bool]]:
    """Yield (picture, the most similar training pictures, whether the first of these stands out)
    for each picture that may have a near-duplicate by its coarse vector."""
    step = max(1, MOST_BYTES // (4 * max(train_vectors.shape)))
    for start in range(0, len(wanted), step):
        block = wanted[start : start + step]
        products = vectors[block] @ train_vectors.T
        for i in np.flatnonzero(products.max(axis=1) > LOOKED_AT):
            row = products[i]
            near = (
                np.arange(len(row))
                if len(row) <= NEXT
                else np.argpartition(row, len(row) - NEXT)[-NEXT:]
            )
            near = near[np.argsort(-row[near], kind="stable")]
            stands_out = _stands_out(row[near])
            # If the fine correlation is above SAME, so is the coarse one.
            if stands_out or row[near[0]] > SAME:
                yield block[i], near, stands_out


def _stands_out(correlations: np.ndarray) -> bool:
    """Return whether the largest of NEXT correlations is far above the smallest; with fewer than
    NEXT pictures, it is compared with a correlation of 0."""
    away = 1 - correlations
    return bool(away.min() < STANDS_OUT * (away.max() if len(away) == NEXT else 1.0))


def _compared(
    dataset: Any, train_set: Any, candidates: Iterable[tuple[int, np.ndarray, bool]]
) -> Iterator[Pair]:
    """Yield the pairs of candidates that are the same or nearly the same on the fine scale."""
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
    """Return some pictures of a data set on the fine scale, (n, FINE, FINE, C) float32."""
    return np.concatenate([_scaled(images, FINE) for images in _blocks(dataset, rows)])
