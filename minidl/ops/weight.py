"""Weights that are computed from other weights, so that each output's weights have a given norm or
given statistics.

v (..., out) is a dense layer's (in, out) or a convolution's (KH, KW, in / groups, out). The weights
of one output are one channel to the kernels of batch normalization, which compute this too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, kernels
from ..tensor import Tensor
from .common import float_tensor, same_float
from .operation import Operation


class WeightNorm(Operation):
    """w = gain v / n,  n = ||v|| of each output.

    dgain = sum(dw v) / n,  dv = gain / n (dw - v dgain / n)
    """

    def forward(self, v: np.ndarray, gain: np.ndarray) -> np.ndarray:
        self.v, self.norms = v, norms(v)
        with np.errstate(divide="ignore", invalid="ignore"):  # weights of zeros give NaN
            rstd = 1 / self.norms
            zeros = np.zeros_like(rstd)
            self.factors = np.stack([zeros, gain * rstd, zeros, rstd, zeros]).astype(v.dtype)
        return kernels.batch_norm_apply(v, self.factors)

    def backward(self, dw: np.ndarray) -> tuple[Any, ...]:
        sums, _ = kernels.batch_norm_sums(dw, self.v, self.factors)
        with np.errstate(divide="ignore", invalid="ignore"):
            dgain = sums[1] / self.norms
            slope = -dgain / self.norms
        centre = np.stack([slope, np.zeros_like(slope)]).astype(dw.dtype)
        dv = kernels.batch_norm_input_grad(dw, self.v, self.factors, centre=centre)
        return dv, dgain.astype(dw.dtype)


class WeightStandardization(Operation):
    """w = (v - mean) / sqrt(var + eps), over the M weights of each output.

    dv = (dw - mean(dw) - w mean(dw w)) / sqrt(var + eps)
    """

    def forward(self, v: np.ndarray, eps: float) -> np.ndarray:
        self.v = v
        mean, var = kernels.batch_stats(v)
        self.factors = kernels.batch_norm_factors(mean, var, None, None, eps, v.dtype)
        return kernels.batch_norm_apply(v, self.factors)

    def backward(self, dw: np.ndarray) -> np.ndarray:
        return kernels.batch_norm_backward(dw, self.v, self.factors)[0]


def norms(v: np.ndarray) -> np.ndarray:
    """The Euclidean norm of each output's weights in v (..., out), float64."""
    mean, var = kernels.batch_stats(v)
    return np.sqrt((var + mean * mean) * (v.size // v.shape[-1]))


def weight_norm(v: Any, gain: Any) -> Tensor:
    """Weights v (..., out), scaled so that those of each output have the norm `gain` (out,)
    (Salimans & Kingma 2016, Weight Normalization):

        w = gain v / ||v||

    The norms are over all axes but the last. Where all weights of an output are 0, which gives no
    direction, w is NaN.

    ValueError for shapes that do not fit, TypeError for mixed dtypes or what is not float.

    >>> md.weight_norm(md.tensor([[3., 0.], [4., 2.]]), md.tensor([1., 10.]))
    tensor([[ 0.6,  0. ],
            [ 0.8, 10. ]])
    """
    v, gain = _weights("weight_norm", v, 1), float_tensor(gain, "weight_norm", "gain")
    same_float("weight_norm", v=v, gain=gain)
    if gain.shape != v.shape[-1:]:
        raise ValueError(
            f"weight_norm: gain must have shape ({v.shape[-1]},) for v {v.shape}, got {gain.shape}"
        )
    return WeightNorm.apply(v, gain)


def weight_standardization(v: Any, eps: float = 1e-5) -> Tensor:
    """Weights v (..., out), standardized to mean 0 and variance 1 for each output (Qiao et al.
    2019, Weight Standardization):

        w = (v - mean) / sqrt(var + eps)

    The mean and the biased variance are over all axes but the last, and eps is inside the root, as
    in the paper.

    ValueError for shapes that do not fit, fewer than 2 weights per output, or eps < 0; TypeError
    for what is not float.

    >>> md.weight_standardization(md.tensor([[1., 10.], [3., 30.]]), eps=0)
    tensor([[-1., -1.],
            [ 1.,  1.]])
    """
    v = _weights("weight_standardization", v, 2)
    eps = checks.not_negative(eps, "weight_standardization", "eps")
    return WeightStandardization.apply(v, eps=eps)


def _weights(where: str, v: Any, least: int) -> Tensor:
    v = float_tensor(v, where, "v")
    if v.ndim < 2 or v.size == 0:
        raise ValueError(
            f"{where}: v must be (..., out) with at least 2 axes and a weight for "
            f"each output, got shape {v.shape}"
        )
    if v.size // v.shape[-1] < least:
        raise ValueError(
            f"{where}: v {v.shape} has fewer than {least} weights per output: each "
            f"is its own mean, and the result would be 0 everywhere"
        )
    return v
