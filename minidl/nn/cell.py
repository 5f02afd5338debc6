"""One layer of a recurrent network in one direction: its weights, and its pass over a sequence.

A network (`nn.recurrent`) is a list of these. One product computes the input's contribution to the
gates for all time steps; only the state's contribution has to wait for the step before.
"""

from __future__ import annotations

import math
from typing import Any

from .. import ops
from ..ops.recurrent import gru_cell, lstm_cell
from ..ops.sequence import sequence
from ..tensor import Tensor
from . import init
from .layer import Layer
from .parameter import Parameter
from .step_norm import StepNorm, step_norm

State = tuple[Tensor, ...]  # (h,), or (h, c): each (N, hidden)


class Cell(Layer):
    """Weights of the gates of one layer in one direction, for inputs (T, N, in_features).

    `weight_x` (in, gates * hidden), `weight_h` (hidden, gates * hidden) and `bias` have the columns
    of one gate after those of another. A subclass says how many gates there are, names its cell in
    `ops.sequence`, and computes a single step for the normalized case.
    """

    gates, kind = 1, "tanh"
    bias_h: Parameter | None = None  # only the GRU has one

    def __init__(
        self, in_features: int, hidden: int, bias: bool, norm: str | None, max_steps: int
    ) -> None:
        super().__init__()
        self.in_features, self.hidden = in_features, hidden
        width = self.gates * hidden
        self.weight_x = self.drawn(in_features, width)
        self.weight_h = self.drawn(hidden, width)
        self.bias = self.drawn(width) if bias else None
        self.norm_x: Any = step_norm(norm, width, max_steps)
        self.norm_h: Any = step_norm(norm, width, max_steps)

    def drawn(self, *shape: int) -> Parameter:
        """A parameter that is drawn uniformly from +-1 / sqrt(hidden)."""
        return Parameter(init.uniform(shape, 1 / math.sqrt(self.hidden)))

    def forward(self, x: Tensor, state: State, reverse: bool = False) -> tuple[Tensor, State]:
        """h of every step (T, N, hidden), and the last state; `reverse` begins at the last step."""
        shares = ops.matmul(x, self.weight_x)
        if self.norm_h is None:
            return sequence(
                self.kind, self.shifted(shares), self.weight_h, self.bias_h, state, reverse
            )
        return self.normalized(shares, state, reverse)

    def shifted(self, shares: Tensor) -> Tensor:
        return shares if self.bias is None else ops.add(shares, self.bias)

    def normalized(self, shares: Tensor, state: State, reverse: bool) -> tuple[Tensor, State]:
        """Pass over a sequence step by step, because the normalizations are inside a step. `shares`
        is the input's contribution to the gates."""
        steps, examples, width = shares.shape
        of_steps = isinstance(self.norm_x, StepNorm)  # then the statistics depend on the step
        shares = ops.reshape(shares, (steps * examples, width))
        if not of_steps:
            shares = self.shifted(self.norm_x(shares))
        parts = ops.split(shares, steps)  # its gradient is one array, not one for each step
        outputs = []
        for step in range(steps):  # counted in the direction of the recurrence
            share = parts[steps - 1 - step if reverse else step]
            if of_steps:
                share = self.shifted(self.norm_x(share, step))
            hidden = self.norm_h(ops.matmul(state[0], self.weight_h), step)
            state = self.step(share, hidden, state, step)
            outputs.append(state[0])
        if reverse:
            outputs.reverse()
        return ops.reshape(ops.concatenate(outputs), (steps, examples, self.hidden)), state

    def step(self, share: Tensor, hidden: Tensor, state: State, step: int) -> State:
        """The next state, from the contributions of the input, `share`, and of h, `hidden`, to the
        gates."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.hidden}, bias={self.bias is not None}"


class RNNCell(Cell):
    """h' = f(x W_x + h W_h + b), with f tanh or relu."""

    def __init__(
        self,
        in_features: int,
        hidden: int,
        bias: bool,
        norm: str | None,
        max_steps: int,
        nonlinearity: str,
    ) -> None:
        super().__init__(in_features, hidden, bias, norm, max_steps)
        self.kind = nonlinearity

    def step(self, share: Tensor, hidden: Tensor, state: State, step: int) -> State:
        a = ops.add(hidden, share)
        return (ops.relu(a) if self.kind == "relu" else ops.tanh(a),)


class GRUCell(Cell):
    """A GRU with the gates r, z, n; `bias_h` (hidden,) is added to h's contribution to n, before r
    multiplies it."""

    gates, kind = 3, "gru"

    def __init__(
        self, in_features: int, hidden: int, bias: bool, norm: str | None, max_steps: int
    ) -> None:
        super().__init__(in_features, hidden, bias, norm, max_steps)
        self.bias_h = self.drawn(hidden) if bias else None

    def step(self, share: Tensor, hidden: Tensor, state: State, step: int) -> State:
        return (gru_cell(share, hidden, self.bias_h, state[0]),)


class LSTMCell(Cell):
    """An LSTM with the gates i, f, g, o. With a norm, c is normalized before the tanh; that
    normalization has a beta, because no bias follows it."""

    gates, kind = 4, "lstm"

    def __init__(
        self, in_features: int, hidden: int, bias: bool, norm: str | None, max_steps: int
    ) -> None:
        super().__init__(in_features, hidden, bias, norm, max_steps)
        self.norm_c: Any = step_norm(norm, hidden, max_steps, shift=True)

    def step(self, share: Tensor, hidden: Tensor, state: State, step: int) -> State:
        o, c = lstm_cell(share, hidden, state[1], squash=False)
        return ops.multiply(o, ops.tanh(self.norm_c(c, step))), c
