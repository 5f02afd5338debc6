"""LayerStatistics: what layers give, and what their weights get, on one batch during a training."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import checks, hints
from ...backward import grad
from ...changes import writes
from ...data.loader import DataLoader
from ...nn.layer import Layer
from ...random import apart
from ...tensor import Tensor
from ...tracers import following
from ..batches import is_dataset, once
from .watch import Watch, weights_of

if TYPE_CHECKING:
    from ..trainer import Trainer

ITEMS = 128         # of a batch that is taken from a data set
NAN = math.nan


class LayerStatistics(hints.Explained):
    """Looks into the layers of a model once before a training and after each of its epochs, always
    on the same batch: how large activations are before and after each normalization, how many units
    are dead, how large the gradients of weights are and how far the last step has moved them.

    batch_or_loader: a batch as a loader gives it, (images, labels); or a loader or a data set,
        whose first batch it takes. None: the first batch of the training's loader

    `history` is what it has found, as plain lists and dicts: {"epoch": [0, 1, ...], "layers":
    [{"name": ..., "kind": ..., "mean": [...], ...}, ...]}, the layers in the order in which they
    compute, with an entry for each epoch. "mean" and "std" are those of all values that the layer
    gives. A normalization has "mean_before" and "std_before" too, of what it is given; a ReLU has
    "dead", the share of its units (channels) that are 0 for the whole batch; a layer with weights
    has "gradient", the norm of the loss's gradient by them, and "update", the norm of what the
    epoch's last step has changed divided by the norm of the weights (NaN before the first). A layer
    that is called several times is seen at its first call.

    The layers are in training mode, so BatchNorm normalizes with the batch's own statistics. The
    training goes on with the same bits as without: running statistics and other buffers are put
    back, gradients are left alone, and dropout draws from a generator of its own. It costs about
    one step an epoch. `history` is part of checkpoints, and goes on in a resumed training.

    A loader of another library is asked for its first batch, once; give a batch where that would
    change what it gives later. `report(statistics=...)` shows what was found.

    >>> images = np.random.default_rng(0).random((64, 8), dtype=np.float32)
    >>> pairs = data.ArrayDataset(images, (images[:, 0] > 0.5).astype(int))
    >>> loader = data.DataLoader(pairs, batch_size=32, shuffle=True)
    >>> model = nn.Sequential(nn.Dense(8, 16), nn.BatchNorm(16), nn.ReLU(), nn.Dense(16, 2))
    >>> layers = train.LayerStatistics()
    >>> trainer = train.Trainer(model, optim.SGD(model.parameters(), lr=0.1), progress=False,
    ...                         callbacks=[layers])
    >>> history = trainer.fit(loader, epochs=2)
    >>> [(row["name"], row["kind"]) for row in layers.history["layers"]]
    [('0', 'Dense'), ('1', 'BatchNorm'), ('2', 'ReLU'), ('3', 'Dense')]
    >>> layers.history["epoch"], [round(s, 2) for s in layers.history["layers"][1]["std"]][:1]
    ([0, 1, 2], [1.0])
    """

    def __init__(self, batch_or_loader: Any = None) -> None:
        if isinstance(batch_or_loader, str | bytes) or callable(batch_or_loader):
            raise TypeError(checks.message("LayerStatistics", "batch_or_loader",
                                           "a batch (images, labels), a loader, a data set or None",
                                           batch_or_loader))
        self._given = batch_or_loader
        self._forget()

    def _forget(self) -> None:
        self.history: dict[str, Any] = {"epoch": [], "layers": []}
        self._batch: Any = None
        self._kept: Any = None      # the batch, where it cannot be had again
        self._weights: dict[str, list[np.ndarray]] | None = None    # before the last step
        self._step = 0              # how many there were then
        self._updates: dict[str, float] = {}

    # --------------------------------------------------------------------------------- the calls

    def on_fit_begin(self, trainer: Trainer) -> None:
        if not trainer.resumed:
            self._forget()
        self._batch = self._taken(trainer)
        self._weights = None
        if trainer.batch:
            self._look(trainer)
        elif trainer.epoch not in self.history["epoch"]:
            self._measure(trainer)

    def on_epoch_begin(self, trainer: Trainer) -> None:
        self._updates, self._weights = {}, None
        self._look(trainer)

    def on_batch_end(self, trainer: Trainer) -> None:
        self._look(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        self._note_updates(trainer)     # of a step that came after the last batch
        self._measure(trainer)
        self._updates, self._weights = {}, None

    # ---------------------------------------------------------------------------------- the batch

    def _taken(self, trainer: Trainer) -> Any:
        """The batch, and a note of it for checkpoints if nobody could make it again."""
        source = trainer.loader if self._given is None else self._given
        if _is_batch(source):
            return source
        if is_dataset(source):
            source = DataLoader(source, ITEMS, seed=0, prefetch=0)
        again = isinstance(source, DataLoader | list)
        if not again and self._kept is not None:
            return self._kept
        batches = iter(once(source))
        try:
            batch = next(batches, None)
        finally:
            if hasattr(batches, "close"):
                batches.close()
        if batch is None:
            raise ValueError("LayerStatistics: the loader has no batch")
        if not again:
            self._kept = _plain(batch)
        return batch

    # -------------------------------------------------------------------------------- the figures

    def _look(self, trainer: Trainer) -> None:
        """Take note of a step that was made, and keep the weights before what may be the last step
        of the epoch: it comes after all batches but one, or, if nobody knows how many there are,
        after any."""
        self._note_updates(trainer)
        total = len(trainer.loader) if hasattr(trainer.loader, "__len__") else math.inf
        if self._weights is None and (trainer.batch == total - 1 or total == math.inf):
            self._step = trainer.step
            self._weights = {name: [np.array(p._values()) for p in weights]
                             for name, weights in _weights(trainer.model)}

    def _note_updates(self, trainer: Trainer) -> None:
        """How far a step has moved the weights that were kept before it, as shares of their norms.
        """
        if self._weights is None or trainer.step == self._step:
            return
        for name, weights in _weights(trainer.model):
            before = self._weights[name]
            moved = [p._values() - old for p, old in zip(weights, before, strict=True)]
            norm = _norm(before)
            self._updates[name] = _norm(moved) / norm if norm else NAN
        self._weights = None

    def _measure(self, trainer: Trainer) -> None:
        """Run the batch through the model, forward and backward, and add what is seen."""
        model = trainer.model
        example = trainer._reader(self._batch)
        watch = Watch(model)
        with _undisturbed(model), np.errstate(all="ignore"):
            with following(watch):
                outputs = model(*example.inputs, **example.named)
            loss = trainer._loss(outputs, example)
            weights = [(name, p) for name, found in _weights(model) for p in found
                       if p.requires_grad]
            gradients = grad(loss, [p for _, p in weights]) if loss.requires_grad else ()
        scale = example.count if trainer.reduction == "sum" else 1
        squares: dict[str, float] = {}
        for (name, _), g in zip(weights, gradients, strict=False):
            squares[name] = squares.get(name, 0.0) + _norm([g]) ** 2
        for name, row in watch.rows.items():
            if row.pop("weights"):
                row["gradient"] = math.sqrt(squares[name]) / scale if name in squares else NAN
                row["update"] = self._updates.get(name, NAN)
        self._add(trainer.epoch, watch.rows)

    def _add(self, epoch: int, rows: dict[str, dict[str, Any]]) -> None:
        """An entry for each layer; NaN for what was not seen this time, or not before."""
        epochs, layers = self.history["epoch"], self.history["layers"]
        known = {layer["name"]: layer for layer in layers}
        for name, row in rows.items():
            if name not in known:
                known[name] = {"name": name, "kind": row["kind"]}
                layers.append(known[name])
            for figure in row:
                if figure != "kind":
                    known[name].setdefault(figure, [NAN] * len(epochs))
        for layer in layers:
            found = rows.get(layer["name"], {})
            for figure, column in layer.items():
                if isinstance(column, list):
                    column.append(found.get(figure, NAN))
        epochs.append(epoch)

    # ---------------------------------------------------------------------------------- the state

    def state_dict(self) -> dict[str, Any]:
        """The history, and what the next entry needs."""
        layers = self.history["layers"]
        columns = [(i, name) for i, layer in enumerate(layers)
                   for name, column in layer.items() if isinstance(column, list)]
        return {"epoch": list(self.history["epoch"]), "batch": self._kept,
                "updates": dict(self._updates),
                "layers": [[layer["name"], layer["kind"]] for layer in layers],
                "columns": [[i, name] for i, name in columns],
                "values": np.array([layers[i][name] for i, name in columns], np.float64)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gives."""
        layers: list[dict[str, Any]] = [{"name": name, "kind": kind}
                                        for name, kind in state["layers"]]
        for (i, name), column in zip(state["columns"], state["values"], strict=True):
            layers[i][name] = column.tolist()
        self._forget()
        self.history = {"epoch": [int(epoch) for epoch in state["epoch"]], "layers": layers}
        self._kept, self._updates = state["batch"], dict(state["updates"])

    def __repr__(self) -> str:
        return f"LayerStatistics({len(self.history['epoch'])} entries)"


