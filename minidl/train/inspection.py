"""What callbacks share that look into a model while it trains: the batch that they look at, a block
that leaves no trace in the model, and the columns of figures that they gather.

`train.LayerStatistics` looks after each epoch, `lab.Probe` after so many steps; `watch` follows the
passes of both.
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

ITEMS = 128  # of a batch that is taken from a data set
NAN = math.nan

Rows = Mapping[str, Mapping[str, Any]]  # by layer: {"kind": ..., figure: number, ...}


class FixedBatch:
    """The batch that is looked at during a whole training.

    given: a batch as a loader gives it, (images, labels); or a loader or a data set, whose first
           batch is taken. None: the first batch of the training's loader
    where, name: who has been given it, and as which argument, for errors

    `kept` is a copy of the batch if nobody could make it again: it belongs into a checkpoint.
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
        """The batch. ValueError where a loader has none."""
        source = loader if self.given is None else self.given
        if is_batch(source):
            return source
        if is_dataset(source):
            source = DataLoader(source, ITEMS, seed=0, prefetch=0)
        again = isinstance(source, DataLoader | list)
        if not again and self.kept is not None:
            return self.kept
        batch = first_batch(source)
        if batch is None:
            raise ValueError(f"{self.where}: the loader has no batch")
        if not again:
            self.kept = plain(batch)
        return batch


def is_batch(x: Any) -> bool:
    """Whether something is one batch: arrays, in a tuple or dict; a list of such is a loader."""
    return isinstance(x, tuple | Mapping | np.ndarray | Tensor)


def plain(batch: Any) -> Any:
    """A batch as arrays, in the same structure, to be saved."""
    if isinstance(batch, Mapping):
        return {str(key): plain(part) for key, part in batch.items()}
    if isinstance(batch, tuple | list):
        return tuple([plain(part) for part in batch])
    return np.array(batch.data if isinstance(batch, Tensor) else batch)


class Columns:
    """Figures of a model and of its layers at some moments of a training, as plain lists and dicts:
    {moment: [0, 1, ...], figure: [...], "layers": [{"name": ..., "kind": ..., figure: [...]}]}.

    moment: what the moments are called, "epoch" or "step"

    A column has an entry for each moment, NaN where there was no such figure.
    """

    def __init__(self, moment: str) -> None:
        self.moment = moment
        self.history: dict[str, Any] = {moment: [], "layers": []}

    def add(self, at: int, rows: Rows, figures: Mapping[str, float] | None = None) -> None:
        """Add what was found at a moment: the rows of the layers, and figures of the model."""
        history, layers = self.history, self.history["layers"]
        count = len(history[self.moment])
        for figure in figures or {}:
            history.setdefault(figure, [NAN] * count)
        history["layers"] = history.pop("layers")  # the last, also behind new figures
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
        """The history, as few arrays: a checkpoint has an entry for each."""
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
        """Take what `state_dict` gives."""
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
    """Within the block the model may do what it does in a step; its buffers, and the generator of
    random numbers, are after it what they were before. What is drawn in it depends on `seed`."""
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
    """(name, matrices and filters) of the layers that have some."""
    for name, layer in model.named_layers():
        if weights := weights_of(layer):
            yield name or type(layer).__name__, weights


def norm_of(arrays: Sequence[np.ndarray]) -> float:
    """The Euclidean norm of all numbers together, in double."""
    return math.sqrt(sum(float(np.square(a, dtype=np.float64).sum()) for a in arrays))
