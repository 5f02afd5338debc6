"""Clipping of gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from .. import checks, kernels
from ..hints import for_newcomers
from ..nn.layer import Layer
from ..tensor import Tensor
from .optimizer import _gradient, members_of


@for_newcomers
def clip_grad_norm(
    params: Layer | Tensor | Iterable[Tensor],
    max_norm: float,
    eps: float = 1e-6,
    error_if_nonfinite: bool = False,
) -> float:
    """Scale all gradients together so that their joint 2-norm is at most max_norm: g *= max_norm
    / (norm + eps) if that factor is below 1 (Pascanu, Mikolov & Bengio 2013, in PyTorch's form).
    `params` are tensors, or a layer, which stands for its parameters.

    Returns the norm before scaling, summed in float64 (0.0 if no parameter has a gradient). Scaled
    gradients are new arrays: arrays that were taken from `.grad` before do not change. If the norm
    is NaN all gradients become NaN, and if it is infinite they become 0 or NaN, unless
    `error_if_nonfinite`: then it is a ValueError, and nothing is changed. TypeError if params are
    no tensors or max_norm or eps no numbers; ValueError if these are negative or NaN.

    >>> p = nn.Parameter(np.zeros(2))
    >>> p.grad = np.array([3.0, 4.0])
    >>> optim.clip_grad_norm([p], max_norm=1)
    5.0
    >>> p.grad.round(4)
    array([0.6, 0.8])
    """
    max_norm = checks.real(max_norm, "clip_grad_norm", "max_norm", 0)
    eps = checks.real(eps, "clip_grad_norm", "eps", 0)
    checks.flag(error_if_nonfinite, "clip_grad_norm", "error_if_nonfinite")
    if isinstance(params, Layer):
        params = params.parameters()
    unique = {}  # a parameter that is given twice counts once
    for p in members_of(params, "clip_grad_norm"):
        if p._grad is not None:
            unique[id(p)] = p
    ready = list(unique.values())
    grads = [_gradient(p) for p in ready]
    squares = [
        kernels.square_sum([g for g in grads if g.dtype == dtype])
        for dtype in (np.float32, np.float64)
    ]
    norm = math.sqrt(sum(squares))
    if error_if_nonfinite and not math.isfinite(norm):
        raise ValueError(f"clip_grad_norm: the norm of the gradients is {norm}")
    if not norm + eps <= max_norm:
        scale = float(max_norm / (norm + eps))
        for p, g in zip(ready, grads, strict=True):
            p._grad = np.asarray(kernels.multiply(g, scale))
    return norm
