"""The RMSprop optimizer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import checks, kernels
from ..tensor import Tensor
from .optimizer import Optimizer


class RMSprop(Optimizer):
    """p -= lr v with v = momentum v + g / (sqrt(s) + eps), s a running average of g^2 and g the
    gradient plus weight_decay p (Tieleman & Hinton 2012, in PyTorch's form).

    `alpha` is the weight that s keeps. With `centered` the variance s - m^2 takes the place of s,
    with m the running average of g (Graves 2013); where rounding makes it negative, it is 0.

    >>> p = nn.Parameter(np.ones(2))
    >>> optimizer = optim.RMSprop([p], lr=0.01)
    >>> p.grad = np.array([3.0, -4.0])
    >>> optimizer.step()
    >>> p.data.round(6)
    array([0.9, 1.1])
    """

    state_names = ("square", "mean", "velocity")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0,
        centered: bool = False,
        weight_decay: float = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "momentum": momentum,
                "centered": centered,
                "weight_decay": weight_decay,
            },
        )

    def _needed(self, group: dict[str, Any]) -> tuple[str, ...]:
        return (
            "square",
            *(("mean",) if group["centered"] else ()),
            *(("velocity",) if group["momentum"] else ()),
        )

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        checks.real(group["alpha"], "RMSprop", "alpha", 0, below=1)

    def _update(self, group: dict[str, Any], params: list[Tensor], grads: list[np.ndarray]) -> None:
        states = [self.state[p] for p in params]
        kernels.rmsprop_update(
            [p._values() for p in params],
            grads,
            [state["square"] for state in states],
            [state["mean"] for state in states] if group["centered"] else None,
            [state["velocity"] for state in states] if group["momentum"] else None,
            group["lr"],
            group["alpha"],
            group["eps"],
            group["momentum"],
            group["weight_decay"],
        )
