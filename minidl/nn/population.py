"""Layers with running statistics, and the statistics of a whole population, which are gathered
batch by batch.

`recalibrate` puts a list of populations for a layer into `mode.statistics`, for its own thread:
one for a BatchNorm, and one for each time step of a StepNorm. The layer then normalizes each batch
with the batch's own statistics, adds these to the population, and leaves its running statistics
alone.
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
        False let them move again. Like `freeze()` this is a mode and not part of the state."""
        self.stats_frozen = checks.flag(frozen, "freeze_stats", "frozen")
        return self

    def _override(self) -> list[Population] | str | None:
        """What this thread uses in place of the running statistics now: the populations of
        `nn.recalibrate`, OF_BATCH within `nn.batch_statistics`, or None."""
        found = mode.statistics.get(id(self))
        return found[-1] if found else None

    def _frozen_repr(self) -> str:
        return ", statistics frozen" if self.stats_frozen or self.frozen else ""


def checked_momentum(momentum: Any, where: str) -> float | None:
    """Check that momentum is a number from 0 to 1, or None."""
    return None if momentum is None else checks.fraction(momentum, where, "momentum")


class Population:
    """The mean and variance (features,), float64, of all values that a layer has seen.

    They are the mean of the batches' means, and E[var + mean^2] - E[mean]^2 over the batches, each
    weighted by the number of its values (Wu & Johnson 2021). Batches are merged as Chan, Golub &
    LeVeque (1979) do, so that large means cost no digits.
    """

    def __init__(self, features: int) -> None:
        self.mean, self.var = np.zeros(features), np.zeros(features)
        self.count = self.batches = 0

    def normalize(self, layer: Tracking, x: Tensor, mask: Any = None) -> Tensor:
        """Return the layer's output for a batch, and add the batch's statistics.

        A batch with one value per channel, as the last one of a data set may be, has no variance:
        it is normalized with the statistics gathered so far.
        """
        count = x.size // x.shape[-1] if mask is None else int(np.count_nonzero(mask))
        if count == 1 and self.count > 1:
            y = ops.batch_norm(
                x, layer.gamma, layer.beta, self.mean, self.var, eps=layer.eps, mask=mask
            )
            value = x.data.reshape(-1, x.shape[-1])
            self.add(
                (value if mask is None else value[mask.reshape(-1)])[0].astype(np.float64),
                np.zeros(layer.features),
                1,
            )
            return y
        mean, var = np.zeros(layer.features), np.zeros(layer.features)
        y = ops.batch_norm(
            x,
            layer.gamma,
            layer.beta,
            mean,
            var,
            training=True,
            momentum=1.0,
            eps=layer.eps,
            mask=mask,
            unbiased=False,
        )
        if count:
            self.add(mean, var, count)
        return y

    def add(self, mean: np.ndarray, var: np.ndarray, count: int) -> None:
        """Add the statistics of `count` values per channel."""
        total = self.count + count
        share = count / total
        with np.errstate(invalid="ignore"):  # infinite values make NaN
            delta = mean - self.mean
            self.var += share * (var - self.var + self.count / total * delta * delta)
            self.mean += share * delta
        self.count, self.batches = total, self.batches + 1
