"""Batches of a data set, in an order that depends on the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from minidl import checks, hints, kernels
from minidl.locks import lock
from minidl.tracers import timed

from .batch import as_dataset, gather
from .draws import Draws
from .prefetch import prepared
from .transforms.base import as_transform, run

MOST_SEED = 2**64 - 1  # the largest seed and epoch, which together are Philox's key
_beginning = lock()  # held while an iteration begins, so that two threads begin two epochs


class Dataset(Protocol):
    """What a data set must have: a length, and an item for each index below it."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


@dataclass
class _Position:
    """The epoch of an iteration, and how many of its batches were given to the caller."""

    epoch: int
    batches: int
    begun: bool = False


class DataLoader(hints.Explained):
    """Iterates over batches `(images, labels)`: a tensor and an integer array.

    dataset:    an `ArrayDataset` or another data set of minidl, or anything with a length and items
                `dataset[i]`: (image, label), a longer tuple (image, label, ...), a dict or an image
                alone; they are stacked. An array is a data set of images alone.
    batch_size: the number of items in a batch; the last batch of an epoch may have fewer
    shuffle:    whether every epoch has a new order, or the order of the data set
    transform:  one of `data.transforms`, or a function of the images of a whole batch, a float
                array (B, H, W, C) that it may change; it returns as many images.
                `transform(images, rng)` gets a numpy Generator of its own for each batch, if its
                second parameter has no default or is named `rng`; `transform(images, labels)`,
                whose second parameter is named `labels`, gets and returns both, and may have `rng`
                as a third.
    drop_last:  leave out a last batch that is not full
    seed:       0 to 2**64 - 1; None draws one from the generator of `md.manual_seed`
    prefetch:   the number of batches that a thread prepares while the caller works, if preparing
                one takes more than 5% of that work; 0 for none, without a thread
    sampler:    `sampler(rng)` returns the indices of an epoch's items in their order, as many as
                the data set has items, perhaps with repetitions, as `data.balanced` does. It takes
                the place of `shuffle`

    uint8 images become float32 in [0, 1] (divided by 255); others keep their dtype, whatever the
    transform computes in. Integer labels become int64; float labels do not change. Batches have the
    structure of items: a batch of images alone is a tensor, one of longer tuples is a longer tuple,
    and one of dicts is a dict, whose other entries are treated like labels. In a dict the image is
    the entry "image" or "images", or else the first; the label is "label" or "labels", or else the
    first other entry. Arrays of other libraries are taken as they are; Pillow's pictures become
    (H, W, 1) if they are grey, else (H, W, 3).

    Each `iter()` begins the next epoch, from 0. Iterations are independent of each other, also in
    several threads, but one iterator belongs to one thread at a time. After a fork the child goes
    on with the same batches, without a thread. The order depends on (seed, epoch), the `rng` of a
    function on (seed, epoch, batch), and the draws of `data.transforms` on (seed, epoch, item);
    nothing depends on threads or on prefetching. An exception in the data set or the transform is
    raised by the loop. When the loop ends, for whatever reason, its thread has ended too.

    TypeError and ValueError for arguments that do not fit, and for items of a batch that differ in
    shape.

    >>> pairs = data.ArrayDataset(np.full((5, 2, 2, 1), 255, np.uint8), np.arange(5))
    >>> loader = data.DataLoader(pairs, batch_size=2)
    >>> for images, labels in loader:
    ...     print(images.shape, float(images.max()), labels)
    (2, 2, 2, 1) 1.0 [0 1]
    (2, 2, 2, 1) 1.0 [2 3]
    (1, 2, 2, 1) 1.0 [4]
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        shuffle: bool = False,
        transform: Any = None,
        drop_last: bool = False,
        seed: int | None = None,
        prefetch: int = 2,
        sampler: Callable[[np.random.Generator], Any] | None = None,
    ) -> None:
        dataset = as_dataset(dataset, "DataLoader")
        if seed is None:
            from minidl.random import generator

            seed = int(generator().integers(2**63))
        self.dataset = dataset
        self.batch_size = checks.size(batch_size, "DataLoader", "batch_size")
        self.shuffle = checks.flag(shuffle, "DataLoader", "shuffle")
        self.transform = transform
        self.drop_last = checks.flag(drop_last, "DataLoader", "drop_last")
        self.seed = checks.integer(seed, "DataLoader", "seed", 0, MOST_SEED)
        self.prefetch = checks.integer(prefetch, "DataLoader", "prefetch", 0)
        self.sampler = sampler
        if sampler is not None:
            checks.function(sampler, "DataLoader", "sampler", "a function of a generator, or None")
            if self.shuffle:
                raise ValueError(
                    "DataLoader: sampler and shuffle=True are two orders: leave "
                    "shuffle out, a sampler may shuffle by itself"
                )
        self._transform = (
            None if transform is None else as_transform(transform, "DataLoader", "transform")
        )
        self._position = _Position(0, 0)

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        with _beginning:
            position = self._position
            if position.begun:
                position = self._position = _Position(position.epoch + 1, 0)
            position.begun = True
        return self._iterate(self.seed, position)

    def once(self) -> Iterator[Any]:
        """All batches of epoch 0, whatever has been iterated before. This does not advance the
        loader's epochs."""
        return self._iterate(self.seed, _Position(0, 0))

    def state_dict(self) -> dict[str, int]:
        """The place of the newest iteration: {"seed", "epoch", "position"}.

        `position` counts the batches that the loop has been given, not those that are prepared.
        Within the loop, and after it was left early, this is the place to continue from; after a
        complete epoch it is the start of the next one.
        """
        position = self._position
        return {"seed": self.seed, "epoch": position.epoch, "position": position.batches}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make the next iteration continue where `state_dict` was taken.

        It gives the rest of that epoch, which is nothing if all of its batches had been given. The
        data set and the arguments must be the same; only `seed` is restored. ValueError for a state
        that is not a loader's, or a position beyond the epoch.
        """
        if set(state) != {"seed", "epoch", "position"}:
            raise ValueError(
                f"the state of a loader has the keys seed, epoch, position; not {list(state)}"
            )
        seed = checks.integer(state["seed"], "DataLoader", "seed", 0, MOST_SEED)
        epoch = checks.integer(state["epoch"], "DataLoader", "epoch", 0, MOST_SEED)
        position = checks.integer(state["position"], "DataLoader", "position", 0, len(self))
        self.seed = seed
        self._position = _Position(epoch, position)

    def __repr__(self) -> str:
        return (
            f"DataLoader({self.dataset!r}, batch_size={self.batch_size}, shuffle={self.shuffle}, "
            f"transform={self.transform!r}, drop_last={self.drop_last}, seed={self.seed}, "
            f"prefetch={self.prefetch})"
        )

    def _iterate(self, seed: int, position: _Position) -> Iterator[Any]:
        count = len(self.dataset)
        order: range | np.ndarray = range(count)
        if self.shuffle:
            kernels.check_shape("DataLoader: the order", (count,), np.int64)
            order = _rng(seed, position.epoch).permutation(count)
        if self.sampler is not None:
            order = _sampled(self.sampler(_rng(seed, position.epoch)), count)
        make = partial(self._batch, seed, position.epoch, order)
        numbers = range(position.batches, len(self))
        with closing(prepared(make, numbers, self.prefetch)) as batches:
            for batch in timed("DataLoader", batches):
                position.batches += 1
                yield batch
        position.epoch, position.batches, position.begun = position.epoch + 1, 0, False

    def _batch(self, seed: int, epoch: int, order: range | np.ndarray, number: int) -> Any:
        """Make batch `number` of an epoch. This runs in the prefetching thread, so it must not
        change the loader."""
        start = number * self.batch_size
        rows = order[start : start + self.batch_size]
        batch = gather(self.dataset, rows)
        images = batch.images
        if images.dtype == np.uint8:
            # One thread is quicker, because the others work for the model, and waking them costs.
            images = kernels.to_float(images, threads=1)
        if self._transform is not None:
            names = getattr(self.dataset, "classes", None)
            draws = Draws(
                seed,
                epoch,
                rows,
                lambda: _rng(seed, epoch, 1 + number),
                None if names is None else len(names),
            )
            images, labels = run(self._transform, images, batch.labels, draws)
            if batch.label is not None and labels is not None:
                batch.columns[batch.label] = labels
        batch.columns[batch.image] = images
        return batch.structured()


def _sampled(given: Any, count: int) -> np.ndarray:
    """Check the indices that a sampler has returned."""
    order = np.asarray(given)
    if order.dtype.kind not in "iu":
        raise TypeError(f"DataLoader: sampler must return items by number, got {order.dtype}")
    if order.shape != (count,) or (count and not 0 <= order.min() <= order.max() < count):
        raise ValueError(
            f"DataLoader: sampler must return {count} numbers from 0 to {count - 1}, "
            f"as many as the data set has items; got {checks.shown(given)}"
        )
    return order


def _rng(seed: int, epoch: int, stream: int = 0) -> np.random.Generator:
    """The generator of an epoch's order (stream 0), or of batch `stream` - 1.

    Philox is a function of a key and a counter; a stream has 2**192 values of the counter.
    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    key = np.array([seed, epoch], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, stream]))
