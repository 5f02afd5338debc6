"""Batch normalization (Ioffe & Szegedy 2015), over all axes but the last.

The statistics are computed at the call; the output is a `Lazy`, which a following sum, ReLU or
max-pool may finish. The backward recomputes the ReLU's mask and the normalized value from x and the
per-channel factors; nothing else is kept. Virtual batches and masks: `norm_parts`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .. import checks, kernels
from ..lazy import NOTHING, Epilogue, Lazy, computed
from ..tensor import Tensor
from .common import float_tensor, same_float
from .operation import Producer
from .running import Correction, Limits, RunningStats, check_limits, corrected, uncorrected


def normalized(x: np.ndarray, factors: np.ndarray, epilogue: Epilogue) -> np.ndarray:
    """y from x and the factors of its channels."""
    residual, relu, pool = epilogue
    if pool:
        return kernels.batch_norm_pool(x, factors, relu)
    return kernels.batch_norm_apply(x, factors, residual, relu)


def input_grad(dy: np.ndarray, x: np.ndarray, factors: np.ndarray, relu: bool,
               centre: np.ndarray | None, epilogue: Epilogue = NOTHING) -> np.ndarray:
    """dx from the gradient of y, after its ReLU; `centre` is of the statistics' gradient."""
    return kernels.batch_norm_input_grad(dy, x, factors, relu, centre=centre)


