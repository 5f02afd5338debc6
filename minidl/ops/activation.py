"""Activations: nonlinear functions of one tensor, element by element.

All take float32 or float64 and keep shape and dtype; TypeError for anything else.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, kernels
from ..lazy import Lazy, computed
from ..tensor import Tensor
from .common import float_tensor
from .operation import Operation, PostOperation


class Tanh(Operation):
    """y = tanh(x);  dx = (1 - y^2) dy, from x: a y that is rounded to 1 would give 0."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return kernels.tanh(x)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return kernels.tanh_backward(dy, self.x)


class Sigmoid(Operation):
    """y = 1 / (1 + exp(-x));  dx = y (1 - y) dy, from x: a y that is rounded to 1 would give 0."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return kernels.sigmoid(x)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return kernels.sigmoid_backward(dy, self.x)


class ReLU(PostOperation):
    """y = max(x, 0);  dx = dy where y > 0, else 0."""

    y: Any      # the output: an array, or the Lazy that gives it

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.y = kernels.relu(x)
        return self.y

    def _extend(self, x: Lazy) -> Lazy | None:
        self.y = self.lazy = x.then(relu=True)
        return self.lazy

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return kernels.relu_backward(dy, computed(self.y))


class LeakyReLU(Operation):
    """y = x where x > 0, else slope x;  dx = dy, or slope dy."""

    def forward(self, x: np.ndarray, slope: float) -> np.ndarray:
        self.x, self.slope = x, slope
        return kernels.leaky_relu(x, slope)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return kernels.leaky_relu_backward(dy, self.x, self.slope)


class ELU(Operation):
    """y = x where x > 0, else alpha (exp(x) - 1);  dx = dy, or alpha exp(x) dy."""

    def forward(self, x: np.ndarray, alpha: float) -> np.ndarray:
        self.x, self.alpha = x, alpha
        return kernels.elu(x, alpha)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return kernels.elu_backward(dy, self.x, self.alpha)


class Softplus(Operation):
    """y = log(1 + exp(beta x)) / beta;  dx = dy / (1 + exp(-beta x))."""

    def forward(self, x: np.ndarray, beta: float, threshold: float) -> np.ndarray:
        self.x, self.options = x, (beta, threshold)
        return kernels.softplus(x, *self.options)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return kernels.softplus_backward(dy, self.x, *self.options)


class SiLU(Operation):
    """y = x s with s = 1 / (1 + exp(-x));  dx = s (1 + x (1 - s)) dy."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return kernels.silu(x)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return kernels.silu_backward(dy, self.x)


class GELU(Operation):
    """y = x P(x), P the normal distribution function;  dx = (P(x) + x P'(x)) dy."""

    def forward(self, x: np.ndarray, tanh: bool) -> np.ndarray:
        self.x, self.tanh = x, tanh
        return kernels.gelu(x, tanh)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return kernels.gelu_backward(dy, self.x, self.tanh)


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

    After a batch_norm (and a sum) that nothing else has used yet, it is computed in the same
    pass.

    >>> md.relu(md.tensor([-1., 0., 2.]))
    tensor([0., 0., 2.])
    """
    return ReLU.apply(float_tensor(x, "relu"))


def leaky_relu(x: Any, slope: float = 0.01) -> Tensor:
    """x where positive, else slope x (Maas et al. 2013).

    >>> md.leaky_relu(md.tensor([-2., 0., 3.]), slope=0.5)
    tensor([-1.,  0.,  3.])
    """
    return LeakyReLU.apply(float_tensor(x, "leaky_relu"), slope=checks.real(slope, "leaky_relu",
                                                                        "slope"))


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
    return Softplus.apply(float_tensor(x, "softplus"), beta=beta,
                          threshold=checks.real(threshold, "softplus", "threshold"))


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
