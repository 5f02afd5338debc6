"""Batch normalization (Ioffe & Szegedy 2015), over all axes but the last.

The statistics are computed at the call; the output is a `NormOutput` (see `fusion`), which the
next operation may take over. The backward recomputes the ReLU's mask and the normalized value from
x and the per-channel factors; nothing else is kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import kernels
from ..autograd import Function, GradSum, computed
from ..tensor import Tensor
from .common import float_tensor, same_float
from .fusion import (
    ConvOutput,
    MaskedGrad,
    NormGrad,
    NormOutput,
    OutputGrad,
    PooledGrad,
    SummedGrad,
)


class BatchNorm(Function):
    """y = gamma xhat + beta,  xhat = (x - mean) / sqrt(var + eps), over M values a channel.

    With the statistics of the batch:
        dbeta = sum(dy),  dgamma = sum(dy xhat),
        dx = gamma / sqrt(var + eps) (dy - dbeta / M - xhat dgamma / M);
    with given statistics dx = gamma / sqrt(var + eps) dy.
    """

    takes_deferred = True
    takes_deferred_grads = True

    def forward(self, x: Any, gamma: np.ndarray | None, beta: np.ndarray | None,
                mean: np.ndarray, var: np.ndarray, eps: float, training: bool) -> NormOutput:
        # A convolution that summed the statistics can also read the gradient through here.
        self.defers_gradient = isinstance(x, ConvOutput)
        self.x = x = computed(x)
        self.training = training
        self.factors = kernels.batch_norm_factors(mean, var, gamma, beta, eps, x.dtype)
        return NormOutput(x, self.factors)

    def backward(self, dy: Any) -> tuple[Any, ...]:
        dx, dgamma, dbeta = self._gradients(dy)
        return (dx if self.needs_grad[0] else None,
                dgamma if self.needs_grad[1] else None, dbeta if self.needs_grad[2] else None)

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
        *gradients, dy.array = kernels.batch_norm_backward(
            one, self.x, self.factors, self.training, relu=True, shortcut=shortcut,
            masked_out=True, also=two)
        return tuple(gradients)

    def _backward(self, dy: np.ndarray, relu: bool = False, sums: np.ndarray | None = None
                  ) -> tuple[Any, ...]:
        """dx, dgamma, dbeta from the gradient of the output, after a ReLU if `relu`."""
        if sums is None:
            if not self.defers_gradient:
                return kernels.batch_norm_backward(dy, self.x, self.factors, self.training,
                                                   relu=relu)[:3]
            sums, _ = kernels.batch_norm_sums(dy, self.x, self.factors, relu=relu)
        dgamma, dbeta, centre = kernels.batch_norm_finish(sums, self.factors,
                                                          self.x.size // self.x.shape[-1])
        dx = NormGrad(dy, self.x, self.factors, relu, centre if self.training else None)
        return dx if self.defers_gradient else dx.compute(), dgamma, dbeta


def batch_norm(x: Any, gamma: Any, beta: Any, running_mean: np.ndarray | None = None,
               running_var: np.ndarray | None = None, training: bool = False,
               momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    """Normalize x (..., C) over all axes but the last (Ioffe & Szegedy 2015):

        y = gamma (x - mean) / sqrt(var + eps) + beta

    In training, with the mean and the biased variance of the batch, which also move the running
    statistics (NumPy arrays (C,), updated in place, either may be None): running = (1 - momentum)
    running + momentum batch, the variance times M / (M - 1) for M values a channel. Otherwise with
    the running statistics. gamma and beta (C,) may be None. NaN stays in its channel.

    ValueError for shapes that do not fit, if a channel has one value only in training, or no value,
    and if running statistics are missing outside training; TypeError for mixed dtypes.

    >>> x = md.tensor([[1., 10.], [3., 30.]])
    >>> md.batch_norm(x, None, None, training=True, eps=0)
    tensor([[-1., -1.],
            [ 1.,  1.]])
    >>> md.batch_norm(x, None, None, np.array([1., 10.]), np.array([4., 100.]), eps=0)
    tensor([[0., 0.],
            [1., 2.]])
    """
    x = float_tensor(x, "batch_norm")
    gamma = None if gamma is None else float_tensor(gamma, "batch_norm", "gamma")
    beta = None if beta is None else float_tensor(beta, "batch_norm", "beta")
    _check(x, gamma, beta, running_mean, running_var, training, eps)
    if training:
        source = x._deferred
        if isinstance(source, ConvOutput):
            mean, var = source.mean, source.var
        else:
            mean, var = kernels.batch_stats(x._values())
        if running_mean is not None:
            running_mean[...] = (1 - momentum) * running_mean + momentum * mean
        if running_var is not None:
            m = x.size // x.shape[-1]
            running_var[...] = (1 - momentum) * running_var + momentum * (m / (m - 1)) * var
    else:
        assert running_mean is not None and running_var is not None
        mean, var = running_mean.astype(np.float64), running_var.astype(np.float64)
    return BatchNorm.apply(x, gamma, beta, mean=mean, var=var, eps=eps, training=training)


def _check(x: Tensor, gamma: Tensor | None, beta: Tensor | None,
           running_mean: np.ndarray | None, running_var: np.ndarray | None, training: bool,
           eps: float) -> None:
    shape, dtype = x.shape, x.dtype
    if len(shape) < 2:
        raise ValueError(f"batch_norm: x must be (..., C) with at least two axes, "
                         f"got shape {shape}")
    channels = shape[-1:]
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
    if not eps >= 0:
        raise ValueError(f"batch_norm: eps must be >= 0, got {eps!r}")
    values = x.size // shape[-1] if shape[-1] else 0
    if training and values < 2:
        raise ValueError(
            f"batch_norm: x of shape {shape} has {values} value(s) a channel; in training at "
            f"least 2 are needed for a variance: use a larger batch (or drop_last=True in the "
            f"loader), or call eval() to normalize with running statistics")


def _wrong_length(name: str, value: Any, x: Tensor) -> ValueError:
    return ValueError(f"batch_norm: {name} must have shape ({x.shape[-1]},) for x "
                      f"{x.shape}, got {value.shape}")
