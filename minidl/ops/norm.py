"""Batch normalization (Ioffe & Szegedy 2015), over all axes but the last.

The statistics are computed at the call. The output is a `Lazy`, to which a following sum,
activation or max-pool is added as a post-operation. The backward recomputes the ReLU's mask, or the
slope of another activation, and the normalized value from x and the factors of each channel;
nothing else is kept. Virtual batches and masks are in `norm_parts`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .. import kernels
from ..lazy import NOTHING, Epilogue, Lazy, computed
from .operation import Producer
from .running import Correction, corrected, uncorrected

TAKES = ("residual", "relu", "curve")  # the post-operations of a normalization's pass
POOLS = (*TAKES, "pool")


def normalized(x: np.ndarray, factors: np.ndarray, epilogue: Epilogue) -> np.ndarray:
    """y after its epilogue, from x and the factors of its channels."""
    if epilogue.pool:
        return kernels.batch_norm_pool(x, factors, epilogue.relu)
    if epilogue.curve:
        return kernels.batch_norm_activation(x, factors, epilogue.curve)
    return kernels.batch_norm_apply(x, factors, epilogue.residual, epilogue.relu)


def input_grad(
    dy: np.ndarray,
    x: np.ndarray,
    factors: np.ndarray,
    relu: bool,
    centre: np.ndarray | None,
    epilogue: Epilogue = NOTHING,
) -> np.ndarray:
    """dx from the gradient dy of y, or of relu(y) if `relu`.

    `centre` are the coefficients for the gradient through the statistics (`batch_norm_finish`).
    `epilogue` is always NOTHING, because a gradient has no post-operations.
    """
    return kernels.batch_norm_input_grad(dy, x, factors, relu, centre=centre)


class PendingGradient(NamedTuple):
    """The arguments of `input_grad`, for a convolution's backward that computes this gradient while
    it reads it."""

    dy: np.ndarray
    x: np.ndarray
    factors: np.ndarray
    relu: bool
    centre: np.ndarray | None


class BatchNorm(Producer):
    """y = gamma xhat + beta,  xhat = (x - mean) / sqrt(var + eps), over M values a channel.

    With the statistics of the batch:
        dbeta = sum(dy),  dgamma = sum(dy xhat),
        dx = gamma / sqrt(var + eps) (dy - dbeta / M - xhat dgamma / M);
    with given statistics dx = gamma / sqrt(var + eps) dy.

    A `correction` (r, d), constant in the backward, makes it gamma (xhat r + d) + beta (Ioffe
    2017): a normalization with gamma r and gamma d + beta, and dgamma = sum(dy (xhat r + d)).

    If the convolution before has computed the statistics (`summed`), its backward can also compute
    dx while it reads it. So dx is then a Lazy.
    """

    def forward(
        self,
        x: np.ndarray,
        gamma: np.ndarray | None,
        beta: np.ndarray | None,
        mean: np.ndarray,
        var: np.ndarray,
        eps: float,
        training: bool,
        correction: Correction | None = None,
        summed: bool = False,
    ) -> Lazy:
        self.x, self.training, self.correction, self.summed = x, training, correction, summed
        if not training:
            mean, var = np.asarray(mean, np.float64), np.asarray(var, np.float64)
        if correction is not None:
            gamma, beta = corrected(gamma, beta, correction, x.dtype)
        self.factors = kernels.batch_norm_factors(mean, var, gamma, beta, eps, x.dtype)
        return Lazy(
            partial(normalized, x, self.factors),
            x.shape,
            x.dtype,
            (x, self.factors),
            POOLS if x.dtype == np.float32 and x.shape[-1] % 16 == 0 else TAKES,
        )

    def backward(self, dy: np.ndarray) -> tuple[Any, ...]:
        return self.epilogue_backward(dy, None, NOTHING)

    def epilogue_backward(
        self, dy: Any, dy2: np.ndarray | None, epilogue: Epilogue
    ) -> tuple[Any, ...]:
        residual, pool, relu = epilogue.residual, epilogue.pool, epilogue.relu
        if epilogue.curve:
            return self._wanted(
                *kernels.batch_norm_activation_backward(
                    dy if dy2 is None else kernels.add(dy, dy2),
                    self.x,
                    self.factors,
                    epilogue.curve,
                    self.training,
                )
            )
        if residual is None and dy2 is None and not pool and not self.summed:
            return self._wanted(*self._passes(dy, relu)[:3])
        if residual is not None and relu:  # one pass also writes the residual's gradient, masked
            dx, dgamma, dbeta, masked = self._passes(dy, True, residual, True, dy2)
            return (*self._wanted(dx, dgamma, dbeta), masked)
        if dy2 is not None:
            dy = kernels.add(dy, dy2)
        if pool:
            return self._wanted(
                *kernels.batch_norm_pool_backward(
                    dy, self.x, self.factors, self.training, relu=relu
                )
            )
        if self.summed:
            sums, _ = kernels.batch_norm_sums(dy, self.x, self.factors, relu=relu)
            gradients = self.from_sums(dy, sums, relu)
        else:
            gradients = self._wanted(*self._passes(dy, relu)[:3])
        return gradients if residual is None else (*gradients, dy)

    def from_sums(self, dy: np.ndarray, sums: np.ndarray, relu: bool) -> tuple[Any, ...]:
        """dx, dgamma and dbeta from the gradient dy of y, or of relu(y) if `relu`, and from its
        sums (see `kernels.batch_norm_sums`)."""
        dgamma, dbeta, centre = kernels.batch_norm_finish(
            sums, self.factors, self.x.size // self.x.shape[-1]
        )
        source = PendingGradient(dy, self.x, self.factors, relu, centre if self.training else None)
        dx = Lazy(partial(input_grad, *source), self.x.shape, self.x.dtype, source)
        return self._wanted(dx if self.summed else computed(dx), dgamma, dbeta)

    def _wanted(self, dx: Any, dgamma: np.ndarray, dbeta: np.ndarray) -> tuple[Any, ...]:
        if self.correction is not None:
            dgamma = uncorrected(dgamma, dbeta, self.correction)
        needs = self.needs_grad
        wanted = (
            dx if needs[0] else None,
            dgamma if needs[1] else None,
            dbeta if needs[2] else None,
        )
        # Given statistics and a mask are inputs too, and have no gradient.
        return wanted if len(needs) == 3 else (*wanted, *(None,) * (len(needs) - 3))

    def _passes(
        self,
        dy: np.ndarray,
        relu: bool,
        residual: np.ndarray | None = None,
        masked_out: bool = False,
        dy2: np.ndarray | None = None,
    ) -> tuple[Any, ...]:
        return kernels.batch_norm_backward(
            dy, self.x, self.factors, self.training, relu, residual, masked_out, dy2
        )
