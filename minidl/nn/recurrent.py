"""Recurrent networks: RNN, GRU and LSTM of any number of layers, in one direction or in two.

This module has the arguments, the states and the order of layers. Weights and steps are in
`nn.cell`, formulas and gradients in `ops.sequence` and `ops.recurrent`, normalizations in
`nn.step_norm`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, kernels, ops
from ..ops.common import float_tensor, origin_of_float64, same_float
from ..tensor import Tensor
from .cell import Cell, GRUCell, LSTMCell, RNNCell, State
from .layer import Layer
from .sequence_lengths import check_lengths, run

MOST_LAYERS = 4096


class _Recurrent(Layer):
    """Base of the three networks: it checks the sizes, makes the cells, and passes x and the state
    through them."""

    parts: tuple[str, ...] = ("h",)  # the names of the parts of a state

    def __init__(
        self,
        in_features: int,
        hidden: int,
        num_layers: int = 1,
        bias: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        norm: str | None = None,
        max_steps: int = 128,
    ) -> None:
        super().__init__()
        where = type(self).__name__
        in_features = checks.size(in_features, where, "in_features")
        hidden = checks.size(hidden, where, "hidden")
        num_layers = checks.integer(num_layers, where, "num_layers", 1, MOST_LAYERS)
        max_steps = checks.size(max_steps, where, "max_steps")
        dropout = checks.fraction(dropout, where, "dropout")
        bias = checks.flag(bias, where, "bias")
        bidirectional = checks.flag(bidirectional, where, "bidirectional")
        checks.choice(norm, where, "norm", (None, "layer", "batch"))
        directions = 2 if bidirectional else 1
        # The weights are at least this large; sizes that cannot fit are refused at once.
        kernels.check_shape(where, (in_features, hidden))
        kernels.check_shape(where, (num_layers * directions, hidden, hidden))
        self.in_features, self.hidden, self.num_layers = in_features, hidden, num_layers
        self.dropout, self.bidirectional = dropout, bidirectional
        self.norm, self.max_steps = norm, max_steps
        self.cells = [
            self.cell(hidden * directions if layer else in_features, bias)
            for layer in range(num_layers)
            for _ in range(directions)
        ]

    def cell(self, in_features: int, bias: bool) -> Cell:
        """A new cell for one layer and direction."""
        raise NotImplementedError

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Tensor, Any]:
        where = type(self).__name__
        x = self._sequences(x)
        states = self._states(state, x)
        examples, steps, _ = x.shape
        ends = None if lengths is None else check_lengths(lengths, where, examples, steps)
        if ends is not None and self.norm == "batch":
            raise ValueError(
                f'{where}: lengths and norm="batch" do not go together, since its statistics are '
                f'those of whole batches; use norm="layer"'
            )
        if examples == 0:
            x = x[:, :1]  # steps without examples compute nothing, so one is enough
        directions = 2 if self.bidirectional else 1
        x = ops.transpose(x, (1, 0, 2))  # time first, as the cells want it
        for layer in range(self.num_layers):
            if layer:
                x = ops.dropout(x, self.dropout, self.training)
            outputs = []
            for k in range(layer * directions, (layer + 1) * directions):
                reverse = k % directions == 1
                if ends is None:
                    output, states[k] = self.cells[k](x, states[k], reverse)
                else:
                    output, states[k] = run(self.cells[k], x, states[k], reverse, ends)
                outputs.append(output)
            x = outputs[0] if directions == 1 else ops.concatenate(outputs, axis=2)
        last = tuple([ops.stack(part) for part in zip(*states, strict=True)])
        x = ops.transpose(x, (1, 0, 2))
        if examples == 0:
            x = ops.reshape(x, (0, steps, x.shape[2]))
        return x, last if len(last) > 1 else last[0]

    def _sequences(self, x: Any) -> Tensor:
        """x as a tensor, checked that it is sequences of the layer's features and dtype."""
        where = type(self).__name__
        x = float_tensor(x, where)
        if x.ndim != 3 or x.shape[2] != self.in_features:
            hint = (
                ": the batch axis is missing: x[None]"
                if x.ndim == 2 and x.shape[1] == self.in_features
                else ""
            )
            raise ValueError(
                f"{where} expected sequences (N, T, {self.in_features}), got {x.shape}{hint}"
            )
        if x.shape[1] == 0:
            raise ValueError(f"{where}: x {x.shape} has no time steps, at least 1 is needed")
        if x.dtype != self._dtype():
            raise TypeError(
                f"{where}: x is {x.dtype}, the layer {self._dtype()}; convert with "
                f"astype{origin_of_float64({'x': x})}"
            )
        return x

    def _states(self, state: Any, x: Tensor) -> list[State]:
        """The state of each cell at the first step."""
        where, n = type(self).__name__, x.shape[0]
        shape = (len(self.cells), n, self.hidden)
        if state is None:
            zeros = Tensor(np.zeros((n, self.hidden), x.dtype))
            return [(zeros,) * len(self.parts)] * len(self.cells)
        given: tuple[Any, ...] = (state,)
        if len(self.parts) > 1:
            if not isinstance(state, tuple | list) or len(state) != len(self.parts):
                if isinstance(state, tuple | list):
                    raise ValueError(
                        f"{where}: state must be a pair (h, c), got {len(state)} of them"
                    )
                raise TypeError(f"{where}: state must be a pair (h, c), got {type(state).__name__}")
            given = tuple(state)
        split = []
        for name, value in zip(self.parts, given, strict=True):
            value = float_tensor(value, where, f"state {name}")
            if value.shape != shape:
                raise ValueError(
                    f"{where}: state {name} must have shape {shape} (layers and "
                    f"directions, N, hidden) for x {x.shape}, got {value.shape}"
                )
            same_float(where, x=x, state=value)
            split.append([ops.reshape(part, shape[1:]) for part in ops.split(value, shape[0])])
        return list(zip(*split, strict=True))

    def extra_repr(self) -> str:
        parts = [f"{self.in_features}, {self.hidden}"]
        for name, default in (
            ("num_layers", 1),
            ("dropout", 0),
            ("bidirectional", False),
            ("norm", None),
            ("nonlinearity", "tanh"),
        ):
            if getattr(self, name, default) != default:
                parts.append(f"{name}={getattr(self, name)!r}")
        return ", ".join(parts)


