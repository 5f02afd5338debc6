"""The random numbers of a batch, item by item.

Each number is a function of the seed, the epoch, the item's place in the data set and the
transform's place in a composition: not of the batch that the item is in, of threads, or of what was
drawn before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

STEP = np.uint64(0x9E3779B97F4A7C15)


class Draws:
    """What a transform draws from: a stream of numbers for each item of a batch.

    seed, epoch: as the loader has them
    items:       (B,) places of the items in the data set
    generator:   makes the generator of the batch, for functions that take `rng`
    classes:     how many there are, for labels that become distributions; None: not known
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
        # Those of an epoch, and those that stay the same from one epoch to the next.
        self._keys = _joined(
            _joined(_joined(np.uint64(0), np.uint64(seed)), np.uint64(epoch)), items
        )
        self._lasting = _joined(_joined(np.uint64(1), np.uint64(seed)), items)

    def __len__(self) -> int:
        return len(self._keys)

    def at(self, place: int) -> Draws:
        """Streams of their own for the transform at this place of a composition."""
        new = object.__new__(Draws)
        new.epoch, new.classes, new._generator = self.epoch, self.classes, self.generator
        new._keys = _joined(self._keys, np.uint64(place))
        new._lasting = _joined(self._lasting, np.uint64(place))
        return new

    def uniform(self, count: int, first: int = 0, lasting: bool = False) -> np.ndarray:
        """(B, count) numbers in [0, 1), float64: of each item those from `first` on.

        lasting: the same in every epoch
        """
        keys = self._lasting if lasting else self._keys
        bits = _mixed(
            keys[:, None] + STEP * np.arange(first + 1, first + count + 1, dtype=np.uint64)
        )
        return (bits >> np.uint64(11)) * 2.0**-53

    def below(self, bounds: Any, first: int = 0) -> np.ndarray:
        """(B, len(bounds)) whole numbers, each below its bound."""
        bounds = np.asarray(bounds)
        return (self.uniform(len(bounds), first) * bounds).astype(np.int64)

    def generator(self) -> np.random.Generator:
        """The generator of the batch: the same one however often it is asked for."""
        if callable(self._generator):
            self._generator = self._generator()
        return self._generator


def _joined(key: Any, word: Any) -> Any:
    """A key made of a key and a word (or an array of them), in this order."""
    with np.errstate(over="ignore"):  # of NumPy's scalars; arrays wrap around silently
        return _mixed(key ^ _mixed(word + STEP))


def _mixed(z: Any) -> Any:
    """SplitMix64's hash of 64 bits (Steele, Lea & Flood 2014)."""
    with np.errstate(over="ignore"):
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
