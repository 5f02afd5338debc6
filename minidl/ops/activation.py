"""Activations: nonlinear functions of one tensor, element by element.

All take float32 or float64 and keep shape and dtype; TypeError for anything else. Applied to the
result of a batch_norm that nothing else has used yet, they are computed in the same pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, kernels
from ..hints import for_newcomers
from ..lazy import RELU, Lazy, computed
from ..tensor import Tensor
from .common import float_tensor
from .operation import PostOperation


class ReLU(PostOperation):
    """y = max(x, 0);  dx = dy where y > 0, else 0."""

    y: Any  # the output: an array, or the Lazy that gives it

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.y = kernels.relu(x)
        return self.y

    def _extend(self, x: Lazy) -> Lazy | None:
        self.y = self.lazy = x.then(activation=RELU)
        return self.lazy

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return kernels.relu_backward(dy, computed(self.y))


class Curve(PostOperation):
    """y = f(x);  dx = f'(x) dy.

    The backward computes f' from x and not from y: where y is rounded to a limit of f, y would give
    0. `kernel` is the name of the kernel of f; it takes the operation's options in their order.
    """

    kernel: str
    x: Any  # an array, or the Lazy that gives it

    def forward(self, x: np.ndarray, **options: float) -> np.ndarray:
        self.x, self.options = x, tuple(options.values())
        y: np.ndarray = getattr(kernels, self.kernel)(x, *self.options)
        return y

    def _extend(self, x: Lazy, **options: float) -> Lazy | None:
        self.x, self.options = x, tuple(options.values())
        self.lazy = x.then(activation=(self.kernel, *self.options))
        return self.lazy

    def backward(self, dy: np.ndarray) -> np.ndarray:
        dx: np.ndarray = getattr(kernels, f"{self.kernel}_backward")(
            dy, computed(self.x), *self.options
        )
        return dx


class Tanh(Curve):
    """y = tanh(x);  dx = (1 - y^2) dy."""

    kernel = "tanh"


class Sigmoid(Curve):
    """y = 1 / (1 + exp(-x));  dx = y (1 - y) dy."""

    kernel = "sigmoid"


class LeakyReLU(Curve):
    """y = x where x > 0, else slope x;  dx = dy, or slope dy."""

    kernel = "leaky_relu"


class ELU(Curve):
    """y = x where x > 0, else alpha (exp(x) - 1);  dx = dy, or alpha exp(x) dy."""

    kernel = "elu"


class Softplus(Curve):
    """y = log(1 + exp(beta x)) / beta;  dx = dy / (1 + exp(-beta x))."""

    kernel = "softplus"


class SiLU(Curve):
    """y = x s with s = 1 / (1 + exp(-x));  dx = s (1 + x (1 - s)) dy."""

    kernel = "silu"


class GELU(Curve):
    """y = x P(x), with P the normal distribution function;  dx = (P(x) + x P'(x)) dy."""

    kernel = "gelu"


def tanh(x: Any) -> Tensor:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x)), the hyperbolic tangent, without overflow.

    >>> md.tanh(md.tensor([-1000., 0., 1000.]))
    tensor([-1.,  0.,  1.])
    """
    return Tanh.apply(float_tensor(x, "tanh"))


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + exp(-x)), without overflow.

    >>> md.sigmoid(md.tensor([-1000., 0., 1000.]))
    tensor([0. , 0.5, 1. ])
    """
    return Sigmoid.apply(float_tensor(x, "sigmoid"))


def relu(x: Any) -> Tensor:
    """max(x, 0); its gradient at 0 is 0; NaN stays NaN (Nair & Hinton 2010).

    After a batch_norm, or the sum of a batch_norm and a residual, that nothing else has used yet,
    it is computed in the same pass.

    >>> md.relu(md.tensor([-1., 0., 2.]))
    tensor([0., 0., 2.])
    """
    return ReLU.apply(float_tensor(x, "relu"))


@for_newcomers
def leaky_relu(x: Any, slope: float = 0.01) -> Tensor:
    """x where positive, else slope x (Maas et al. 2013).

    >>> md.leaky_relu(md.tensor([-2., 0., 3.]), slope=0.5)
    tensor([-1.,  0.,  3.])
    """
    return LeakyReLU.apply(
        float_tensor(x, "leaky_relu"), slope=checks.real(slope, "leaky_relu", "slope")
    )


def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """x where positive, else alpha (exp(x) - 1) (Clevert et al. 2016).

    >>> md.elu(md.tensor([-1000., 0., 3.]))
    tensor([-1.,  0.,  3.])
    """
    return ELU.apply(float_tensor(x, "elu"), alpha=checks.real(alpha, "elu", "alpha"))


def softplus(x: Any, beta: float = 1, threshold: float = 20) -> Tensor:
    """log(1 + exp(beta x)) / beta, a smooth ReLU; x itself where beta x > threshold.

    ValueError unless beta > 0.

    >>> md.softplus(md.tensor([-1000., 0., 1000.])).data.round(4)
    array([0.000e+00, 6.931e-01, 1.000e+03], dtype=float32)
    """
    beta = checks.real(beta, "softplus", "beta", above=0)
    return Softplus.apply(
        float_tensor(x, "softplus"),
        beta=beta,
        threshold=checks.real(threshold, "softplus", "threshold"),
    )


def silu(x: Any) -> Tensor:
    """x / (1 + exp(-x)), also called swish (Elfwing et al. 2018).

    >>> md.silu(md.tensor([0., 1000.]))
    tensor([   0., 1000.])
    """
    return SiLU.apply(float_tensor(x, "silu"))


def gelu(x: Any, approximate: str = "none") -> Tensor:
    """x times the share of a normal distribution below x (Hendrycks & Gimpel 2016).

    `approximate="tanh"`: x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2. ValueError for another
    word than "none" and "tanh".

    >>> md.gelu(md.tensor([0., 1000.]))
    tensor([   0., 1000.])
    """
    checks.choice(approximate, "gelu", "approximate", ("none", "tanh"))
    return GELU.apply(float_tensor(x, "gelu"), tanh=approximate == "tanh")
