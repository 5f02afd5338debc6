"""LearningRateFinder: measure the loss as a function of the learning rate (Smith 2017)."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks, hints
from ..random import generator
from .batches import once

if TYPE_CHECKING:
    from .trainer import Trainer

WORSE = 4.0  # the search ends where the loss exceeds the best one by this factor
WINDOW = 4.0  # the slope of the loss is taken over rates that differ by this factor


class LearningRateFinder(hints.Explained):
    """Trains for some steps with a learning rate that grows from `low` to `high` by the same factor
    each step, and then restores the model, the optimizer and the random state (Smith 2015,
    "Cyclical Learning Rates").

    low, high: the first and the last rate; the search ends early where the loss exceeds four times
               the best one
    steps:     how many rates are tried
    smoothing: the decay of the running average of the loss
    apply:     whether `fit` trains with the suggestion as its rate; only without a schedule

    As a callback it searches before the first epoch of a training, but not if the training is
    resumed; `finder.find(trainer, loader)` searches at once. Afterwards `rates` and `losses`
    (smoothed) are the curve, and `suggestion` is the rate at which the loss falls fastest. The
    rates of several parameter groups keep their ratios. `suggestion` raises ValueError if the loss
    has not fallen.

    >>> images = np.random.default_rng(0).random((64, 8), dtype=np.float32)
    >>> pairs = data.ArrayDataset(images, (images[:, 0] > 0.5).astype(int))
    >>> loader = data.DataLoader(pairs, batch_size=16, shuffle=True)
    >>> model = nn.Sequential(nn.Dense(8, 16), nn.ReLU(), nn.Dense(16, 2))
    >>> trainer = train.Trainer(model, optim.SGD(model.parameters(), lr=0.1), progress=False)
    >>> finder = train.LearningRateFinder(steps=50).find(trainer, loader)
    >>> 1e-6 < finder.suggestion < 10
    True
    """

    def __init__(
        self,
        low: float = 1e-6,
        high: float = 10.0,
        steps: int = 100,
        smoothing: float = 0.9,
        apply: bool = False,
    ) -> None:
        where = "LearningRateFinder"
        self.low = checks.positive(low, where, "low")
        self.high = checks.real(high, where, "high", above=self.low, finite=True)
        self.steps = checks.count(steps, where, "steps", 3)
        self.smoothing = checks.real(smoothing, where, "smoothing", 0, below=1)
        self.apply = checks.flag(apply, where, "apply")
        self.rates: list[float] = []
        self.losses: list[float] = []

    def on_fit_begin(self, trainer: Trainer) -> None:
        if trainer.resumed:
            return
        if self.apply and trainer.schedule is not None:
            raise ValueError(
                "LearningRateFinder: apply=True needs a trainer without schedule, "
                "which sets the rates itself"
            )
        self.find(trainer, trainer.loader)
        if self.apply:
            trainer.optimizer.lr = self.suggestion

    def find(self, trainer: Trainer, loader: Any) -> LearningRateFinder:
        """Search with a trainer's model and the batches of a loader; both are restored after it.
        Returns self."""
        self.rates, self.losses = [], []
        model, optimizer = trainer.model, trainer.optimizer
        before = model.state_dict(), optimizer.state_dict(), generator().bit_generator.state
        modes = [(layer, layer.training) for _, layer in model.named_layers()]
        rates = [group["lr"] for group in optimizer.groups]
        first = rates[0] or 1.0
        model.train()
        try:
            mean, best = 0.0, math.inf
            factor = (self.high / self.low) ** (1 / (self.steps - 1))
            for i, batch in zip(range(self.steps), _endless(loader), strict=False):
                rate = self.low * factor**i
                for group, usual in zip(optimizer.groups, rates, strict=True):
                    group["lr"] = rate * (usual / first if rates[0] else 1.0)
                loss = self._step(trainer, batch)
                mean = self.smoothing * mean + (1 - self.smoothing) * loss
                smooth = mean / (1 - self.smoothing ** (i + 1))  # mean starts from 0
                if not math.isfinite(smooth) or smooth > WORSE * best:
                    break
                self.rates.append(rate)
                self.losses.append(smooth)
                best = min(best, smooth)
        finally:
            model.load_state_dict(before[0])
            optimizer.load_state_dict(before[1])
            generator().bit_generator.state = before[2]
            for layer, training in modes:
                layer.training = training
            model.zero_grad()
            optimizer.zero_grad()
        return self

    def _step(self, trainer: Trainer, batch: Any) -> float:
        """Return the loss of a batch, and make an optimizer step if the loss is finite."""
        example = trainer._reader(batch)
        trainer.model.zero_grad()
        trainer.optimizer.zero_grad()
        loss = trainer._loss(trainer.model(*example.inputs, **example.named), example)
        value = loss.item()
        if math.isfinite(value):
            loss.backward()
            trainer.optimizer.step()
        return value

    @property
    def suggestion(self) -> float:
        """The rate at which the smoothed loss falls fastest: the middle of the window, over which
        the rate grows by a factor of 4, with the largest fall. ValueError if that fall is not more
        than noise. The noise is measured in the first quarter of the rates, which are too low to
        learn anything."""
        if len(self.losses) < 3:
            raise ValueError(
                "LearningRateFinder: there is no suggestion: "
                + (
                    "find has not been called yet"
                    if not self.rates
                    else "the loss was too large from the first rates on; try a lower low"
                )
            )
        losses = np.array(self.losses)
        lowest, idle = max(int(np.argmin(losses)), 2), min(self.steps // 4, len(losses) - 1)
        step = math.log(self.rates[1] / self.rates[0])
        width = min(max(1, round(math.log(WINDOW) / step)), lowest)
        falls = losses[: lowest + 1 - width] - losses[width : lowest + 1]
        steepest = idle + int(np.argmax(falls[idle:])) if len(falls) > idle else -1
        if steepest < 0 or falls[steepest] <= 2 * np.std(losses[: idle + 1]):
            raise ValueError(
                "LearningRateFinder: there is no suggestion: the loss has not fallen "
                "by more than it moves at the lowest rates, as that of a model which "
                "has learned already; look at a new model, or try more steps or a "
                "higher high"
            )
        return math.sqrt(self.rates[steepest] * self.rates[steepest + width])

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """A figure of the curve with the suggestion in it, written to `path` if given. ImportError
        without matplotlib, which the extra `plot` brings."""
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise ImportError(
                "LearningRateFinder.plot: needs matplotlib: pip install 'minidl[plot]'"
            ) from None
        from .report.curves import save

        figure = Figure(figsize=(6, 4), layout="constrained")
        ax = figure.add_subplot()
        ax.semilogx(self.rates, self.losses)
        with contextlib.suppress(ValueError):  # the curve itself shows why there is no suggestion
            ax.axvline(
                self.suggestion,
                linestyle="--",
                color="0.5",
                label=f"suggestion {self.suggestion:.2g}",
            )
            ax.legend()
        ax.set_xlabel("learning rate")
        ax.set_ylabel("loss")
        if path is not None:
            save(figure, checks.path(path, "LearningRateFinder.plot"))
        return figure

    def state_dict(self) -> dict[str, Any]:
        """Return the curve: `rates` and `losses`."""
        return {"rates": list(self.rates), "losses": list(self.losses)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""
        self.rates, self.losses = list(state["rates"]), list(state["losses"])

    def __repr__(self) -> str:
        return f"LearningRateFinder(low={self.low}, high={self.high}, steps={self.steps})"


def _endless(loader: Any) -> Iterator[Any]:
    """Yield batches of one pass after another, which do not count as epochs of the loader.
    ValueError if it has no batch."""
    while True:
        empty = True
        for batch in once(loader):
            empty = False
            yield batch
        if empty:
            raise ValueError("LearningRateFinder: the loader has no batch")
