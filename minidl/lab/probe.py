"""Probe: the lab's measures of a model of one's own while it trains."""

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
from . import given
from .look import Look, blocks_of, look
from .measures import (
    FACTORS,
    Point,
    Values,
    bounds,
    drift,
    gradient_shift,
    landscape,
    placed,
    point,
    values_of,
)
from .rates import effective_rate

if TYPE_CHECKING:
    from ..train.trainer import Trainer

MEASURES = ("activations", "gradients", "drift", "rates", "shift", "landscape")
OF_STEPS = {"shift", "landscape"}  # which need the weights before a step
OF_GRADIENTS = {"gradients", *OF_STEPS}
LANDSCAPE = ("loss_low", "loss_high", "distance_low", "distance_high", "smoothness", "step_norm")


class Probe(hints.Explained):
    """Looks into a model while it trains, always with the same batch: a callback of a `Trainer`, or
    by hand with `step()` after each step of the optimizer. The training does not notice.

    model:     the model that is trained
    every:     looks after each so many steps; as a callback also before the first
    measures:  what is measured, by names (below)
    batch:     what it looks at: a batch as a loader gives it, (images, labels) or [images, labels];
               or a loader (a list of batches is one) or a data set, whose first it takes. None:
               the first batch of the trainer's loader; by hand, the first that `step` is given
    optimizer: by hand, whose rates "rates" reads; as a callback the trainer's
    loss:      by hand, a function of (outputs, labels); as a callback the trainer's

    `history` is what it has found, as plain lists and dicts: {"step": [0, 100, ...], "loss": [...],
    ..., "layers": [{"name": ..., "kind": ..., "mean": [...], ...}, ...]}, the layers in the order
    in which they compute, NaN where there is no such figure. The measures, and what each costs at a
    look, in passes forward and backward, each as long as a training step of such a batch:

    activations: the forward half of one. "mean" and "std" of all values that a layer gives, and
                 "mean_before", "std_before" of what a normalization is given; "dead", the share of
                 a ReLU's units (channels) that are 0 for the whole batch; "saturated", the share of
                 a sigmoid's or tanh's values where its slope is under a tenth of its largest
    drift:       nothing beside that. "drift_mean" and "drift_std": how far the means and standard
                 deviations of a layer's inputs have moved since the last look, in their standard
                 deviations. Covariate shift as of Ioffe & Szegedy 2015
    gradients:   the other half. "gradient", the norm of the loss's gradient by a layer's weights
    rates:       nothing. "effective_rate" of weights that a normalization follows, and nothing
                 else, so that their norm does not matter to the loss: the rate at which weights of
                 norm 1 would turn as far. Of SGD the learning rate divided by their squared norm;
                 of Adam, AdamW, RMSprop, Adagrad and Muon, to which the size of a gradient does not
                 matter, divided by their norm; of LARS the rate times `trust` (van Laarhoven 2017).
                 NaN for frozen weights, an optimizer of one's own kind, and by hand without one
    shift:       one for each layer with weights. "shift", "shift_norm" and "shift_cosine": what the
                 last step, made by the layers before, does to a layer's gradient: the norm of the
                 change divided by that of the gradient, the norm itself, and the cosine of the
                 angle. Covariate shift as of Santurkar et al. 2018
    landscape:   four, three of them beside shift. "loss_low" and "loss_high" along the last step,
                 from half to four times it; "distance_low" and "distance_high" of the gradient
                 there from that before the step (gradient predictiveness); "smoothness", the
                 largest change of the gradient for a change of the weights; "step_norm"

    "loss" of the batch comes with each. Shift and landscape are of the step that the optimizer has
    really made, momentum and all; they keep the weights before it, and are NaN where these were not
    seen, as at the start. `seconds` is the time that all looks have taken.

    The training goes on with the same bits as without: weights and buffers are put back, gradients
    are left alone, and dropout draws from a generator of its own, the same in each pass. The layers
    are in the mode in which the training has them. A layer that is called several times is seen at
    its first call. `history` is part of checkpoints, and goes on in a resumed training. A loader of
    another library is asked for its first batch, once; give `batch` where that would change what it
    gives later.

    A layer has the figures that there are of its kind. Normalizations are those of `nn`, layers and
    operations, and layers of one's own that are derived from `nn.Normalization`; those that use
    running statistics are none to "rates". Models may have several inputs, in the batches that a
    `Trainer` takes: (a, b, labels), ((a, b), labels) or dicts.

    ValueError for a trainer of another model, an optimizer of another one, and a look for gradients
    within `md.no_grad()`; TypeError for a model whose one input is itself a tuple or dict.

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
        self.measures = given.names_of(measures, MEASURES)
        self.optimizer = given.optimizer_of(optimizer, model)
        self.loss = checks.function(loss, where, "loss", "a function of (outputs, labels)")
        self._reader = Reader(model)
        self._of_trainer: Callable[[Any, Example], Tensor] | None = None
        self._source = FixedBatch(given.batch_of(batch), where, "batch")
        self._forget()

    def _forget(self) -> None:
        self._columns = Columns("step")
        self._source.kept = None
        self._batch: Any = None
        self._units: dict[str, Units] = {}  # of inputs, at the last look
        self._before: Values | None = None  # the weights before the next step
        self.steps = 0
        self.seconds = 0.0

    @property
    def history(self) -> dict[str, Any]:
        """What was found, as plain lists and dicts."""
        return self._columns.history

    # ---------------------------------------------------------------------------------- by hand

    def step(self, batch: Any = None) -> None:
        """Say that the optimizer has made a step: after each `every` of them there is a look.

        batch: what to look at, (images, labels), if the probe was made without: the first one that
               is given stays so for the whole training
        """
        self._take(batch, "step")
        self._stepped(self.steps + 1)

    def look(self, batch: Any = None) -> None:
        """Look at the model as it is now, as before a training. `batch`: as of `step`."""
        self._take(batch, "look")
        self._look()
        self._keep()

    def _take(self, batch: Any, where: str) -> None:
        if self._batch is not None:
            return
        if self._source.given is None and batch is None:
            self._batch = self._source.kept  # that of a saved state
        else:
            self._batch = self._source.taken(given.batch_of(batch))
            if self._source.given is None:
                self._source.kept = plain(self._batch)
        if self._batch is None:
            raise ValueError(
                f"Probe.{where}: batch is missing: give the probe one to look at, "
                f"Probe(model, batch=(images, labels)), or {where}((images, labels))"
            )

    # ------------------------------------------------------------------------------ as a callback

    def on_fit_begin(self, trainer: Trainer) -> None:
        if trainer.model is not self.model:
            raise ValueError("Probe: model must be that of the trainer, got another one")
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
        if trainer.step != self.steps:  # with accumulate not every batch makes a step
            self._stepped(trainer.step)

    def on_epoch_end(self, trainer: Trainer) -> None:
        self.on_batch_end(trainer)  # a step that came after the last batch

    # ---------------------------------------------------------------------------------- the looks

    def _stepped(self, steps: int) -> None:
        self.steps = steps
        if steps % self.every == 0:
            self._look()
        self._keep()

    def _keep(self) -> None:
        """Keep the weights before a step that will be looked at."""
        due = (self.steps + 1) % self.every == 0 and OF_STEPS & self.measures
        self._before = values_of(self._learned()) if due else None

    def _learned(self) -> list[Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def _look(self) -> None:
        """Measure, and add an entry to the history."""
        if OF_GRADIENTS & self.measures and not is_recording():
            raise ValueError(
                f"Probe: {', '.join(sorted(OF_GRADIENTS & self.measures))} need "
                f"gradients, which there are none of within md.no_grad(): look "
                f"outside of it, or take other measures"
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
        """A pass with the weights as they are, followed; backward only where it is asked for."""
        learned = self._learned() if {"gradients", "landscape"} & self.measures else []
        with undisturbed(self.model, "Probe"):
            seen, loss = look(self.model, self._pass)
            return seen, point(lambda: loss, learned)

    def _pass(self) -> Tensor:
        """The loss of the batch with the weights as they are."""
        example = given.example_of(self._batch, self._reader)
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
        """The figures of a layer with weights that are not those of what it gives."""
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
        """Shift, into the rows of the layers, and landscape of the step that was made last; NaN
        where it was not seen."""
        before, learned = self._before, self._learned()
        figures = dict.fromkeys(LANDSCAPE if "landscape" in self.measures else (), NAN)
        if not learned or before is None or set(before) != set(learned):
            return figures
        updated = values_of(learned)
        with placed(before):
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
        """Draw what was found over the steps, of layers the first and the last in colours, the
        others in grey.

        path:    the format is that of the ending (.png, .svg, .pdf ...), PNG if it has none
        figures: names in the history, as "shift" or ["std", "gradient"]; "loss along the step" and
                 "gradient along the step" are bands. None: one plot for each measure

        ValueError where there is nothing to draw; ImportError without matplotlib.
        """
        from .probe_plots import plot_history

        plot_history(self.history, path, figures, "Probe.plot")

    # ---------------------------------------------------------------------------------- the state

    def state_dict(self) -> dict[str, Any]:
        """The history, and what the next entry needs."""
        return {
            **self._columns.state_dict(),
            "batch": self._source.kept,
            "steps": self.steps,
            "seconds": self.seconds,
            "units": {name: np.stack(units) for name, units in self._units.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gives. StateError (a ValueError) for anything else, of which
        nothing is taken."""
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
