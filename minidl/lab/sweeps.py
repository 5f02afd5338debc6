"""Training a network at several learning rates.

The functions tell which trainings are stable, how many steps they take to reach an accuracy, and
which learning rate is best. A `Course` is the record of one training: a dict of plain numbers, so
that it can be part of a result.
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
MARGIN = 0.1  # a loss that is lower than GUESSING by this much shows that something is learned
RISE = 0.2  # a loss that has risen this far above its start is not explained by slow learning
ALIKE = 0.01  # outputs whose standard deviation over images is below this are the same for all
LOOK = 200  # the number of test images for which the outputs are compared


def course(
    model: nn.Layer,
    train_set: Arrays,
    test: Arrays,
    rate: float,
    seed: int,
    settings: Mapping[str, Any],
    watch: Callable[[], Any] | None = None,
) -> Course:
    """Train by SGD at a constant learning rate, and return the record of the training.

    The settings are "steps", "batch", and optionally "momentum" (0 if absent), "warmup" (the number
    of steps during which the rate rises from 0) and "every" (the number of steps between two
    checkpoints; if absent, the only checkpoint is at the end). `watch()` is called at each
    checkpoint. The record has, beside "rate" and "every":

    accuracy: the test accuracy at each checkpoint; that of guessing once the training has diverged
    loss:     the mean loss of the last tenth of the steps; infinite if the training has diverged
    rise:     see the function `rise`
    spread:   the standard deviation of the trained model's outputs over test images, the largest
              one of the classes
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
    """Return how far the mean loss of ten consecutive steps has ever been above the first loss, or
    above that of guessing, whichever is larger."""
    means = [np.mean(losses[at : at + 10]) for at in range(0, len(losses), 10)]
    return float(max(means) - max(losses[0], GUESSING))


def stable(found: Course) -> bool:
    """Return whether a training has neither diverged nor collapsed to guessing.

    A training whose final loss is that of guessing may just not have learned anything yet. It has
    collapsed if its loss was far above the first loss on the way, or if the trained model has the
    same output for all images.
    """
    if not math.isfinite(found["loss"]):
        return False
    return found["loss"] < GUESSING - MARGIN or (
        found["loss"] < GUESSING + MARGIN and found["rise"] < RISE and found["spread"] > ALIKE
    )


def climb(trained: Callable[[float], Course], rates: Iterable[float]) -> list[Course]:
    """Train at one learning rate after the other, in rising order, and return the records. After a
    stable training, two unstable ones in a row end the sweep: still higher rates would be unstable
    too, and an unstable training can be very slow."""
    courses: list[Course] = []
    for rate in rates:
        courses.append(trained(rate))
        seen = [stable(found) for found in courses]
        if any(seen) and not any(seen[-2:]):
            break
    return courses


def ceiling(courses: Sequence[Course]) -> float:
    """Return the largest stable learning rate; 0 if no rate that was tried is stable."""
    return max((found["rate"] for found in courses if stable(found)), default=0.0)


def best(courses: Iterable[Course]) -> Course:
    """Return the training that has the highest accuracy at any of its checkpoints. Its learning
    rate is the best one of the arm."""
    return max(courses, key=lambda found: max(found["accuracy"]))


def steps_to(found: Course, target: float) -> float:
    """Return the step of the first checkpoint with at least this accuracy; infinity without one."""
    for place, value in enumerate(found["accuracy"], 1):
        if value >= target:
            return place * found["every"]
    return math.inf


def times_fewer(without: Course, found: Course) -> float:
    """Return by what factor `found` needs fewer steps than `without`, the training without
    normalization, to reach the best accuracy of the latter; 0 if it never does."""
    target = max(without["accuracy"])
    return steps_to(without, target) / steps_to(found, target)


def at_the_end(courses: Sequence[Course], rates: Sequence[float]) -> list[float]:
    """Return the last accuracy at each of the rates; NaN at rates that `climb` did not try."""
    last = {found["rate"]: found["accuracy"][-1] for found in courses}
    return [last.get(rate, math.nan) for rate in rates]


def percent(shares: Iterable[float]) -> list[float]:
    """Return shares as percentages."""
    return [100 * share for share in shares]


def checkpoints(found: Course) -> list[float]:
    """Return the steps of the checkpoints of a training."""
    return [place * found["every"] for place in range(1, len(found["accuracy"]) + 1)]


def quotient(upper: Sequence[float], lower: Sequence[float]) -> Interval:
    """Return the geometric mean over the seeds of the ratio of two figures, with its interval."""
    with np.errstate(all="ignore"):
        return interval(np.divide(upper, lower).tolist(), geometric_mean)


def geometric_mean(values: np.ndarray, axis: int = -1) -> Any:
    """Return the geometric mean. It suits ratios, as that of a and 1/a is 1."""
    with np.errstate(all="ignore"):
        found = np.exp(np.log(values).mean(axis=axis))
    # Rounded to 12 digits, so that the mean of 10 and 10 does not come out below 10.
    return np.vectorize(lambda value: float(f"{value:.12g}"), otypes=[np.float64])(found)


# -------------------------------------------------------------- trainings that experiments share


@functools.cache
def binary_mnist(part: str) -> Arrays:
    """Return the "train" or the "test" part of MNIST with pixels that are 0 or 1, as Ioffe &
    Szegedy (2015) used it."""
    images, labels = mnist(part)
    return (images > 0.5).astype(np.float32), labels


def c6_course(norm: str, rate: float, seed: int, settings: Mapping[str, Any]) -> Course:
    """Train C6 on CIFAR-10 at a learning rate. The settings are those of `course`, and "test", the
    number of test images."""
    md.manual_seed(seed)
    return course(
        c6(norm), cifar10("train"), subset(cifar10("test"), settings["test"]), rate, seed, settings
    )


def c6_sweep(norm: str, seed: int, settings: Mapping[str, Any]) -> list[Course]:
    """Train C6 at the learning rates of `settings`, until `climb` ends the sweep."""
    return climb(lambda rate: c6_course(norm, rate, seed, settings), settings["rates"])


# The settings of the sweep that E13 and E32 share.
SWEEP = {
    "rates": [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50],
    "steps": 200,
    "batch": 32,
    "momentum": 0.9,
    "test": 1000,
}
