"""Schedules: learning rates as functions of the number of steps.

`SequenceLR`, which joins schedules, is in sequence.py; `ReduceOnPlateau`, which looks at a metric,
is in plateau.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from .. import checks, hints
from ..checks import Check, each, fraction, not_negative, positive
from ..nn.state import StateError
from .optimizer import Optimizer

at_least_one = partial(checks.count, least=1)


class Schedule(hints.Explained):
    """The base of schedules: `step()`, once an epoch or once a batch, sets the rate of each group.

    `base` holds the rates of the groups when the schedule is made, and `count` the steps since. The
    new rates are a function of these two alone, even if something else has set rates meanwhile. A
    subclass defines `_rate`, and names its options with their checks, whose TypeErrors and
    ValueErrors say what is wrong.

    >>> class Halving(optim.Schedule):
    ...     def _rate(self, base, count):
    ...         return base / 2 ** count
    >>> schedule = Halving(optim.SGD(nn.Dense(2, 2).parameters(), lr=0.5))
    >>> schedule.step()
    >>> schedule.lr
    [0.25]
    """

    checks: dict[str, Check] = {}

    def __init__(self, optimizer: Optimizer, **options: Any) -> None:
        where = type(self).__name__
        self.optimizer = optimizer_of(where, optimizer)
        self.options = self._checked(where, options)
        self.count = 0
        self.base = _base_rates(optimizer)
        self._set(0)
        optimizer._first_rates = self.base, self.lr

    def _checked(self, where: str, options: dict[str, Any]) -> dict[str, Any]:
        return {name: check(options[name], where, name) for name, check in self.checks.items()}

    @property
    def lr(self) -> list[float]:
        """The current learning rate of each group."""
        return [group["lr"] for group in self.optimizer.groups]

    def step(self) -> None:
        """Count a step, and set the rates for the new count. ValueError for a rate that is negative
        or not finite; nothing is changed then.
        """
        self._set(self.count + 1)

    def _set(self, count: int) -> None:
        where, before = f"{type(self).__name__}, step {count}", self.count
        self.count = count
        try:
            rates = self._rates(count)
            for rate in rates:
                not_negative(rate, where, "lr")
        except BaseException as error:
            self.count = before
            if isinstance(error, OverflowError):
                raise ValueError(f"{where}: lr is too large for a number") from None
            raise
        for group, rate in zip(self.optimizer.groups, rates, strict=True):
            group["lr"] = rate
        self.optimizer._first_rates = None

    def _rates(self, count: int) -> list[float]:
        """The rate of each group after `count` steps."""
        return [self._rate(base, count) for base in self.base]

    def _rate(self, base: float, count: int) -> float:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Count, base rates and options as a plain dict of numbers and lists (copies)."""
        options = {k: list(v) if isinstance(v, list) else v for k, v in self.options.items()}
        return {"count": self.count, "base": list(self.base), **options}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take count, base rates and options from `state_dict()`, and set the rates.

        StateError (a ValueError) if anything does not fit; nothing is changed then.
        """
        new, before = readable(self, state), self.state_dict()
        self._take(new)
        try:
            self._set(self.count)
        except (TypeError, ValueError) as error:
            self._take(self._read(before))
            raise StateError(f"load_state_dict of {type(self).__name__}: {error}") from None

    def _read(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes in a state, checked."""
        expected = {"count", "base", *self.checks}
        if set(state) != expected:
            raise StateError(f"needs {sorted(expected)}, got {sorted(state)}")
        base = each(not_negative)(state["base"], "state", "base")
        if len(base) != len(self.base):
            raise StateError(f"base must have {len(self.base)} rates, got {len(base)}")
        return {
            "count": checks.count(state["count"], "state", "count"),
            "base": base,
            "options": self._checked("state", {k: state[k] for k in self.checks}),
        }

    def _take(self, new: dict[str, Any]) -> None:
        self.__dict__.update(new)

    def __repr__(self) -> str:
        options = "".join(f"{name}={value!r}, " for name, value in self.options.items())
        return f"{type(self).__name__}({options}count={self.count}, lr={self.lr})"