class BatchNorm(Producer):
    """y = gamma xhat + beta,  xhat = (x - mean) / sqrt(var + eps), over M values a channel.

    With the statistics of the batch:
        dbeta = sum(dy),  dgamma = sum(dy xhat),
        dx = gamma / sqrt(var + eps) (dy - dbeta / M - xhat dgamma / M);
    with given statistics dx = gamma / sqrt(var + eps) dy.

    A `correction` (r, d), constant in the backward, makes it gamma (xhat r + d) + beta (Ioffe
    2017): a normalization with gamma r and gamma d + beta, and dgamma = sum(dy (xhat r + d)).

    Where the convolution before it has summed the statistics (`summed`), that can also read the
    gradient through this normalization: dx is a Lazy then.
    """

    def forward(self, x: np.ndarray, gamma: np.ndarray | None, beta: np.ndarray | None,
                mean: np.ndarray, var: np.ndarray, eps: float, training: bool,
                correction: Correction | None = None, summed: bool = False) -> Lazy:
        self.x, self.training, self.correction, self.summed = x, training, correction, summed
        mean, var = np.asarray(mean, np.float64), np.asarray(var, np.float64)
        if correction is not None:
            gamma, beta = corrected(gamma, beta, correction, x.dtype)
        self.factors = kernels.batch_norm_factors(mean, var, gamma, beta, eps, x.dtype)
        return Lazy(partial(normalized, x, self.factors), x.shape, x.dtype,
                    source=(x, self.factors), pools=x.dtype == np.float32 and x.shape[-1] % 16 == 0)

    def backward(self, dy: np.ndarray) -> tuple[Any, ...]:
        return self.epilogue_backward(dy, None, NOTHING)

    def epilogue_backward(self, dy: Any, also: np.ndarray | None, epilogue: Epilogue
                          ) -> tuple[Any, ...]:
        residual, relu, pool = epilogue
        if residual is not None and relu:   # whose gradient, masked, is written in the same pass
            *gradients, masked = self._passes(dy, True, residual, True, also)
            return (*self._wanted(*gradients), masked)
        if also is not None:
            dy = kernels.add(dy, also)
        if pool:
            return self._wanted(*kernels.batch_norm_pool_backward(
                dy, self.x, self.factors, self.training, relu=relu))
        if self.summed:
            sums, _ = kernels.batch_norm_sums(dy, self.x, self.factors, relu=relu)
            gradients = self.from_sums(dy, sums, relu)
        else:
            gradients = self._wanted(*self._passes(dy, relu)[:3])
        return gradients if residual is None else (*gradients, dy)

    def from_sums(self, dy: np.ndarray, sums: np.ndarray, relu: bool) -> tuple[Any, ...]:
        """dx, dgamma, dbeta from the gradient of the output, after a ReLU if `relu`, and the sums
        of it that `kernels.batch_norm_sums` gives."""
        dgamma, dbeta, centre = kernels.batch_norm_finish(sums, self.factors,
                                                          self.x.size // self.x.shape[-1])
        source = dy, self.x, self.factors, relu, centre if self.training else None
        dx = Lazy(partial(input_grad, *source), self.x.shape, self.x.dtype, source)
        return self._wanted(dx if self.summed else computed(dx), dgamma, dbeta)

    def _wanted(self, dx: Any, dgamma: np.ndarray, dbeta: np.ndarray) -> tuple[Any, ...]:
        if self.correction is not None:
            dgamma = uncorrected(dgamma, dbeta, self.correction)
        x, gamma, beta, *given = self.needs_grad       # of statistics, and a mask, there is none
        return (dx if x else None, dgamma if gamma else None, dbeta if beta else None,
                *(None for _ in given))

    def _passes(self, dy: np.ndarray, relu: bool, residual: np.ndarray | None = None,
                masked_out: bool = False, also: np.ndarray | None = None) -> tuple[Any, ...]:
        return kernels.batch_norm_backward(dy, self.x, self.factors, self.training, relu,
                                           residual, masked_out, also)


def batch_norm(x: Any, gamma: Any, beta: Any, running_mean: np.ndarray | None = None,
               running_var: np.ndarray | None = None, training: bool = False,
               momentum: float | None = 0.1, eps: float = 1e-5, *, mask: Any = None,
               ghost_batch: int | None = None, unbiased: bool = True,
               renorm: Limits | None = None,
               num_batches: np.ndarray | None = None) -> Tensor:
    """Normalize x (..., C) over all axes but the last (Ioffe & Szegedy 2015):

        y = gamma (x - mean) / sqrt(var + eps) + beta

    In training, with the mean and the biased variance of the batch, which also move the running
    statistics (NumPy arrays (C,), updated in place, either may be None): running = (1 - momentum)
    running + momentum batch, the variance times M / (M - 1) for M values a channel (unless
    `unbiased` is False). Otherwise with the running statistics. gamma and beta (C,) may be None.
    NaN stays in its channel. `num_batches`, an integer array (), counts the batches; with it
    `momentum` may be None, the plain average of all batches so far.

    `mask`, booleans (...): only positions where it is True count; elsewhere y is 0 and no gradient
    reaches x, whatever x is there. A batch without any leaves the running statistics alone.
    `ghost_batch`: in training each run of so many images (entries of the first axis; the last run
    may be shorter) is a batch of its own (Hoffer et al. 2017). `renorm` = (r_max, d_max): in
    training y = gamma (xhat r + d) + beta, with r and d (constants in the backward) that turn
    batch statistics into running ones as far as these limits let them (Ioffe 2017); it may also be
    a function that gives them for each batch, or virtual one, from `num_batches` before it.

    ValueError for shapes that do not fit, if a channel has one value only in training, or no value,
    and if running statistics are missing where they are needed; TypeError for mixed dtypes, and
    a mask that is not boolean.

    >>> x = md.tensor([[1., 10.], [3., 30.]])
    >>> md.batch_norm(x, None, None, training=True, eps=0)
    tensor([[-1., -1.],
            [ 1.,  1.]])
    >>> md.batch_norm(x, None, None, np.array([1., 10.]), np.array([4., 100.]), eps=0)
    tensor([[0., 0.],
            [1., 2.]])
    >>> x = md.tensor([[1.], [3.], [np.nan]])
    >>> md.batch_norm(x, None, None, training=True, eps=0, mask=[True, True, False]).data.ravel()
    array([-1.,  1.,  0.], dtype=float32)
    """
    x = float_tensor(x, "batch_norm")
    gamma = None if gamma is None else float_tensor(gamma, "batch_norm", "gamma")
    beta = None if beta is None else float_tensor(beta, "batch_norm", "beta")
    if ghost_batch is not None:
        ghost_batch = checks.size(ghost_batch, "batch_norm", "ghost_batch")
    _check(x, gamma, beta, running_mean, running_var, training, eps, momentum,
           2 if mask is None else 0)
    running = RunningStats(running_mean, running_var, num_batches, momentum, unbiased, renorm, eps)
    if training and (renorm is not None or momentum is None or num_batches is not None):
        _check_running(running)
    if mask is not None or (training and ghost_batch is not None and ghost_batch < len(x)):
        from .norm_parts import batch_norm_in_parts  # which builds on this module

        return batch_norm_in_parts(x, gamma, beta, running, training, mask, ghost_batch)
    summed = x._node.statistics if x._node is not None else None
    if not training:        # given statistics are inputs: a trace names them
        return BatchNorm.apply(x, gamma, beta, running_mean, running_var, eps=eps, training=False,
                               **({} if summed is None else {"summed": True}))
    mean, var = summed or kernels.batch_stats(x._values())
    correction = running.correction(mean, var)
    running.update(mean, var, x.size // x.shape[-1])
    return BatchNorm.apply(x, gamma, beta, mean=mean, var=var, eps=eps, training=training,
                           correction=correction, summed=summed is not None)


def _check_running(running: RunningStats) -> None:
    """What renormalization and a plain average need."""
    count = running.num_batches
    if count is not None and not (isinstance(count, np.ndarray) and count.shape == ()
                                  and count.dtype.kind in "iu"):
        raise TypeError(f"batch_norm: num_batches must be a NumPy array () of an integer, which "
                        f"training updates in place, got {type(count).__name__} of "
                        f"{getattr(count, 'dtype', 'no dtype')} {getattr(count, 'shape', '')}")
    if running.momentum is None and running.num_batches is None:
        raise ValueError("batch_norm: momentum=None, the average of all batches, needs num_batches")
    if running.renorm is not None:
        if running.mean is None or running.var is None:
            raise ValueError("batch_norm: renorm needs running_mean and running_var")
        if not callable(running.renorm):
            check_limits(running.renorm)
        elif running.num_batches is None:
            raise ValueError("batch_norm: a function as renorm needs num_batches")


def _check(x: Tensor, gamma: Tensor | None, beta: Tensor | None,
           running_mean: np.ndarray | None, running_var: np.ndarray | None, training: bool,
           eps: float, momentum: float | None, least: int) -> None:
    """`least`: values that a channel needs in training."""
    shape, dtype = x.shape, x.dtype
    if training is not True:
        checks.flag(training, "batch_norm", "training")
    if len(shape) < 2:
        raise ValueError(f"batch_norm: x must be (..., C) with at least two axes, "
                         f"got shape {shape}")
    channels = shape[-1:]
    if channels == (0,) and least == 0:
        raise ValueError(f"batch_norm: x {shape} has no channels for a mask to be of")
    for name, value in (("gamma", gamma), ("beta", beta)):
        if value is not None and (value.shape != channels or value.dtype is not dtype):
            same_float("batch_norm", x=x, gamma=gamma, beta=beta)
            if value.shape != channels:
                raise _wrong_length(name, value, x)
    for name, stat in (("running_mean", running_mean), ("running_var", running_var)):
        if stat is None:
            if not training:
                raise ValueError(
                    "batch_norm: running_mean and running_var are needed unless training")
            continue
        if not isinstance(stat, np.ndarray) or stat.dtype.kind != "f":
            raise TypeError(f"batch_norm: {name} must be a NumPy array of floats, which training "
                            f"updates in place, got {type(stat).__name__} of "
                            f"{getattr(stat, 'dtype', 'no dtype')}")
        if stat.shape != channels:
            raise _wrong_length(name, stat, x)
        if training and not stat.flags.writeable:
            raise ValueError(f"batch_norm: {name} is read-only, but training updates it in place")
    if type(eps) is not float or not eps >= 0:
        checks.not_negative(eps, "batch_norm", "eps")
    if momentum is not None and type(momentum) is not float:
        checks.real(momentum, "batch_norm", "momentum")
    values = x.size // shape[-1] if shape[-1] else 0
    if training and values < least:
        raise ValueError(
            f"batch_norm: x of shape {shape} has {values} value(s) a channel; in training at "
            f"least 2 are needed for a variance: use a larger batch (or drop_last=True in the "
            f"loader), or normalize with running statistics, as after eval()")


def _wrong_length(name: str, value: Any, x: Tensor) -> ValueError:
    return ValueError(f"batch_norm: {name} must have shape ({x.shape[-1]},) for x "
                      f"{x.shape}, got {value.shape}")
