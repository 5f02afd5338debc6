"""All steps of a recurrent layer in one Function: RNN, GRU and LSTM without normalization.

Without normalization no other operation comes between two steps, so the graph does not need a node
for each. A step is a product with the weights and a cell, and its backward is one product too; the
gradient of the weights is a single product for all steps. Only the layers in `nn` call these
functions; they are not among `md`'s operations.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import kernels
from ..tensor import Tensor
from .operation import Operation

Arrays = tuple[np.ndarray, ...]


class Sequence(Operation):
    """h_t, ... = cell(x_t, q_t, ...) with q_t = h_{t-1} W, for x (T, N, gates * H); `reverse` goes
    from the last t to the first. The outputs are y (T, N, H), h of every step, and the last state.

    With dq_t the gradient of q_t, and dh_t the gradient of h_t from y and from step t + 1:
        dh_{t-1} = dq_t W^T + the cell's own part,  dW = sum over t of h_{t-1}^T dq_t.

    A subclass is a cell. Its `step` returns what the gradient needs, and the new state. Its
    `step_backward` returns dx_t, dq_t, the cell's own part of dh_{t-1} (or None), the gradients of
    the rest of the state, and that of the bias (or None).
    """

    dq_is_dx = True  # the cell only uses x_t + q_t, so that both have one gradient

    def forward(
        self,
        x: np.ndarray,
        weight: np.ndarray,
        bias: np.ndarray | None,
        *state: np.ndarray,
        reverse: bool,
    ) -> Arrays:
        self.weight, self.bias, self.first, self.reverse = weight, bias, state[0], reverse
        self.y = kernels.empty((*x.shape[:2], weight.shape[0]), x.dtype)
        self.kept = []
        panels = kernels.matmul_panels(weight)  # packed once, not at every step
        for t in self.places(reverse):
            kept, state = self.step(x[t], kernels.matmul(state[0], weight, panels=panels), state)
            self.kept.append(kept)
            self.y[t] = state[0]
        return (self.y, *state)

    def backward(self, dy: np.ndarray, dh: np.ndarray, *rest: np.ndarray) -> tuple[Any, ...]:
        shape = (*dy.shape[:2], self.weight.shape[1])
        dx = kernels.empty(shape, dy.dtype)
        dq = dx if self.dq_is_dx else kernels.empty(shape, dy.dtype)
        dbias = None
        panels = kernels.matmul_panels(self.weight, transpose_b=True)
        for t, kept in zip(self.places(not self.reverse), reversed(self.kept), strict=True):
            dh = kernels.add(dh, dy[t])
            dx[t], part, more, rest, db = self.step_backward(dh, rest, kept)
            if db is not None:
                dbias = db if dbias is None else kernels.add(dbias, db)
            if not self.dq_is_dx:
                dq[t] = part
            dh = kernels.matmul(part, self.weight, transpose_b=True, panels=panels)
            if more is not None:
                kernels.add(dh, more, out=dh)
        return dx, self.weight_grad(dq) if self.needs_grad[1] else None, dbias, dh, *rest

    def places(self, reverse: bool) -> range:
        return range(len(self.y))[::-1] if reverse else range(len(self.y))

    def weight_grad(self, dq: np.ndarray) -> np.ndarray:
        """dW. The h that a step reads is the y of the step before it, or the given h at the first
        step."""
        begin = len(dq) - 1 if self.reverse else 0
        before, after = (self.y[1:], dq[:-1]) if self.reverse else (self.y[:-1], dq[1:])
        rows = before.shape[0] * before.shape[1]
        dw = kernels.matmul(self.first, dq[begin], transpose_a=True)
        return kernels.add(
            dw,
            kernels.matmul(
                before.reshape(rows, dw.shape[0]),
                after.reshape(rows, dw.shape[1]),
                transpose_a=True,
            ),
            out=dw,
        )

    def step(self, x: np.ndarray, q: np.ndarray, state: Arrays) -> tuple[Any, Arrays]:
        raise NotImplementedError

    def step_backward(self, dh: np.ndarray, rest: Arrays, kept: Any) -> tuple[Any, ...]:
        raise NotImplementedError


class TanhRNN(Sequence):
    """h = tanh(x + q);  dx = dq = (1 - h^2) dh."""

    def step(self, x: np.ndarray, q: np.ndarray, state: Arrays) -> tuple[Any, Arrays]:
        total = kernels.add(q, x, out=q)
        return total, (kernels.tanh(total),)

    def step_backward(self, dh: np.ndarray, rest: Arrays, kept: Any) -> tuple[Any, ...]:
        dx = kernels.tanh_backward(dh, kept)
        return dx, dx, None, rest, None


class ReluRNN(Sequence):
    """h = max(x + q, 0);  dx = dq = dh where h > 0, else 0."""

    def step(self, x: np.ndarray, q: np.ndarray, state: Arrays) -> tuple[Any, Arrays]:
        h = kernels.relu(kernels.add(q, x, out=q), out=q)
        return h, (h,)

    def step_backward(self, dh: np.ndarray, rest: Arrays, kept: Any) -> tuple[Any, ...]:
        dx = kernels.relu_backward(dh, kept)
        return dx, dx, None, rest, None


class LSTM(Sequence):
    """The cell of `ops.recurrent.LSTMCell`, which has the formulas."""

    def step(self, x: np.ndarray, q: np.ndarray, state: Arrays) -> tuple[Any, Arrays]:
        c = state[1]
        gates, c_new, h = kernels.lstm_cell(x, q, c)
        return (gates, c, c_new), (h, c_new)

    def step_backward(self, dh: np.ndarray, rest: Arrays, kept: Any) -> tuple[Any, ...]:
        dx, dc = kernels.lstm_cell_backward(dh, rest[0], *kept)
        return dx, dx, None, (dc,), None


class GRU(Sequence):
    """The cell of `ops.recurrent.GRUCell`, which has the formulas."""

    dq_is_dx = False  # the gate r multiplies a part of q

    def step(self, x: np.ndarray, q: np.ndarray, state: Arrays) -> tuple[Any, Arrays]:
        gates, h = kernels.gru_cell(x, q, self.bias, state[0])
        return (gates, q, state[0]), (h,)

    def step_backward(self, dh: np.ndarray, rest: Arrays, kept: Any) -> tuple[Any, ...]:
        gates, q, h = kept
        dx, dq, dbias, more = kernels.gru_cell_backward(dh, gates, q, self.bias, h)
        return dx, dq, more, rest, dbias


CELLS: dict[str, type[Sequence]] = {"tanh": TanhRNN, "relu": ReluRNN, "lstm": LSTM, "gru": GRU}


def sequence(
    cell: str,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    state: tuple[Tensor, ...],
    reverse: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a cell, "tanh", "relu", "lstm" or "gru", over all steps; return h of every step (T, N, H)
    and the last state.

    x (T, N, gates * H) is what the input and the bias contribute to the gates; weight
    (H, gates * H) gives the contribution of h; bias (H,) is the GRU's bias of n, else None; the
    state is (h,) or (h, c), each (N, H).
    """
    y, *last = CELLS[cell].apply(x, weight, bias, *state, reverse=reverse)
    return y, tuple(last)
