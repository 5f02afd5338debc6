"""`Averaged` keeps exponential moving averages of a model's weights in a second model."""

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

BATCHES = 16  # training batches on which the statistics of BatchNorm are measured


class Averaged:
    """A copy of a model whose weights are exponential moving averages over the optimizer steps:

        average += (1 - decay) / (1 - decay^t) (weight - average) at step t.

    The average is the weighted mean of the weights after steps 1 to t, where those after step i
    have the weight decay^(t - i). The division by 1 - decay^t is the bias correction of Adam
    (Kingma & Ba 2015): the initial weights do not count. The running statistics of BatchNorm
    belong to the trained weights and not to their averages, so `recalibrate` measures new ones.
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
        """Update the averages with the model's weights; called after each optimizer step."""
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
        """Measure the statistics of BatchNorm on some of the batches, unless no step was made since
        they were last measured. All other buffers are copied from the trained model."""
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
