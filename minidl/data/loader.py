"""Batches of a data set, in an order that depends on the seed and the epoch alone."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from minidl import kernels
from minidl.hints import takes_no_others, unexpected
from minidl.tensor import Tensor

from .prefetch import prefetched

Transform = Callable[..., np.ndarray]


class Dataset(Protocol):
    """What the loader needs: a length, and an (image, label) for each index below it."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


@dataclass
class _Position:
    """How far an iteration has come: batches handed out in an epoch; or where the next begins."""

    epoch: int
    batches: int
    begun: bool = False


class DataLoader:
    """Iterates over batches `(images, labels)`: a tensor and an integer array.

    dataset:    any with `.images` and `.labels` arrays (N, ...); else `len(dataset)` and
                `dataset[i]` -> (image, label) are used, and the items stacked
    batch_size: items a batch; the last batch of an epoch may have fewer
    shuffle:    a new order every epoch, else the order of the data set
    transform:  `transform(images)` or `transform(images, rng)` on the images of a whole batch, a
                float array (B, H, W, C) that it may change; it returns as many images. `rng` is
                a numpy Generator of its own for each batch. It is given to a transform with two
                required positional parameters or a second one named `rng`.
    drop_last:  leave out a last batch that is not full
    seed:       0 to 2**64 - 1; None draws one from the generator of `md.manual_seed`
    prefetch:   batches that a thread prepares while the caller works; 0 for none, without thread

    uint8 images become float32 in [0, 1] (divided by 255); others keep their dtype, whatever the
    transform computes in. Integer labels become int64; float ones pass unchanged.

    Each `iter()` begins the next epoch, from 0; iterations do not disturb each other. The order
    depends on (seed, epoch), a transform's random numbers on (seed, epoch, batch): neither on
    threads nor on prefetching. An exception in the data set or the transform is raised by the
    loop. When the loop ends, in whatever way, its thread has ended too.

    TypeError and ValueError for arguments that do not fit.

    >>> pairs = data.ArrayDataset(np.full((5, 2, 2, 1), 255, np.uint8), np.arange(5))
    >>> loader = data.DataLoader(pairs, batch_size=2)
    >>> for images, labels in loader:
    ...     print(images.shape, float(images.max()), labels)
    (2, 2, 2, 1) 1.0 [0 1]
    (2, 2, 2, 1) 1.0 [2 3]
    (1, 2, 2, 1) 1.0 [4]
    """

    @takes_no_others
    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        shuffle: bool = False,
        transform: Transform | None = None,
        drop_last: bool = False,
        seed: int | None = None,
        prefetch: int = 2,
        **other: Any,
    ) -> None:
        if other:
            raise unexpected("DataLoader", other)
        _check_dataset(dataset)
        if transform is not None and not callable(transform):
            raise TypeError(f"transform must be callable or None, not {transform!r}")
        if seed is None:
            from minidl.random import generator

            seed = int(generator().integers(2**63))
        self.dataset = dataset
        self.batch_size = _whole("batch_size", batch_size, 1)
        self.shuffle = bool(shuffle)
        self.transform = transform
        self.drop_last = bool(drop_last)
        self.seed = _whole("seed", seed, 0, 2**64 - 1)
        self.prefetch = _whole("prefetch", prefetch, 0)
        self._wants_rng = transform is not None and _takes_rng(transform)
        self._position = _Position(0, 0)

    def __len__(self) -> int:
        """Batches in an epoch."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, np.ndarray]]:
        if self._position.begun:
            self._position = _Position(self._position.epoch + 1, 0)
        self._position.begun = True
        return self._iterate(self.seed, self._position)

    def state_dict(self) -> dict[str, int]:
        """Where the newest iteration stands: {"seed", "epoch", "position"}.

        `position` counts the batches that the loop has been given, not those prepared. Within the
        loop, and after it was left early, this is the place to continue from; after a complete
        epoch it is the start of the next.
        """
        position = self._position
        return {"seed": self.seed, "epoch": position.epoch, "position": position.batches}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make the next iteration continue where `state_dict` was taken.

        It gives the rest of that epoch: nothing, if all its batches had been given. The data set
        and the arguments must be the same; only `seed` is restored. ValueError for a state of
        something else or a position beyond the epoch.
        """
        if set(state) != {"seed", "epoch", "position"}:
            raise ValueError(
                f"the state of a loader has the keys seed, epoch, position; not {list(state)}"
            )
        seed = _whole("seed", state["seed"], 0, 2**64 - 1)
        epoch = _whole("epoch", state["epoch"], 0, 2**64 - 1)
        position = _whole("position", state["position"], 0, len(self))
        self.seed = seed
        self._position = _Position(epoch, position)

    def __repr__(self) -> str:
        return (
            f"DataLoader({self.dataset!r}, batch_size={self.batch_size}, shuffle={self.shuffle}, "
            f"transform={self.transform!r}, drop_last={self.drop_last}, seed={self.seed}, "
            f"prefetch={self.prefetch})"
        )

    def _iterate(self, seed: int, position: _Position) -> Iterator[tuple[Tensor, np.ndarray]]:
        count = len(self.dataset)
        order = _rng(seed, position.epoch).permutation(count) if self.shuffle else np.arange(count)
        make = partial(self._batch, seed, position.epoch, order)
        numbers = range(position.batches, len(self))
        with closing(prefetched(make, numbers, self.prefetch)) as batches:
            for batch in batches:
                position.batches += 1
                yield batch
        position.epoch, position.batches, position.begun = position.epoch + 1, 0, False

    def _batch(
        self, seed: int, epoch: int, order: np.ndarray, number: int
    ) -> tuple[Tensor, np.ndarray]:
        """Batch `number` of an epoch; runs in the thread, so it changes nothing of the loader."""
        start = number * self.batch_size
        images, labels = _gather(self.dataset, order[start : start + self.batch_size])
        if images.dtype == np.uint8:
            # One thread: the others work for the model meanwhile, and waking them costs more.
            images = kernels.to_float(images, threads=1)
        if self.transform is not None:
            rng = [_rng(seed, epoch, 1 + number)] if self._wants_rng else []
            images = _checked(self.transform(images, *rng), images)
        return Tensor(images), labels


