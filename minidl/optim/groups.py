"""Parameter groups: a model's parameters, divided into those that decay and those that do not."""

from __future__ import annotations

from typing import Any

from .. import checks
from ..nn.layer import Layer
from ..nn.parameter import Parameter

UNDECAYED = ("gamma", "beta", "bias")  # the names of parameters without decay begin so


def groups(model: Layer, weight_decay: float = 0) -> list[dict[str, Any]]:
    """The parameters of a model as two groups for an optimizer: weights, with `weight_decay`, and
    biases and the parameters of normalizations, without.

    The second group has all parameters with fewer than two axes, and those that are called bias,
    gamma or beta. Decay would pull the scale of a normalization to 0, where the layer is dead, and
    biases are too few to overfit (He et al. 2019). The groups may go to two optimizers, for example
    the first to `Muon`, which takes matrices alone. TypeError unless model is a layer, ValueError
    for a decay below 0.

    >>> model = nn.Sequential(nn.Dense(4, 8, bias=False), nn.BatchNorm(8), nn.Dense(8, 2))
    >>> weights, others = optim.groups(model, weight_decay=0.01)
    >>> [p.shape for p in weights["params"]], [p.shape for p in others["params"]]
    ([(4, 8), (8, 2)], [(8,), (8,), (2,)])
    >>> optimizer = optim.Combined(optim.Muon(weights, lr=0.02), optim.SGD(others, lr=0.1))
    """
    checks.instance(model, "groups", "model", Layer, "a layer")
    decay = checks.not_negative(weight_decay, "groups", "weight_decay")
    weights: list[Parameter] = []
    others: list[Parameter] = []
    for name, p in model.named_parameters():
        undecayed = p.ndim < 2 or name.rpartition(".")[2].startswith(UNDECAYED)
        (others if undecayed else weights).append(p)
    return [{"params": weights, "weight_decay": decay}, {"params": others, "weight_decay": 0}]
