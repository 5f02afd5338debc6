"""Combined: several optimizers, each with its own parameters, as one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import checks
from ..nn.state import StateError
from ..tensor import Tensor
from .optimizer import Optimizer


class Combined(Optimizer):
    """Several optimizers, each with its own parameters, as one optimizer that a schedule, a
    `Trainer` or a checkpoint can take. So filters may learn by `Muon` and all else by `SGD`.

    `groups` are the groups of all, in order; setting `lr` sets the rate of all. A step is a step of
    each; if one of them refuses it, none is taken. TypeError unless the arguments are optimizers,
    at least one; ValueError for a parameter that two of them have.

    >>> weights, others = optim.groups(nn.Sequential(nn.Dense(4, 8), nn.Dense(8, 2)))
    >>> optimizer = optim.Combined(optim.Muon(weights, lr=0.02), optim.SGD(others, lr=0.1))
    >>> schedule = optim.StepLR(optimizer, 1, gamma=0.5)
    >>> schedule.step()
    >>> schedule.lr
    [0.01, 0.05]
    """

    def __init__(self, *optimizers: Optimizer) -> None:
        if not optimizers:
            raise TypeError("Combined: needs at least one optimizer")
        self.optimizers = [
            checks.instance(given, "Combined", "optimizers", Optimizer, "optimizers")
            for given in optimizers
        ]
        self.groups = [group for optimizer in optimizers for group in optimizer.groups]
        ids = [id(p) for group in self.groups for p in group["params"]]
        if len(set(ids)) < len(ids):
            raise ValueError("Combined: two optimizers have the same parameter")
        self._check_disjoint()

    @property
    def state(self) -> dict[Tensor, dict[str, Any]]:  # type: ignore[override]
        """The states of all parameters."""
        return {p: state for optimizer in self.optimizers for p, state in optimizer.state.items()}

    def _ready(self) -> Any:
        return [optimizer._ready() for optimizer in self.optimizers]

    def _apply(self, learning: Any) -> None:
        for optimizer, ready in zip(self.optimizers, learning, strict=True):
            optimizer._apply(ready)

    def state_dict(self) -> dict[str, Any]:
        """The states of the optimizers, as plain dicts, lists, numbers and arrays (copies)."""
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take everything from the `state_dict()` of a Combined of such optimizers, in the same
        order.

        StateError (a ValueError) if anything does not fit; nothing is changed then.
        """
        given = state.get("optimizers") if isinstance(state, Mapping) else None
        if not isinstance(given, list | tuple) or len(given) != len(self.optimizers):
            raise StateError(
                f"load_state_dict of Combined: needs the states of "
                f"{len(self.optimizers)} optimizers, got {checks.shown(state)}"
            )
        before = self.state_dict()["optimizers"]
        try:
            for optimizer, part in zip(self.optimizers, given, strict=True):
                optimizer.load_state_dict(part)
        except StateError:
            for optimizer, part in zip(self.optimizers, before, strict=True):
                optimizer.load_state_dict(part)
            raise

    def __repr__(self) -> str:
        return f"Combined({', '.join(map(repr, self.optimizers))})"
