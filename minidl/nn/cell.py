"""One layer of a recurrent network in one direction: its weights, and its way through a sequence.

A network (`nn.recurrent`) is a list of these. The input's share in the gates is one product for all
time steps; only the state's share has to wait for the step before.
"""

from __future__ import annotations

import math
from typing import Any

from .. import ops
from ..ops.recurrent import gru_cell, lstm_cell
from ..tensor import Tensor
from . import init
from .layer import Layer, Parameter
from .step_norm import StepNorm, step_norm

State = tuple[Tensor, ...]          # (h,), or (h, c): each (N, hidden)


class Cell(Layer):
    """Weights of the gates of one layer in one direction, for inputs (T, N, in_features).

    The gates of `weight_x` (in, gates * hidden), `weight_h` (hidden, gates * hidden) and `bias`
    stand one after another. A subclass says how many there are, and computes a step.
    """

    gates = 1

    def __init__(self, in_features: int, hidden: int, bias: bool, norm: str | None,
                 max_steps: int) -> None:
        super().__init__()
        self.in_features, self.hidden = in_features, hidden
        width = self.gates * hidden
        self.weight_x = self.drawn(in_features, width)
        self.weight_h = self.drawn(hidden, width)
        self.bias = self.drawn(width) if bias else None
        self.norm_x = step_norm(norm, width, max_steps)
        self.norm_h = step_norm(norm, width, max_steps)

    def drawn(self, *shape: int) -> Parameter:
        """A parameter with its first values."""
        return Parameter(init.uniform(shape, 1 / math.sqrt(self.hidden)))

    def forward(self, x: Tensor, state: State, reverse: bool = False) -> tuple[Tensor, State]:
        """(h of every step (T, N, hidden), the last state); `reverse` begins at the last step."""
        steps, examples, features = x.shape
        shares = self.shares(ops.reshape(x, (steps * examples, features)), steps)
        outputs = []
        for step in range(steps):           # steps of the recurrence, whatever its direction
            share = self.shifted(shares[steps - 1 - step if reverse else step], step)
            hidden = ops.matmul(state[0], self.weight_h)
            if self.norm_h is not None:
                hidden = self.norm_h(hidden, step)
            state = self.step(share, hidden, state, step)
            outputs.append(state[0])
        if reverse:
            outputs.reverse()
        return ops.reshape(ops.concatenate(outputs), (steps, examples, self.hidden)), state

    def shares(self, rows: Tensor, steps: int) -> tuple[Tensor, ...]:
        """What the inputs contribute to the gates of each step: all but what needs the step."""
        rows = ops.matmul(rows, self.weight_x)
        if not isinstance(self.norm_x, StepNorm):
            if self.norm_x is not None:
                rows = self.norm_x(rows)
            if self.bias is not None:
                rows = ops.add(rows, self.bias)
        return ops.split(rows, steps)       # its gradient is one array, not one for each step

    def shifted(self, share: Tensor, step: int) -> Tensor:
        """A step's share with what `shares` has left: statistics that depend on the step."""
        if isinstance(self.norm_x, StepNorm):
            share = self.norm_x(share, step)
            if self.bias is not None:
                share = ops.add(share, self.bias)
        return share

    def step(self, share: Tensor, hidden: Tensor, state: State, step: int) -> State:
        """The next state from the shares of the input and of h in the gates."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.hidden}, bias={self.bias is not None}"


class RNNCell(Cell):
    """h' = f(x W_x + h W_h + b), f tanh or relu."""

    def __init__(self, in_features: int, hidden: int, bias: bool, norm: str | None,
                 max_steps: int, nonlinearity: str) -> None:
        super().__init__(in_features, hidden, bias, norm, max_steps)
        self.nonlinearity = nonlinearity

    def step(self, share: Tensor, hidden: Tensor, state: State, step: int) -> State:
        f: Any = ops.relu if self.nonlinearity == "relu" else ops.tanh
        return (f(ops.add(hidden, share)),)


class GRUCell(Cell):
    """Gates r, z, n; `bias_h` (hidden,) is that of h in n, inside r * (...)."""

    gates = 3

    def __init__(self, in_features: int, hidden: int, bias: bool, norm: str | None,
                 max_steps: int) -> None:
        super().__init__(in_features, hidden, bias, norm, max_steps)
        self.bias_h = self.drawn(hidden) if bias else None

    def step(self, share: Tensor, hidden: Tensor, state: State, step: int) -> State:
        return (gru_cell(share, hidden, self.bias_h, state[0]),)


class LSTMCell(Cell):
    """Gates i, f, g, o; with a norm, that of c before tanh has a shift of its own."""

    gates = 4

    def __init__(self, in_features: int, hidden: int, bias: bool, norm: str | None,
                 max_steps: int) -> None:
        super().__init__(in_features, hidden, bias, norm, max_steps)
        self.norm_c = step_norm(norm, hidden, max_steps, shift=True)

    def step(self, share: Tensor, hidden: Tensor, state: State, step: int) -> State:
        if self.norm_c is None:
            return lstm_cell(share, hidden, state[1])
        o, c = lstm_cell(share, hidden, state[1], squash=False)
        return ops.multiply(o, ops.tanh(self.norm_c(c, step))), c
