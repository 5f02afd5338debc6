"""Effective rates: how fast the direction of weights learns whose length does not matter.

Where a normalization follows weights w, the loss depends on their direction alone, and the gradient
is 1 / |w| times that at weights of length 1. A rule whose step is the rate times something that
grows with the gradient's power d so turns w as far as a step of unit weights would at the rate

    rate / |w|^(1 + d)

(van Laarhoven 2017, 1706.05350; E07). SGD has d = 1: the rate is divided by the squared length.
Rules that divide by the size of past gradients have d = 0, for it does not matter to them how large
the gradient is: the rate is divided by the length. LARS multiplies by the length in place of that.
Momentum and weight decay are left out of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .. import optim
from ..nn.parameter import Parameter
from ..optim.optimizer import Optimizer
from ..train.inspection import norm_of

# d of the rules, with those derived from them.
POWERS: tuple[tuple[type[Optimizer], int], ...] = (
    (optim.SGD, 1),
    (optim.Adam, 0),
    (optim.RMSprop, 0),
    (optim.Adagrad, 0),
    (optim.Muon, 0),
    (optim.LARS, -1),
)


def effective_rate(optimizer: Optimizer | None, weights: Sequence[Parameter]) -> float:
    """The effective rate of weights that a normalization follows. NaN where the optimizer does not
    have them, they are frozen or 0, or its rule is none of minidl's: of one's own nobody knows d.
    """
    if optimizer is None or not weights[0].requires_grad:
        return math.nan
    for rule in _rules(optimizer):
        power = next((d for kind, d in POWERS if isinstance(rule, kind)), None)
        for group in rule.groups:
            if power is not None and any(p is weights[0] for p in group["params"]):
                length = norm_of([p.data for p in weights])
                rate = float(group["lr"]) * float(group.get("trust", 1))
                return rate / length ** (1 + power) if length else math.nan
    return math.nan


def _rules(optimizer: Optimizer) -> list[Optimizer]:
    """The optimizers that one is made of."""
    if isinstance(optimizer, optim.Lookahead):
        return _rules(optimizer.optimizer)
    if isinstance(optimizer, optim.Combined):
        return [rule for part in optimizer.optimizers for rule in _rules(part)]
    return [optimizer]
