"""The effective learning rate of weights that a normalization follows.

The loss then depends on the direction of the weights w alone, and the gradient at w is 1 / |w|
times the gradient at the weights w / |w| of norm 1. Consider an optimizer whose step is
proportional to the learning rate and to the d-th power of the gradient's norm. Its step turns w by
the same angle as it would turn w / |w| at the effective learning rate

    rate / |w|^(1 + d)

(van Laarhoven 2017, 1706.05350; see also E07). SGD has d = 1: the rate is divided by the squared
norm. Adam and other optimizers that divide by the size of past gradients have d = 0, as the size of
the gradient cancels: the rate is divided by the norm. The step of LARS is proportional to the norm
of the weights, which amounts to d = -1. Momentum and weight decay are not taken into account.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .. import optim
from ..nn.parameter import Parameter
from ..optim.optimizer import Optimizer
from ..train.inspection import norm_of

# The exponent d of each optimizer, which holds for its subclasses too.
EXPONENTS: tuple[tuple[type[Optimizer], int], ...] = (
    (optim.SGD, 1),
    (optim.Adam, 0),
    (optim.RMSprop, 0),
    (optim.Adagrad, 0),
    (optim.Muon, 0),
    (optim.LARS, -1),
)


def effective_rate(optimizer: Optimizer | None, weights: Sequence[Parameter]) -> float:
    """Return the effective learning rate of weights that a normalization follows.

    It is NaN if the weights are frozen or all 0, if the optimizer does not update them, or if the
    optimizer is not one of `EXPONENTS`: the exponent d of a user's own optimizer is not known.
    """
    if optimizer is None or not weights[0].requires_grad:
        return math.nan
    for inner in _unwrapped(optimizer):
        exponent = next((d for kind, d in EXPONENTS if isinstance(inner, kind)), None)
        for group in inner.groups:
            if exponent is not None and any(p is weights[0] for p in group["params"]):
                length = norm_of([p.data for p in weights])
                rate = float(group["lr"]) * float(group.get("trust", 1))
                return rate / length ** (1 + exponent) if length else math.nan
    return math.nan


def _unwrapped(optimizer: Optimizer) -> list[Optimizer]:
    """Return the optimizers that `Lookahead` and `Combined` wrap, or the optimizer itself."""
    if isinstance(optimizer, optim.Lookahead):
        return _unwrapped(optimizer.optimizer)
    if isinstance(optimizer, optim.Combined):
        return [inner for part in optimizer.optimizers for inner in _unwrapped(part)]
    return [optimizer]
