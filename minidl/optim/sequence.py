"""SequenceLR, which lets one schedule follow another."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from .. import checks
from ..nn.state import StateError
from .schedule import Schedule, at_least_one, readable


class SequenceLR(Schedule):
    """Follow one schedule after another: from step milestones[i - 1] on, schedules[i] sets the
    rates, counting its own steps from 0.

    All schedules are made for one optimizer, before any of them takes a step; after that, only the
    sequence takes steps. There is one milestone fewer than schedules. ValueError if there are more
    or fewer milestones, or if they do not increase from 1 on; TypeError for an object that is no
    schedule by steps.

    >>> optimizer = optim.SGD(nn.Dense(2, 2).parameters(), lr=1.0)
    >>> schedule = optim.SequenceLR([optim.WarmupLR(optimizer, steps=2),
    ...                              optim.StepLR(optimizer, step_size=1, gamma=0.5)], [2])
    >>> rates = [optimizer.lr]
    >>> for _ in range(4):
    ...     schedule.step()
    ...     rates.append(optimizer.lr)
    >>> rates
    [0.0, 0.5, 1.0, 0.5, 0.25]
    """

    checks = {"milestones": checks.each(at_least_one)}

    def __init__(self, schedules: Iterable[Schedule], milestones: Sequence[int]) -> None:
        where, expected = ("SequenceLR", "schedules"), "schedules whose step() takes no arguments"
        members = checks.members(schedules, *where, "a list of schedules")
        self.schedules = [checks.instance(s, *where, Schedule, expected) for s in members]
        if not self.schedules:
            raise ValueError("SequenceLR: schedules is empty")
        optimizer = self.schedules[0].optimizer
        if any(schedule.optimizer is not optimizer for schedule in self.schedules):
            raise ValueError("SequenceLR: schedules must be of one optimizer")
        super().__init__(optimizer, milestones=milestones)

    def _checked(self, where: str, options: dict[str, Any]) -> dict[str, Any]:
        new = super()._checked(where, options)
        milestones = new["milestones"]
        if len(milestones) != len(self.schedules) - 1 or any(
            b <= a for a, b in pairwise(milestones)
        ):
            raise ValueError(
                f"{where}: milestones must be {len(self.schedules) - 1} increasing "
                f"numbers, one fewer than schedules, got {milestones}"
            )
        return new

    def _rates(self, count: int) -> list[float]:
        milestones = self.options["milestones"]
        i = bisect.bisect_right(milestones, count)
        return self.schedules[i]._rates(count - (milestones[i - 1] if i else 0))

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "schedules": [s.state_dict() for s in self.schedules]}

    def _read(self, state: Mapping[str, Any]) -> dict[str, Any]:
        new = super()._read({k: v for k, v in state.items() if k != "schedules"})
        if len(state["schedules"]) != len(self.schedules):
            raise StateError(
                f"needs the states of {len(self.schedules)} schedules, got "
                f"{len(state['schedules'])}"
            )
        new["schedules"] = [
            readable(schedule, part)
            for schedule, part in zip(self.schedules, state["schedules"], strict=True)
        ]
        return new

    def _take(self, new: dict[str, Any]) -> None:
        for schedule, part in zip(self.schedules, new.pop("schedules"), strict=True):
            schedule._take(part)
        super()._take(new)

    def __repr__(self) -> str:
        parts = ", ".join(map(repr, self.schedules))
        return (
            f"SequenceLR([{parts}], {self.options['milestones']}, count={self.count}, lr={self.lr})"
        )
