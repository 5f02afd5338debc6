"""Tools of the callbacks that measure a model's layers during a training: `FixedBatch`, the batch
that they measure on; `undisturbed`, a block that restores the model's buffers and random state; and
`Columns`, which collects the figures.

`train.LayerStatistics` measures after each epoch, `lab.Probe` after a number of steps. Both trace
their forward passes with `watch`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .. import checks
from ..changes import writes
from ..data.loader import DataLoader
from ..nn.layer import Layer
from ..nn.parameter import Parameter
from ..random import SEED, own_generator
from ..tensor import Tensor
from .batches import first_batch, is_dataset
from .watch import weights_of

ITEMS = 128  # items of the batch that is taken from a data set
NAN = math.nan

Rows = Mapping[str, Mapping[str, Any]]  # by layer: {"kind": ..., figure: number, ...}


class FixedBatch:
    """The one batch on which a callback measures during a whole training.

    given: a batch as a loader gives it, (images, labels); or a loader or a data set, whose first
           batch is taken. None: the first batch of the training's loader
    where, name: the callback and its argument, for errors

    `kept` is a copy of the batch if the loader cannot reproduce it; checkpoints have to hold it.
    """

    def __init__(self, given: Any, where: str, name: str) -> None:
        if (
            isinstance(given, str | bytes)
            or callable(given)
            or not (
                given is None or is_batch(given) or is_dataset(given) or hasattr(given, "__iter__")
            )
        ):
            raise TypeError(
                checks.message(
                    where, name, "a batch (images, labels), a loader, a data set or None", given
                )
            )
        self.given, self.where = given, where
        self.kept: Any = None

    def taken(self, loader: Any) -> Any:
        """Return the batch. ValueError if the loader has no batch."""
        source = loader if self.given is None else self.given
        if is_batch(source):
            return source
        if is_dataset(source):
            source = DataLoader(source, ITEMS, seed=0, prefetch=0)
        reproducible = isinstance(source, DataLoader | list)
        if not reproducible and self.kept is not None:
            return self.kept
        batch = first_batch(source)
        if batch is None:
            raise ValueError(f"{self.where}: the loader has no batch")
        if not reproducible:
            self.kept = plain(batch)
        return batch


def is_batch(x: Any) -> bool:
    """Return whether x is a single batch: an array, or a tuple or dict of arrays. A list counts as
    a loader, a list of batches."""
    return isinstance(x, tuple | Mapping | np.ndarray | Tensor)


def plain(batch: Any) -> Any:
    """Copy a batch into NumPy arrays in the same structure, so that a checkpoint can hold it."""
    if isinstance(batch, Mapping):
        return {str(key): plain(part) for key, part in batch.items()}
    if isinstance(batch, tuple | list):
        return tuple([plain(part) for part in batch])
    return np.array(batch.data if isinstance(batch, Tensor) else batch)


class Columns:
    """A table of figures of a model and of its layers over a training, as plain lists and dicts:
    {"epoch": [0, 1, ...], figure: [...], "layers": [{"name": ..., "kind": ..., figure: [...]}]}.

    moment: the name of the column that says when each entry was measured, "epoch" or "step"

    Every column has an entry for each moment, NaN where the figure was not measured.
    """

    def __init__(self, moment: str) -> None:
        self.moment = moment
        self.history: dict[str, Any] = {moment: [], "layers": []}

    def add(self, at: int, rows: Rows, figures: Mapping[str, float] | None = None) -> None:
        """Add an entry: the figures of the layers, and those of the model."""
        history, layers = self.history, self.history["layers"]
        count = len(history[self.moment])
        for figure in figures or {}:
            history.setdefault(figure, [NAN] * count)
        history["layers"] = history.pop("layers")  # it stays the last key after new figures
        known = {layer["name"]: layer for layer in layers}
        for name, row in rows.items():
            if name not in known:
                known[name] = {"name": name, "kind": row["kind"]}
                layers.append(known[name])
            for figure in row:
                if figure != "kind":
                    known[name].setdefault(figure, [NAN] * count)
        for layer in layers:
            _append(layer, rows.get(layer["name"], {}))
        history[self.moment].append(at)
        _append(
            {
                name: column
                for name, column in history.items()
                if name not in (self.moment, "layers")
            },
            figures or {},
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the history in a few arrays, because a file has an entry for each array."""
        history, layers = self.history, self.history["layers"]
        columns = [
            (i, name)
            for i, layer in enumerate(layers)
            for name, column in layer.items()
            if isinstance(column, list)
        ]
        figures = [name for name in history if name not in (self.moment, "layers")]
        state = {
            self.moment: list(history[self.moment]),
            "layers": [[layer["name"], layer["kind"]] for layer in layers],
            "columns": [[i, name] for i, name in columns],
            "values": np.array([layers[i][name] for i, name in columns], np.float64),
        }
        if figures:
            state |= {
                "figures": figures,
                "of_model": np.array([history[name] for name in figures], np.float64),
            }
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""
        layers: list[dict[str, Any]] = [
            {"name": name, "kind": kind} for name, kind in state["layers"]
        ]
        for (i, name), column in zip(state["columns"], state["values"], strict=True):
            layers[i][name] = column.tolist()
        self.history = {self.moment: [int(at) for at in state[self.moment]]}
        for name, column in zip(state.get("figures", ()), state.get("of_model", ()), strict=True):
            self.history[name] = column.tolist()
        self.history["layers"] = layers


def _append(columns: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    for figure, column in columns.items():
        if isinstance(column, list):
            column.append(found.get(figure, NAN))


# -------------------------------------------------------------------------------------- the model


@contextlib.contextmanager
def undisturbed(model: Layer, where: str, seed: int = SEED) -> Iterator[None]:
    """Within the block the model may compute as in a training step. Afterwards its buffers and the
    random generator are as before. Random numbers in the block depend only on `seed`."""
    copies = {name: array.copy() for name, array in model.named_buffers()}
    try:
        with own_generator(seed):
            yield
    finally:
        buffers = {name: array for name, array in model.named_buffers() if name in copies}
        writes(where, (), buffers.values())
        for name, array in buffers.items():
            array[...] = copies[name]


def named_weights(model: Layer) -> Iterator[tuple[str, list[Parameter]]]:
    """Yield (name, matrices and filters) of each layer that has any."""
    for name, layer in model.named_layers():
        if weights := weights_of(layer):
            yield name or type(layer).__name__, weights


def norm_of(arrays: Sequence[np.ndarray]) -> float:
    """Return the Euclidean norm over all values of all arrays, computed in float64."""
    return math.sqrt(sum(float(np.square(a, dtype=np.float64).sum()) for a in arrays))
