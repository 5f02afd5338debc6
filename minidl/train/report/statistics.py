"""LayerStatistics: the statistics of layers' outputs, gradients and updates during a training."""

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
    """Records statistics of a model's layers before a training and after each of its epochs, always
    on the same batch: the spread of activations before and after each normalization, the share of
    dead units, the norms of gradients and the size of the last update.

    batch_or_loader: a batch as a loader gives it, (images, labels); or a loader or a data set,
        whose first batch is used. None: the first batch of the training's loader

    `history` holds the statistics as plain lists and dicts: {"epoch": [0, 1, ...], "layers":
    [{"name": ..., "kind": ..., "mean": [...], ...}, ...]}, the layers in the order in which they
    compute, with an entry for each epoch. "mean" and "std" are those of all output values of the
    layer. A normalization (one of your own has to be a subclass of `nn.Normalization`) also has
    "mean_before" and "std_before", those of its input; a ReLU has "dead", the share of its units
    (channels) that are 0 for the whole batch; a layer with weights has "gradient", the norm of the
    gradient of the loss with respect to the weights, and "update", the norm of the change by the
    epoch's last step divided by the norm of the weights (NaN before the first step). If a layer is
    called several times, the first call counts.

    The layers are in training mode, so BatchNorm normalizes with the batch statistics. The training
    has the same bits as without this callback: running statistics and other buffers are restored,
    gradients are not touched, and dropout draws from a separate generator. The cost is about one
    step per epoch. Checkpoints hold `history`, and a resumed training appends to it.

    A loader that is not a `DataLoader` is asked for its first batch once; if that changes its later
    batches, give a batch instead. `report(statistics=...)` shows the statistics.

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
        self._weights: dict[str, list[np.ndarray]] | None = None  # copies before the last step
        self._step = 0  # number of steps made when they were copied
        self._updates: dict[str, float] = {}

    @property
    def history(self) -> dict[str, Any]:
        """The recorded statistics, as plain lists and dicts."""
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
        self._note_updates(trainer)  # the last step of an epoch may follow its last batch
        self._measure(trainer)
        self._updates, self._weights = {}, None

    # -------------------------------------------------------------------------------- the figures

    def _look(self, trainer: Trainer) -> None:
        """Record the update of a step that was made, and copy the weights before a step that may be
        the epoch's last: that of the last batch, or any step if the loader has no length."""
        self._note_updates(trainer)
        total = len(trainer.loader) if hasattr(trainer.loader, "__len__") else math.inf
        if self._weights is None and (trainer.batch == total - 1 or total == math.inf):
            self._step = trainer.step
            self._weights = {
                name: [np.array(p._values()) for p in weights]
                for name, weights in named_weights(trainer.model)
            }

    def _note_updates(self, trainer: Trainer) -> None:
        """Compute the relative update of each layer, if a step was made since the weights were
        copied."""
        if self._weights is None or trainer.step == self._step:
            return
        for name, weights in named_weights(trainer.model):
            before = self._weights[name]
            moved = [p._values() - old for p, old in zip(weights, before, strict=True)]
            norm = norm_of(before)
            self._updates[name] = norm_of(moved) / norm if norm else NAN
        self._weights = None

    def _measure(self, trainer: Trainer) -> None:
        """Run the batch through the model, forward and backward, and add to the history."""
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
        """Return the history and the values that its next entry needs."""
        return {
            **self._columns.state_dict(),
            "batch": self._source.kept,
            "updates": dict(self._updates),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""
        columns = Columns("epoch")
        columns.load_state_dict(state)
        self._forget()
        self._columns = columns
        self._source.kept, self._updates = state["batch"], dict(state["updates"])

    def __repr__(self) -> str:
        return f"LayerStatistics({len(self.history['epoch'])} entries)"
