"""Arms of a comparison: the same training for each, and the differences of their accuracies.

The recipe is a dict of settings: "rate", "batch" (images a step) and "steps".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .. import nn, optim
from . import measures, training
from .experiment import Result
from .problems import Arrays, batches
from .verdict import Interval, Verdict, above, interval

MOMENTUM = 0.9


def trained(
    model: nn.Layer, arrays: Arrays, recipe: Mapping[str, Any], seed: int, **watching: Any
) -> list[float]:
    """Train what is not frozen by SGD with momentum 0.9, and return the losses.

    The rate falls in a straight line to 0, so that the last accuracy is not one of a moment, and
    the running statistics have weights to settle on. The batches are those of the seed, the same
    for all arms. `watching`: `at` and `every` of `training.train`.
    """
    optimizer = optim.SGD(
        [p for p in model.parameters() if p.requires_grad], recipe["rate"], MOMENTUM
    )
    return training.train(
        model,
        optimizer,
        batches(arrays, recipe["batch"], seed),
        recipe["steps"],
        schedule=optim.LinearLR(optimizer, recipe["steps"]),
        **watching,
    )


def by_cosine(
    model: nn.Layer,
    stream: Iterator[Arrays],
    rate: float,
    steps: int,
    momentum: float = MOMENTUM,
    **options: Any,
) -> list[float]:
    """Train by SGD on the batches of a stream, the rate falling to 0 as half a cosine does, and
    return the losses. `options`: those of `training.train`."""
    optimizer = optim.SGD(model.parameters(), rate, momentum)
    return training.train(
        model, optimizer, stream, steps, schedule=optim.CosineLR(optimizer, steps), **options
    )


def learned(
    model: nn.Layer,
    arrays: Arrays,
    test: Arrays,
    recipe: Mapping[str, Any],
    seed: int,
    looks: int = 8,
    glance: int = 1000,
) -> dict[str, Any]:
    """Train, and return {"accuracy", "steps", "curve"}: the accuracy on all of `test` at the end,
    and on its first `glance` images at `looks` steps on the way; that of guessing from a divergence
    on."""
    images, labels = test[0][:glance], test[1][:glance]
    every = max(1, recipe["steps"] // looks)
    steps = list(range(every, recipe["steps"] + 1, every))
    curve: list[float] = []
    losses = trained(
        model,
        arrays,
        recipe,
        seed,
        every=every,
        at=lambda step: curve.append(training.accuracy(model, (images, labels))),
    )
    final = training.score(model, losses, test)
    return {"accuracy": final, "steps": steps, "curve": curve + [final] * (len(steps) - len(curve))}


def percent(seeds: Sequence[Result], *keys: Any) -> list[float]:
    """The accuracies in % that stand in the results under these keys, one for each seed."""
    return [100 * _entry(seed, keys) for seed in seeds]


def _entry(found: Any, keys: Sequence[Any]) -> float:
    for key in keys:
        found = found[key]
    return float(found)


def paired(seeds: Sequence[Result], first: Sequence[Any], second: Sequence[Any]) -> Interval:
    """How many percentage points the accuracy under the first keys is above that under the second,
    seed by seed."""
    return interval(np.subtract(percent(seeds, *first), percent(seeds, *second)).tolist())


def better(gain: Interval, *, none: Sequence[Verdict]) -> Verdict:
    """What a gain says of the sentence that an arm is better: it holds for a gain wholly above 0,
    and fails where that does not, but one of `none` does: that there is no such gain."""
    if above(gain, 0) is Verdict.SUPPORTED:
        return Verdict.SUPPORTED
    return Verdict.REFUTED if Verdict.SUPPORTED in none else Verdict.INCONCLUSIVE


# ------------------------------------------------------- what is measured along a training

STEP = 0.01  # the length of an equal step: so much of the norm of all weights


def watched(
    model: nn.Layer,
    arrays: Arrays,
    look: Callable[..., Mapping[str, float]],
    names: Sequence[str],
    seed: int,
    *,
    steps: int,
    every: int,
    batch: int,
    rate: float,
) -> tuple[list[float], dict[str, Any]]:
    """Train by plain SGD, and each so many steps call `look(images, labels, step)` with a batch
    that is not trained on: the losses, and what it has found by its names, "at" these steps; NaN
    from where the training has diverged."""
    own = batches(arrays, batch, seed + 1000)
    rows: list[Mapping[str, float]] = []
    losses = training.train(
        model,
        optim.SGD(model.parameters(), rate),
        batches(arrays, batch, seed),
        steps,
        at=lambda step: rows.append(look(*next(own), step)),
        every=every,
    )
    at = list(range(every, steps + 1, every))
    rows += [dict.fromkeys(names, math.nan)] * (len(at) - len(rows))
    return losses, {"at": at, **{name: [row[name] for row in rows] for name in names}}


def two_steps(
    start: measures.Point, before: measures.Values, rate: float
) -> tuple[dict[nn.Parameter, np.ndarray], dict[nn.Parameter, np.ndarray]]:
    """The step of plain SGD from a point, and one in its direction whose length is a given share of
    that of the weights."""
    descent = measures.descent(start.gradient, rate)
    return descent, measures.of_length(descent, STEP * measures.length_of(before))
