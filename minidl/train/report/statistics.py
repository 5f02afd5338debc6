"""LayerStatistics: what layers give, and what their weights get, on one batch during a training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import hints
from ...backward import grad
from ...tracers import following
from ..inspection import NAN, Columns, FixedBatch, named_weights, norm_of, undisturbed
from ..watch import Watch

if TYPE_CHECKING:
    from ..trainer import Trainer


class LayerStatistics(hints.Explained):
    """Looks into the layers of a model once before a training and after each of its epochs, always
    on the same batch: how large activations are before and after each normalization, how many units
    are dead, how large the gradients of weights are and how far the last step has moved them.

    batch_or_loader: a batch as a loader gives it, (images, labels); or a loader or a data set,
        whose first batch it takes. None: the first batch of the training's loader

    `history` is what it has found, as plain lists and dicts: {"epoch": [0, 1, ...], "layers":
    [{"name": ..., "kind": ..., "mean": [...], ...}, ...]}, the layers in the order in which they
    compute, with an entry for each epoch. "mean" and "std" are those of all values that the layer
    gives. A normalization (one of one's own is derived from `nn.Normalization`) has "mean_before"
    and "std_before" too, of what it is given; a ReLU has "dead", the share of its units (channels)
    that are 0 for the whole batch; a layer with weights has "gradient", the norm of the loss's
    gradient by them, and "update", the norm of what the epoch's last step has changed divided by
    the norm of the weights (NaN before the first). A layer that is called several times is seen at
    its first call.

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
        self._source = FixedBatch(batch_or_loader, "LayerStatistics", "batch_or_loader")
        self._forget()

    def _forget(self) -> None:
        self._columns = Columns("epoch")
        self._batch: Any = None
        self._source.kept = None
        self._weights: dict[str, list[np.ndarray]] | None = None  # before the last step
        self._step = 0  # how many there were then
        self._updates: dict[str, float] = {}

    @property
    def history(self) -> dict[str, Any]:
        """What was found, as plain lists and dicts."""
        return self._columns.history

    # --------------------------------------------------------------------------------- the calls

    def on_fit_begin(self, trainer: Trainer) -> None:
        if not trainer.resumed:
            self._forget()
        self._batch = self._source.taken(trainer.loader)
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
        self._note_updates(trainer)  # of a step that came after the last batch
        self._measure(trainer)
        self._updates, self._weights = {}, None

    # -------------------------------------------------------------------------------- the figures

    def _look(self, trainer: Trainer) -> None:
        """Take note of a step that was made, and keep the weights before what may be the last step
        of the epoch: it comes after all batches but one, or, if nobody knows how many there are,
        after any."""
        self._note_updates(trainer)
        total = len(trainer.loader) if hasattr(trainer.loader, "__len__") else math.inf
        if self._weights is None and (trainer.batch == total - 1 or total == math.inf):
            self._step = trainer.step
            self._weights = {
                name: [np.array(p._values()) for p in weights]
                for name, weights in named_weights(trainer.model)
            }

    def _note_updates(self, trainer: Trainer) -> None:
        """How far a step has moved the weights kept before it, as shares of their norms."""
        if self._weights is None or trainer.step == self._step:
            return
        for name, weights in named_weights(trainer.model):
            before = self._weights[name]
            moved = [p._values() - old for p, old in zip(weights, before, strict=True)]
            norm = norm_of(before)
            self._updates[name] = norm_of(moved) / norm if norm else NAN
        self._weights = None

    def _measure(self, trainer: Trainer) -> None:
        """Run the batch through the model, forward and backward, and add what is seen."""
        model = trainer.model
        example = trainer._reader(self._batch)
        watch = Watch(model)
        with undisturbed(model, "LayerStatistics"), np.errstate(all="ignore"):
            with following(watch):
                outputs = model(*example.inputs, **example.named)
            loss = trainer._loss(outputs, example)
            weights = [
                (name, p) for name, found in named_weights(model) for p in found if p.requires_grad
            ]
            gradients = grad(loss, [p for _, p in weights]) if loss.requires_grad else ()
        scale = example.count if trainer.reduction == "sum" else 1
        squares: dict[str, float] = {}
        for (name, _), g in zip(weights, gradients, strict=False):
            squares[name] = squares.get(name, 0.0) + norm_of([g]) ** 2
        for name, row in watch.rows.items():
            if row.pop("weights"):
                row["gradient"] = math.sqrt(squares[name]) / scale if name in squares else NAN
                row["update"] = self._updates.get(name, NAN)
        self._columns.add(trainer.epoch, watch.rows)

    # ---------------------------------------------------------------------------------- the state

    def state_dict(self) -> dict[str, Any]:
        """The history, and what the next entry needs."""
        return {
            **self._columns.state_dict(),
            "batch": self._source.kept,
            "updates": dict(self._updates),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gives."""
        columns = Columns("epoch")
        columns.load_state_dict(state)
        self._forget()
        self._columns = columns
        self._source.kept, self._updates = state["batch"], dict(state["updates"])

    def __repr__(self) -> str:
        return f"LayerStatistics({len(self.history['epoch'])} entries)"
