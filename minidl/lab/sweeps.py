"""Trainings of a network at several learning rates: which of them are stable, how many steps they
take to an accuracy, which rate is an arm's best.

A course is what came of one training, as plain numbers that a result can hold.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import nn, optim

from .problems import Arrays, batches, c6, cifar10, mnist, subset
from .training import CHANCE, accuracy, logits, train
from .verdict import Interval, interval

Course = dict[str, Any]
GUESSING = math.log(1 / CHANCE)  # the loss of guessing
MARGIN = 0.1  # that far below it something has been learned
RISE = 0.2  # of the loss above its start: it has not just been slow
ALIKE = 0.01  # standard deviation of outputs that are alike
LOOK = 200  # test images that they are looked at of


def course(
    model: nn.Layer,
    train_set: Arrays,
    test: Arrays,
    rate: float,
    seed: int,
    settings: Mapping[str, Any],
    watch: Callable[[], Any] | None = None,
) -> Course:
    """Train by SGD at a constant rate, and say what came of it.

    `settings`: "steps", "batch", "momentum" (else 0), "warmup": steps in which the rate rises from
    0 (else none), and "every": the steps from one checkpoint to the next (else there is one, at the
    end). `accuracy` is that of the test images at each checkpoint, where `watch()` is called too;
    from a divergence on it counts as that of guessing. `loss` is the mean over the last tenth of
    the steps, infinite after a divergence. `rise`: how far above its start, or guessing if that is
    more, the mean of ten steps has ever been; `spread`: the standard deviation of the outputs over
    test images in the end, the largest of the classes.
    """
    steps, every = settings["steps"], settings.get("every", settings["steps"])
    found: list[float] = []

    def check(step: int) -> None:
        found.append(accuracy(model, test))
        if watch is not None:
            watch()

    optimizer = optim.SGD(model.parameters(), lr=rate, momentum=settings.get("momentum", 0))
    warmup = settings.get("warmup", 0)
    losses = train(
        model,
        optimizer,
        batches(train_set, settings["batch"], seed),
        steps,
        schedule=optim.WarmupLR(optimizer, warmup) if warmup else None,
        at=check,
        every=every,
    )
    outputs = logits(model, test[0][:LOOK])
    with np.errstate(all="ignore"):
        spread = float(outputs.std(axis=0).max())
    return {
        "rate": rate,
        "every": every,
        "loss": float(np.mean(losses[-max(1, steps // 10) :])),
        "rise": rise(losses),
        "spread": spread,
        "accuracy": found + [CHANCE] * (steps // every - len(found)),
    }


def rise(losses: Sequence[float]) -> float:
    """How far the mean of ten steps has been above the start, or above guessing."""
    means = [np.mean(losses[at : at + 10]) for at in range(0, len(losses), 10)]
    return float(max(means) - max(losses[0], GUESSING))


def stable(found: Course) -> bool:
    """Whether a training has neither diverged nor been thrown back to guessing.

    What is at guessing in the end may just not have learned yet. It has been thrown back if its
    loss was far above the start on the way, or if it has the same output for all images.
    """
    if not math.isfinite(found["loss"]):
        return False
    return found["loss"] < GUESSING - MARGIN or (
        found["loss"] < GUESSING + MARGIN and found["rise"] < RISE and found["spread"] > ALIKE
    )


def climb(trained: Callable[[float], Course], rates: Iterable[float]) -> list[Course]:
    """The courses at rising rates, up to the second in a row that is not stable any more: at the
    rates above, which cost the most when they creep along, nothing else would come out."""
    courses: list[Course] = []
    for rate in rates:
        courses.append(trained(rate))
        seen = [stable(found) for found in courses]
        if any(seen) and not any(seen[-2:]):
            break
    return courses


def ceiling(courses: Sequence[Course]) -> float:
    """The largest stable rate; 0 where none is stable: it lies below those that were tried."""
    return max((found["rate"] for found in courses if stable(found)), default=0.0)


def best(courses: Iterable[Course]) -> Course:
    """The course with the highest accuracy at any of its checkpoints: the arm's best rate."""
    return max(courses, key=lambda found: max(found["accuracy"]))


def steps_to(found: Course, target: float) -> float:
    """The steps until a checkpoint reaches an accuracy; infinity where none does."""
    for place, value in enumerate(found["accuracy"], 1):
        if value >= target:
            return place * found["every"]
    return math.inf


def times_fewer(without: Course, found: Course) -> float:
    """How many times fewer steps a course takes to the best accuracy of the one without; 0 if it
    never gets there."""
    target = max(without["accuracy"])
    return steps_to(without, target) / steps_to(found, target)


def at_the_end(courses: Sequence[Course], rates: Sequence[float]) -> list[float]:
    """The last accuracy at each of the rates; NaN where `climb` did not go."""
    last = {found["rate"]: found["accuracy"][-1] for found in courses}
    return [last.get(rate, math.nan) for rate in rates]


def percent(shares: Iterable[float]) -> list[float]:
    """Shares in percent, as plots have them."""
    return [100 * share for share in shares]


def checkpoints(found: Course) -> list[float]:
    """The steps of a course's accuracies."""
    return [place * found["every"] for place in range(1, len(found["accuracy"]) + 1)]


def quotient(upper: Sequence[float], lower: Sequence[float]) -> Interval:
    """How many times one figure the other is: the geometric mean over the seeds."""
    with np.errstate(all="ignore"):
        return interval(np.divide(upper, lower).tolist(), geometric_mean)


def geometric_mean(values: np.ndarray, axis: int = -1) -> Any:
    """The mean of quotients: that of a and of 1/a is 1."""
    with np.errstate(all="ignore"):
        found = np.exp(np.log(values).mean(axis=axis))
    # To 12 digits, so that that of 10 and 10 is not below 10.
    return np.vectorize(lambda value: float(f"{value:.12g}"), otypes=[np.float64])(found)


# ------------------------------------------------------------------- what several experiments train


@functools.cache
def binary_mnist(part: str) -> Arrays:
    """MNIST's "train" or "test" in black and white, as Ioffe & Szegedy (2015) used it."""
    images, labels = mnist(part)
    return (images > 0.5).astype(np.float32), labels


def c6_course(norm: str, rate: float, seed: int, settings: Mapping[str, Any]) -> Course:
    """C6 on CIFAR-10 at a rate. `settings`: those of `course`, and "test": how many test images."""
    md.manual_seed(seed)
    return course(
        c6(norm), cifar10("train"), subset(cifar10("test"), settings["test"]), rate, seed, settings
    )


def c6_sweep(norm: str, seed: int, settings: Mapping[str, Any]) -> list[Course]:
    """C6 at the rates of `settings`, as far as they are stable."""
    return climb(lambda rate: c6_course(norm, rate, seed, settings), settings["rates"])


# The sweep of E13 and E32.
SWEEP = {
    "rates": [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50],
    "steps": 200,
    "batch": 32,
    "momentum": 0.9,
    "test": 1000,
}
