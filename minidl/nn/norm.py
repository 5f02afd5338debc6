"""Normalization layers. The formulas, forward and backward, are in `ops.norm`."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from .. import ops
from ..ops.common import float_tensor, real_number
from ..tensor import Tensor
from . import init
from .layer import Layer, Parameter
from .linear import positive

Self = TypeVar("Self", bound="BatchNorm")


class BatchNorm(Layer):
    """Batch normalization (Ioffe & Szegedy 2015) of x (..., features), over all other axes.

        y = gamma (x - mean) / sqrt(var + eps) + beta

    One class for every rank. In training, mean and (biased) variance are those of the batch, and
    the running statistics move: running = (1 - momentum) running + momentum batch, with the
    unbiased variance. `momentum` is the weight of the new batch (PyTorch's meaning, 1 - Keras's);
    None is the plain average over all batches so far. In eval mode the running statistics are
    used: mean 0 and variance 1 before any batch.

    `affine=False`: no gamma and beta. `track_stats=False`: no running statistics; batch
    statistics are used in eval mode too. After `freeze_stats()` or `freeze()` the running
    statistics stay and are used in training as well.

    Parameters `gamma` (features,), ones, and `beta`, zeros; buffers `running_mean`,
    `running_var`, `num_batches`. ValueError for arguments out of range, other shapes, and if a
    training batch has one value a channel.

    >>> bn = nn.BatchNorm(2, eps=0)
    >>> bn(md.tensor([[1., 10.], [3., 30.]])).data
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    >>> bn.running_mean
    array([0.2, 2. ], dtype=float32)
    """

    def __init__(self, features: int, eps: float = 1e-5, momentum: float | None = 0.1,
                 affine: bool = True, track_stats: bool = True) -> None:
        super().__init__()
        positive("BatchNorm", features=features)
        if not real_number(eps, "BatchNorm", "eps") >= 0:
            raise ValueError(f"BatchNorm: eps must be >= 0, got {eps!r}")
        if momentum is not None and not 0 <= real_number(momentum, "BatchNorm", "momentum") <= 1:
            raise ValueError(f"BatchNorm: momentum must be in [0, 1] or None, got {momentum!r}")
        self.features, self.eps, self.momentum = features, eps, momentum
        self.affine, self.track_stats = affine, track_stats
        self.stats_frozen = False
        self.gamma = Parameter(init.constant((features,), 1.0)) if affine else None
        self.beta = Parameter(init.constant((features,), 0.0)) if affine else None
        self.running_mean = np.zeros(features, np.float32) if track_stats else None
        self.running_var = np.ones(features, np.float32) if track_stats else None
        self.num_batches = np.zeros((), np.int64) if track_stats else None

    def forward(self, x: Any) -> Tensor:
        x = float_tensor(x, "BatchNorm")
        if x.ndim < 2 or x.shape[-1] != self.features:
            raise ValueError(f"BatchNorm expected (..., {self.features}) with at least two axes, "
                             f"got {x.shape}")
        if self.num_batches is None:
            return ops.batch_norm(x, self.gamma, self.beta, training=True, eps=self.eps)
        training = self.training and not self.frozen and not self.stats_frozen
        momentum = 1.0 / (int(self.num_batches) + 1) if self.momentum is None else self.momentum
        y = ops.batch_norm(x, self.gamma, self.beta, self.running_mean, self.running_var,
                           training, momentum, self.eps)
        if training:
            self.num_batches += 1
        return y

    def freeze_stats(self: Self) -> Self:
        """Keep the running statistics as they are, and normalize with them in training too."""
        self.stats_frozen = True
        return self

    def extra_repr(self) -> str:
        parts = [f"{self.features}, eps={self.eps:g}, momentum={self.momentum}"]
        parts += [f"{n}=False" for n in ("affine", "track_stats") if not getattr(self, n)]
        return ", ".join(parts)
