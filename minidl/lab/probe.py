"""`Probe` takes the lab's measurements of a user's model while it trains."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks, hints, ops
from ..grad_mode import is_recording
from ..nn.layer import Layer
from ..nn.parameter import Parameter
from ..nn.state import StateError
from ..optim.optimizer import Optimizer
from ..tensor import Tensor
from ..train.batches import Example, Reader, takes_batch
from ..train.inspection import NAN, Columns, FixedBatch, named_weights, norm_of, plain, undisturbed
from ..train.steps import one_number
from ..train.watch import Units
from . import probe_arguments
from .look import Look, blocks_of, look
from .measures import (
    FACTORS,
    Point,
    Values,
    bounds,
    drift,
    gradient_shift,
    landscape,
    point,
    values_of,
    with_values,
)
from .rates import effective_rate

if TYPE_CHECKING:
    from ..train.trainer import Trainer

MEASURES = ("activations", "gradients", "drift", "rates", "shift", "landscape")
OF_STEPS = {"shift", "landscape"}  # measures of a step: they need the weights before it
OF_GRADIENTS = {"gradients", *OF_STEPS}
LANDSCAPE = ("loss_low", "loss_high", "distance_low", "distance_high", "smoothness", "step_norm")


class Probe(hints.Explained):
    """Measures a model while it trains, always on the same batch. It is a callback of a `Trainer`;
    in a training loop of your own, call `step()` after each step of the optimizer. The result of
    the training is the same with and without a probe.

    model:     the model that is trained
    every:     the number of steps between two measurements; a callback also measures at the start
    measures:  the names of the measures (see below)
    batch:     the batch to measure on, (images, labels) or [images, labels]; or a loader (such as
               a list of batches) or a data set, of which the first batch is used. None: the first
               batch of the trainer's loader, or without a trainer the first one given to `step`
    optimizer: without a trainer, the optimizer whose learning rate "rates" reads
    loss:      without a trainer, the loss as a function of (outputs, labels)

    `history` has the measurements as plain lists and dicts: {"step": [0, 100, ...], "loss": [...],
    ..., "layers": [{"name": ..., "kind": ..., "mean": [...], ...}, ...]}. The layers are in the
    order of their calls, and a figure that could not be measured is NaN. These are the measures.
    The cost of a measurement is given in passes; a pass is a forward and a backward pass on the
    batch, and takes about as long as a training step.

    activations: costs the forward half of a pass. "mean" and "std" of all outputs of a layer;
                 "mean_before" and "std_before" of all inputs of a normalization; "dead", the share
                 of a ReLU's units (channels) that are 0 for the whole batch; "saturated", the share
                 of a sigmoid's or tanh's outputs at which its slope is below a tenth of its maximum
    drift:       costs the same forward half, which it shares with activations. "drift_mean" and
                 "drift_std": how far the means and the standard deviations of a layer's inputs have
                 moved since the last measurement, in units of these standard deviations. This is
                 internal covariate shift as defined by Ioffe & Szegedy (2015)
    gradients:   costs the backward half. "gradient": the norm of the loss's gradient with respect
                 to a layer's weights
    rates:       costs nothing. "effective_rate" of weights whose output only normalizations
                 consume, so that the loss does not depend on the norm of the weights: the learning
                 rate at which weights of norm 1 would turn as fast. For SGD it is the learning rate
                 divided by the squared norm; for Adam, AdamW, RMSprop, Adagrad and Muon, whose step
                 does not depend on the size of the gradient, divided by the norm; for LARS it is
                 the learning rate times `trust` (van Laarhoven 2017). NaN for frozen weights, for
                 an optimizer class of your own, and without an optimizer
    shift:       costs a pass for each layer with weights. The change of a layer's gradient that the
                 last step of the layers before it causes: "shift" is its norm relative to the norm
                 of the gradient, "shift_norm" its norm, and "shift_cosine" the cosine of the angle
                 between the two gradients. This is internal covariate shift as defined by
                 Santurkar et al. (2018)
    landscape:   costs four passes, or three if shift is measured too. It measures at half to four
                 times the last step: "loss_low" and "loss_high" are the range of the loss;
                 "distance_low" and
                 "distance_high" that of the distance from the gradient before the step (gradient
                 predictiveness); "smoothness" is the largest ratio of the gradient's change to that
                 of the weights; "step_norm" is the norm of the step

    The "loss" of the batch is recorded with every measure. Shift and landscape measure the step
    that the optimizer has made, momentum included. The probe keeps the weights before that step;
    where it does not have them, as at the start, the figures are NaN. `seconds` is the time that
    all measurements have taken.

    The training continues with the same bits as without a probe: weights and buffers are restored,
    gradients are not touched, and dropout draws from a separate generator, with the same numbers in
    each pass. The layers stay in their mode (training or evaluation). A layer that is called
    several times is measured at its first call. `history` is saved in checkpoints and continued by
    a resumed training. A loader of another library is asked once for its first batch; pass `batch`
    if this would change the batches that it yields later.

    A layer has only the figures that its kind allows. Normalizations are the layers and operations
    of `nn`, and your own subclasses of `nn.Normalization`; one that uses running statistics does
    not count as a normalization for "rates". Models may have several inputs, in any batch that a
    `Trainer` takes: (a, b, labels), ((a, b), labels) or dicts.

    Raises ValueError for a trainer or an optimizer of another model, and if gradients are to be
    measured within `md.no_grad()`; TypeError for a model whose only input is a tuple or a dict.

    >>> images = np.random.default_rng(0).random((64, 8), dtype=np.float32)
    >>> pairs = data.ArrayDataset(images, (images[:, 0] > 0.5).astype(int))
    >>> loader = data.DataLoader(pairs, batch_size=16, shuffle=True)
    >>> model = nn.Sequential(nn.Dense(8, 16), nn.BatchNorm(16), nn.Sigmoid(), nn.Dense(16, 2))
    >>> probe = lab.Probe(model, every=4)
    >>> trainer = train.Trainer(model, optim.SGD(model.parameters(), lr=0.1), progress=False,
    ...                         callbacks=[probe])
    >>> history = trainer.fit(loader, epochs=2)
    >>> probe.history["step"], [row["name"] for row in probe.history["layers"]]
    ([0, 4, 8], ['0', '1', '2', '3'])
    >>> [0 < shift < 1 for shift in probe.history["layers"][3]["shift"]]      # NaN at the start
    [False, True, True]
    """

    def __init__(
        self,
        model: Layer,
        every: int = 100,
        measures: Iterable[str] = MEASURES,
        batch: Any = None,
        optimizer: Optimizer | None = None,
        loss: Callable[..., Any] = ops.cross_entropy,
    ) -> None:
        where = "Probe"
        self.model = checks.instance(model, where, "model", Layer, "a Layer")
        self.every = checks.count(every, where, "every", 1)
        self.measures = probe_arguments.names_of(measures, MEASURES)
        self.optimizer = probe_arguments.optimizer_of(optimizer, model)
        self.loss = checks.function(loss, where, "loss", "a function of (outputs, labels)")
        self._reader = Reader(model)
        self._of_trainer: Callable[[Any, Example], Tensor] | None = None
        self._source = FixedBatch(probe_arguments.batch_of(batch), where, "batch")
        self._forget()

    def _forget(self) -> None:
        self._columns = Columns("step")
        self._source.kept = None
        self._batch: Any = None
        self._units: dict[str, Units] = {}  # of each layer's input, at the last measurement
        self._before: Values | None = None  # the weights before a step that will be measured
        self.steps = 0
        self.seconds = 0.0

    @property
    def history(self) -> dict[str, Any]:
        """The measurements so far, as plain lists and dicts."""
        return self._columns.history

    # --------------------------------------------------------------------------- without a trainer

    def step(self, batch: Any = None) -> None:
        """Tell the probe that the optimizer has made a step. Every `every` steps it measures.

        batch: the batch to measure on, (images, labels), if the probe was made without one. The
               first batch that is given is used for the whole training
        """
        self._take(batch, "step")
        self._stepped(self.steps + 1)

    def look(self, batch: Any = None) -> None:
        """Measure the model now, for example before the training. `batch`: as for `step`."""
        self._take(batch, "look")
        self._look()
        self._keep()

    def _take(self, batch: Any, where: str) -> None:
        if self._batch is not None:
            return
        if self._source.given is None and batch is None:
            self._batch = self._source.kept  # a loaded state brings the batch it was measured on
        else:
            self._batch = self._source.taken(probe_arguments.batch_of(batch))
            if self._source.given is None:
                self._source.kept = plain(self._batch)
        if self._batch is None:
            raise ValueError(
                f"Probe.{where}: batch is missing: pass one to the probe, "
                f"Probe(model, batch=(images, labels)), or to this call, {where}((images, labels))"
            )

    # ------------------------------------------------------------------------------ as a callback

    def on_fit_begin(self, trainer: Trainer) -> None:
        if trainer.model is not self.model:
            raise ValueError("Probe: model must be the model of the trainer, got another one")
        if not trainer.resumed:
            self._forget()
        self._batch = self._source.taken(trainer.loader)
        self.optimizer = trainer.optimizer
        summed = trainer.reduction == "sum"

        def loss(outputs: Any, example: Example) -> Tensor:
            found = trainer._loss(outputs, example)
            return found / example.count if summed else found

        self._of_trainer = loss
        self.steps = trainer.step
        if not trainer.resumed:
            self._look()
        self._keep()

    def on_batch_end(self, trainer: Trainer) -> None:
        if trainer.step != self.steps:  # with `accumulate` a step takes several batches
            self._stepped(trainer.step)

    def on_epoch_end(self, trainer: Trainer) -> None:
        self.on_batch_end(trainer)  # with `accumulate` a step may follow the last batch

    # ---------------------------------------------------------------------------- the measurements

    def _stepped(self, steps: int) -> None:
        self.steps = steps
        if steps % self.every == 0:
            self._look()
        self._keep()

    def _keep(self) -> None:
        """Keep the current weights if the next step will be measured and a measure needs them."""
        due = (self.steps + 1) % self.every == 0 and OF_STEPS & self.measures
        self._before = values_of(self._learned()) if due else None

    def _learned(self) -> list[Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def _look(self) -> None:
        """Measure, and add an entry to the history."""
        if OF_GRADIENTS & self.measures and not is_recording():
            raise ValueError(
                f"Probe: {', '.join(sorted(OF_GRADIENTS & self.measures))} need gradients, which "
                f"md.no_grad() disables: measure outside of it, or choose other measures"
            )
        start = time.perf_counter()
        with np.errstate(all="ignore"):
            seen, now = self._seen()
            figures = {"loss": now.loss}
            weights = dict(named_weights(self.model))
            for name, row in seen.rows.items():
                if "activations" not in self.measures:
                    for figure in set(row) - {"kind", "weights"}:
                        del row[figure]
                if row.pop("weights"):
                    row |= self._of_weights(name, weights[name], seen, now)
            if OF_STEPS & self.measures:
                figures |= self._of_step(seen, now)
        self._units = seen.inputs
        self._columns.add(self.steps, seen.rows, figures)
        self.seconds += time.perf_counter() - start

    def _seen(self) -> tuple[Look, Point]:
        """Observe a forward pass with the current weights, and return the observations and the
        loss, with its gradient if a measure needs it."""
        learned = self._learned() if {"gradients", "landscape"} & self.measures else []
        with undisturbed(self.model, "Probe"):
            seen, loss = look(self.model, self._pass)
            return seen, point(lambda: loss, learned)

    def _pass(self) -> Tensor:
        """Return the loss of the batch with the current weights."""
        example = probe_arguments.example_of(self._batch, self._reader)
        outputs = self.model(*example.inputs, **example.named)
        if self._of_trainer is not None:
            return self._of_trainer(outputs, example)
        options = {"batch": example.batch} if takes_batch(self.loss) else {}
        return one_number(self.loss(outputs, example.labels, **options), "Probe")

    def _undisturbed_pass(self) -> Tensor:
        with undisturbed(self.model, "Probe"):
            return self._pass()

    def _of_weights(
        self, name: str, weights: list[Parameter], seen: Look, now: Point
    ) -> dict[str, float]:
        """Return the figures of a layer with weights that do not come from its output."""
        found = {}
        if "drift" in self.measures and name in seen.inputs:
            known = name in self._units
            found["drift_mean"], found["drift_std"] = (
                drift(self._units[name], seen.inputs[name]) if known else (NAN, NAN)
            )
        if "gradients" in self.measures:
            gradients = [now.gradient[p] for p in weights if p in now.gradient]
            found["gradient"] = norm_of(gradients) if gradients else NAN
        if "rates" in self.measures and name in seen.normalized:
            found["effective_rate"] = effective_rate(self.optimizer, weights)
        return found

    def _of_step(self, seen: Look, now: Point) -> dict[str, float]:
        """Measure the last step: add the shift to the rows of the layers, and return the landscape.
        Without the weights before the step, the landscape is NaN and there is no shift."""
        before, learned = self._before, self._learned()
        figures = dict.fromkeys(LANDSCAPE if "landscape" in self.measures else (), NAN)
        if not learned or before is None or set(before) != set(learned):
            return figures
        updated = values_of(learned)
        with with_values(before):
            start = point(self._undisturbed_pass, learned)
        if "shift" in self.measures:
            for name, found in gradient_shift(
                self._undisturbed_pass, blocks_of(self.model, seen.rows), before, updated, start
            ).items():
                seen.rows[name] |= {
                    "shift": found.relative,
                    "shift_norm": found.norm,
                    "shift_cosine": found.cosine,
                }
        if "landscape" in self.measures:
            step = {p: updated[p] - before[p] for p in learned}
            along = landscape(self._undisturbed_pass, before, step, start, FACTORS, {1.0: now})
            figures = dict(
                zip(
                    LANDSCAPE,
                    (
                        *bounds(along.losses),
                        *bounds(along.distances),
                        along.smoothness,
                        along.length,
                    ),
                    strict=True,
                )
            )
        return figures

    # ------------------------------------------------------------------------------------- plots

    def plot(
        self, path: str | os.PathLike[str], figures: str | Iterable[str] | None = None
    ) -> None:
        """Draw the history over the steps. The first and the last layer are drawn in colour, the
        others in grey.

        path:    the file to write; its extension (.png, .svg, .pdf ...) selects the format, which
                 is PNG without one
        figures: names in the history, such as "shift" or ["std", "gradient"]; "loss along the step"
                 and "gradient along the step" are drawn as bands. None: an overview

        Raises ValueError if there is nothing to draw, and ImportError without matplotlib.
        """
        from .probe_plots import plot_history

        plot_history(self.history, path, figures, "Probe.plot")

    # ---------------------------------------------------------------------------------- the state

    def state_dict(self) -> dict[str, Any]:
        """Return the history, and what the probe needs to continue it."""
        return {
            **self._columns.state_dict(),
            "batch": self._source.kept,
            "steps": self.steps,
            "seconds": self.seconds,
            "units": {name: np.stack(units) for name, units in self._units.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state that `state_dict` has returned. Raises StateError (a ValueError) for
        anything else, and leaves the probe unchanged then."""
        columns = Columns("step")
        try:
            columns.load_state_dict(state)
            batch, steps, seconds = state["batch"], int(state["steps"]), float(state["seconds"])
            units = {name: Units(*np.asarray(pair)) for name, pair in state["units"].items()}
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise StateError(
                f"load_state_dict of Probe: not a state of a probe: {error!r}"
            ) from None
        self._forget()
        self._columns, self._units = columns, units
        self._source.kept, self.steps, self.seconds = batch, steps, seconds

    def __repr__(self) -> str:
        return f"Probe(every={self.every}, {len(self.history['step'])} entries)"