def _weights(model: Layer) -> Iterator[tuple[str, list[Any]]]:
    """(name, weights) of the layers that have some."""
    for name, layer in model.named_layers():
        if weights := weights_of(layer):
            yield name or type(layer).__name__, weights


def _norm(arrays: list[np.ndarray]) -> float:
    """The Euclidean norm of all numbers together, in double."""
    return math.sqrt(sum(float(np.square(a, dtype=np.float64).sum()) for a in arrays))


def _is_batch(x: Any) -> bool:
    """Whether something is one batch: arrays, in a tuple or dict; a list of such is a loader."""
    return isinstance(x, tuple | Mapping | np.ndarray | Tensor)


def _plain(batch: Any) -> Any:
    """A batch as arrays, in the same structure, to be saved."""
    if isinstance(batch, Mapping):
        return {str(key): _plain(part) for key, part in batch.items()}
    if isinstance(batch, tuple | list):
        return tuple([_plain(part) for part in batch])
    return np.array(batch.data if isinstance(batch, Tensor) else batch)


@contextlib.contextmanager
def _undisturbed(model: Layer) -> Iterator[None]:
    """Within the block the model may do what it does in a step; its buffers, and the generator of
    random numbers, are after it what they were before."""
    copies = {name: array.copy() for name, array in model.named_buffers()}
    try:
        with apart():
            yield
    finally:
        buffers = {name: array for name, array in model.named_buffers() if name in copies}
        writes("LayerStatistics", (), buffers.values())
        for name, array in buffers.items():
            array[...] = copies[name]