class RNN(_Recurrent):
    """The simple recurrent network (Elman 1990): sequences (N, T, in_features) to (output, state).

        h_t = tanh(x_t W_x + h_{t-1} W_h + b), or relu in place of tanh

    `output` (N, T, hidden * directions) is h of the last layer at every step. With `bidirectional`
    the h of a second pass, from the last step to the first, is joined to it. `state` (num_layers *
    directions, N, hidden) is h at the end of each pass, with the directions of a layer next to each
    other. A state may be given to begin with; None means zeros. `lengths` (N,) are the lengths of
    sequences that end before the last step: what comes after is not read, the output there is zero,
    the state is that at the end, and the second pass begins there; ValueError with norm="batch",
    and for lengths that are not from 1 to T. In training `dropout` acts between layers, not after
    the last. The layer returns a pair, so another layer cannot follow it in a Sequential.

    `cells` has one entry for each layer and direction, in the order of the state. Each has
    `weight_x` (in, hidden), `weight_h` (hidden, hidden) and `bias` (hidden,), all drawn uniformly
    from +-1 / sqrt(hidden), as in PyTorch. There the transposed `weight_x` is weight_ih, the
    transposed `weight_h` is weight_hh, and `bias` is the sum of bias_ih and bias_hh, which are
    drawn separately.

    norm="layer" (Ba, Kiros & Hinton 2016) applies layer normalization to x_t W_x and to h W_h, each
    with its own gamma and, since b follows, without a beta: h_t = tanh(LN(x_t W_x) + LN(h W_h) +
    b). norm="batch" (Cooijmans et al. 2016) applies `StepNorm` instead, which has separate
    statistics for each of the first `max_steps` time steps, counted from the start of the pass;
    gamma starts at 0.1. Its running statistics lag behind weights that learn fast: a lower rate at
    the end of training lets them settle before an evaluation, and `nn.recalibrate` computes them
    from the data.

    ValueError for arguments out of range, for x or a state of another shape, for sequences without
    time steps, and for a training batch of one example with norm="batch"; TypeError for mixed
    dtypes.

    >>> output, state = nn.RNN(3, 5, num_layers=2)(md.zeros((8, 10, 3)))
    >>> output.shape, state.shape
    ((8, 10, 5), (2, 8, 5))
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        num_layers: int = 1,
        bias: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        norm: str | None = None,
        max_steps: int = 128,
        nonlinearity: str = "tanh",
    ) -> None:
        self.nonlinearity = checks.choice(nonlinearity, "RNN", "nonlinearity", ("tanh", "relu"))
        super().__init__(
            in_features, hidden, num_layers, bias, dropout, bidirectional, norm, max_steps
        )

    def cell(self, in_features: int, bias: bool) -> Cell:
        return RNNCell(in_features, self.hidden, bias, self.norm, self.max_steps, self.nonlinearity)


class GRU(_Recurrent):
    """Gated recurrent units (Cho et al. 2014): sequences (N, T, in_features) to (output, state).

        r, z = sigmoid(x_t W_x + h W_h + b)
        n = tanh(x_t W_x + b + r * (h W_h + b_h)),  h_t = (1 - z) * n + z * h

    Each gate has its own columns of W_x, W_h and b, in the order r, z, n. Arguments, output, state,
    initial values and errors are those of `RNN`; `weight_x` is (in, 3 * hidden), `weight_h`
    (hidden, 3 * hidden), `bias` (3 * hidden,), and `bias_h` (hidden,) is b_h. Compared with
    PyTorch's tensors, the weights are transposed, `bias` is bias_ih + bias_hh for r and z and
    bias_ih for n, and `bias_h` is bias_hh for n.

    With a norm, x_t W_x and h W_h are normalized as in `RNN`: norm="layer" takes the three gates of
    an example as one row of 3 * hidden values. r multiplies the normalized h W_h, plus b_h.

    >>> output, state = nn.GRU(3, 5, bidirectional=True)(md.zeros((8, 10, 3)))
    >>> output.shape, state.shape
    ((8, 10, 10), (2, 8, 5))
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        num_layers: int = 1,
        bias: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        norm: str | None = None,
        max_steps: int = 128,
    ) -> None:
        super().__init__(
            in_features, hidden, num_layers, bias, dropout, bidirectional, norm, max_steps
        )

    def cell(self, in_features: int, bias: bool) -> Cell:
        return GRUCell(in_features, self.hidden, bias, self.norm, self.max_steps)


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000):
    sequences (N, T, in_features) to (output, (h, c)).

        i, f, o = sigmoid(x_t W_x + h W_h + b),  g = tanh(x_t W_x + h W_h + b)
        c_t = f * c + i * g,  h_t = o * tanh(c_t)

    Each gate has its own columns of W_x, W_h and b, in the order i, f, g, o. The state, given and
    returned, is the pair of h and c. Arguments, output, initial values and errors are otherwise
    those of `RNN`; `weight_x` is (in, 4 * hidden), `weight_h` (hidden, 4 * hidden), `bias`
    (4 * hidden,). Compared with PyTorch's tensors, the weights are transposed, and `bias` is
    bias_ih + bias_hh.

    With a norm (layer: Ba, Kiros & Hinton 2016, supplement, eq. 20-22; batch: Cooijmans et al.
    2016), x_t W_x and h W_h are normalized as in `RNN`, where a row has 4 * hidden values. c_t is
    normalized too, with a gamma and a beta, where it enters h: h_t = o * tanh(norm(c_t)). The c
    that the next step gets is not normalized.

    >>> output, (h, c) = nn.LSTM(3, 5)(md.zeros((8, 10, 3)))
    >>> output.shape, h.shape, c.shape
    ((8, 10, 5), (1, 8, 5), (1, 8, 5))
    """

    parts = ("h", "c")

    def __init__(
        self,
        in_features: int,
        hidden: int,
        num_layers: int = 1,
        bias: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        norm: str | None = None,
        max_steps: int = 128,
    ) -> None:
        super().__init__(
            in_features, hidden, num_layers, bias, dropout, bidirectional, norm, max_steps
        )

    def cell(self, in_features: int, bias: bool) -> Cell:
        return LSTMCell(in_features, self.hidden, bias, self.norm, self.max_steps)
