"""LearningRateFinder: the loss as a function of the learning rate (Smith 2017)."""

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

WORSE = 4.0  # times the best loss: there the search ends
WINDOW = 4.0  # the factor between the rates that losses are compared at


class LearningRateFinder(hints.Explained):
    """Trains for some steps with a rate that grows from `low` to `high`, each step by the same
    factor, and takes back all that this has changed (Smith 2015, "Cyclical Learning Rates").

    low, high: the first rate and the last; it ends before where the loss is four times the best
    steps:     how many rates are tried
    smoothing: the weight that the running average of the loss keeps
    apply:     whether `fit` goes on with the suggestion as its rate; only without a schedule

    As a callback it looks before the first epoch of a training, not of one that is resumed; or
    `finder.find(trainer, loader)` looks at once. After that `rates` and `losses` (smoothed) are the
    curve, and `suggestion` is the rate where the loss falls fastest. Rates of several groups grow
    together. ValueError for a suggestion where no loss has fallen.

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
        """Look at a trainer's model with the batches of a loader; both are left as they were."""
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
        """The loss of a batch, and a step with its gradient if it is finite."""
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
        """The rate around which the smoothed loss falls most: in the middle of the factor 4 over
        which it does. ValueError if that is no more than the noise, which is how far the loss
        moves in the first quarter of the rates: they are too low to learn."""
        if len(self.losses) < 3:
            raise ValueError(
                "LearningRateFinder: there is no suggestion: "
                + (
                    "it has not looked yet"
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
        figure = Figure(figsize=(6, 4), layout="constrained")
        ax = figure.add_subplot()
        ax.semilogx(self.rates, self.losses)
        with contextlib.suppress(ValueError):  # there is none, which the curve explains
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
            figure.savefig(path)
        return figure

    def state_dict(self) -> dict[str, Any]:
        """The curve."""
        return {"rates": list(self.rates), "losses": list(self.losses)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gives."""
        self.rates, self.losses = list(state["rates"]), list(state["losses"])

    def __repr__(self) -> str:
        return f"LearningRateFinder(low={self.low}, high={self.high}, steps={self.steps})"


def _endless(loader: Any) -> Iterator[Any]:
    """Batches of passes that are no part of the loader's epochs. ValueError if there are none."""
    while True:
        some = False
        for batch in once(loader):
            some = True
            yield batch
        if not some:
            raise ValueError("LearningRateFinder: the loader has no batch")
