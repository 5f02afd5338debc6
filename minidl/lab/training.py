"""The short trainings of the experiments: a loop that stops where the loss is no number, and what
is measured of a model."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import nn, ops, optim
from .problems import Arrays

CHANCE = 0.1  # the accuracy of guessing among ten classes
LARGE = 1e4  # a loss from which on a training has diverged
CHUNK = 500  # images that are evaluated at a time


def train(
    model: nn.Layer,
    optimizer: Any,
    batches: Iterator[Arrays],
    steps: int,
    loss: Callable[..., Any] = ops.cross_entropy,
    schedule: Any = None,
    at: Callable[[int], None] | None = None,
    every: int = 1,
    clip: float | None = None,
) -> list[float]:
    """Take so many steps, and return the loss of each batch before its step.

    The list is shorter, with infinity at its end, where the training has diverged: a loss that is
    no number, or above 10,000. `at(step)` is called after every `every` steps with their number
    from 1 on, in the mode of training; `schedule` is stepped after each. With `clip`, gradients
    are scaled so that their joint norm is that at most.
    """
    losses: list[float] = []
    model.train()
    with quiet():
        for step in range(1, steps + 1):
            images, labels = next(batches)
            found = loss(model(images), labels)
            value = float(found.data)
            if not value < LARGE:
                return [*losses, math.inf]
            losses.append(value)
            optimizer.zero_grad()
            found.backward()
            if clip is not None:
                optim.clip_grad_norm(model, clip)
            optimizer.step()
            if schedule is not None:
                schedule.step()
            if at is not None and step % every == 0:
                at(step)
    return losses


def diverged(losses: list[float]) -> bool:
    """Whether `train` has stopped before its end."""
    return bool(losses) and not math.isfinite(losses[-1])


def score(model: nn.Layer, losses: list[float], arrays: Arrays) -> float:
    """The accuracy of a model that was trained with such losses; that of guessing where the
    training has diverged, in all experiments: the weights where it stopped are of no use, and an
    arm that cannot be trained is a result."""
    return CHANCE if diverged(losses) else accuracy(model, arrays)


def logits(model: nn.Layer, images: np.ndarray) -> np.ndarray:
    """What a model says of images, in eval mode."""
    with quiet():
        return model.predict(images, CHUNK)


def accuracy(model: nn.Layer, arrays: Arrays) -> float:
    """The share of right answers, in eval mode; 0 counts for outputs that are no number."""
    found = logits(model, arrays[0])
    right = (found.argmax(axis=1) == arrays[1]) & np.isfinite(found).all(axis=1)
    return float(right.mean())


def mean_loss(model: nn.Layer, arrays: Arrays) -> float:
    """The mean cross-entropy in eval mode."""
    with np.errstate(all="ignore"):
        return float(ops.cross_entropy(logits(model, arrays[0]), arrays[1]).data)


def recalibrate(model: nn.Layer, images: np.ndarray, chunk: int = CHUNK) -> None:
    """Give the BatchNorms of a model the statistics of images, so many of them at a time; not where
    it has diverged so far that they are no numbers, which is refused."""
    with quiet(), contextlib.suppress(ValueError):
        nn.recalibrate(
            model,
            (images[start : start + chunk] for start in range(0, len(images), chunk)),
            quiet=True,
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings that an experiment provokes: of small batches, of overflows."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
