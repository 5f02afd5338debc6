"""Dense layers and convolutions that compute with a function of their weight.

The function is a layer itself, the `transform` of the layer whose weight it takes. So its
parameters are saved, converted, frozen and shown like those of any other layer inside. The
formulas, forward and backward, are in `ops.weight`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from .. import checks, ops
from ..ops.weight import norms
from ..tensor import Tensor
from .layer import Layer
from .linear import Weighted
from .parameter import Parameter

Target = TypeVar("Target", bound=Weighted)


class WeightNorm(Layer):
    """Scales v so that each output's weights have the norm `gain` (out,); see `weight_norm`."""

    def __init__(self, gain: Any) -> None:
        super().__init__()
        self.gain = Parameter(gain)

    def forward(self, v: Any) -> Tensor:
        return ops.weight_norm(v, self.gain)

    def extra_repr(self) -> str:
        return f"{self.gain.size}"


class WeightStandardization(Layer):
    """Standardizes v to mean 0 and variance 1 for each output; see `weight_standardization`."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = checks.not_negative(eps, "weight_standardization", "eps")

    def forward(self, v: Any) -> Tensor:
        return ops.weight_standardization(v, self.eps)

    def extra_repr(self) -> str:
        return f"eps={self.eps:g}"


def weight_norm(layer: Target) -> Target:
    """Let a Dense, Conv, Conv1d or ConvTranspose learn the norms and the directions of its weights
    separately (Salimans & Kingma 2016, Weight Normalization); returns the layer.

        w = gain v / ||v||

    v is the layer's `weight`. The norms are over all its axes but the last, so that each output has
    one. The parameter `transform.gain` (out,) starts at ||v||, so that the layer computes what it
    did before.

    TypeError for another layer; ValueError if it has a transform already, or an output whose
    weights are all zeros, which have no direction.

    >>> layer = nn.weight_norm(nn.Dense(4, 2))
    >>> [name for name, parameter in layer.named_parameters()]
    ['weight', 'bias', 'transform.gain']
    >>> layer
    Dense(4, 2, bias=True
      (transform): WeightNorm(2)
    )
    """
    weight = _plain("weight_norm", layer).weight
    gain = norms(weight.data).astype(weight.dtype)
    if not gain.all():
        raise ValueError(
            f"weight_norm: the weights of output {int(np.argmin(gain))} of layer "
            f"{type(layer).__name__} are all zeros, which have no direction"
        )
    return _with_transform(layer, WeightNorm(gain))


def weight_standardization(layer: Target, eps: float = 1e-5) -> Target:
    """Let a Dense, Conv, Conv1d or ConvTranspose compute with standardized weights (Qiao et al.
    2019, Weight Standardization), as a layer before a GroupNorm should; returns the layer.

        w = (v - mean) / sqrt(var + eps)

    v is the layer's `weight`. The mean and the biased variance are over all axes but the last, and
    eps is inside the root, as in the paper. The transform has no parameters.

    TypeError for another layer; ValueError if it has a transform already, for fewer than 2 weights
    per output, and for eps < 0.

    >>> block = nn.Sequential(nn.weight_standardization(nn.Conv(3, 16, 3)), nn.GroupNorm(4, 16))
    >>> w = block[0].effective_weight().data
    >>> bool(abs(w.mean()) < 1e-6 and abs(w.std() - 1) < 1e-3)
    True
    """
    weight = _plain("weight_standardization", layer).weight
    if weight.size // weight.shape[-1] < 2:
        raise ValueError(
            f"weight_standardization: the weight {weight.shape} of layer "
            f"{type(layer).__name__} has fewer than 2 weights per output"
        )
    return _with_transform(layer, WeightStandardization(eps))


def _plain(where: str, layer: Any) -> Weighted:
    """The layer, checked that its weight can be transformed and is not yet."""
    if not isinstance(layer, Weighted):
        raise TypeError(
            f"{where}: layer must be a Dense, Conv, Conv1d or ConvTranspose, "
            f"got {type(layer).__name__}"
        )
    if layer.transform is not None:
        raise ValueError(
            f"{where}: layer {type(layer).__name__} already has a transform, "
            f"{type(layer.transform).__name__}"
        )
    return layer


def _with_transform(layer: Target, transform: Layer) -> Target:
    """The layer with a transform in the same mode, which is frozen if the weight is."""
    if not layer.weight.requires_grad:
        transform.freeze()
    layer.transform = transform.train(layer.training)
    return layer
