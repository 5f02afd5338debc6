"""The elementwise part of one step of a recurrent layer, as one Function per step. Normalized
layers use it, because they put normalizations between the product with h and the cell, and on c.

`ops.sequence` computes whole sequences without normalization. Only the layers in `nn` call these
functions; they are not among `md`'s operations.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import kernels
from ..tensor import Tensor
from .operation import Operation


class LSTMCell(Operation):
    """i, f, o = sigmoid(x + hidden), g = tanh(x + hidden), c' = f c + i g, h = o tanh(c').

    Without `squash` h is o itself, for layers that normalize c' before the tanh.

    With t = tanh(c') and s = dc' + dh o (1 - t^2), or without `squash` t = 1 and s = dc':
        di = s g i (1 - i),  df = s c f (1 - f),  dg = s i (1 - g^2),  do = dh t o (1 - o),
        dc = s f;  dx = dhidden = [di, df, dg, do].
    """

    def forward(
        self, x: np.ndarray, hidden: np.ndarray, c: np.ndarray, squash: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        self.c, self.squash = c, squash
        self.gates, self.c_new, h = kernels.lstm_cell(x, hidden, c, squash)
        return h, self.c_new

    def backward(self, dh: np.ndarray, dc: np.ndarray) -> tuple[Any, ...]:
        dx, dc = kernels.lstm_cell_backward(dh, dc, self.gates, self.c, self.c_new, self.squash)
        return dx, dx, dc


class GRUCell(Operation):
    """r, z = sigmoid(x + hidden), n = tanh(x + r q) with q = hidden + bias, h' = (1 - z) n + z h.

    dn = dh' (1 - z) (1 - n^2),  dz = dh' (h - n) z (1 - z),  dr = dn q r (1 - r),
    dh = dh' z;  dx = [dr, dz, dn],  dhidden = [dr, dz, dn r],  dbias = sum of dn r.
    """

    def forward(
        self, x: np.ndarray, hidden: np.ndarray, bias: np.ndarray | None, h: np.ndarray
    ) -> np.ndarray:
        self.hidden, self.bias, self.h = hidden, bias, h
        self.gates, y = kernels.gru_cell(x, hidden, bias, h)
        return y

    def backward(self, dy: np.ndarray) -> tuple[Any, ...]:
        return kernels.gru_cell_backward(dy, self.gates, self.hidden, self.bias, self.h)


def lstm_cell(x: Tensor, hidden: Tensor, c: Tensor, squash: bool = True) -> tuple[Tensor, Tensor]:
    """(h, c') after a step of an LSTM; without `squash` (o, c'), for h = o tanh(norm(c')).

    x and hidden (N, 4 H) are what the input and the last h contribute to the gates i, f, g, o; c
    is (N, H). ValueError for other shapes, TypeError for mixed dtypes.
    """
    h, c = LSTMCell.apply(x, hidden, c, squash=squash)
    return h, c


def gru_cell(x: Tensor, hidden: Tensor, bias: Tensor | None, h: Tensor) -> Tensor:
    """h' after a step of a GRU.

    x and hidden (N, 3 H) are what the input and h contribute to the gates r, z, n; bias (H,) or
    None is added to h's contribution to n, before r multiplies it; h is (N, H). ValueError for
    other shapes, TypeError for mixed dtypes.
    """
    return GRUCell.apply(x, hidden, bias, h)
