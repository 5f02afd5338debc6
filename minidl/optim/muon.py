"""The Muon optimizer, which orthogonalizes momentum."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

from .. import checks, kernels
from ..tensor import Tensor
from .optimizer import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
SMALLEST_NORM = 1e-7
MOST_STEPS = 100  # further iterations would change nothing


class Muon(Optimizer):
    """p -= lr r O(u) for matrices, with v = momentum v + g, u = g + momentum v (Nesterov) or v, and
    O(u) approximately the nearest orthogonal matrix (Jordan 2024, in PyTorch's form).

    O takes all singular values to about 1 by `steps` Newton-Schulz iterations from u / |u|:
    X = a X + b (X Xᵀ) X + c (X Xᵀ)² X with (a, b, c) = (3.4445, -4.7750, 2.0315). They end between
    0.7 and 1.2. A weight (..., C_out) is the matrix (C_out, rest), and r = sqrt(max(1, C_out /
    rest)). `weight_decay` does not go through O: p -= lr weight_decay p comes first. With
    `normalize` p is scaled to the 2-norm sqrt(C_out) before each step. This is for weights that a
    normalization follows, whose scale affects nothing but the effective rate.

    Muon is for weights of hidden layers: filters and dense weights. ValueError for parameters with
    fewer than two axes; give those another optimizer: `weights, others = optim.groups(model)`.
    Everything is computed in the dtype of the parameter (PyTorch rounds O to bfloat16), by the
    native matrix product, to the same bits on any number of threads.

    >>> p = nn.Parameter(np.zeros((2, 2)))
    >>> optimizer = optim.Muon([p], lr=1, steps=10)
    >>> p.grad = np.array([[30.0, 0.0], [0.0, -0.4]])
    >>> optimizer.step()
    >>> bool(np.abs(np.abs(np.diag(p.data)) - 1).max() < 0.4)
    True
    """

    state_names = ("velocity",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.95,
        nesterov: bool = True,
        weight_decay: float = 0,
        steps: int = 5,
        normalize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "nesterov": nesterov,
                "weight_decay": weight_decay,
                "steps": steps,
                "normalize": normalize,
            },
        )
        for group in self.groups:
            for p in group["params"]:
                if p.ndim < 2:
                    raise ValueError(
                        f"Muon: params must be matrices or filters, got one of shape "
                        f"{p.shape}: give biases and normalizations to another "
                        f"optimizer; weights, others = optim.groups(model, "
                        f"weight_decay) parts them"
                    )

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        checks.integer(group["steps"], "Muon", "steps", 1, MOST_STEPS)
        checks.flag(group["normalize"], "Muon", "normalize")

    def _needed(self, group: dict[str, Any]) -> tuple[str, ...]:
        return self.state_names if group["momentum"] else ()

    def _update(self, group: dict[str, Any], params: list[Tensor], grads: list[np.ndarray]) -> None:
        # Python floats, because NumPy's scalars would compute in their own dtypes.
        lr, momentum, decay = (float(group[name]) for name in ("lr", "momentum", "weight_decay"))
        some = [(p, g) for p, g in zip(params, grads, strict=True) if p.size]
        updates = [g for _, g in some]
        if momentum:
            velocities = [self.state[p]["velocity"] for p, _ in some]
            updates = [np.zeros(p.shape, p.dtype) for p, _ in some]
            # With zeros and the rate -1 the kernel writes v, or g + momentum v, into `updates`.
            kernels.sgd_update(
                updates, [g for _, g in some], velocities, -1.0, momentum, group["nesterov"]
            )
        for (p, _), update in zip(some, updates, strict=True):
            array, out = p._values(), p.shape[-1]
            rest = p.size // out
            direction = orthogonalized(update.reshape(rest, out), group["steps"])
            if group["normalize"]:
                norm = math.sqrt(kernels.square_sum([array]))
                if norm > 0:
                    np.multiply(array, math.sqrt(out) / norm, out=array)
            if decay:
                np.multiply(array, 1 - lr * decay, out=array)
            kernels.sgd_update(
                [array], [direction.reshape(p.shape)], None, lr * math.sqrt(max(1.0, out / rest))
            )


def orthogonalized(matrix: np.ndarray, steps: int) -> np.ndarray:
    """Newton-Schulz iterations on a matrix (rest, out), divided by its 2-norm first.

    Because O(Mᵀ) = O(M)ᵀ, the matrix need not be transposed, and the smaller of the products MᵀM
    and MMᵀ is enough.
    """
    a, b, c = COEFFICIENTS
    norm = math.sqrt(kernels.square_sum([matrix]))
    x = np.asarray(kernels.multiply(matrix, 1 / max(norm, SMALLEST_NORM)))
    tall = len(x) >= x.shape[1]
    gram = (
        partial(kernels.matmul, transpose_a=True)
        if tall
        else partial(kernels.matmul, transpose_b=True)
    )
    for _ in range(steps):
        square = np.asarray(gram(x, x))
        # The step is X (a I + b S + c S²): so its first term needs no pass over X.
        factor = c * np.asarray(kernels.matmul(square, square)) + b * square
        factor.flat[:: len(factor) + 1] += a
        factor = factor.astype(x.dtype, copy=False)
        x = np.asarray(kernels.matmul(x, factor) if tall else kernels.matmul(factor, x))
    return x
