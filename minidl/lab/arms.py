"""Arms of a comparison: the same training for each, and the differences of their accuracies.

The recipe is a dict of settings: "rate", "batch" (images a step) and "steps".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import nn, optim
from . import training
from .problems import Arrays, batches
from .verdict import Interval, interval

MOMENTUM = 0.9


def trained(model: nn.Layer, arrays: Arrays, recipe: Mapping[str, Any], seed: int,
            **watching: Any) -> list[float]:
    """Train what is not frozen by SGD with momentum 0.9, and return the losses.

    The rate falls in a straight line to 0, so that the last accuracy is not one of a moment, and
    the running statistics have weights to settle on. The batches are those of the seed, the same
    for all arms. `watching`: `at` and `every` of `training.train`.
    """
    optimizer = optim.SGD([p for p in model.parameters() if p.requires_grad], recipe["rate"],
                          MOMENTUM)
    return training.train(model, optimizer, batches(arrays, recipe["batch"], seed),
                          recipe["steps"], schedule=optim.LinearLR(optimizer, recipe["steps"]),
                          **watching)


def learned(model: nn.Layer, arrays: Arrays, test: Arrays, recipe: Mapping[str, Any], seed: int,
            looks: int = 8, glance: int = 1000) -> dict[str, Any]:
    """Train, and return {"accuracy", "steps", "curve"}: the accuracy on all of `test` at the end,
    and on its first `glance` images at `looks` steps on the way; that of guessing from a divergence
    on."""
    images, labels = test[0][:glance], test[1][:glance]
    every = max(1, recipe["steps"] // looks)
    steps = list(range(every, recipe["steps"] + 1, every))
    curve: list[float] = []
    losses = trained(model, arrays, recipe, seed, every=every,
                     at=lambda step: curve.append(training.accuracy(model, (images, labels))))
    final = training.score(model, losses, test)
    return {"accuracy": final, "steps": steps,
            "curve": curve + [final] * (len(steps) - len(curve))}


def points(first: Sequence[float], second: Sequence[float]) -> Interval:
    """How many percentage points the first accuracies are above the second, seed by seed."""
    return interval([100 * (a - b) for a, b in zip(first, second, strict=True)])
