"""Training the arms of an experiment alike, and comparing their accuracies.

An arm is one of the variants that an experiment compares, such as a network with BatchNorm and the
same network without it. A recipe is a dict of settings that all arms share: "rate" (the learning
rate), "batch" (the number of images in a batch) and "steps".
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


def train_with_linear_decay(
    model: nn.Layer, arrays: Arrays, recipe: Mapping[str, Any], seed: int, **measuring: Any
) -> list[float]:
    """Train the parameters that are not frozen by SGD with momentum 0.9, and return the losses.

    The learning rate decays linearly to 0. At its end the weights hardly move, so that the final
    accuracy does not depend on the very last batches and the running statistics belong to the final
    weights. The seed determines the batches, so all arms see the same ones. `measuring` holds the
    arguments `at` and `every` of `training.train`.
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
        **measuring,
    )


def train_with_cosine_decay(
    model: nn.Layer,
    stream: Iterator[Arrays],
    rate: float,
    steps: int,
    momentum: float = MOMENTUM,
    **options: Any,
) -> list[float]:
    """Train by SGD on the batches of a stream, with a learning rate that decays to 0 along half a
    cosine, and return the losses. `options` are passed on to `training.train`."""
    optimizer = optim.SGD(model.parameters(), rate, momentum)
    return training.train(
        model, optimizer, stream, steps, schedule=optim.CosineLR(optimizer, steps), **options
    )


def train_and_test(
    model: nn.Layer,
    arrays: Arrays,
    test: Arrays,
    recipe: Mapping[str, Any],
    seed: int,
    looks: int = 8,
    glance: int = 1000,
) -> dict[str, Any]:
    """Train by `train_with_linear_decay`, and return test accuracies during and after it.

    The result has the keys "accuracy", the accuracy on all of `test` after the training, and
    "steps" and "curve": the steps at which the model was evaluated (about `looks` of them, evenly
    spaced), and its accuracy there on the first `glance` images of `test`. Once a training has
    diverged, its accuracy is that of guessing.
    """
    images, labels = test[0][:glance], test[1][:glance]
    every = max(1, recipe["steps"] // looks)
    steps = list(range(every, recipe["steps"] + 1, every))
    curve: list[float] = []
    losses = train_with_linear_decay(
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
    """Return the accuracy in % that the result of each seed has under this path of keys."""
    return [100 * _entry(seed, keys) for seed in seeds]


def _entry(found: Any, keys: Sequence[Any]) -> float:
    for key in keys:
        found = found[key]
    return float(found)


def paired(seeds: Sequence[Result], first: Sequence[Any], second: Sequence[Any]) -> Interval:
    """Return the mean over the seeds of the difference between two accuracies, in percentage points
    and with its interval. `first` and `second` are the paths of keys under which the result of a
    seed has them; the second is subtracted from the first."""
    return interval(np.subtract(percent(seeds, *first), percent(seeds, *second)).tolist())


def better(gain: Interval, *, none: Sequence[Verdict]) -> Verdict:
    """Return the verdict on the sentence "this arm is better".

    The sentence is supported if the whole interval of the gain lies above 0. Otherwise it is
    refuted if one of `none` is supported. These are the verdicts on sentences that contradict it,
    such as "the gain is negligible".
    """
    if above(gain, 0) is Verdict.SUPPORTED:
        return Verdict.SUPPORTED
    return Verdict.REFUTED if Verdict.SUPPORTED in none else Verdict.INCONCLUSIVE


# ------------------------------------------------------------ measurements during a training

# Some measurements compare arms by steps of equal length: this share of the norm of all weights.
STEP = 0.01


def train_and_measure(
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
    """Train by plain SGD, and measure the model after every `every` steps.

    A measurement is a call of `look(images, labels, step)` with a batch of a stream of its own, so
    that it does not change which batches the training sees. It returns one number for each of
    `names`. The result is the losses, and a dict of "at" (the steps of the measurements) and a list
    of numbers for each name, which are NaN once the training has diverged.
    """
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
    """Return the step that plain SGD takes from a point, and a step in the same direction whose
    norm is the share `STEP` of the norm of the weights."""
    descent = measures.descent(start.gradient, rate)
    return descent, measures.of_length(descent, STEP * measures.length_of(before))
