"""Activations: nonlinear functions of one tensor, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import kernels
from ..autograd import Deferred, Function, GradSum, computed
from ..tensor import Tensor
from .common import float_tensor
from .fusion import MaskedGrad, NormOutput, OutputGrad


class Tanh(Function):
    """y = tanh(x);  dx = (1 - y^2) dy."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.y = kernels.tanh(x)
        return self.y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return kernels.tanh_backward(dy, self.y)


class Sigmoid(Function):
    """y = 1 / (1 + exp(-x));  dx = y (1 - y) dy."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.y = kernels.sigmoid(x)
        return self.y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return kernels.sigmoid_backward(dy, self.y)


class ReLU(Function):
    """y = max(x, 0);  dx = dy where y > 0, else 0. Takes over a normalization still to be
    computed: then its own gradient is deferred too, and masked in the normalization's pass."""

    takes_deferred = True
    takes_deferred_grads = True
    y: Any

    def forward(self, x: Any) -> Any:
        if isinstance(x, Deferred):
            self.y = x.with_relu()
            if self.y is not None:
                return self.y
            x = x.compute()
        self.y = kernels.relu(x)
        return self.y

    def backward(self, dy: Any) -> Any:
        if isinstance(dy, OutputGrad) and dy.output is self.y:
            return dy.behind_relu()
        if isinstance(self.y, NormOutput):
            return MaskedGrad(dy if isinstance(dy, GradSum) else computed(dy), self.y)
        return kernels.relu_backward(computed(dy), self.y)


def tanh(x: Any) -> Tensor:
    """The hyperbolic tangent."""
    return Tanh.apply(float_tensor(x, "tanh"))


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + exp(-x)), without overflow."""
    return Sigmoid.apply(float_tensor(x, "sigmoid"))


def relu(x: Any) -> Tensor:
    """max(x, 0); its gradient at 0 is 0; NaN stays NaN.

    After a batch_norm (and a sum) that nothing else has used yet, it is computed in the same
    pass.
    """
    return ReLU.apply(float_tensor(x, "relu"))
