"""Statistics of a whole population, gathered batch by batch, in place of running averages.

A layer whose `_populations` is a list (one for a BatchNorm, one a time step for a StepNorm)
normalizes each batch with its own statistics, tells them of it, and leaves its running statistics
alone. `recalibrate` sets the list, and takes it away again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import ops
from ..tensor import Tensor

if TYPE_CHECKING:
    from .norm import BatchNorm
    from .step_norm import StepNorm


class Population:
    """Mean and variance (features,), float64, of all values that a layer has seen.

    The mean of the batches' means and the variance of all values together, E[var + mean^2] -
    E[mean]^2 (Wu & Johnson 2021), each batch by the number of its values; merged after Chan, Golub
    & LeVeque (1979), so that large means cost no digits.
    """

    def __init__(self, features: int) -> None:
        self.mean, self.var = np.zeros(features), np.zeros(features)
        self.count = self.batches = 0

    def normalize(self, layer: BatchNorm | StepNorm, x: Tensor, mask: Any = None) -> Tensor:
        """The layer's output for a batch, whose statistics are taken in."""
        mean, var = np.zeros(layer.features), np.zeros(layer.features)
        y = ops.batch_norm(x, layer.gamma, layer.beta, mean, var, training=True, momentum=1.0,
                           eps=layer.eps, mask=mask, unbiased=False)
        count = x.size // x.shape[-1] if mask is None else int(np.count_nonzero(mask))
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
