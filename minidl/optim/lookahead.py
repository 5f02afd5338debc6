"""Lookahead: slow weights that follow those of another optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from .. import checks, kernels
from ..changes import writes
from ..nn.state import StateError
from ..tensor import Tensor
from .optimizer import Optimizer


class Lookahead(Optimizer):
    """After every k steps of another optimizer, slow += alpha (p - slow) and p = slow (Zhang,
    Lucas, Hinton & Ba 2019).

    It takes the place of that optimizer: `groups`, `lr`, `zero_grad`, schedules and clipping work
    as before, and its `state_dict` holds both. The slow weights start at the parameters' values
    before the first step, so load weights before that. Parameters that have no gradient stay as
    they are. TypeError unless the argument is an optimizer, ValueError for `k` below 1 or `alpha`
    outside of 0 to 1.

    >>> p = nn.Parameter(np.zeros(1))
    >>> optimizer = optim.Lookahead(optim.SGD([p], lr=1), k=2, alpha=0.5)
    >>> path = []
    >>> for _ in range(4):
    ...     p.grad = np.array([-1.0])
    ...     optimizer.step()
    ...     path.append(p.item())
    >>> path
    [1.0, 1.0, 2.0, 2.0]
    """

    def __init__(self, optimizer: Optimizer, k: int = 5, alpha: float = 0.5) -> None:
        self.optimizer = checks.instance(
            optimizer, "Lookahead", "optimizer", Optimizer, "an optimizer"
        )
        self.k = checks.count(k, "Lookahead", "k", 1)
        self.alpha = checks.fraction(alpha, "Lookahead", "alpha")
        self.count = 0
        self.slow: list[np.ndarray] | None = None
        self.groups = optimizer.groups  # the same list, so that a rate is set in both

    @property
    def state(self) -> dict[Tensor, dict[str, Any]]:  # type: ignore[override]
        """The state of the optimizer inside."""
        return self.optimizer.state

    def _params(self) -> list[Tensor]:
        return [p for group in self.groups for p in group["params"]]

    def _ready(self) -> Any:
        return self.optimizer._ready()

    def _apply(self, learning: Any) -> None:
        if self.slow is None:
            self.slow = [p._values().copy() for p in self._params()]
        self.optimizer._apply(learning)
        self.count += 1
        if self.count % self.k == 0:
            self._pull()

    def _pull(self) -> None:
        slow = self.slow
        assert slow is not None
        # Read-only parameters have no gradient, and have not moved.
        moved = [(i, p) for i, p in enumerate(self._params()) if p._values().flags.writeable]
        writes("Lookahead.step()", [p for _, p in moved])
        for i, p in moved:
            fast = p._values()
            if slow[i].dtype != fast.dtype:  # astype has converted the model since
                slow[i] = slow[i].astype(fast.dtype)
            # slow += alpha (fast - slow) is an update with the gradient fast and the decay -1.
            kernels.sgd_update([slow[i]], [fast], None, -self.alpha, weight_decay=-1.0)
            fast[...] = slow[i]

    def state_dict(self) -> dict[str, Any]:
        """The state of the optimizer inside, the slow weights and the count, as plain dicts,
        lists, numbers and arrays (copies)."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "k": self.k,
            "alpha": self.alpha,
            "count": self.count,
            "slow": None if self.slow is None else [array.copy() for array in self.slow],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take everything from the `state_dict()` of a Lookahead around an optimizer of the same
        structure.

        StateError (a ValueError) if anything does not fit; nothing is changed then.
        """
        where = "load_state_dict of Lookahead"
        try:
            if set(state) != {"optimizer", "k", "alpha", "count", "slow"}:
                raise StateError(f"needs the state of a Lookahead, got {sorted(state)}")
            k = checks.count(state["k"], "state", "k", 1)
            alpha = checks.fraction(state["alpha"], "state", "alpha")
            count = checks.count(state["count"], "state", "count")
            slow = None if state["slow"] is None else self._read_slow(state["slow"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StateError(f"{where}: {error}") from None
        self.optimizer.load_state_dict(state["optimizer"])
        self.k, self.alpha, self.count, self.slow = k, alpha, count, slow

    def _read_slow(self, given: Any) -> list[np.ndarray]:
        params = self._params()
        if len(given) != len(params):
            raise StateError(f"slow weights of {len(params)} parameters expected, got {len(given)}")
        array = partial(self._array, name="slow")
        return [
            array(f"slow weight {i}", value=value, p=p)
            for i, (value, p) in enumerate(zip(given, params, strict=True))
        ]

    def __repr__(self) -> str:
        return f"Lookahead({self.optimizer!r}, k={self.k}, alpha={self.alpha})"
