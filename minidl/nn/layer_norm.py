"""Normalization layers whose statistics are those of each example, and TLU, the activation that
belongs to one of them. The formulas are in `ops.layer_norm`.
"""

from __future__ import annotations

from typing import Any

from .. import checks, kernels, ops
from ..ops.common import float_tensor
from ..tensor import Tensor
from . import init
from .layer import Layer
from .normalization import Normalization
from .parameter import Parameter


class _ExampleNorm(Normalization):
    """Base of these layers: features, eps, and gamma and beta unless they are left out. `_affine`
    and `_bias` are the defaults of the class, which the repr does not show."""

    _affine, _bias = True, True

    def __init__(self, features: Any, eps: float, affine: bool, bias: bool) -> None:
        super().__init__()
        where = type(self).__name__
        self.features: Any = self.checked_features(features)
        self.eps: Any = checks.not_negative(eps, where, "eps")
        affine, bias = checks.flag(affine, where, "affine"), checks.flag(bias, where, "bias")
        shape = self.shape()
        if affine:
            kernels.check_shape(where, shape)
        self.gamma = Parameter(init.constant(shape, 1.0)) if affine else None
        self.beta = Parameter(init.constant(shape, 0.0)) if affine and bias else None

    def checked_features(self, features: Any) -> Any:
        """Check `features`."""
        return checks.size(features, type(self).__name__, "features")

    def shape(self) -> tuple[int, ...]:
        """The shape of gamma and beta, which is that of the normalized axes."""
        return self.features if isinstance(self.features, tuple) else (self.features,)

    def checked(self, x: Any) -> Tensor:
        """x as a tensor, checked that it has the layer's features."""
        return with_features(self, x, self.shape())

    def extra_repr(self) -> str:
        return f"{self.features}, eps={self.eps:g}{self.affine_repr()}"

    def affine_repr(self) -> str:
        """The part of the repr about gamma and beta, where they differ from the defaults."""
        if self.gamma is None:
            return ", affine=False" if self._affine else ""
        has_bias = self.beta is not None
        return ("" if self._affine else ", affine=True") + (
            "" if has_bias == self._bias else f", bias={has_bias}"
        )


class _LastAxesNorm(_ExampleNorm):
    """Base of the layers that may normalize over several last axes together."""

    def checked_features(self, features: Any) -> Any:
        return checks.shape(features, type(self).__name__, "features")

    def axis(self) -> Any:
        """The axes that are normalized, as the operation wants them."""
        return -1 if isinstance(self.features, int) else tuple(range(-len(self.features), 0))


