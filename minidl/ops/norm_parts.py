"""Batch normalization in parts: virtual batches, and batches of which a mask selects positions.

Each part is a run of images with its own statistics and factors. The passes over memory are those
of ordinary batch normalization, made for one part after another, so that a residual and a ReLU are
still computed in the same pass.
"""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any

import numpy as np

from .. import kernels
from ..lazy import Epilogue, Lazy
from ..tensor import Tensor
from .norm import BatchNorm
from .running import Correction, RunningStats, corrected, uncorrected


class Part:
    """The images from `first` up to `after`, with their statistics, over `count` values per
    channel, and the factors that follow from them."""

    def __init__(self, first: int, after: int, mask: np.ndarray | None) -> None:
        self.images = slice(first, after)
        self.mask = None if mask is None else mask[first:after].reshape(-1)
        self.mean, self.var, self.count = np.zeros(0), np.zeros(0), 0
        self.correction: Correction | None = None
        self.factors = np.zeros(0)

    def measure(self, x: np.ndarray) -> None:
        x = x[self.images]
        if self.mask is None:
            self.mean, self.var = kernels.batch_stats(x)
            self.count = x.size // x.shape[-1]
        else:
            self.mean, self.var, self.count = kernels.masked_stats(x, self.mask)

    def find_factors(
        self, gamma: np.ndarray | None, beta: np.ndarray | None, eps: float, dtype: np.dtype
    ) -> None:
        if self.correction is not None:
            gamma, beta = corrected(gamma, beta, self.correction, dtype)
        self.factors = kernels.batch_norm_factors(self.mean, self.var, gamma, beta, eps, dtype)

    def apply(self, x: np.ndarray, residual: np.ndarray | None, relu: bool, y: np.ndarray) -> None:
        if self.mask is None:
            kernels.batch_norm_apply(x, self.factors, residual, relu, out=y)
        else:
            kernels.masked_norm_apply(x, self.mask, self.factors, residual, relu, out=y)

    def backward(
        self,
        dy: np.ndarray,
        x: np.ndarray,
        training: bool,
        relu: bool,
        residual: np.ndarray | None,
        masked: np.ndarray | None,
        dy2: np.ndarray | None,
        dx: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return dgamma and dbeta; write dx into `dx`, and the residual's gradient into `masked` if
        that is not None."""
        masked_out: Any = False if masked is None else masked
        options = (training, relu, residual, masked_out, dy2, dx)
        if self.mask is None:
            _, dgamma, dbeta, _ = kernels.batch_norm_backward(dy, x, self.factors, *options)
        else:
            _, dgamma, dbeta, _ = kernels.masked_norm_backward(
                dy, x, self.mask, self.factors, *options
            )
        if self.correction is not None:
            dgamma = uncorrected(dgamma, dbeta, self.correction)
        return dgamma, dbeta


def parts_normalized(x: np.ndarray, parts: list[Part], epilogue: Epilogue) -> np.ndarray:
    """y after its epilogue, computed part by part."""
    residual, relu = epilogue.residual, epilogue.relu
    y = kernels.empty(x.shape, x.dtype)
    for part in parts:
        images = part.images
        part.apply(x[images], None if residual is None else residual[images], relu, y[images])
    return y


class PartedBatchNorm(BatchNorm):
    """BatchNorm part by part; the gradients of gamma and beta are sums over the parts. Without
    `parts` the batch is a single part, with the given statistics."""

    def forward(  # type: ignore[override]
        self,
        x: np.ndarray,
        gamma: np.ndarray | None,
        beta: np.ndarray | None,
        mean: np.ndarray | None,
        var: np.ndarray | None,
        mask: np.ndarray | None,
        eps: float,
        training: bool,
        parts: list[Part] | None = None,
    ) -> Lazy:
        if parts is None:
            assert mean is not None and var is not None and mask is not None
            parts = parts_of(len(x), None, mask)
            for part in parts:
                part.mean, part.var = np.asarray(mean, np.float64), np.asarray(var, np.float64)
        self.x, self.training, self.parts = x, training, parts
        self.summed, self.correction = False, None  # the parts have their own corrections
        for part in parts:
            part.find_factors(gamma, beta, eps, x.dtype)
        return Lazy(partial(parts_normalized, x, parts), x.shape, x.dtype)

    def _passes(
        self,
        dy: np.ndarray,
        relu: bool,
        residual: np.ndarray | None = None,
        masked_out: bool = False,
        dy2: np.ndarray | None = None,
    ) -> tuple[Any, ...]:
        dx = kernels.empty(self.x.shape, self.x.dtype)
        masked = kernels.empty(self.x.shape, self.x.dtype) if masked_out else None
        sums = np.zeros((2, self.x.shape[-1]))
        for part in self.parts:
            i = part.images
            sums += part.backward(
                dy[i],
                self.x[i],
                self.training,
                relu,
                None if residual is None else residual[i],
                None if masked is None else masked[i],
                None if dy2 is None else dy2[i],
                dx[i],
            )
        dgamma, dbeta = sums.astype(self.x.dtype)
        return dx, dgamma, dbeta, masked


def batch_norm_in_parts(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    running: RunningStats,
    training: bool,
    mask: Any,
    ghost_batch: int | None,
) -> Tensor:
    """`batch_norm` for virtual batches, or with a mask."""
    if mask is not None:
        mask = checked_mask(mask, x)
    if not training:
        return PartedBatchNorm.apply(
            x, gamma, beta, running.mean, running.var, mask, eps=running.eps, training=False
        )
    values = x._values()
    parts = parts_of(len(x), ghost_batch, None if mask is None else mask._values())
    for part in parts:
        part.measure(values)
    few = next((part for part in parts if part.count == 1), None)
    if few is not None:
        what, use = "the mask", "larger batches"
        if len(parts) > 1:
            what = f"the virtual batch of images {few.images.start}:{few.images.stop}"
            use = "another ghost_batch, or larger batches"
        raise ValueError(
            f"batch_norm: {what} of x {x.shape} leaves 1 value a channel; in training at least "
            f"2 are needed for a variance: use {use}, or normalize with running "
            f"statistics, as after eval()"
        )
    running.check_limits([part for part in parts if part.count])
    for part in parts:
        if part.count:
            part.correction = running.correction(part.mean, part.var)
            running.update(part.mean, part.var, part.count)
    return PartedBatchNorm.apply(
        x, gamma, beta, None, None, mask, eps=running.eps, training=True, parts=parts
    )


def parts_of(images: int, ghost_batch: int | None, mask: np.ndarray | None) -> list[Part]:
    """The parts of a batch. The mask is copied, because the user may write to it."""
    mask = None if mask is None else mask.copy()
    return [
        Part(first, after, mask) for first, after in itertools.pairwise(starts(images, ghost_batch))
    ]


def starts(images: int, ghost_batch: int | None) -> list[int]:
    """The first image of each part, and the end of the last part."""
    return [*range(0, images, ghost_batch or max(images, 1)), images]


def values_of_parts(
    shape: tuple[int, ...], mask: np.ndarray | None, ghost_batch: int | None
) -> list[int]:
    """The number of values that a channel of x (N, ..., C) has in each part."""
    bounds = itertools.pairwise(starts(shape[0], ghost_batch))
    if mask is not None:
        return [int(np.count_nonzero(mask[a:b])) for a, b in bounds]
    return [(b - a) * math.prod(shape[1:-1]) for a, b in bounds]


def checked_mask(mask: Any, x: Tensor) -> Tensor:
    """The mask as a boolean tensor with the shape of the positions of x (..., C)."""
    given = mask if isinstance(mask, Tensor) else np.asarray(mask, order="C")
    if given.dtype != np.bool_:
        raise TypeError(f"batch_norm: mask must be booleans, got {given.dtype}")
    if given.shape != x.shape[:-1]:
        raise ValueError(
            f"batch_norm: mask must have shape {x.shape[:-1]}, one boolean for each "
            f"position of x {x.shape}, got {given.shape}"
        )
    return given if isinstance(given, Tensor) else Tensor(given)
