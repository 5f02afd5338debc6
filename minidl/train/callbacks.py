"""How a trainer calls its callbacks and saves their states, and the callback `EarlyStopping`.

A callback is any object with some of the methods in `HOOKS`, each of which is called with the
trainer. Checkpoints hold the state of each callback that has `state_dict` and `load_state_dict`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .. import checks, hints

if TYPE_CHECKING:
    from .trainer import Trainer

HOOKS = (
    "on_fit_begin",
    "on_epoch_begin",
    "on_batch_end",
    "on_epoch_end",
    "on_fit_end",
    "on_interrupt",
)


def checked(callbacks: Iterable[Any]) -> list[Any]:
    """Return the callbacks in the order in which they are called. Those with a true attribute
    `saves` come last, so that a checkpoint holds the newest states of all others."""
    found = list(checks.members(callbacks, "Trainer", "callbacks", "a list of callbacks"))
    for callback in found:
        if isinstance(callback, type) or not any(hasattr(callback, hook) for hook in HOOKS):
            raise TypeError(
                checks.message(
                    "Trainer",
                    "callbacks",
                    f"objects with some of the methods {', '.join(HOOKS)}",
                    callback,
                )
            )
    return sorted(found, key=lambda callback: bool(getattr(callback, "saves", False)))


def call(callbacks: Iterable[Any], hook: str, trainer: Trainer) -> None:
    for callback in callbacks:
        method = getattr(callback, hook, None)
        if method is not None:
            method(trainer)


def _stateful(callbacks: Iterable[Any]) -> dict[str, Any]:
    """Return the callbacks that have a state, by the name of their class; the second of a class has
    " 2" after that name, and so on."""
    found: dict[str, Any] = {}
    for callback in callbacks:
        if hasattr(callback, "state_dict") and hasattr(callback, "load_state_dict"):
            name = kind = type(callback).__name__
            number = 1
            while name in found:
                number += 1
                name = f"{kind} {number}"
            found[name] = callback
    return found


def states(callbacks: Iterable[Any]) -> dict[str, Any]:
    """Return the states of the callbacks that have one, for a checkpoint."""
    return {name: callback.state_dict() for name, callback in _stateful(callbacks).items()}


def load_states(callbacks: Iterable[Any], saved: Mapping[str, Any]) -> None:
    """Give each callback its saved state; one without a saved state keeps its initial one."""
    for name, callback in _stateful(callbacks).items():
        if name in saved:
            callback.load_state_dict(saved[name])


class Monitor:
    """Tracks the best value of one column of the history.

    The smallest value is the best if the column's name contains "loss", "error", "mae" or "mse",
    else the largest; `mode`, "min" or "max", overrides that. NaN is never better.
    """

    def __init__(self, name: str, mode: str | None, where: str) -> None:
        if not isinstance(name, str):
            raise TypeError(checks.message(where, "monitor", "a name in the history", name))
        mode = checks.choice(mode, where, "mode", ("min", "max", None))
        small = any(part in name.lower() for part in ("loss", "error", "mae", "mse"))
        self.name = name
        self.mode: str = mode or ("min" if small else "max")
        self.best = math.inf if self.mode == "min" else -math.inf

    def better(self, value: float, min_delta: float = 0.0) -> bool:
        """Return whether a value is better than the best one by more than `min_delta`; such a value
        becomes the best."""
        gain = self.best - value if self.mode == "min" else value - self.best
        if not gain > min_delta:  # false for NaN
            return False
        self.best = value
        return True

    def value(self, trainer: Trainer, where: str) -> float:
        """Return the column's newest value. ValueError if the history has no such column."""
        column = trainer.history.get(self.name)
        if not column:
            raise ValueError(
                checks.message(where, "monitor", "one of " + ", ".join(trainer.history), self.name)
            )
        return column[-1]


class EarlyStopping(hints.Explained):
    """Stops a training after `patience` epochs in a row without improvement.

    monitor:   the column of the history that is watched
    patience:  how many epochs in a row may pass without a better value
    min_delta: by how much a value must be better than the best one to count as an improvement
    mode:      "min" or "max": which values are better. None: "min" for losses and errors, else
               "max"

    The model keeps the weights of the last epoch; `Checkpoint` saves those of the best epoch as
    `best.safetensors`. ValueError at the start of `fit` if `monitor` is a validation figure and
    `fit` has no `valid`, or after the first epoch if the history has no such column.

    >>> train.EarlyStopping(patience=3)
    EarlyStopping(monitor='valid_loss', patience=3, min_delta=0.0, mode='min')
    """

    def __init__(
        self,
        monitor: str = "valid_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str | None = None,
    ) -> None:
        where = "EarlyStopping"
        self.monitor = monitor
        self.patience = checks.count(patience, where, "patience", 1)
        self.min_delta = checks.not_negative(min_delta, where, "min_delta")
        self._mode = mode
        self._monitor = Monitor(monitor, mode, where)
        self.waited = 0  # epochs in a row without a better value

    @property
    def best(self) -> float:
        """The best value so far; before the first epoch it is infinity, or -infinity for "max"."""
        return self._monitor.best

    def on_fit_begin(self, trainer: Trainer) -> None:
        if self.monitor.startswith("valid_") and trainer.valid is None:
            raise ValueError(
                f"EarlyStopping: monitor is {self.monitor!r}, but fit has no valid=: "
                f'give it a loader to validate with, or monitor="loss"'
            )
        if not trainer.resumed:
            self._monitor = Monitor(self.monitor, self._mode, "EarlyStopping")
            self.waited = 0

    def on_epoch_end(self, trainer: Trainer) -> None:
        value = self._monitor.value(trainer, "EarlyStopping")
        if self._monitor.better(value, self.min_delta):
            self.waited = 0
        else:
            self.waited += 1
            if self.waited >= self.patience:
                trainer.stop = True

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and the number of epochs since it was reached."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""
        self._monitor.best = float(state["best"])
        self.waited = checks.count(state["waited"], "EarlyStopping", "waited")

    def __repr__(self) -> str:
        return (
            f"EarlyStopping(monitor={self.monitor!r}, patience={self.patience}, "
            f"min_delta={self.min_delta}, mode={self._monitor.mode!r})"
        )
