"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import kernels
from ..tensor import Tensor
from .optimizer import Optimizer


class SGD(Optimizer):
    """p -= lr v with v = momentum v + g and g the gradient plus weight_decay p.

    With `nesterov` p -= lr (g + momentum v) (Sutskever et al. 2013). Both are PyTorch's, without
    dampening.

    >>> p = nn.Parameter(np.ones(2))
    >>> optimizer = optim.SGD([p], lr=0.1, momentum=0.9)
    >>> for _ in range(2):
    ...     p.grad = np.array([1.0, -1.0])
    ...     optimizer.step()
    >>> p.data
    array([0.71, 1.29])
    """

    state_names: tuple[str, ...] = ("velocity",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0,
        nesterov: bool = False,
        weight_decay: float = 0,
    ) -> None:
        super().__init__(
            params,
            {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay},
        )

    def _needed(self, group: dict[str, Any]) -> tuple[str, ...]:
        return self.state_names if group["momentum"] else ()

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        if group["nesterov"] and not group["momentum"] > 0:
            raise ValueError("SGD: nesterov needs a momentum above 0")

    def _update(self, group: dict[str, Any], params: list[Tensor], grads: list[np.ndarray]) -> None:
        velocities = [self.state[p]["velocity"] for p in params] if group["momentum"] else None
        kernels.sgd_update(
            [p._values() for p in params],
            grads,
            velocities,
            group["lr"],
            group["momentum"],
            group["nesterov"],
            group["weight_decay"],
        )
