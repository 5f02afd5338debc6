"""`batch_norm`, the function that users call: it checks arguments, computes the statistics, and
applies the Function that normalizes.

Formulas and gradients are in `norm`, virtual batches and masks in `norm_parts`, the running
statistics in `running`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import checks, kernels
from ..storage import RESULT
from ..tensor import Tensor
from .common import float_tensor, same_float
from .norm import BatchNorm
from .norm_parts import batch_norm_in_parts
from .running import Limits, RunningStats, check_limits


def batch_norm(
    x: Any,
    gamma: Any,
    beta: Any,
    running_mean: np.ndarray | None = None,
    running_var: np.ndarray | None = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    *,
    mask: Any = None,
    ghost_batch: int | None = None,
    unbiased: bool = True,
    renorm: Limits | None = None,
    num_batches: np.ndarray | None = None,
) -> Tensor:
    """Normalize x (..., C) over all axes but the last (Ioffe & Szegedy 2015):

        y = gamma (x - mean) / sqrt(var + eps) + beta

    In training the mean and the biased variance are those of the batch. The batch also moves the
    running statistics (NumPy arrays (C,), updated in place; either may be None): running =
    (1 - momentum) running + momentum batch, where the batch's variance is first multiplied by
    M / (M - 1) for M values per channel, unless `unbiased` is False. Otherwise the running
    statistics are used. gamma and beta (C,) may be None. A NaN affects its own channel only.
    `num_batches`, an integer array (), counts the batches; with it `momentum` may be None, which
    makes the running statistics the plain average of all batches so far.

    `mask`, booleans (...), selects the positions that count; elsewhere y is 0 and no gradient
    reaches x, whatever x is there. A batch without selected positions leaves the running statistics
    alone. With `ghost_batch` in training, each run of that many images (entries of the first axis;
    the last run may be shorter) is normalized as a batch of its own (Hoffer et al. 2017). With
    `renorm` = (r_max, d_max) in training, y = gamma (xhat r + d) + beta, where r and d (constants
    in the backward) turn batch statistics into running ones as far as these limits allow (Ioffe
    2017). `renorm` may also be a function that takes the number of batches before each batch,
    virtual ones included, and returns its limits.

    ValueError for shapes that do not fit, for a channel without values, or with a single one in
    training, and for running statistics that are missing where they are needed; TypeError for mixed
    dtypes, and for a mask that is not boolean.

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
    if ghost_batch is not None:
        ghost_batch = checks.size(ghost_batch, "batch_norm", "ghost_batch")
    running = RunningStats(running_mean, running_var, num_batches, momentum, unbiased, renorm, eps)
    plain = mask is None and _fits(x, gamma, beta, running, training)
    if not plain:
        gamma = None if gamma is None else float_tensor(gamma, "batch_norm", "gamma")
        beta = None if beta is None else float_tensor(beta, "batch_norm", "beta")
        _check(
            x,
            gamma,
            beta,
            running_mean,
            running_var,
            training,
            eps,
            momentum,
            2 if mask is None else 0,
        )
        checks.flag(unbiased, "batch_norm", "unbiased")
        if training:
            _check_running(running)
    if mask is not None or (training and ghost_batch is not None and ghost_batch < len(x)):
        return batch_norm_in_parts(x, gamma, beta, running, training, mask, ghost_batch)
    # The statistics that the convolution before has computed, unless another array was assigned to
    # x.data since.
    summed = x._node._statistics if x._node is not None and x._access == RESULT else None
    if not training:  # running statistics are inputs here, so that a trace names them
        given = (x, gamma, beta, running_mean, running_var)
        return (
            BatchNorm.apply(*given, eps=eps, training=False)
            if summed is None
            else BatchNorm.apply(*given, eps=eps, training=False, summed=True)
        )
    mean, var = summed or kernels.batch_stats(x._values())
    correction = None if renorm is None else running.correction(mean, var)
    running.update(mean, var, x.size // x._shape[-1], plain)
    return BatchNorm.apply(
        x,
        gamma,
        beta,
        mean=mean,
        var=var,
        eps=eps,
        training=training,
        correction=correction,
        summed=summed is not None,
    )


def _check_running(running: RunningStats) -> None:
    """Check what renormalization and a plain average need."""
    count = running.num_batches
    if count is not None and not (
        isinstance(count, np.ndarray) and count.shape == () and count.dtype.kind in "iu"
    ):
        raise TypeError(
            f"batch_norm: num_batches must be a NumPy array () of an integer, which "
            f"training updates in place, got {type(count).__name__} of "
            f"{getattr(count, 'dtype', 'no dtype')} {getattr(count, 'shape', '')}"
        )
    if count is not None and not count.flags.writeable:
        raise ValueError("batch_norm: num_batches is read-only, but training updates it in place")
    if running.momentum is None and running.num_batches is None:
        raise ValueError("batch_norm: momentum=None, the average of all batches, needs num_batches")
    if running.renorm is not None:
        if running.mean is None or running.var is None:
            raise ValueError("batch_norm: renorm needs running_mean and running_var")
        if not callable(running.renorm):
            check_limits(running.renorm)
        elif running.num_batches is None:
            raise ValueError("batch_norm: a function as renorm needs num_batches")


def _fits(x: Tensor, gamma: Any, beta: Any, running: RunningStats, training: Any) -> bool:
    """Whether the arguments are as they nearly always are. This is quick; if they are not, `_check`
    finds out whether anything is wrong."""
    shape, dtype, mean, var = x._shape, x._dtype, running.mean, running.var
    channels, batches = shape[-1:], running.num_batches
    if (
        len(shape) < 2
        or channels == (0,)
        or running.renorm is not None
        or not (type(running.eps) is float and 0 <= running.eps < math.inf)
        or not (type(running.momentum) is float and 0 <= running.momentum <= 1)
        or not (running.unbiased is True or running.unbiased is False)
    ):
        return False
    for factor in (gamma, beta):
        if factor is not None and not (
            isinstance(factor, Tensor) and factor._shape == channels and factor._dtype is dtype
        ):
            return False
    if (
        not type(mean) is type(var) is np.ndarray
        or not mean.shape == var.shape == channels
        or mean.dtype.char not in "fd"
        or var.dtype.char not in "fd"
    ):
        return False
    if training is not True:
        return training is False
    counts = batches is None or (
        type(batches) is np.ndarray
        and batches.ndim == 0
        and batches.dtype == np.int64
        and batches.flags.carray
    )
    return (
        counts
        and mean.flags.carray
        and var.flags.carray
        and mean.dtype.isnative
        and var.dtype.isnative
        and math.prod(shape) >= 2 * channels[0]
    )


def _check(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    running_mean: np.ndarray | None,
    running_var: np.ndarray | None,
    training: bool,
    eps: float,
    momentum: float | None,
    least: int,
) -> None:
    """Check all arguments; in training a channel needs at least `least` values."""
    shape, dtype = x.shape, x.dtype
    if training is not True:
        checks.flag(training, "batch_norm", "training")
    if len(shape) < 2:
        raise ValueError(
            f"batch_norm: x must be (..., C) with at least two axes, got shape {shape}"
        )
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
                    "batch_norm: running_mean and running_var are needed unless training"
                )
            continue
        if not isinstance(stat, np.ndarray) or stat.dtype.kind != "f":
            raise TypeError(
                f"batch_norm: {name} must be a NumPy array of floats, which training "
                f"updates in place, got {type(stat).__name__} of "
                f"{getattr(stat, 'dtype', 'no dtype')}"
            )
        if stat.shape != channels:
            raise _wrong_length(name, stat, x)
        if training and not stat.flags.writeable:
            raise ValueError(f"batch_norm: {name} is read-only, but training updates it in place")
    checks.not_negative(eps, "batch_norm", "eps")
    if momentum is not None:
        checks.fraction(momentum, "batch_norm", "momentum")
    values = x.size // shape[-1] if shape[-1] else 0
    if training and values < least:
        raise ValueError(
            f"batch_norm: x of shape {shape} has {values} value(s) a channel; in training at "
            f"least 2 are needed for a variance: use a larger batch (or drop_last=True in the "
            f"loader), or normalize with running statistics, as after eval()"
        )


def _wrong_length(name: str, value: Any, x: Tensor) -> ValueError:
    return ValueError(
        f"batch_norm: {name} must have shape ({x.shape[-1]},) for x {x.shape}, got {value.shape}"
    )
