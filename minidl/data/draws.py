"""Random numbers for transforms, with a separate stream for each item of a batch.

Each number is a function of the seed, the epoch, the item's index in the data set and the
transform's position in a composition. It does not depend on the batch that the item is in, on
threads, or on numbers drawn before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

STEP = np.uint64(0x9E3779B97F4A7C15)  # SplitMix64's increment, 2^64 / golden ratio


class Draws:
    """A source of random numbers for transforms: a stream of numbers for each item of a batch.

    seed, epoch: those of the loader
    items:       (B,) indices of the items in the data set
    generator:   a function that returns the batch's generator, for transforms that take `rng`
    classes:     the number of classes, for labels that become distributions; None if unknown
    """

    def __init__(
        self,
        seed: int,
        epoch: int,
        items: Any,
        generator: Callable[[], np.random.Generator],
        classes: int | None = None,
    ) -> None:
        items = np.asarray(items, np.uint64)
        self.epoch = epoch
        self.classes = classes
        self._generator: Any = generator
        # The keys of the streams that change every epoch, and of those that are the same in all.
        self._keys = _joined(
            _joined(_joined(np.uint64(0), np.uint64(seed)), np.uint64(epoch)), items
        )
        self._lasting = _joined(_joined(np.uint64(1), np.uint64(seed)), items)

    def __len__(self) -> int:
        return len(self._keys)

    def at(self, place: int) -> Draws:
        """Return separate streams for the transform at this position of a composition."""
        new = object.__new__(Draws)
        new.epoch, new.classes, new._generator = self.epoch, self.classes, self.generator
        new._keys = _joined(self._keys, np.uint64(place))
        new._lasting = _joined(self._lasting, np.uint64(place))
        return new

    def uniform(self, count: int, first: int = 0, lasting: bool = False) -> np.ndarray:
        """Return (B, count) float64 numbers in [0, 1): the numbers `first` to `first + count - 1`
        of each item's stream.

        lasting: whether the numbers are the same in every epoch
        """
        keys = self._lasting if lasting else self._keys
        bits = _mixed(
            keys[:, None] + STEP * np.arange(first + 1, first + count + 1, dtype=np.uint64)
        )
        return (bits >> np.uint64(11)) * 2.0**-53

    def below(self, bounds: Any, first: int = 0) -> np.ndarray:
        """Return (B, len(bounds)) integers, each from 0 to below its bound."""
        bounds = np.asarray(bounds)
        return (self.uniform(len(bounds), first) * bounds).astype(np.int64)

    def generator(self) -> np.random.Generator:
        """Return the batch's generator, the same one in each call."""
        if callable(self._generator):
            self._generator = self._generator()
        return self._generator


def _joined(key: Any, word: Any) -> Any:
    """Hash a key and a word, or an array of words, to new keys."""
    with np.errstate(over="ignore"):  # NumPy's scalars warn of overflow, unlike arrays
        return _mixed(key ^ _mixed(word + STEP))


def _mixed(z: Any) -> Any:
    """SplitMix64's hash of 64 bits (Steele, Lea & Flood 2014)."""
    with np.errstate(over="ignore"):
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
