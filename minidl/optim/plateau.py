"""ReduceOnPlateau: smaller learning rates when a metric stops improving."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from .. import checks, hints
from ..checks import Check, each, not_negative
from ..nn.state import StateError
from .optimizer import Optimizer
from .schedule import optimizer_of, readable


class ReduceOnPlateau(hints.Explained):
    """Set lr = max(factor lr, min_lr) when more than `patience` steps in a row have brought no
    better metric (PyTorch's ReduceLROnPlateau).

    A metric is better if it is below best - threshold |best| for mode "min", or above best +
    threshold |best| for "max"; NaN is never better. (For metrics below 0, (1 - threshold) best,
    which PyTorch uses, is above best, so that an equal or slightly worse metric counts as better
    there.) The `cooldown` steps after a reduction do not count. TypeError or ValueError name an
    argument that is wrong.

    >>> optimizer = optim.SGD(nn.Dense(2, 2).parameters(), lr=1.0)
    >>> schedule = optim.ReduceOnPlateau(optimizer, factor=0.5, patience=1)
    >>> rates = []
    >>> for loss in [3.0, 2.0, 2.0, 2.0, 1.0]:
    ...     schedule.step(loss)
    ...     rates.append(optimizer.lr)
    >>> rates
    [1.0, 1.0, 1.0, 0.5, 0.5]
    """

    checks: Mapping[str, Check] = {
        "factor": partial(checks.real, above=0, below=1),
        "patience": checks.count,
        "threshold": not_negative,
        "mode": partial(checks.choice, options=("min", "max")),
        "min_lr": not_negative,
        "cooldown": checks.count,
    }

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        mode: str = "min",
        min_lr: float = 0.0,
        cooldown: int = 0,
    ) -> None:
        where = type(self).__name__
        self.optimizer = optimizer_of(where, optimizer)
        self.options = self._checked(
            where,
            {
                "factor": factor,
                "patience": patience,
                "threshold": threshold,
                "mode": mode,
                "min_lr": min_lr,
                "cooldown": cooldown,
            },
        )
        self.best = math.inf if mode == "min" else -math.inf
        self.bad = 0  # steps in a row without a better metric
        self.cooling = 0  # steps of the cooldown that are left

    def _checked(self, where: str, options: Mapping[str, Any]) -> dict[str, Any]:
        return {name: check(options[name], where, name) for name, check in self.checks.items()}

    @property
    def lr(self) -> list[float]:
        """The current learning rate of each group."""
        return [group["lr"] for group in self.optimizer.groups]

    def step(self, metric: Any) -> None:
        """Count a step with its metric (a number, or a tensor or array of one), and reduce the
        rates if it is time to. TypeError if the metric is not a number."""
        try:
            if isinstance(metric, (str, bytes)):  # float() would accept text
                raise TypeError
            value = float(metric)
        except (TypeError, ValueError):
            raise TypeError(f"ReduceOnPlateau: metric must be a number, got {metric!r}") from None
        if self._better(value):
            self.best, self.bad = value, 0
        else:
            self.bad += 1
        if self.cooling:
            self.cooling -= 1
            self.bad = 0
        if self.bad > self.options["patience"]:
            self.cooling, self.bad = self.options["cooldown"], 0
            for group in self.optimizer.groups:  # a rate below min_lr is not raised
                group["lr"] = min(
                    group["lr"], max(group["lr"] * self.options["factor"], self.options["min_lr"])
                )

    def _better(self, value: float) -> bool:
        sign = 1 if self.options["mode"] == "min" else -1
        best, value = sign * self.best, sign * value  # now smaller is better
        if math.isfinite(best):  # the first metric is better than infinity by any threshold
            best *= 1 - math.copysign(self.options["threshold"], best)
        return value < best

    def state_dict(self) -> dict[str, Any]:
        """Options, counts, the best metric and the current rates as a plain dict (copies)."""
        return {
            **self.options,
            "best": self.best,
            "bad": self.bad,
            "cooling": self.cooling,
            "lr": self.lr,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take everything from `state_dict()`, and set the rates.

        StateError (a ValueError) if anything does not fit; nothing is changed then.
        """
        new = readable(self, state)
        for group, rate in zip(self.optimizer.groups, new.pop("lr"), strict=True):
            group["lr"] = rate
        self.__dict__.update(new)

    def _read(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes in a state, checked."""
        expected = {*self.checks, "best", "bad", "cooling", "lr"}
        if set(state) != expected:
            raise StateError(f"needs {sorted(expected)}, got {sorted(state)}")
        lr = each(not_negative)(state["lr"], "state", "lr")
        if len(lr) != len(self.lr):
            raise StateError(f"lr must have {len(self.lr)} rates, got {len(lr)}")
        return {
            "options": self._checked("state", state),
            "best": checks.real(state["best"], "state", "best"),
            "bad": checks.count(state["bad"], "state", "bad"),
            "cooling": checks.count(state["cooling"], "state", "cooling"),
            "lr": lr,
        }

    def __repr__(self) -> str:
        options = "".join(f"{name}={value!r}, " for name, value in self.options.items())
        return f"ReduceOnPlateau({options}best={self.best}, bad={self.bad}, lr={self.lr})"
