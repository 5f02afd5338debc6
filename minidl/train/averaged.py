"""Exponential moving averages of weights, in a model of their own."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from ..changes import writes
from ..nn.layer import Layer
from ..nn.population import Tracking
from ..nn.recalibrate import recalibrate
from ..optim.ema import average
from .batches import Reader

BATCHES = 16  # of training, from which the statistics of BatchNorm are taken


class Averaged:
    """A copy of a model whose weights are averages of the model's over the steps:

        average += (1 - decay) / (1 - decay^t) (weight - average) at step t.

    That is the mean of the weights after each step, the i-th of which weighs decay^(t - i): those
    of the start, before any step, do not count (Kingma & Ba 2015). Averaged weights were never
    trained with, so the running statistics of BatchNorm are not theirs: `recalibrate` measures them
    anew.
    """

    def __init__(self, model: Layer, decay: float) -> None:
        self.model = copy.deepcopy(model)
        self._trained = model
        self.decay = decay
        self.steps = 0
        self.stale = False  # whether the weights have changed since the recalibration
        self._averages, self._weights = (
            [p for p in m.parameters() if not p.constant] for m in (self.model, model)
        )

    def update(self) -> None:
        """Take in the model's weights, after a step of the optimizer."""
        self.steps += 1
        writes("an average of weights", self._averages)
        average(
            self.decay,
            self.steps,
            [
                (own._values(), weight._values())
                for own, weight in zip(self._averages, self._weights, strict=True)
            ],
        )
        self.stale = True

    def recalibrate(self, batches: Iterable[Any]) -> None:
        """Measure the statistics of BatchNorm on some batches, unless that has been done; other
        buffers are the model's."""
        if not self.stale:
            return
        buffers = dict(self.model.named_buffers())
        writes("an average of weights", (), buffers.values())
        for name, array in self._trained.named_buffers():
            buffers[name][...] = array
        if any(
            isinstance(layer, Tracking)
            and layer.running_mean is not None
            and not layer.frozen
            and not layer.stats_frozen
            for _, layer in self.model.named_layers()
        ):
            reader = Reader(self.model)

            def run(batch: Any) -> None:
                example = reader(batch)
                self.model(*example.inputs, **example.named)

            recalibrate(self.model, batches, BATCHES, run, quiet=True)
        self.stale = False

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "steps": self.steps, "stale": self.stale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.steps, self.stale = int(state["steps"]), bool(state["stale"])
