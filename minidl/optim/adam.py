"""The optimizers Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import checks, kernels
from ..tensor import Tensor
from .optimizer import Optimizer


class Adam(Optimizer):
    """p -= lr m' / (sqrt(s') + eps), with m and s running averages of the gradient and of its
    square, corrected for their start at zero (Kingma & Ba 2015).

    `betas` are the weights that m and s keep, and weight_decay p is added to the gradient.

    >>> p = nn.Parameter(np.ones(2))
    >>> optimizer = optim.Adam([p], lr=0.1)
    >>> p.grad = np.array([3.0, -4.0])
    >>> optimizer.step()
    >>> p.data.round(6)
    array([0.9, 1.1])
    """

    state_names = ("mean", "square")
    decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas) if isinstance(betas, list) else betas,
                "eps": eps,
                "weight_decay": weight_decay,
            },
        )

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        where, betas = type(self).__name__, group["betas"]
        if len(checks.instance(betas, where, "betas", (list, tuple), "a pair of numbers")) != 2:
            raise ValueError(checks.message(where, "betas", "a pair of numbers", betas))
        for i, beta in enumerate(betas):
            checks.real(beta, where, f"betas[{i}]", 0, below=1)

    def _update(self, group: dict[str, Any], params: list[Tensor], grads: list[np.ndarray]) -> None:
        states = [self.state[p] for p in params]
        for step, members in self._count_step(params).items():
            kernels.adam_update(
                [params[i]._values() for i in members],
                [grads[i] for i in members],
                [states[i]["mean"] for i in members],
                [states[i]["square"] for i in members],
                group["lr"],
                *group["betas"],
                group["eps"],
                group["weight_decay"],
                self.decoupled,
                step,
            )


class AdamW(Adam):
    """Adam whose weight decay does not go through the averages: p -= lr weight_decay p
    (Loshchilov & Hutter 2019).

    >>> p = nn.Parameter(np.ones(2))
    >>> optimizer = optim.AdamW([p], lr=0.1, weight_decay=0.5)
    >>> p.grad = np.array([3.0, -4.0])
    >>> optimizer.step()
    >>> p.data.round(6)
    array([0.85, 1.05])
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)
