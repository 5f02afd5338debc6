"""Batch normalization (Ioffe & Szegedy 2015), over all axes but the last.

The statistics are computed at the call; the output is a `NormOutput` (see `fusion`), which the
next operation may take over. The backward recomputes the ReLU's mask and the normalized value from
x and the per-channel factors; nothing else is kept. Virtual batches and masks: `norm_parts`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import kernels
from ..arguments import flag
from ..graph import Function
from ..lazy import GradSum, computed
from ..tensor import Tensor
from .common import float_tensor, not_negative, real_number, same_float, whole
from .fusion import (
    ConvOutput,
    MaskedGrad,
    NormGrad,
    NormOutput,
    OutputGrad,
    PooledGrad,
    SummedGrad,
)
from .running import Correction, Limits, RunningStats, check_limits, corrected, uncorrected


class BatchNorm(Function):
    """y = gamma xhat + beta,  xhat = (x - mean) / sqrt(var + eps), over M values a channel.

    With the statistics of the batch:
        dbeta = sum(dy),  dgamma = sum(dy xhat),
        dx = gamma / sqrt(var + eps) (dy - dbeta / M - xhat dgamma / M);
    with given statistics dx = gamma / sqrt(var + eps) dy.

    A `correction` (r, d), constant in the backward, makes it gamma (xhat r + d) + beta (Ioffe
    2017): a normalization with gamma r and gamma d + beta, and dgamma = sum(dy (xhat r + d)).
    """

    takes_deferred = True
    takes_deferred_grads = True

    def forward(self, x: Any, gamma: np.ndarray | None, beta: np.ndarray | None,
                mean: np.ndarray, var: np.ndarray, eps: float, training: bool,
                correction: Correction | None = None) -> NormOutput:
        # A convolution that summed the statistics can also read the gradient through here.
        self.defers_gradient = isinstance(x, ConvOutput)
        self.x = x = computed(x)
        self.training, self.correction = training, correction
        mean, var = np.asarray(mean, np.float64), np.asarray(var, np.float64)
        if correction is not None:
            gamma, beta = corrected(gamma, beta, correction, x.dtype)
        self.factors = kernels.batch_norm_factors(mean, var, gamma, beta, eps, x.dtype)
        return NormOutput(x, self.factors)

    def backward(self, dy: Any) -> tuple[Any, ...]:
        dx, dgamma, dbeta = self._gradients(dy)
        if self.correction is not None:
            dgamma = uncorrected(dgamma, dbeta, self.correction)
        return (dx if self.needs_grad[0] else None,
                dgamma if self.needs_grad[1] else None, dbeta if self.needs_grad[2] else None,
                *(None,) * (len(self.needs_grad) - 3))      # given statistics, and a mask

    def _gradients(self, dy: Any) -> tuple[Any, ...]:
        if not isinstance(dy, OutputGrad) or dy.output.factors is not self.factors:
            return self._backward(computed(dy))     # also that of another one's output
        if isinstance(dy, PooledGrad):
            return kernels.batch_norm_pool_backward(dy.dy, self.x, self.factors, self.training,
                                                    relu=dy.output.relu)
        if isinstance(dy, SummedGrad):
            return self._backward(dy.array, dy.output.relu, dy.sums)
        assert isinstance(dy, MaskedGrad)
        if dy.array is not None:
            return self._backward(dy.array)
        shortcut = dy.output.shortcut
        if shortcut is None:
            return self._backward(computed(dy.dy), relu=True)
        # A shortcut wants the masked gradient as well: written in the same pass.
        one, two = (dy.dy.a, dy.dy.b) if isinstance(dy.dy, GradSum) else (dy.dy, None)
        *gradients, dy.array = self._passes(one, True, shortcut, True, two)
        return tuple(gradients)

    def _passes(self, dy: np.ndarray, relu: bool, shortcut: np.ndarray | None = None,
                masked_out: bool = False, also: np.ndarray | None = None) -> tuple[Any, ...]:
        return kernels.batch_norm_backward(dy, self.x, self.factors, self.training, relu,
                                           shortcut, masked_out, also)

    def _backward(self, dy: np.ndarray, relu: bool = False, sums: np.ndarray | None = None
                  ) -> tuple[Any, ...]:
        """dx, dgamma, dbeta from the gradient of the output, after a ReLU if `relu`."""
        if sums is None:
            if not self.defers_gradient:
                return self._passes(dy, relu)[:3]
            sums, _ = kernels.batch_norm_sums(dy, self.x, self.factors, relu=relu)
        dgamma, dbeta, centre = kernels.batch_norm_finish(sums, self.factors,
                                                          self.x.size // self.x.shape[-1])
        dx = NormGrad(dy, self.x, self.factors, relu, centre if self.training else None)
        return dx if self.defers_gradient else dx.compute(), dgamma, dbeta


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
        ghost_batch = whole(ghost_batch, "batch_norm", "ghost_batch", 1)
    _check(x, gamma, beta, running_mean, running_var, training, eps, momentum,
           2 if mask is None else 0)
    running = RunningStats(running_mean, running_var, num_batches, momentum, unbiased, renorm, eps)
    if training and (renorm is not None or momentum is None or num_batches is not None):
        _check_running(running)
    if mask is not None or (training and ghost_batch is not None and ghost_batch < len(x)):
        from .norm_parts import batch_norm_in_parts  # which builds on this module

        return batch_norm_in_parts(x, gamma, beta, running, training, mask, ghost_batch)
    if not training:
        return BatchNorm.apply(x, gamma, beta, running_mean, running_var, eps=eps, training=False)
    source = x._deferred
    if isinstance(source, ConvOutput):
        mean, var = source.mean, source.var
    else:
        mean, var = kernels.batch_stats(x._values())
    correction = running.correction(mean, var)
    running.update(mean, var, x.size // x.shape[-1])
    return BatchNorm.apply(x, gamma, beta, mean=mean, var=var, eps=eps, training=training,
                           correction=correction)


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
        flag(training, "batch_norm", "training")
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
        not_negative(eps, "batch_norm", "eps")
    if momentum is not None and type(momentum) is not float:
        real_number(momentum, "batch_norm", "momentum")
    values = x.size // shape[-1] if shape[-1] else 0
    if training and values < least:
        raise ValueError(
            f"batch_norm: x of shape {shape} has {values} value(s) a channel; in training at "
            f"least 2 are needed for a variance: use a larger batch (or drop_last=True in the "
            f"loader), or normalize with running statistics, as after eval()")


def _wrong_length(name: str, value: Any, x: Tensor) -> ValueError:
    return ValueError(f"batch_norm: {name} must have shape ({x.shape[-1]},) for x "
                      f"{x.shape}, got {value.shape}")
