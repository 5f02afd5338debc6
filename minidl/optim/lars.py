"""LARS: layer-wise adaptive rates, for large batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import kernels
from ..tensor import Tensor
from .optimizer import Optimizer


class LARS(Optimizer):
    """p -= lr v with v = momentum v + r (g + weight_decay p) and a rate for each parameter,
    r = trust |p| / (|g| + weight_decay |p| + eps), with 2-norms (You, Gitman & Ginsburg 2017).

    r is 1 where |p| or |g| is 0. Parameters with fewer than two axes (biases, gamma, beta) have
    r = 1 and no weight decay. As in `SGD`, lr is not part of v: a change of lr acts at once.

    >>> p = nn.Parameter(np.full((2, 2), 2.0))
    >>> optimizer = optim.LARS([p], lr=1, trust=0.5)
    >>> p.grad = np.full((2, 2), 1000.0)
    >>> optimizer.step()
    >>> p.data.round(6)
    array([[1., 1.],
           [1., 1.]])
    """

    state_names = ("velocity",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        trust: float = 0.001,
        eps: float = 1e-8,
        weight_decay: float = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "trust": trust,
                "eps": eps,
                "weight_decay": weight_decay,
            },
        )

    def _needed(self, group: dict[str, Any]) -> tuple[str, ...]:
        return self.state_names if group["momentum"] else ()

    def _update(self, group: dict[str, Any], params: list[Tensor], grads: list[np.ndarray]) -> None:
        velocities = [self.state[p]["velocity"] for p in params] if group["momentum"] else None
        kernels.lars_update(
            [p._values() for p in params],
            grads,
            velocities,
            group["lr"],
            group["momentum"],
            group["trust"],
            group["eps"],
            group["weight_decay"],
        )
