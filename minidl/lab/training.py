"""The training loop of the experiments, which stops at a divergence, and measurements of a trained
model: accuracy, loss, and recalibrated running statistics."""

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
LARGE = 1e4  # a training whose loss reaches this value has diverged
CHUNK = 500  # the batch size of evaluations


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
    """Take `steps` steps, and return the loss of each batch before its step.

    If the training diverges, which means that a loss is NaN or at least 10,000, it stops, and the
    list ends with infinity. `schedule` is stepped after each step. `at(step)` is called after every
    `every` steps, which are counted from 1, with the model in training mode. `clip` is the largest
    norm of the gradient: a longer gradient is scaled down to it.
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
    """Return whether the training with these losses has diverged."""
    return bool(losses) and not math.isfinite(losses[-1])


def score(model: nn.Layer, losses: list[float], arrays: Arrays) -> float:
    """Return the accuracy of a model whose training had these losses.

    If the training has diverged, all experiments count the accuracy of guessing. The weights at
    which it stopped are of no use, but that an arm cannot be trained is a result.
    """
    return CHANCE if diverged(losses) else accuracy(model, arrays)


def logits(model: nn.Layer, images: np.ndarray) -> np.ndarray:
    """Return the model's logits for images in evaluation mode."""
    with quiet():
        return model.predict(images, CHUNK)


def accuracy(model: nn.Layer, arrays: Arrays) -> float:
    """Return the accuracy in evaluation mode. Outputs that are NaN or infinite count as wrong."""
    found = logits(model, arrays[0])
    right = (found.argmax(axis=1) == arrays[1]) & np.isfinite(found).all(axis=1)
    return float(right.mean())


def mean_loss(model: nn.Layer, arrays: Arrays) -> float:
    """Return the mean cross-entropy in evaluation mode."""
    with np.errstate(all="ignore"):
        return float(ops.cross_entropy(logits(model, arrays[0]), arrays[1]).data)


def recalibrate(model: nn.Layer, images: np.ndarray, chunk: int = CHUNK) -> None:
    """Replace the running statistics of a model by those of these images, in batches of `chunk`.
    A model that has diverged so far that the statistics are not finite is left as it is."""
    with quiet(), contextlib.suppress(ValueError):
        nn.recalibrate(
            model,
            (images[start : start + chunk] for start in range(0, len(images), chunk)),
            quiet=True,
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings within the `with` block. Experiments provoke them on purpose, by small
    batches and by overflows."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
