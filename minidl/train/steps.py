"""Optimizer steps: accumulating gradients over batches, clipping them, and stopping at NaN.

If a step ends early, by an exception or because a value is not finite, `rollback` restores the
model, the random state and the counters to what they were before the step.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks
from ..changes import writes
from ..nn.layer import Layer
from ..optim.clip import clip_grad_norm
from ..optim.optimizer import Optimizer
from ..random import generator
from ..tensor import Tensor
from . import guard
from .batches import Example
from .labels import check_labels

if TYPE_CHECKING:
    from .trainer import Trainer


def check_optimizer(optimizer: Any, model: Layer) -> Optimizer:
    """Return the optimizer. TypeError for anything else; ValueError if it changes no parameter of
    the model, which would then learn nothing."""
    checks.instance(optimizer, "Trainer", "optimizer", Optimizer, "an optimizer")
    own = {id(p) for p in model.parameters()}
    if own and not any(id(p) in own for group in optimizer.groups for p in group["params"]):
        raise ValueError(
            "Trainer: optimizer must be of parameters of the model, and has none of them: it was "
            "made for another model"
        )
    return optimizer


class Steps:
    """Makes the optimizer steps of one call of `fit`."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.labels_checked = False  # whether `check_labels` has been called
        self.batches = 0  # batches whose gradients are accumulated for the next step
        self._first_count = 0  # items in the first of these batches
        self._weight = 0.0  # sum of the weights of these batches; the first has weight 1
        self._buffers: dict[str, np.ndarray] = {}  # copies of the model's buffers before the step
        self._random: Any = None
        self._place: Any = None

    def mark(self) -> None:
        """Save everything that the batches of a step change: buffers, random state and position."""
        # Buffers are looked up by name each time, since a layer may replace one by a new array.
        for name, array in self.trainer.model.named_buffers():
            copy = self._buffers.get(name)
            if copy is None or copy.shape != array.shape or copy.dtype != array.dtype:
                self._buffers[name] = array.copy()
            else:
                np.copyto(copy, array)
        self._random = generator().bit_generator.state
        self._place = self.trainer._place()

    def rollback(self) -> None:
        """Restore the state after the last complete step."""
        if self._place is None:
            return
        self._restore()
        self.trainer._take_place(self._place)
        self.batches, self._place = 0, None
        self._zero_grad()

    def _restore(self) -> None:
        buffers = dict(self.trainer.model.named_buffers())
        writes("Trainer", (), buffers.values())
        for name, array in buffers.items():
            array[...] = self._buffers[name]
        generator().bit_generator.state = self._random

    @property
    def state_before(self) -> dict[str, Any] | None:
        """Buffers, random state and position before the step in progress; None between steps."""
        if not self.batches:
            return None
        return {"buffers": self._buffers, "random": self._random, "place": self._place}

    def _zero_grad(self) -> None:
        self.trainer.model.zero_grad()
        self.trainer.optimizer.zero_grad()

    def gradients(self, example: Example) -> None:
        """Add the gradients of a batch to the step's, and its loss and metrics to the epoch's."""
        trainer = self.trainer
        if not self.batches:
            self.mark()
            self._zero_grad()
        outputs = trainer.model(*example.inputs, **example.named)
        if not self.labels_checked:
            check_labels(trainer.loss, outputs, trainer.loader, trainer.valid)
            self.labels_checked = True
        loss = trainer._loss(outputs, example)
        value = loss.item()
        if not math.isfinite(value):
            self._stop(f"the loss is {value}", example)
        trainer._note(trainer._totals, value, outputs, example)
        weight = 1.0
        if trainer.reduction == "mean":
            # A mean loss is weighted by the batch's size, so that every item counts the same.
            self._first_count = self._first_count if self.batches else example.count
            weight = example.count / self._first_count if self._first_count else 1.0
        self._weight = self._weight + weight if self.batches else weight
        (loss if weight == 1 else loss * weight).backward()
        self.batches += 1

    def take(self, example: Example | None = None) -> None:
        """Make a step with the accumulated gradients, scaled to those of one large batch."""
        trainer = self.trainer
        parameters = [p for group in trainer.optimizer.groups for p in group["params"]]
        if trainer.reduction == "mean" and self._weight != 1:
            for p in parameters:
                if p._grad is not None:
                    p._grad = p._grad / p.dtype.type(self._weight)
        try:
            clip_grad_norm(
                parameters,
                math.inf if trainer.clip is None else trainer.clip,
                error_if_nonfinite=True,
            )
        except ValueError:
            self._stop(f"gradients are not finite: {guard.bad_gradients(trainer.model)}", example)
        trainer.optimizer.step()
        trainer._stepped()
        self.batches, self._place = 0, None

    def _stop(self, what: str, example: Example | None) -> None:
        """Restore the state before the step and raise a FloatingPointError."""
        trainer = self.trainer
        where = f"epoch {trainer.epoch + 1}, batch {trainer.batch + 1}"
        if example is not None and what.startswith("the loss"):
            self._restore()  # so that the repeated pass has the same dropout and statistics
            model = trainer.model
            what += "; " + guard.why(
                model,
                example,
                example.labels,
                lambda: trainer._loss(model(*example.inputs, **example.named), example),
            )
        self.rollback()
        raise FloatingPointError(
            f"fit stopped in {where}: {what}. The parameters are as they were before this step."
        )


def one_number(loss: Any, where: str = "Trainer") -> Tensor:
    """Return a loss. TypeError if it is not a tensor, ValueError if it is not a single number; both
    name `where`."""
    if not isinstance(loss, Tensor):
        raise TypeError(f"{where}: loss must return a tensor, got a {type(loss).__name__}")
    if loss.size != 1:
        raise ValueError(
            f"{where}: loss must return one number, got a tensor of shape "
            f'{loss.shape}: use reduction="mean" or .mean()'
        )
    return loss
