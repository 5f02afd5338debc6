"""Layers with running statistics, and those of a whole population, gathered batch by batch.

A layer for which `mode.statistics` has a list of populations (one for a BatchNorm, one a time step
for a StepNorm) normalizes each batch with its own statistics, tells them of it, and leaves its
running statistics alone. `recalibrate` puts the list there, for its own thread.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from .. import checks, ops
from ..mode import mode
from ..tensor import Tensor
from .normalization import Normalization
from .parameter import Parameter

Self = TypeVar("Self", bound="Tracking")
OF_BATCH = "of the batch"


class Tracking(Normalization):
    """The base of normalizations that keep running statistics."""

    features: int
    eps: float
    gamma: Parameter | None
    beta: Parameter | None
    running_mean: np.ndarray | None
    running_var: np.ndarray | None
    num_batches: np.ndarray | None
    stats_frozen = False

    def freeze_stats(self: Self, frozen: bool = True) -> Self:
        """Keep the running statistics as they are, and normalize with them in training too; with
        False let them move again. As `freeze()` it is a mode and no part of the state."""
        self.stats_frozen = checks.flag(frozen, "freeze_stats", "frozen")
        return self

    def _instead(self) -> list[Population] | str | None:
        """What takes the place of the running statistics in this thread now: the populations of
        `nn.recalibrate`, OF_BATCH in `nn.batch_statistics`, or nothing."""
        found = mode.statistics.get(id(self))
        return found[-1] if found else None

    def _frozen_repr(self) -> str:
        return ", statistics frozen" if self.stats_frozen or self.frozen else ""


def checked_momentum(momentum: Any, where: str) -> float | None:
    """A number from 0 to 1, or None."""
    return None if momentum is None else checks.fraction(momentum, where, "momentum")


class Population:
    """Mean and variance (features,), float64, of all values that a layer has seen.

    The mean of the batches' means and the variance of all values together, E[var + mean^2] -
    E[mean]^2 (Wu & Johnson 2021), each batch by the number of its values; merged after Chan, Golub
    & LeVeque (1979), so that large means cost no digits.
    """

    def __init__(self, features: int) -> None:
        self.mean, self.var = np.zeros(features), np.zeros(features)
        self.count = self.batches = 0

    def normalize(self, layer: Tracking, x: Tensor, mask: Any = None) -> Tensor:
        """The layer's output for a batch, whose statistics are taken in.

        A batch of one value a channel, such as the rest of a data set may be, has no variance: it
        is normalized with the statistics so far.
        """
        count = x.size // x.shape[-1] if mask is None else int(np.count_nonzero(mask))
        if count == 1 and self.count > 1:
            y = ops.batch_norm(x, layer.gamma, layer.beta, self.mean, self.var, eps=layer.eps,
                               mask=mask)
            value = x.data.reshape(-1, x.shape[-1])
            self.add((value if mask is None else value[mask.reshape(-1)])[0].astype(np.float64),
                     np.zeros(layer.features), 1)
            return y
        mean, var = np.zeros(layer.features), np.zeros(layer.features)
        y = ops.batch_norm(x, layer.gamma, layer.beta, mean, var, training=True, momentum=1.0,
                           eps=layer.eps, mask=mask, unbiased=False)
        if count:
            self.add(mean, var, count)
        return y

    def add(self, mean: np.ndarray, var: np.ndarray, count: int) -> None:
        """Take in the statistics of `count` values a channel."""
        total = self.count + count
        share = count / total
        with np.errstate(invalid="ignore"):     # of infinite values: they make NaN
            delta = mean - self.mean
            self.var += share * (var - self.var + self.count / total * delta * delta)
            self.mean += share * delta
        self.count, self.batches = total, self.batches + 1
