"""Normalizations inside recurrent layers: both are called as norm(x, step).

Batch statistics of the first steps differ from later ones, because the state is still near zero. So
StepNorm keeps running statistics for each time step. RowNorm needs none: its statistics are those
of an example.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, kernels, ops
from ..ops.common import float_tensor
from ..tensor import Tensor
from . import init
from .layer_norm import _ExampleNorm
from .parameter import Parameter
from .population import Tracking, checked_momentum


class StepNorm(Tracking):
    """Batch normalization of x (N, features) with separate statistics for each time step (Cooijmans
    et al. 2016), called as norm(x, step) with steps counted from 0.

        y = gamma (x - mean[step]) / sqrt(var[step] + eps) (+ beta)

    It differs from BatchNorm in that the running statistics have a row for each step. Steps from
    `max_steps` on share the last row. In evaluation, steps after the last one that was trained use
    the row of that one, so that sequences may be longer than in training. `gamma` is shared by all
    steps and starts at `gamma_init`: with 1 the gates and tanh would start saturated, and gradients
    would vanish.

    The parameters are `gamma` (features,) and, with `bias` or `shift`, which mean the same, `beta`,
    which starts at zero; without `affine` there are none. The buffers are `running_mean` and
    `running_var` (max_steps, features), and `num_batches` (max_steps,). `momentum`, `freeze()` and
    `freeze_stats()` are those of BatchNorm. ValueError for arguments out of range, for other
    shapes, and for a training batch of one example.

    >>> norm = nn.StepNorm(2, max_steps=3, gamma_init=1.0, eps=0)
    >>> norm(md.tensor([[1., 10.], [3., 30.]]), 1).data
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    >>> norm.running_mean
    array([[0. , 0. ],
           [0.2, 2. ],
           [0. , 0. ]], dtype=float32)
    """

    running_mean: np.ndarray  # never None: a StepNorm always tracks statistics
    running_var: np.ndarray
    num_batches: np.ndarray

    def __init__(
        self,
        features: int,
        max_steps: int,
        gamma_init: float = 0.1,
        shift: bool = False,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        bias: bool = False,
    ) -> None:
        super().__init__()
        features = checks.size(features, "StepNorm", "features")
        max_steps = checks.size(max_steps, "StepNorm", "max_steps")
        gamma_init = checks.real(gamma_init, "StepNorm", "gamma_init", finite=True)
        shift = checks.flag(shift, "StepNorm", "shift") | checks.flag(bias, "StepNorm", "bias")
        affine = checks.flag(affine, "StepNorm", "affine")
        eps = checks.not_negative(eps, "StepNorm", "eps")
        momentum = checked_momentum(momentum, "StepNorm")
        kernels.check_shape("StepNorm", (max_steps, features))
        self.features, self.max_steps, self.eps = features, max_steps, eps
        self.momentum = momentum
        self.gamma = Parameter(init.constant((features,), gamma_init)) if affine else None
        self.beta = Parameter(init.constant((features,), 0.0)) if affine and shift else None
        self.running_mean = np.zeros((max_steps, features), np.float32)
        self.running_var = np.ones((max_steps, features), np.float32)
        self.num_batches = np.zeros(max_steps, np.int64)

    def forward(self, x: Any, step: int) -> Tensor:
        x = float_tensor(x, "StepNorm")
        if x.ndim != 2 or x.shape[1] != self.features:
            raise ValueError(f"StepNorm expected (N, {self.features}), got {x.shape}")
        training = self.training and not self.frozen and not self.stats_frozen
        row = min(checks.integer(step, "StepNorm", "step", 0), self.max_steps - 1)
        try:
            return self._normalized(x, row, training)
        except (TypeError, ValueError) as error:  # it names batch_norm
            raise checks.renamed(error, "StepNorm") from None

    def _normalized(self, x: Tensor, row: int, training: bool) -> Tensor:
        override = self._override()
        if isinstance(override, list):
            return override[row].normalize(self, x)
        if override is not None:
            return ops.batch_norm(x, self.gamma, self.beta, training=True, eps=self.eps)
        if not training:
            trained = np.flatnonzero(self.num_batches)
            row = min(row, int(trained[-1]) if trained.size else 0)
        return ops.batch_norm(
            x,
            self.gamma,
            self.beta,
            self.running_mean[row],
            self.running_var[row],
            training,
            self.momentum,
            self.eps,
            num_batches=self.num_batches[row, ...],
        )

    def extra_repr(self) -> str:
        affine = "" if self.gamma is not None else ", affine=False"
        shift = "" if self.beta is None else ", shift=True"
        return (
            f"{self.features}, max_steps={self.max_steps}{affine}{shift}, eps={self.eps:g}, "
            f"momentum={self.momentum}{self._frozen_repr()}"
        )


class RowNorm(_ExampleNorm):
    """Layer normalization that is called as norm(x, step) but is the same for all steps. It has a
    beta only with `shift`."""

    def __init__(self, features: int, shift: bool = False, eps: float = 1e-5) -> None:
        super().__init__(features, eps, affine=True, bias=shift)

    def forward(self, x: Any, step: int = 0) -> Tensor:
        return ops.layer_norm(self.checked(x), self.gamma, self.beta, self.eps)


def step_norm(
    kind: str | None, features: int, max_steps: int, shift: bool = False
) -> StepNorm | RowNorm | None:
    """The normalization that a recurrent layer's `norm` asks for."""
    if kind is None:
        return None
    if kind == "layer":
        return RowNorm(features, shift)
    return StepNorm(features, max_steps, shift=shift)
