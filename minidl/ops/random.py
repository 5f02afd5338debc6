"""Dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, kernels
from ..hints import for_newcomers
from ..random import generator
from ..tensor import Tensor
from .common import float_tensor
from .operation import Operation


class Dropout(Operation):
    """y = x / (1 - p) with probability 1 - p, else 0;  dx = dy with the same mask and scale.

    The mask is a function of a key and the position, so it is made again, not kept.
    """

    def forward(self, x: np.ndarray, p: float, key: int) -> np.ndarray:
        self.p, self.key = p, key
        return kernels.dropout(x, p, key)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return kernels.dropout(dy, self.p, self.key)


@for_newcomers
def dropout(x: Any, p: float = 0.5, training: bool = True) -> Tensor:
    """Zero each value with probability p and scale the rest by 1 / (1 - p); x itself if not
    training (Srivastava et al. 2014).

    The mask comes from minidl's generator. ValueError unless p is in [0, 1], TypeError unless p is
    a number and x float32 or float64.

    >>> md.dropout(md.ones(3), 0.5, training=False)
    tensor([1., 1., 1.])
    >>> md.manual_seed(0)
    >>> np.unique(md.dropout(md.ones(1000), 0.5))
    array([0., 2.], dtype=float32)
    """
    p = checks.fraction(p, "dropout", "p")
    x = float_tensor(x, "dropout")
    if training is not True:
        checks.flag(training, "dropout", "training")
    if not training or p == 0:
        return x
    return Dropout.apply(x, p=p, key=int(generator().integers(2**63)))
