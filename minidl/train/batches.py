"""How a trainer splits a batch into the inputs of the model and the labels of the loss.

The structure of the batch that a loader gives decides:

- A single array or tensor is both the input and the label, as for an autoencoder.
- In a tuple or list, the first entry is the input and the second holds the labels. If the model's
  `forward` has n parameters without a default, the first n entries are the inputs, and the labels
  come next. If the first entry is itself a tuple, list or dict, it holds all inputs, by position or
  by name.
- In a dict, the input is the entry "image" or "images"; without these, the entries that are named
  like the parameters of `forward`; without these too, the first entry. The labels are the entry
  "label" or "labels", or else the first entry that is not an input.

All other entries are ignored, unless the loss has a parameter named `batch`: it then gets the whole
batch.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import checks
from ..arrays import array_like
from ..data.dataset import ArrayDataset, numbers
from ..data.loader import DataLoader
from ..nn.layer import Layer
from ..tensor import Tensor
from ..tracing import model_input

BATCH_SIZE = 256  # batch size for data sets that are evaluated without a loader


@dataclasses.dataclass(frozen=True)
class Example:
    """A batch, split into inputs and labels."""

    inputs: tuple[Any, ...]
    named: dict[str, Any]  # inputs by the names of forward's parameters
    labels: Any
    count: int  # number of items
    batch: Any  # the batch as the loader gave it

    def __iter__(self) -> Iterator[Any]:
        """Iterate over all inputs, those by position first."""
        yield from self.inputs
        yield from self.named.values()


class Reader:
    """Splits batches for a model and converts floats to the dtype that the model computes in."""

    def __init__(self, model: Layer) -> None:
        self.model = model
        self.names = _required(model.forward)

    def __call__(self, batch: Any) -> Example:
        """Split a batch into inputs and labels. ValueError if it has too few entries."""
        dtype = self.model._dtype()
        given, labels, is_own_label = self._split(batch)
        inputs: tuple[Tensor, ...] = ()
        named: dict[str, Tensor] = {}
        if isinstance(given, Mapping):
            named = {name: _input(x, dtype) for name, x in given.items()}
        else:
            inputs = tuple([_input(x, dtype) for x in given])
        first = next((x for x in (*inputs, *named.values())), None)
        if first is None:
            raise ValueError("a batch has no input for the model: its first entry is empty")
        return Example(
            inputs,
            named,
            first if is_own_label else _labels(labels, dtype),
            first.shape[0] if first.shape else 1,
            batch,
        )

    def _split(self, batch: Any) -> tuple[Any, Any, bool]:
        """Return (inputs as a tuple or dict, labels, whether the input is its own label)."""
        if isinstance(batch, Mapping):
            return self._split_dict(batch)
        if not isinstance(batch, (tuple, list)):
            return (batch,), None, True
        if not batch:
            raise ValueError("a loader's batch is an empty list or tuple")
        nested = isinstance(batch[0], (tuple, list, Mapping))
        count = 1 if nested else max(len(self.names), 1)
        if len(batch) == 1 == count and not nested:
            return (batch[0],), None, True
        if len(batch) <= count:
            raise ValueError(
                f"a batch of {len(batch)} entries has no labels left after the "
                f"{count} input(s) of {type(self.model).__name__}"
            )
        return batch[0] if nested else batch[:count], batch[count], False

    def _split_dict(self, batch: Mapping[str, Any]) -> tuple[Any, Any, bool]:
        if not batch:
            raise ValueError("a loader's batch is an empty dict")
        keys = [key for key in ("image", "images") if key in batch][:1]
        if not keys or len(self.names) > 1:
            named = [name for name in self.names if name in batch]
            keys = named if named and len(named) == len(self.names) else keys or [next(iter(batch))]
        rest = [key for key in ("label", "labels", *batch) if key in batch and key not in keys]
        given = batch[keys[0]]
        if len(keys) > 1 or not isinstance(given, (tuple, list, Mapping)):
            given = tuple([batch[key] for key in keys])
        return given, batch[rest[0]] if rest else None, not rest


def _required(forward: Callable[..., Any]) -> list[str]:
    """Return the names of the parameters of `forward` that have no default."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = inspect.signature(forward).parameters.values()
    except ValueError:  # compiled functions may have no signature
        return []
    return [p.name for p in parameters if p.kind in kinds and p.default is p.empty]


def _input(x: Any, dtype: np.dtype) -> Tensor:
    """Convert an input for the model: floats to the model's dtype, uint8 divided by 255."""
    batch = model_input(x, dtype)
    return batch if batch.dtype.kind != "f" or batch.dtype == dtype else batch.astype(dtype)


