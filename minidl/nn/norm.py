"""Batch normalization as a layer. The formulas, forward and backward, are in `ops.norm`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import checks, kernels, ops
from ..mode import mode
from ..ops.common import float_tensor, warn
from ..ops.norm_parts import checked_mask, values_of_parts
from ..tensor import Tensor
from . import init
from .parameter import Parameter
from .population import Tracking, checked_momentum

FEW = 8  # values per channel; statistics of fewer are so noisy that the layer warns


@dataclasses.dataclass(frozen=True)
class Renorm:
    """The limits of Batch Renormalization (Ioffe 2017), and how they are reached.

    The first `warmup` training batches are normalized by their own statistics alone (r_max 1, d_max
    0). Then r_max grows linearly to its value over `r_ramp` batches, and d_max over `d_ramp`. The
    paper's large networks had Renorm(3, 5, warmup=5000, r_ramp=35000, d_ramp=20000). ValueError
    unless r_max is at least 1 and the others are at least 0.

    >>> nn.Renorm(r_max=3, d_max=5, warmup=100, r_ramp=100).limits(150)
    (2.0, 5.0)
    """

    r_max: float = 3.0
    d_max: float = 5.0
    warmup: int = 0
    r_ramp: int = 0
    d_ramp: int = 0

    def __post_init__(self) -> None:
        for name, least in (("r_max", 1), ("d_max", 0)):
            checks.real(getattr(self, name), "Renorm", name, least)
        for name in ("warmup", "r_ramp", "d_ramp"):
            checks.integer(getattr(self, name), "Renorm", name, 0)

    def limits(self, batches: int) -> tuple[float, float]:
        """(r_max, d_max) for the batch that follows `batches` others."""
        after = batches - self.warmup
        if after < 0:
            return 1.0, 0.0
        r, d = (min(1.0, after / ramp) if ramp else 1.0 for ramp in (self.r_ramp, self.d_ramp))
        # The branches keep infinite limits from making NaN at the start of a ramp.
        return 1 + (self.r_max - 1) * r if r else 1.0, self.d_max * d if d else 0.0


class BatchNorm(Tracking):
    """Batch normalization (Ioffe & Szegedy 2015) of x (..., features), over all other axes.

        y = gamma (x - mean) / sqrt(var + eps) + beta

    The class serves every rank. In training, mean and (biased) variance are those of the batch, and
    the running statistics move: running = (1 - momentum) running + momentum batch. In evaluation
    mode the running statistics are used, which start with mean 0 and variance 1.

    `momentum` is the weight of the new batch; with None the running statistics are the plain
    average over all batches so far. With `unbiased`, the variance of a batch is multiplied by
    M / (M - 1), for M values per channel, before running_var moves. `affine=False` leaves out gamma
    and beta, `bias=False` beta alone. gamma starts at `gamma_init`; 0 for the last normalization of
    a residual block makes the block start as its shortcut (Goyal et al. 2017). With
    `track_stats=False` there are no running statistics, and batch statistics are used in evaluation
    mode too.

    With `ghost_batch=n` in training, every n images are normalized as a batch of their own, and
    move the running statistics in their order (Hoffer et al. 2017); each such batch counts in
    `num_batches`. The last one may be smaller, but must have more than one value per channel.
    `renorm` switches on Batch Renormalization (Ioffe 2017): it is a `Renorm`, a dict of its
    arguments, or True for its defaults; the warm-up counts by `num_batches`.

    The layer is called as `bn(x, mask=None)`. `mask`, booleans of shape x.shape[:-1], says which
    positions count. The others do not enter the statistics, are 0 in the output and in the
    gradient, and may hold anything, even NaN. A batch without any position that counts leaves the
    running statistics alone.

    After `freeze_stats()`, until `freeze_stats(False)`, and after `freeze()` the running statistics
    stay as they are, and are used in training too. A layer warns once if a training batch has fewer
    than 8 values per channel. `relu(bn(x))` and `relu(bn(x) + residual)` are one pass over memory,
    with every option.

    Other libraries call the same layer:

        ============== ============ ===== ============ =========================================
        library        its momentum eps   running_var  here
        ============== ============ ===== ============ =========================================
        minidl         0.1 (new)    1e-5  unbiased     BatchNorm(C)
        PyTorch        0.1 (new)    1e-5  unbiased     BatchNorm(C)
        Keras          0.99 (old)   1e-3  biased       BatchNorm(C, 1e-3, 0.01, unbiased=False)
        Flax           0.99 (old)   1e-5  biased       BatchNorm(C, 1e-5, 0.01, unbiased=False)
        ============== ============ ===== ============ =========================================

    "new" is the weight of the new batch, "old" that of the old average. All normalize a training
    batch with its biased variance.

    The parameters are `gamma` (features,) and `beta`, which starts at zero; the buffers are
    `running_mean`, `running_var` and `num_batches`. ValueError for arguments out of range, for
    other shapes, and for a training batch with one value per channel; TypeError for a mask that is
    not boolean.

    >>> bn = nn.BatchNorm(2, eps=0, gamma_init=2)
    >>> x = np.arange(16.).reshape(8, 2)
    >>> y = bn.astype(np.float64)(x)
    >>> y.data.mean(axis=0), y.data.std(axis=0)
    (array([0., 0.]), array([2., 2.]))
    >>> bn.running_mean
    array([0.7, 0.8])
    """

    _warned = False  # whether the layer has warned of few values per channel

    def __init__(
        self,
        features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_stats: bool = True,
        ghost_batch: int | None = None,
        renorm: Renorm | Mapping[str, Any] | bool | None = None,
        unbiased: bool = True,
        gamma_init: float = 1.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        features = checks.size(features, "BatchNorm", "features")
        eps = checks.not_negative(eps, "BatchNorm", "eps")
        momentum = checked_momentum(momentum, "BatchNorm")
        affine = checks.flag(affine, "BatchNorm", "affine")
        bias = checks.flag(bias, "BatchNorm", "bias")
        track_stats = checks.flag(track_stats, "BatchNorm", "track_stats")
        unbiased = checks.flag(unbiased, "BatchNorm", "unbiased")
        if ghost_batch is not None:
            ghost_batch = checks.size(ghost_batch, "BatchNorm", "ghost_batch")
        self.renorm = _renorm(renorm)
        if self.renorm is not None and not track_stats:
            raise ValueError(
                "BatchNorm: renorm corrects by running statistics, which "
                "track_stats=False switches off"
            )
        gamma_init = checks.real(gamma_init, "BatchNorm", "gamma_init", finite=True)
        kernels.check_shape("BatchNorm", (features,))
        self.features, self.eps, self.momentum = features, eps, momentum
        self.affine, self.track_stats = affine, track_stats
        self.ghost_batch, self.unbiased, self.gamma_init = ghost_batch, unbiased, gamma_init
        self.gamma = Parameter(init.constant((features,), gamma_init)) if affine else None
        self.beta = Parameter(init.constant((features,), 0.0)) if affine and bias else None
        self.running_mean = np.zeros(features, np.float32) if track_stats else None
        self.running_var = np.ones(features, np.float32) if track_stats else None
        self.num_batches = np.zeros((), np.int64) if track_stats else None

    def forward(self, x: Any, mask: Any = None) -> Tensor:
        x = float_tensor(x, "BatchNorm")
        if len(x._shape) < 2 or x._shape[-1] != self.features:
            raise ValueError(
                f"BatchNorm expected (..., {self.features}) with at least two axes, got {x.shape}"
            )
        if mask is not None:
            mask = checked_mask(mask, x)
        override = self._override() if mode.statistics else None
        if isinstance(override, list):
            return override[0].normalize(self, x, None if mask is None else mask._values())
        training = self.training
        ghosts = self.ghost_batch if training else None
        training = training and not self.frozen and not self.stats_frozen
        if (
            training
            and not self._warned
            and (mask is not None or ghosts is not None or x.size < FEW * self.features)
        ):
            self._warn_if_few(
                values_of_parts(x.shape, None if mask is None else mask._values(), ghosts)
            )
        if self.num_batches is None or override is not None:
            y = ops.batch_norm(
                x, self.gamma, self.beta, training=True, eps=self.eps, mask=mask, ghost_batch=ghosts
            )
        else:
            renorm = self.renorm.limits if self.renorm is not None else None
            y = ops.batch_norm(
                x,
                self.gamma,
                self.beta,
                self.running_mean,
                self.running_var,
                training,
                self.momentum,
                self.eps,
                mask=mask,
                ghost_batch=ghosts,
                unbiased=self.unbiased,
                renorm=renorm,
                num_batches=self.num_batches,
            )
        return y

    def _warn_if_few(self, values: list[int]) -> None:
        """Warn, once, if a batch, or a virtual one, has few values per channel. A single value is
        not warned of, because `batch_norm` raises an error for it."""
        fewest = min((n for n in values if n), default=FEW)
        if 1 < fewest < FEW:
            self._warned = True
            warn(
                f"BatchNorm: a training batch has {fewest} values a channel; statistics of fewer "
                f"than {FEW} are noisy, and unlike those used in eval mode: take larger batches, "
                f"{'' if self.renorm else 'renorm=True, '}freeze_stats(), or GroupNorm or "
                f"LayerNorm"
            )

    def extra_repr(self) -> str:
        parts = [f"{self.features}, eps={self.eps:g}, momentum={self.momentum}"]
        for name, default in (
            ("affine", True),
            ("track_stats", True),
            ("ghost_batch", None),
            ("renorm", None),
            ("unbiased", True),
            ("gamma_init", 1.0),
        ):
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)}")
        if self.affine and self.beta is None:
            parts.append("bias=False")
        return ", ".join(parts) + self._frozen_repr()


def _renorm(value: Any) -> Renorm | None:
    if value is None or value is False:
        return None
    if value is True:
        return Renorm()
    if isinstance(value, Renorm):
        return value
    if isinstance(value, Mapping):
        names = [field.name for field in dataclasses.fields(Renorm)]
        unknown = [str(name) for name in value if name not in names]
        if unknown:
            raise ValueError(
                f"BatchNorm: renorm has no {', '.join(unknown)}; it takes {', '.join(names)}"
            )
        return Renorm(**value)
    raise TypeError(
        f"BatchNorm: renorm must be a Renorm, a dict of its arguments, or True, got {value!r}"
    )