def optimizer_of(where: str, value: Any) -> Optimizer:
    """Check that value is an optimizer."""
    return checks.instance(value, where, "optimizer", Optimizer, "an optimizer")


def _base_rates(optimizer: Optimizer) -> list[float]:
    """The base rates for a new schedule: the current rates of the groups.

    If another schedule has set these when it was made, and has taken no step since, its own base
    rates are returned. So schedules that are made one after another for a sequence have the same
    base.
    """
    rates = [group["lr"] for group in optimizer.groups]
    if optimizer._first_rates is not None:
        base, first = optimizer._first_rates
        if rates == first:
            return list(base)
    return rates


def readable(schedule: Any, state: Any) -> dict[str, Any]:
    """Read a state by the schedule's `_read`; every error becomes a StateError."""
    where = f"load_state_dict of {type(schedule).__name__}"
    if not isinstance(state, Mapping):
        raise StateError(f"{where}: state must be a dict, got {type(state).__name__}")
    try:
        return schedule._read(state)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StateError(f"{where}: {error}") from None


class StepLR(Schedule):
    """lr = base * gamma^(count // step_size).

    >>> optimizer = optim.SGD(nn.Dense(2, 2).parameters(), lr=1.0)
    >>> schedule = optim.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> schedule
    StepLR(step_size=2, gamma=0.5, count=4, lr=[0.25])
    """

    checks = {"step_size": at_least_one, "gamma": positive}

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        super().__init__(optimizer, step_size=step_size, gamma=gamma)

    def _rate(self, base: float, count: int) -> float:
        return base * self.options["gamma"] ** (count // self.options["step_size"])


class MultiStepLR(Schedule):
    """lr = base * gamma^k, with k the number of milestones that count has reached.

    >>> optimizer = optim.SGD(nn.Dense(2, 2).parameters(), lr=1.0)
    >>> schedule = optim.MultiStepLR(optimizer, milestones=[1, 3], gamma=0.5)
    >>> rates = [optimizer.lr]
    >>> for _ in range(3):
    ...     schedule.step()
    ...     rates.append(optimizer.lr)
    >>> rates
    [1.0, 0.5, 0.5, 0.25]
    """

    checks = {"milestones": each(at_least_one), "gamma": positive}

    def __init__(self, optimizer: Optimizer, milestones: list[int], gamma: float = 0.1) -> None:
        super().__init__(optimizer, milestones=milestones, gamma=gamma)

    def _rate(self, base: float, count: int) -> float:
        reached = sum([count >= milestone for milestone in self.options["milestones"]])
        return base * self.options["gamma"] ** reached


class LinearLR(Schedule):
    """lr = base (1 - (1 - end) count / steps), in a straight line; from count = steps on it stays
    at base * end.

    `steps` is a number, or a list with one for each group.

    >>> optimizer = optim.SGD(nn.Dense(2, 2).parameters(), lr=1.0)
    >>> schedule = optim.LinearLR(optimizer, steps=4)
    >>> schedule.step()
    >>> optimizer.lr
    0.75
    """

    checks = {"steps": each(at_least_one), "end": not_negative}

    def __init__(self, optimizer: Optimizer, steps: int | list[int], end: float = 0.0) -> None:
        super().__init__(optimizer, steps=steps, end=end)

    def _checked(self, where: str, options: dict[str, Any]) -> dict[str, Any]:
        return super()._checked(
            where,
            {
                **options,
                "steps": one_each(options["steps"], where, "steps", len(self.optimizer.groups)),
            },
        )

    def _rates(self, count: int) -> list[float]:
        end = self.options["end"]
        return [
            base * (1 - (1 - end) * min(1.0, count / steps))
            for base, steps in zip(self.base, self.options["steps"], strict=True)
        ]


class CosineLR(Schedule):
    """lr = min_lr + (base - min_lr) (1 + cos(pi count / steps)) / 2; from count = steps on it
    stays at min_lr (Loshchilov & Hutter 2017, without restarts).

    >>> optimizer = optim.SGD(nn.Dense(2, 2).parameters(), lr=1.0)
    >>> schedule = optim.CosineLR(optimizer, steps=2)
    >>> schedule.step()
    >>> round(optimizer.lr, 6)
    0.5
    """

    checks = {"steps": at_least_one, "min_lr": not_negative}

    def __init__(self, optimizer: Optimizer, steps: int, min_lr: float = 0.0) -> None:
        super().__init__(optimizer, steps=steps, min_lr=min_lr)

    def _rate(self, base: float, count: int) -> float:
        return _cosine(base, self.options["min_lr"], count / self.options["steps"])


class WarmupLR(Schedule):
    """lr = base (start + (1 - start) count / steps), in a straight line; from count = steps on it
    stays at base (Goyal et al. 2017).

    >>> optimizer = optim.SGD(nn.Dense(2, 2).parameters(), lr=1.0)
    >>> schedule = optim.WarmupLR(optimizer, steps=4)
    >>> rates = [optimizer.lr]
    >>> for _ in range(5):
    ...     schedule.step()
    ...     rates.append(optimizer.lr)
    >>> rates
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """

    checks = {"steps": at_least_one, "start": fraction}

    def __init__(self, optimizer: Optimizer, steps: int, start: float = 0.0) -> None:
        super().__init__(optimizer, steps=steps, start=start)

    def _rate(self, base: float, count: int) -> float:
        start = self.options["start"]
        return base * (start + (1 - start) * min(count / self.options["steps"], 1.0))


class OneCycleLR(Schedule):
    """lr rises along half a cosine from max_lr / start_div to max_lr, which it reaches after the
    fraction `warmup` of the steps. Then it falls along another one to max_lr / start_div /
    final_div, which it reaches at step steps - 1 and keeps (Smith & Topin 2019, in PyTorch's form,
    without cycling momentum).

    `max_lr` is a number, or a list with one for each group; it replaces the optimizer's own rates.

    >>> optimizer = optim.SGD(nn.Dense(2, 2).parameters(), lr=1.0)
    >>> schedule = optim.OneCycleLR(optimizer, max_lr=1.0, steps=10)
    >>> rates = [round(optimizer.lr, 4)]
    >>> for _ in range(9):
    ...     schedule.step()
    ...     rates.append(round(optimizer.lr, 4))
    >>> rates
    [0.04, 0.52, 1.0, 0.9505, 0.8117, 0.6113, 0.3887, 0.1883, 0.0495, 0.0]
    """

    checks = {
        "max_lr": each(positive),
        "steps": at_least_one,
        "warmup": fraction,
        "start_div": positive,
        "final_div": positive,
    }

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        steps: int,
        warmup: float = 0.3,
        start_div: float = 25,
        final_div: float = 1e4,
    ) -> None:
        super().__init__(
            optimizer,
            max_lr=max_lr,
            steps=steps,
            warmup=warmup,
            start_div=start_div,
            final_div=final_div,
        )

    def _checked(self, where: str, options: dict[str, Any]) -> dict[str, Any]:
        return super()._checked(
            where,
            {
                **options,
                "max_lr": one_each(options["max_lr"], where, "max_lr", len(self.optimizer.groups)),
            },
        )

    def _rates(self, count: int) -> list[float]:
        return [self._rate(peak, count) for peak in self.options["max_lr"]]

    def _rate(self, base: float, count: int) -> float:
        start = base / self.options["start_div"]
        last = self.options["steps"] - 1
        top = self.options["warmup"] * self.options["steps"] - 1  # the step with the largest rate
        if count <= top:
            return _cosine(start, base, count / top if top > 0 else 1.0)
        return _cosine(
            base,
            start / self.options["final_div"],
            (count - top) / (last - top) if last > top else 1.0,
        )


def one_each(given: Any, where: str, name: str, groups: int) -> Any:
    """A list with a number for each group, from such a list or from one number for all."""
    found = given if isinstance(given, list | tuple) else [given] * groups
    if len(found) != groups:
        raise ValueError(
            f"{where}: {name} must be a number or a list of {groups}, one for each "
            f"group, got {given!r}"
        )
    return found


def _cosine(start: float, end: float, part: float) -> float:
    """The value on half a cosine from start, at part 0, to end, at part 1 and after it."""
    return end if part >= 1 else end + (start - end) * (1 + math.cos(math.pi * part)) / 2