def _labels(labels: Any, dtype: np.dtype) -> Any:
    """Convert labels for the loss: floats to the model's dtype; all else stays as it is."""
    if isinstance(labels, (tuple, list, Mapping, str)) or not hasattr(labels, "__array__"):
        return labels
    array = labels if isinstance(labels, (Tensor, np.ndarray)) else np.asarray(labels)
    return array.astype(dtype) if array.dtype.kind == "f" and array.dtype != dtype else array


def takes_batch(loss: Callable[..., Any]) -> bool:
    """Return whether a loss has a parameter named `batch`, by which it asks for the whole batch."""
    try:
        return "batch" in inspect.signature(loss).parameters
    except (TypeError, ValueError):
        return False


def check_loader(loader: Any, where: str, name: str) -> Any:
    """Return the loader. TypeError if it is not an iterable that can be iterated in every epoch."""
    expected = "a DataLoader, or another iterable of batches"
    if isinstance(loader, (str, bytes, np.ndarray, Tensor, Mapping)):
        raise TypeError(checks.message(where, name, expected, loader))
    if is_dataset(loader) or isinstance(loader, tuple):
        raise TypeError(
            f"{where}: {name} must be {expected}, got a {type(loader).__name__}: "
            f"write data.DataLoader({name}, batch_size=128, shuffle=True)"
        )
    if not hasattr(loader, "__iter__"):
        raise TypeError(checks.message(where, name, expected, loader))
    if hasattr(loader, "__next__"):
        raise TypeError(
            f"{where}: {name} must be {expected}, got a {type(loader).__name__}, which "
            f"gives its batches only once: make a list of them, or a class with "
            f"__iter__"
        )
    return loader


def is_dataset(x: Any) -> bool:
    """Return whether x is a data set (items by index) rather than an iterable of batches. A list is
    one if the label of its first entry is a single number, since a batch has several."""
    if isinstance(x, list):
        return (
            bool(x) and isinstance(x[0], (tuple, list)) and len(x[0]) > 1 and not np.ndim(x[0][1])
        )
    return isinstance(x, ArrayDataset) or (
        hasattr(x, "__getitem__") and hasattr(x, "__len__") and not hasattr(x, "__iter__")
    )


def evaluated(x: Any, where: str, name: str) -> Iterable[Any]:
    """Return the batches to evaluate: one pass over a loader, which does not advance its epochs, or
    over a data set, a tuple of arrays (images, labels), or an array of inputs alone. The first
    entry of a tuple may be a tuple or a dict of the arrays of several inputs."""
    if isinstance(x, tuple) and x and isinstance(x[0], (tuple, Mapping)):
        return SeveralInputs(x, f"{where}: {name}")
    if isinstance(x, tuple) or array_like(x):
        x = ArrayDataset(*x) if isinstance(x, tuple) else ArrayDataset(x)
    if is_dataset(x):
        x = DataLoader(x, BATCH_SIZE, seed=0)
    return once(check_loader(x, where, name))


class SeveralInputs:
    """The batches of (inputs, labels, ...), whose inputs are a tuple or dict of arrays (N, ...);
    each batch has the same structure. ValueError for arrays of different lengths."""

    def __init__(self, arrays: tuple[Any, ...], where: str) -> None:
        given, *rest = arrays
        named = given if isinstance(given, Mapping) else dict(enumerate(given))
        self.inputs = {key: numbers(x, where, f"input {key!r}") for key, x in named.items()}
        self.rest = [numbers(x, where, f"entry {i}") for i, x in enumerate(rest, 1)]
        self.by_name = isinstance(given, Mapping)
        lengths = [len(x) for x in (*self.inputs.values(), *self.rest)]
        if len(set(lengths)) != 1:
            raise ValueError(
                f"{where} must have arrays of one length, got {', '.join(map(str, lengths))}"
            )
        self.count = lengths[0]

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, self.count, BATCH_SIZE):
            rows = slice(start, start + BATCH_SIZE)
            inputs = {key: x[rows] for key, x in self.inputs.items()}
            yield (
                inputs if self.by_name else tuple(inputs.values()),
                *[x[rows] for x in self.rest],
            )


def once(loader: Any) -> Iterable[Any]:
    """Return an iterable of one pass over a loader. A loader with a method `once`, such as
    `DataLoader`, does not count the pass as one of its epochs."""
    return loader.once() if hasattr(loader, "once") else loader


def first_batch(loader: Any) -> Any:
    """Return the first batch of a loader, or None if it has no batch. The epochs of a loader with a
    method `once` do not advance."""
    batches = iter(once(loader))
    try:
        return next(batches, None)
    finally:
        if hasattr(batches, "close"):
            batches.close()
