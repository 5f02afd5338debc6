"""Running statistics of batch normalization, and the correction that Batch Renormalization makes
with them (Ioffe 2017)."""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Any

import numpy as np

from .. import checks, kernels

Correction = tuple[np.ndarray, np.ndarray]  # r and d, float64 (C,)
Limits = tuple[float, float] | Callable[[int], tuple[float, float]]  # r_max and d_max


def corrected(
    gamma: np.ndarray | None, beta: np.ndarray | None, correction: Correction, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray]:
    """The gamma and beta of a renormalized batch: gamma r and gamma d + beta."""
    r, d = correction
    one = 1.0 if gamma is None else gamma
    return (one * r).astype(dtype), (one * d + (0.0 if beta is None else beta)).astype(dtype)


def uncorrected(dgamma: np.ndarray, dbeta: np.ndarray, correction: Correction) -> np.ndarray:
    """The gamma gradient of a renormalized batch, sum(dy (xhat r + d)), from dgamma = sum(dy xhat)
    and dbeta = sum(dy)."""
    r, d = correction
    return (r * dgamma + d * dbeta).astype(dgamma.dtype)


def check_limits(limits: Any) -> None:
    """Check that `limits` are (r_max, d_max), with r_max >= 1 and d_max >= 0."""
    if not isinstance(limits, (tuple, list)) or len(limits) != 2:
        raise TypeError(
            f"batch_norm: renorm must be (r_max, d_max) or a function that gives "
            f"them, got {limits!r}"
        )
    r_max, d_max = limits
    checks.real(r_max, "batch_norm", "r_max of renorm", 1)
    checks.real(d_max, "batch_norm", "d_max of renorm", 0)


class RunningStats:
    """The running mean and variance of each channel, and how a training batch moves them.

    For each batch `correction` is called before `update`, because it compares the batch with the
    statistics of the batches before. The attributes are the arguments of `batch_norm`; mean and var
    may be None.
    """

    def __init__(
        self,
        mean: np.ndarray | None,
        var: np.ndarray | None,
        num_batches: np.ndarray | None,
        momentum: float | None,
        unbiased: bool,
        renorm: Limits | None,
        eps: float,
    ) -> None:
        self.mean, self.var, self.num_batches = mean, var, num_batches
        self.momentum, self.unbiased, self.renorm, self.eps = momentum, unbiased, renorm, eps

    def check_limits(self, batches: Sized) -> None:
        """Check the limits for all of these batches, before the first one moves the statistics."""
        if callable(self.renorm) and self.num_batches is not None:
            for k in range(len(batches)):
                check_limits(self.renorm(int(self.num_batches) + k))

    def correction(self, mean: np.ndarray, var: np.ndarray) -> Correction | None:
        """The (r, d) of a batch, or None without renormalization:

        r = clip(sigma / sigma_run, 1 / r_max, r_max),
        d = clip((mean - mean_run) / sigma_run, -d_max, d_max),  sigma = sqrt(var + eps).
        """
        if self.renorm is None:
            return None
        assert self.mean is not None and self.var is not None
        limits = self.renorm
        if callable(limits):
            assert self.num_batches is not None
            limits = limits(int(self.num_batches))
            check_limits(limits)
        r_max, d_max = limits
        sigma = np.sqrt(self.var.astype(np.float64) + self.eps)
        with np.errstate(divide="ignore", invalid="ignore"):  # sigma may be 0 if eps is 0
            r, d = np.sqrt(var + self.eps) / sigma, (mean - self.mean) / sigma
        return np.clip(r, 1 / r_max, r_max), np.clip(d, -d_max, d_max)

    def update(self, mean: np.ndarray, var: np.ndarray, count: int, plain: bool = False) -> None:
        """Move the running statistics by those of a batch of `count` values per channel. `plain`
        says that the kernel takes all arrays as they are."""
        weight = self.momentum
        batches = self.num_batches
        if weight is None:
            assert batches is not None
            weight = 1.0 / (int(batches) + 1)
        factor = count / (count - 1) if self.unbiased else 1.0
        if plain:
            assert self.mean is not None and self.var is not None
            kernels.running_update(self.mean, self.var, batches, mean, var, weight, factor)
            return
        if batches is not None:
            batches += 1
        if self.mean is not None:
            self.mean[...] = (1 - weight) * self.mean + weight * mean
        if self.var is not None:
            self.var[...] = (1 - weight) * self.var + weight * factor * var
