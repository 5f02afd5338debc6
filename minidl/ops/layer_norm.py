"""Normalization by statistics of each example: layer, group and instance normalization, RMSNorm,
and filter response normalization with its activation, TLU.

Unlike batch normalization (ops.norm), these compute the same in training and in evaluation mode.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import checks, kernels
from ..hints import for_newcomers
from ..tensor import Tensor
from .common import float_tensor, same_float
from .operation import Operation
from .reduce import sum_to
from .shape import reshape


class LayerNorm(Operation):
    """y = gamma xhat + beta,  xhat = (x - mean) / sqrt(var + eps), over the last axis.

    Without `centre` mean is 0, and var is the mean square. With g = gamma dy and means over the
    last axis:
        dx = (g - mean(g) - xhat mean(g xhat)) / sqrt(var + eps),
        dgamma = sum(dy xhat),  dbeta = sum(dy).
    """

    def forward(
        self,
        x: np.ndarray,
        gamma: np.ndarray | None,
        beta: np.ndarray | None,
        eps: float,
        centre: bool,
    ) -> np.ndarray:
        self.gamma = gamma if self.needs_grad[0] else None  # dx needs it, dgamma does not
        self.centre, self.shape = centre, x.shape
        self.rows = x.reshape(x.size // x.shape[-1], x.shape[-1])
        y, self.mean, self.rstd = kernels.layer_norm(self.rows, gamma, beta, eps, centre)
        return y.reshape(x.shape)

    def backward(self, dy: np.ndarray) -> tuple[Any, ...]:
        dx, dgamma, dbeta = kernels.layer_norm_backward(
            dy.reshape(self.rows.shape), self.rows, self.gamma, self.mean, self.rstd, self.centre
        )
        return (
            dx.reshape(self.shape),
            dgamma if self.needs_grad[1] else None,
            dbeta if self.needs_grad[2] else None,
        )


class GroupNorm(Operation):
    """y = gamma xhat + beta,  xhat = (x - mean) / sqrt(var + eps), over an image's positions and
    the channels of a group.

    Without `centre` mean is 0, and var is the mean square. The gradients are those of LayerNorm,
    with means over the same values as here.
    """

    def forward(
        self,
        x: np.ndarray,
        gamma: np.ndarray | None,
        beta: np.ndarray | None,
        eps: Any,
        groups: int,
        centre: bool,
    ) -> np.ndarray:
        self.gamma = gamma if self.needs_grad[0] else None  # dx needs it, dgamma does not
        self.groups, self.centre, self.shape = groups, centre, x.shape
        self.images = x.reshape(x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1])
        y, self.factors = kernels.group_norm(self.images, gamma, beta, groups, eps, centre)
        return y.reshape(x.shape)

    def backward(self, dy: np.ndarray) -> tuple[Any, ...]:
        dx, dgamma, dbeta, self.sums = kernels.group_norm_backward(
            dy.reshape(self.images.shape),
            self.images,
            self.gamma,
            self.factors,
            self.groups,
            self.centre,
        )
        return (
            dx.reshape(self.shape),
            dgamma if self.needs_grad[1] else None,
            dbeta if self.needs_grad[2] else None,
        )


class FilterResponseNorm(GroupNorm):
    """GroupNorm of single channels without a mean, where each channel learns its eps: |eps| is
    added to the mean square.

        deps = -sign(eps) gamma / 2 (sum(dy xhat) / (mean(x^2) + |eps|), summed over images)
    """

    def forward(
        self,
        x: np.ndarray,
        gamma: np.ndarray | None,
        beta: np.ndarray | None,
        eps: Any,
        groups: int,
        centre: bool,
    ) -> np.ndarray:
        y = super().forward(x, gamma, beta, np.abs(eps, dtype=np.float64), groups, centre)
        self.eps, self.gamma = eps, gamma  # deps needs gamma even if dx is not wanted
        return y

    def backward(self, dy: np.ndarray) -> tuple[Any, ...]:
        dx, dgamma, dbeta = super().backward(dy)
        rstd = self.factors[:, 3].astype(np.float64)
        slope = -np.sign(self.eps) / 2 * (1 if self.gamma is None else self.gamma)
        deps = slope * (self.sums[:, 1] * rstd * rstd).sum(axis=0)
        return dx, dgamma, dbeta, deps.astype(dy.dtype)


class TLU(Operation):
    """y = max(x, tau);  dx = dy where x > tau, dtau = sum(dy) elsewhere."""

    def forward(self, x: np.ndarray, tau: np.ndarray) -> np.ndarray:
        self.tau = tau
        self.y = kernels.maximum(x, tau)
        return self.y

    def backward(self, dy: np.ndarray) -> tuple[Any, ...]:
        dx = kernels.relu_backward(dy, kernels.subtract(self.y, self.tau))
        if not self.needs_grad[1]:
            return dx, None
        rest = np.where(self.y > self.tau, dy.dtype.type(0), dy)  # dy - dx, exact for NaN too
        return dx, sum_to(rest, self.tau.shape)


@for_newcomers
def layer_norm(x: Any, gamma: Any, beta: Any, eps: float = 1e-5, axis: Any = -1) -> Tensor:
    """Normalize x (..., C) over its last axis (Ba, Kiros & Hinton 2016):
    gamma (x - mean) / sqrt(var + eps) + beta, with the biased variance.

    gamma and beta (C,) may be None. `axis` may be a tuple of several last axes, for example
    (-2, -1); gamma and beta then have their shape. ValueError for shapes that do not fit, TypeError
    for mixed dtypes.

    >>> md.layer_norm(md.tensor([[1., 3.], [10., 30.]]), None, None, eps=0)
    tensor([[-1.,  1.],
            [-1.,  1.]])
    """
    return _of_last_axes("layer_norm", x, gamma, beta, eps, axis, centre=True)


def rms_norm(x: Any, gamma: Any, eps: float = 1e-5, beta: Any = None, axis: Any = -1) -> Tensor:
    """Divide x (..., C) by the root mean square of its last axis (Zhang & Sennrich 2019):
    gamma x / sqrt(mean(x^2) + eps), plus beta if there is one.

    gamma and beta (C,) may be None; `axis` as in `layer_norm`. ValueError for shapes that do not
    fit, TypeError for mixed dtypes.

    >>> md.rms_norm(md.tensor([3., 4., 0., 0.]), None, eps=0)
    tensor([1.2, 1.6, 0. , 0. ])
    """
    return _of_last_axes("rms_norm", x, gamma, beta, eps, axis, centre=False)


def _of_last_axes(
    where: str, x: Any, gamma: Any, beta: Any, eps: Any, axis: Any, centre: bool
) -> Tensor:
    """LayerNorm over the last axis, or over several last ones, which are joined into one first."""
    if type(axis) is int and axis == -1:
        x, gamma, beta, eps = _checked(where, x, gamma, beta, eps, 1)
        return LayerNorm.apply(x, gamma, beta, eps=eps, centre=centre)
    x = float_tensor(x, where)
    axes = checks.axes(axis, where, "axis", x.ndim)
    if not axes or axes != tuple(range(axes[0], x.ndim)):
        raise ValueError(
            checks.message(where, "axis", "the last axis, or a tuple of the last ones", axis)
        )
    x, gamma, beta, eps = _checked(where, x, gamma, beta, eps, 1, len(axes))
    rows = reshape(x, (*x.shape[: axes[0]], math.prod(x.shape[axes[0] :])))
    gamma, beta = (None if p is None else reshape(p, (p.size,)) for p in (gamma, beta))
    return reshape(LayerNorm.apply(rows, gamma, beta, eps=eps, centre=centre), x.shape)


@for_newcomers
def group_norm(x: Any, groups: int, gamma: Any, beta: Any, eps: float = 1e-5) -> Tensor:
    """Normalize each image of x (N, ..., C) over its positions and the channels of each of
    `groups` groups (Wu & He 2018): gamma (x - mean) / sqrt(var + eps) + beta.

    gamma and beta (C,) may be None. ValueError for shapes that do not fit, or if the groups do not
    divide C; TypeError for mixed dtypes.

    >>> x = md.tensor([[[1., 3., 10., 30.]]])
    >>> md.group_norm(x, 2, None, None, eps=0)
    tensor([[[-1.,  1., -1.,  1.]]])
    """
    x, gamma, beta, eps = _checked("group_norm", x, gamma, beta, eps, 2)
    groups = checks.size(groups, "group_norm", "groups")
    if x.shape[-1] % groups:
        raise ValueError(f"group_norm: {x.shape[-1]} channels do not divide into {groups} groups")
    return GroupNorm.apply(x, gamma, beta, groups=groups, eps=eps, centre=True)


def instance_norm(x: Any, gamma: Any, beta: Any, eps: float = 1e-5) -> Tensor:
    """Normalize each channel of each image of x (N, ..., C) over its positions (Ulyanov et al.
    2016): gamma (x - mean) / sqrt(var + eps) + beta.

    gamma and beta (C,) may be None. ValueError for shapes that do not fit, or if an image has only
    one position; TypeError for mixed dtypes.

    >>> x = md.tensor([[[1., 10.], [3., 30.]]])
    >>> md.instance_norm(x, None, None, eps=0)
    tensor([[[-1., -1.],
             [ 1.,  1.]]])
    """
    x, gamma, beta, eps = _checked("instance_norm", x, gamma, beta, eps, 3)
    if math.prod(x.shape[1:-1]) == 1:
        raise ValueError(
            f"instance_norm: x {x.shape} has one value for each image and channel, "
            f"which is its own mean: the result would be beta everywhere"
        )
    return GroupNorm.apply(x, gamma, beta, groups=x.shape[-1], eps=eps, centre=True)


def filter_response_norm(x: Any, gamma: Any, beta: Any, eps: Any = 1e-6) -> Tensor:
    """Divide each channel of each image of x (N, ..., C) by the root mean square of its positions
    (Singh & Krishnan 2019, Filter Response Normalization):

        y = gamma x / sqrt(mean(x^2) + |eps|) + beta

    gamma and beta (C,) may be None. eps is a number >= 0, or a tensor (C,), which then gets a
    gradient. Learning it helps images of few positions, where x / sqrt(mean(x^2)) would keep little
    more than the sign.

    ValueError for shapes that do not fit and a number eps < 0; TypeError for mixed dtypes.

    >>> x = md.tensor([[[3., 1.], [4., 1.], [0., 1.], [0., 1.]]])
    >>> md.filter_response_norm(x, None, None, eps=0)[0]
    tensor([[1.2, 1. ],
            [1.6, 1. ],
            [0. , 1. ],
            [0. , 1. ]])
    """
    where = "filter_response_norm"
    learned = eps if isinstance(eps, Tensor) else None
    x, gamma, beta, eps = _checked(where, x, gamma, beta, eps if learned is None else 0.0, 3)
    if learned is None:
        return GroupNorm.apply(x, gamma, beta, groups=x.shape[-1], eps=eps, centre=False)
    same_float(where, x=x, eps=float_tensor(learned, where, "eps"))
    if learned.shape != x.shape[-1:]:
        raise ValueError(
            f"{where}: eps must be a number or have shape ({x.shape[-1]},) for x "
            f"{x.shape}, got {learned.shape}"
        )
    return FilterResponseNorm.apply(x, gamma, beta, learned, groups=x.shape[-1], centre=False)


def tlu(x: Any, tau: Any) -> Tensor:
    """The thresholded linear unit max(x, tau) of x (..., C), with a threshold tau (C,) for each
    channel, which follows `filter_response_norm` (Singh & Krishnan 2019). Where x equals tau, tau
    gets the gradient, so that x gets 0 there as with ReLU.

    ValueError for shapes that do not fit, TypeError for mixed dtypes.

    >>> md.tlu(md.tensor([[-3., -3.], [3., 3.]]), md.tensor([0., -1.]))
    tensor([[ 0., -1.],
            [ 3.,  3.]])
    """
    x, tau = float_tensor(x, "tlu"), float_tensor(tau, "tlu", "tau")
    same_float("tlu", x=x, tau=tau)
    if x.ndim == 0 or tau.shape != x.shape[-1:]:
        raise ValueError(
            f"tlu: tau must have shape (C,) for x (..., C), got {tau.shape} and {x.shape}"
        )
    return TLU.apply(x, tau)


def _checked(
    where: str, x: Any, gamma: Any, beta: Any, eps: Any, axes: int, last: int = 1
) -> tuple[Tensor, Tensor | None, Tensor | None, float]:
    """The checked arguments: x must have at least `axes` axes, and gamma and beta must have the
    shape of its `last` ones."""
    x = float_tensor(x, where)
    gamma = None if gamma is None else float_tensor(gamma, where, "gamma")
    beta = None if beta is None else float_tensor(beta, where, "beta")
    same_float(where, x=x, gamma=gamma, beta=beta)
    if x.ndim < axes or 0 in x.shape[1 if axes > 1 else -last :]:
        raise ValueError(
            f"{where}: x must be ({'N, ..., ' if axes > 1 else '..., '}C) with at "
            f"least {axes} axes and values to normalize, got shape {x.shape}"
        )
    for name, value in (("gamma", gamma), ("beta", beta)):
        if value is not None and value.shape != x.shape[-last:]:
            raise ValueError(
                f"{where}: {name} must have shape {x.shape[-last:]} for x {x.shape}, "
                f"got {value.shape}"
            )
    return x, gamma, beta, checks.not_negative(eps, where, "eps")