def _rng(seed: int, epoch: int, stream: int = 0) -> np.random.Generator:
    """Random numbers of an epoch: its order (stream 0), or those of batch `stream` - 1.

    Philox is a function of a key and a counter; a stream has 2**192 values of the counter.
    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    key = np.array([seed, epoch], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, stream]))


def _gather(dataset: Dataset, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels of some items, copied: a transform may change them."""
    if arrays := _arrays(dataset):
        images, labels = arrays["images"][rows], arrays["labels"][rows]
    else:
        items = [_item(dataset, row) for row in rows.tolist()]
        images = np.stack([np.asarray(image) for image, _ in items])
        labels = np.asarray([label for _, label in items])
    # Indexing may give another order of axes, and files another order of bytes.
    images = np.ascontiguousarray(images, images.dtype.newbyteorder("="))
    return images, labels.astype(np.int64, copy=False) if labels.dtype.kind in "biu" else labels


def _arrays(dataset: Dataset) -> dict[str, np.ndarray]:
    """The arrays that hold the whole data set; {} where it has none and makes its items."""
    images, labels = getattr(dataset, "images", None), getattr(dataset, "labels", None)
    if isinstance(images, np.ndarray) and isinstance(labels, np.ndarray):
        return {"images": images, "labels": labels}
    return {}


def _item(dataset: Dataset, row: int) -> tuple[Any, Any]:
    item = dataset[row]
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise TypeError(f"dataset[{row}] must be (image, label), not a {type(item).__name__}")
    return item[0], item[1]


def _checked(result: Any, images: np.ndarray) -> np.ndarray:
    """What a transform made of the images, in their dtype: NumPy turns to float64 easily."""
    if not isinstance(result, np.ndarray):
        raise TypeError(f"transform must return an array, not a {type(result).__name__}")
    if result.shape[:1] != images.shape[:1]:
        raise ValueError(
            f"transform must return as many images as it got, {len(images)}; "
            f"it returned an array of shape {result.shape}"
        )
    return np.ascontiguousarray(result, images.dtype if images.dtype.kind == "f" else None)


def _takes_rng(transform: Transform) -> bool:
    """A second parameter that is optional is rng only by name: it may mean anything else."""
    try:
        parameters = inspect.signature(transform).parameters.values()
    except ValueError:  # some functions in C do not tell
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [parameter for parameter in parameters if parameter.kind in kinds]
    if len(positional) < 2:
        return False
    return positional[1].default is inspect.Parameter.empty or positional[1].name == "rng"


def _check_dataset(dataset: Any) -> None:
    if isinstance(dataset, (np.ndarray, tuple, str, bytes, Mapping)) or not (
        hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
    ):
        raise TypeError(
            "dataset must have a length and items (image, label); got a "
            f"{type(dataset).__name__} (for arrays: ArrayDataset(images, labels))"
        )
    for name, array in _arrays(dataset).items():
        if array.shape[:1] != (len(dataset),):
            raise ValueError(
                f"dataset.{name} must have a first axis of len(dataset) = {len(dataset)}; "
                f"its shape is {array.shape}"
            )


def _whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """An integer of any kind (Python's, NumPy's, a 0-d array) in a range."""
    expected = f"at least {least}" if most is None else f"from {least} to {most}"
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer {expected}, not {value!r}")
    if number < least or (most is not None and number > most):
        raise ValueError(f"{name} must be {expected}, not {value!r}")
    return number