class LayerNorm(_LastAxesNorm):
    """Layer normalization of x (..., features) over its last axis (Ba, Kiros & Hinton 2016), or
    over several last axes if `features` is their shape.

    The parameters are `gamma` (features,), which starts at one, and `beta`, at zero. `bias=False`
    leaves out beta, `affine=False` both. ValueError for other features.

    >>> y = nn.LayerNorm(4)(md.tensor([[1., 2., 3., 4.]]))
    >>> y.data.round(3)
    array([[-1.342, -0.447,  0.447,  1.342]], dtype=float32)
    >>> nn.LayerNorm((8, 8, 4), bias=False)(md.ones((2, 8, 8, 4))).shape
    (2, 8, 8, 4)
    """

    def __init__(
        self,
        features: int | tuple[int, ...],
        eps: float = 1e-5,
        affine: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__(features, eps, affine, bias)

    def forward(self, x: Any) -> Tensor:
        return ops.layer_norm(self.checked(x), self.gamma, self.beta, self.eps, self.axis())


class RMSNorm(_LastAxesNorm):
    """Divide x (..., features) by the root mean square of its last axis (Zhang & Sennrich 2019), or
    of several last axes if `features` is their shape.

    The parameter is `gamma` (features,), which starts at one, unless `affine` is False. With
    `bias`, which the paper does not have, there is also `beta`, which starts at zero. ValueError
    for other features.

    >>> nn.RMSNorm(2)(md.tensor([[3., -3.]])).data.round(3)
    array([[ 1., -1.]], dtype=float32)
    """

    _bias = False

    def __init__(
        self,
        features: int | tuple[int, ...],
        eps: float = 1e-5,
        affine: bool = True,
        bias: bool = False,
    ) -> None:
        super().__init__(features, eps, affine, bias)

    def forward(self, x: Any) -> Tensor:
        return ops.rms_norm(self.checked(x), self.gamma, self.eps, self.beta, self.axis())


class GroupNorm(_ExampleNorm):
    """Normalization of images (N, ..., features) over positions and the channels of each of
    `groups` groups (Wu & He 2018).

    The parameters are `gamma` (features,), which starts at one, and `beta`, at zero. `bias=False`
    leaves out beta, `affine=False` both. ValueError for other features, or if the groups do not
    divide them.

    >>> nn.GroupNorm(4, 16)(md.zeros((2, 8, 8, 16))).shape
    (2, 8, 8, 16)
    """

    def __init__(
        self, groups: int, features: int, eps: float = 1e-5, affine: bool = True, bias: bool = True
    ) -> None:
        super().__init__(features, eps, affine, bias)
        self.groups = checks.size(groups, "GroupNorm", "groups")
        if self.features % self.groups:
            raise ValueError(
                f"GroupNorm: {self.features} features do not divide into {self.groups} groups"
            )

    def forward(self, x: Any) -> Tensor:
        return ops.group_norm(self.checked(x), self.groups, self.gamma, self.beta, self.eps)

    def extra_repr(self) -> str:
        return f"{self.groups}, {super().extra_repr()}"


class InstanceNorm(_ExampleNorm):
    """Normalization of each channel of each image (N, ..., features) over its positions (Ulyanov
    et al. 2016).

    With `affine` it has the parameters `gamma` (features,), which starts at one, and, with `bias`,
    `beta`, which starts at zero. ValueError for other features, or images of one position.

    >>> nn.InstanceNorm(1)(md.tensor([[[1.], [3.]]])).data.round(3)
    array([[[-1.],
            [ 1.]]], dtype=float32)
    """

    _affine = False

    def __init__(
        self, features: int, affine: bool = False, eps: float = 1e-5, bias: bool = True
    ) -> None:
        super().__init__(features, eps, affine, bias)
        self.affine = affine

    def forward(self, x: Any) -> Tensor:
        return ops.instance_norm(self.checked(x), self.gamma, self.beta, self.eps)


class FilterResponseNorm(_ExampleNorm):
    """Divide each channel of each image (N, ..., features) by the root mean square of its positions
    (Singh & Krishnan 2019): gamma x / sqrt(mean(x^2) + |eps|) + beta. A `TLU` should follow,
    because nothing centres the result.

    The parameters are `gamma` (features,), which starts at one, and `beta`, at zero. `bias=False`
    leaves out beta, `affine=False` both. With `learn_eps`, for images of few positions, `eps`
    (features,) is a parameter too. The default of `eps` is 1e-6, or 1e-4 if it is learned, as in
    the paper. ValueError for other features.

    >>> block = nn.Sequential(nn.Conv(3, 16, 3), nn.FilterResponseNorm(16), nn.TLU(16))
    >>> block(md.zeros((2, 8, 8, 3))).shape
    (2, 6, 6, 16)
    >>> nn.FilterResponseNorm(1, eps=0)(md.tensor([[[3.], [-3.]]])).data[0]
    array([[ 1.],
           [-1.]], dtype=float32)
    """

    def __init__(
        self,
        features: int,
        eps: float | None = None,
        learn_eps: bool = False,
        affine: bool = True,
        bias: bool = True,
    ) -> None:
        learn_eps = checks.flag(learn_eps, "FilterResponseNorm", "learn_eps")
        start = (1e-4 if learn_eps else 1e-6) if eps is None else eps
        super().__init__(features, start, affine, bias)
        self.learn_eps = learn_eps
        if learn_eps:
            kernels.check_shape("FilterResponseNorm", (self.features,))
            self.eps = Parameter(init.constant((self.features,), start))

    def forward(self, x: Any) -> Tensor:
        return ops.filter_response_norm(self.checked(x), self.gamma, self.beta, self.eps)

    def extra_repr(self) -> str:
        if self.learn_eps:
            return f"{self.features}, learn_eps=True{self.affine_repr()}"
        return super().extra_repr()


class TLU(Layer):
    """The thresholded linear unit max(x, tau) of x (..., features), for use after filter response
    normalization (Singh & Krishnan 2019).

    The parameter `tau` (features,) starts at zero, so that the layer starts as a ReLU. ValueError
    for other features, TypeError unless x has the dtype of tau.

    >>> layer = nn.TLU(2)
    >>> layer.tau.data[1] = -1
    >>> layer(md.tensor([[-3., -3.], [3., 3.]])).data
    array([[ 0., -1.],
           [ 3.,  3.]], dtype=float32)
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = checks.size(features, "TLU", "features")
        kernels.check_shape("TLU", (self.features,))
        self.tau = Parameter(init.constant((self.features,), 0.0))

    def forward(self, x: Any) -> Tensor:
        return ops.tlu(with_features(self, x, (self.features,)), self.tau)

    def extra_repr(self) -> str:
        return f"{self.features}"


def with_features(layer: Layer, x: Any, shape: tuple[int, ...]) -> Tensor:
    """x as a tensor, checked that its last axes have the shape that a layer needs."""
    x = float_tensor(x, type(layer).__name__)
    if x.shape[-len(shape) :] != shape:
        raise ValueError(
            f"{type(layer).__name__} expected (..., {', '.join(map(str, shape))}), got {x.shape}"
        )
    return x
