"""The Adagrad optimizer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import kernels
from ..tensor import Tensor
from .optimizer import Optimizer


class Adagrad(Optimizer):
    """p -= lr' g / (sqrt(s) + eps), with s the sum of all g^2 so far and g the gradient plus
    weight_decay p (Duchi, Hazan & Singer 2011, in PyTorch's form).

    s starts at `initial`; lr' = lr / (1 + (k - 1) lr_decay) in step k = 1, 2, ... of a parameter.

    >>> p = nn.Parameter(np.ones(2))
    >>> optimizer = optim.Adagrad([p], lr=0.1)
    >>> p.grad = np.array([3.0, -4.0])
    >>> optimizer.step()
    >>> p.data.round(6)
    array([0.9, 1.1])
    """

    state_names = ("sum",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        eps: float = 1e-10,
        initial: float = 0.0,
        lr_decay: float = 0,
        weight_decay: float = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "eps": eps,
                "initial": initial,
                "lr_decay": lr_decay,
                "weight_decay": weight_decay,
            },
        )

    def _initial(self, group: dict[str, Any]) -> float:
        return group["initial"]

    def _update(self, group: dict[str, Any], params: list[Tensor], grads: list[np.ndarray]) -> None:
        for step, members in self._count_step(params).items():
            kernels.adagrad_update(
                [params[i]._values() for i in members],
                [grads[i] for i in members],
                [self.state[params[i]]["sum"] for i in members],
                float(group["lr"]) / (1 + (step - 1) * float(group["lr_decay"])),
                group["eps"],
                group["weight_decay"],
            )
