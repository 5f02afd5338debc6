"""Normalization layers whose statistics are those of each example, and the activation that one of
them wants. Formulas: `ops.layer_norm`.
"""

from __future__ import annotations

from typing import Any

from .. import checks, ops
from ..ops.common import float_tensor
from ..tensor import Tensor
from . import init
from .layer import Layer
from .normalization import Normalization
from .parameter import Parameter


class _ExampleNorm(Normalization):
    """What these layers have: features, eps, and gamma and beta where they want them."""

    beta: Parameter | None = None       # of the class: some have no such entry

    def __init__(self, features: int, eps: float, affine: bool, shifts: bool = True) -> None:
        super().__init__()
        where = type(self).__name__
        self.features = features = checks.size(features, where, "features")
        self.eps: Any = checks.not_negative(eps, where, "eps")
        affine = checks.flag(affine, where, "affine")
        self.gamma = Parameter(init.constant((features,), 1.0)) if affine else None
        if shifts:
            self.beta = Parameter(init.constant((features,), 0.0)) if affine else None

    def checked(self, x: Any) -> Tensor:
        """x, if it has the layer's features."""
        return with_features(self, x, self.features)

    def extra_repr(self) -> str:
        return f"{self.features}, eps={self.eps:g}"


class LayerNorm(_ExampleNorm):
    """Layer normalization of x (..., features) over its last axis (Ba, Kiros & Hinton 2016).

    Parameters `gamma` (features,), ones, and `beta`, zeros. ValueError for other features.

    >>> y = nn.LayerNorm(4)(md.tensor([[1., 2., 3., 4.]]))
    >>> y.data.round(3)
    array([[-1.342, -0.447,  0.447,  1.342]], dtype=float32)
    """

    def __init__(self, features: int, eps: float = 1e-5) -> None:
        super().__init__(features, eps, affine=True)

    def forward(self, x: Any) -> Tensor:
        return ops.layer_norm(self.checked(x), self.gamma, self.beta, self.eps)


class RMSNorm(_ExampleNorm):
    """x (..., features) over the root mean square of its last axis (Zhang & Sennrich 2019).

    Parameter `gamma` (features,), ones. ValueError for other features.

    >>> nn.RMSNorm(2)(md.tensor([[3., -3.]])).data.round(3)
    array([[ 1., -1.]], dtype=float32)
    """

    def __init__(self, features: int, eps: float = 1e-5) -> None:
        super().__init__(features, eps, affine=True, shifts=False)

    def forward(self, x: Any) -> Tensor:
        return ops.rms_norm(self.checked(x), self.gamma, self.eps)


class GroupNorm(_ExampleNorm):
    """Normalization of images (N, ..., features) over positions and the channels of each of
    `groups` groups (Wu & He 2018).

    Parameters `gamma` (features,), ones, and `beta`, zeros. ValueError for other features, or if
    they do not divide into the groups.

    >>> nn.GroupNorm(4, 16)(md.zeros((2, 8, 8, 16))).shape
    (2, 8, 8, 16)
    """

    def __init__(self, groups: int, features: int, eps: float = 1e-5) -> None:
        super().__init__(features, eps, affine=True)
        self.groups = checks.size(groups, "GroupNorm", "groups")
        if self.features % self.groups:
            raise ValueError(f"GroupNorm: {self.features} features do not divide into "
                             f"{self.groups} groups")

    def forward(self, x: Any) -> Tensor:
        return ops.group_norm(self.checked(x), self.groups, self.gamma, self.beta, self.eps)

    def extra_repr(self) -> str:
        return f"{self.groups}, {super().extra_repr()}"


class InstanceNorm(_ExampleNorm):
    """Normalization of each channel of each image (N, ..., features) over its positions (Ulyanov
    et al. 2016).

    With `affine`, parameters `gamma` (features,), ones, and `beta`, zeros. ValueError for other
    features, or images of one position.

    >>> nn.InstanceNorm(1)(md.tensor([[[1.], [3.]]])).data.round(3)
    array([[[-1.],
            [ 1.]]], dtype=float32)
    """

    def __init__(self, features: int, affine: bool = False, eps: float = 1e-5) -> None:
        super().__init__(features, eps, affine)
        self.affine = affine

    def forward(self, x: Any) -> Tensor:
        return ops.instance_norm(self.checked(x), self.gamma, self.beta, self.eps)

    def extra_repr(self) -> str:
        return super().extra_repr() + (", affine=True" if self.affine else "")


class FilterResponseNorm(_ExampleNorm):
    """Each channel of each image (N, ..., features) over the root mean square of its positions
    (Singh & Krishnan 2019): gamma x / sqrt(mean(x^2) + |eps|) + beta. A `TLU` should follow, since
    nothing centres the result.

    Parameters `gamma` (features,), ones, and `beta`, zeros. With `learn_eps`, for images of few
    positions, a parameter `eps` (features,) too. `eps`, or what it starts from, is 1e-6, or 1e-4
    where it is learned, as in the paper. ValueError for other features.

    >>> block = nn.Sequential(nn.Conv(3, 16, 3), nn.FilterResponseNorm(16), nn.TLU(16))
    >>> block(md.zeros((2, 8, 8, 3))).shape
    (2, 6, 6, 16)
    >>> nn.FilterResponseNorm(1, eps=0)(md.tensor([[[3.], [-3.]]])).data[0]
    array([[ 1.],
           [-1.]], dtype=float32)
    """

    def __init__(self, features: int, eps: float | None = None, learn_eps: bool = False) -> None:
        learn_eps = checks.flag(learn_eps, "FilterResponseNorm", "learn_eps")
        start = (1e-4 if learn_eps else 1e-6) if eps is None else eps
        super().__init__(features, start, affine=True)
        self.learn_eps = learn_eps
        if learn_eps:
            self.eps = Parameter(init.constant((self.features,), start))

    def forward(self, x: Any) -> Tensor:
        return ops.filter_response_norm(self.checked(x), self.gamma, self.beta, self.eps)

    def extra_repr(self) -> str:
        return f"{self.features}, learn_eps=True" if self.learn_eps else super().extra_repr()


class TLU(Layer):
    """The thresholded linear unit of filter response normalization (Singh & Krishnan 2019), of x
    (..., features): max(x, tau).

    Parameter `tau` (features,), zeros: it starts as a ReLU. ValueError for other features,
    TypeError unless x has the dtype of tau.

    >>> layer = nn.TLU(2)
    >>> layer.tau.data[1] = -1
    >>> layer(md.tensor([[-3., -3.], [3., 3.]])).data
    array([[ 0., -1.],
           [ 3.,  3.]], dtype=float32)
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = checks.size(features, "TLU", "features")
        self.tau = Parameter(init.constant((self.features,), 0.0))

    def forward(self, x: Any) -> Tensor:
        return ops.tlu(with_features(self, x, self.features), self.tau)

    def extra_repr(self) -> str:
        return f"{self.features}"


def with_features(layer: Layer, x: Any, features: int) -> Tensor:
    """x, if it has the features that a layer wants."""
    x = float_tensor(x, type(layer).__name__)
    if x.ndim == 0 or x.shape[-1] != features:
        raise ValueError(f"{type(layer).__name__} expected (..., {features}), got {x.shape}")
    return x
