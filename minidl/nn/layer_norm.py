"""Normalization layers whose statistics are those of each example. Formulas: `ops.layer_norm`."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..ops.common import float_tensor, real_number
from ..tensor import Tensor
from . import init
from .layer import Layer, Parameter
from .linear import positive


class _ExampleNorm(Layer):
    """What these layers have: features, eps, and gamma and beta where they want them."""

    def __init__(self, features: int, eps: float, affine: bool, shifts: bool = True) -> None:
        super().__init__()
        where = type(self).__name__
        positive(where, features=features)
        if not real_number(eps, where, "eps") >= 0:
            raise ValueError(f"{where}: eps must be >= 0, got {eps!r}")
        self.features, self.eps = features, eps
        self.gamma = Parameter(init.constant((features,), 1.0)) if affine else None
        if shifts:
            self.beta = Parameter(init.constant((features,), 0.0)) if affine else None

    def checked(self, x: Any) -> Tensor:
        """x, if it has the layer's features."""
        x = float_tensor(x, type(self).__name__)
        if x.ndim == 0 or x.shape[-1] != self.features:
            raise ValueError(f"{type(self).__name__} expected (..., {self.features}), "
                             f"got {x.shape}")
        return x

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
        positive("GroupNorm", groups=groups)
        if features % groups:
            raise ValueError(f"GroupNorm: {features} features do not divide into {groups} groups")
        self.groups = groups

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
