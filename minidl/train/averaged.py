"""Exponential moving averages of weights, in a model of their own."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from ..changes import writes
from ..nn.layer import Layer
from ..nn.population import Tracking
from ..nn.recalibrate import recalibrate
from .batches import Reader

BATCHES = 16        # of training, from which the statistics of BatchNorm are taken


class Averaged:
    """A copy of a model whose weights are averages of the model's over the steps:

        average = d average + (1 - d) weight, with d = min(decay, (1 + t) / (10 + t)) at step t.

    The smaller d of the first steps lets the average forget the random weights of the start (the
    rule of TensorFlow's ExponentialMovingAverage). Averaged weights were never trained with, so the
    running statistics of BatchNorm are not theirs: `recalibrate` measures them anew.
    """

    def __init__(self, model: Layer, decay: float) -> None:
        self.model = copy.deepcopy(model)
        self.decay = decay
        self.steps = 0
        self.stale = False      # whether the weights have changed since the recalibration
        self._pairs = list(zip(self.model.parameters(), model.parameters(), strict=True))
        self._buffers = [(own, of_model) for (_, own), (_, of_model) in
                         zip(self.model.named_buffers(), model.named_buffers(), strict=True)]

    def update(self) -> None:
        """Take in the model's weights, after a step of the optimizer."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        writes("an average of weights", [average for average, _ in self._pairs])
        for average, weight in self._pairs:
            array = average._values()
            array += (1 - decay) * (weight._values() - array)
        self.stale = True

    def recalibrate(self, batches: Iterable[Any]) -> None:
        """Measure the statistics of BatchNorm on some batches, unless that has been done; other
        buffers are the model's."""
        if not self.stale:
            return
        writes("an average of weights", (), [own for own, _ in self._buffers])
        for own, of_model in self._buffers:
            own[...] = of_model
        if any(isinstance(layer, Tracking) and layer.running_mean is not None
               and not layer.frozen and not layer.stats_frozen
               for _, layer in self.model.named_layers()):
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
