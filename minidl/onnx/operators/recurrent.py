"""RNN, GRU and LSTM over sequences (T, N, features), or (N, T, features) with layout=1.

Weights keep the shape that they have in the file, (directions, gates * hidden, ...), with the gates
in the file's order. Each call brings them into the order of `ops.sequence`, by a few small
operations.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import ops
from ...ops.sequence import sequence
from ...tensor import Tensor
from ..steps import FLOATS, Operator, Step, refuse
from ..values import Held

# For each gate in minidl's order, the number of the same gate in the file's order. An LSTM has
# (i, f, g, o) in minidl and (i, o, f, c) in a file, a GRU (r, z, n) and (z, r, h).
GATES = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 2, 3, 1)}
ACTIVATIONS = {"RNN": ("tanh",), "GRU": ("sigmoid", "tanh"), "LSTM": ("sigmoid", "tanh", "tanh")}
State = tuple[Tensor, ...]
ATTRIBUTES = (
    "activations",
    "direction",
    "hidden_size",
    "layout",
    "linear_before_reset",
    "input_forget",
    "clip",
    "activation_alpha",
    "activation_beta",
    "output_sequence",
)


def _check(step: Step) -> None:
    refuse(step, step.operator == "LSTM" and step.has(7), "peepholes (input P) are not supported")
    for name in ("clip", "activation_alpha", "activation_beta"):
        refuse(step, step.get(name) is not None, f"{name} is not supported")
    refuse(step, step.get("input_forget", 0), "input_forget=1 is not supported")
    ours = ACTIVATIONS[step.operator]
    directions = 2 if step.get("direction", "forward") == "bidirectional" else 1
    given = [word.lower() for word in step.get("activations") or ours * directions]
    fine = given == list(ours * directions)
    if step.operator == "RNN":
        fine = set(given) in ({"tanh"}, {"relu"})
    refuse(step, not fine, f"activations {given} are not supported")


def _turned(weight: Tensor, gates: tuple[int, ...]) -> Tensor:
    """Weights (gates * hidden, in) as (in, gates * hidden), with the gates in minidl's order."""
    parts = ops.split(ops.transpose(weight), len(gates), axis=1)
    return parts[0] if len(parts) == 1 else ops.concatenate([parts[g] for g in gates], axis=1)


def _in_order(bias: Tensor, gates: tuple[int, ...]) -> list[Tensor]:
    parts = ops.split(bias, len(gates))
    return [parts[g] for g in gates]


def _recurrent(
    step: Step,
    x: Held,
    weight: Held,
    recurrent: Held,
    bias: Held | None = None,
    lengths: Held | None = None,
    *initial: Held | None,
) -> Any:
    """One layer, in one direction or in both."""
    gates, hidden = GATES[step.operator], recurrent.shape[-1]
    batch_first = bool(step.get("layout", 0))
    t = ops.transpose(x.plain, (1, 0, 2)) if batch_first else x.plain
    given = [
        None if v is None else ops.transpose(v.plain, (1, 0, 2)) if batch_first else v.plain
        for v in initial
    ]
    count = 2 if step.operator == "LSTM" else 1
    given += [None] * (count - len(given))
    directions = weight.shape[0]
    if not t.shape[1]:  # an empty batch: no step needs to be computed
        shapes = [(t.shape[0], directions, 0, hidden)] + [(directions, 0, hidden)] * count
        if batch_first:
            shapes = [(0, t.shape[0], directions, hidden)] + [(0, directions, hidden)] * count
        return tuple([Held(ops.zeros(shape, dtype=t.dtype)) for shape in shapes])
    steps = None if lengths is None else _checked(lengths.array(), t.shape[0], t.shape[1])
    outputs, lasts = [], []
    for d in range(directions):
        zeros = ops.zeros((t.shape[1], hidden), dtype=t.dtype)
        state = tuple([zeros if v is None else v[d] for v in given[:count]])
        reverse = d == 1 or step.get("direction", "forward") == "reverse"
        b = None if bias is None else bias.plain[d]
        y, last = _one(
            step, t, weight.plain[d], recurrent.plain[d], b, state, gates, reverse, steps
        )
        outputs.append(y)
        lasts.append(last)
    y = ops.stack(outputs, 1)
    ends = [ops.stack(part) for part in zip(*lasts, strict=True)]
    if batch_first:
        y = ops.transpose(y, (2, 0, 1, 3))
        ends = [ops.transpose(part, (1, 0, 2)) for part in ends]
    return (Held(y), *(Held(part) for part in ends))


def _one(
    step: Step,
    x: Tensor,
    weight: Tensor,
    recurrent: Tensor,
    bias: Tensor | None,
    state: State,
    gates: tuple[int, ...],
    reverse: bool,
    lengths: np.ndarray | None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One direction of a layer: h at every step, and the last state."""
    shares, inner = ops.matmul(x, _turned(weight, gates)), _turned(recurrent, gates)
    of_h = None
    if bias is not None:
        first, second = (_in_order(part, gates) for part in ops.split(bias, 2))
        both = [a + b for a, b in zip(first, second, strict=True)]
        if step.operator == "GRU":
            both[2], of_h = first[2], second[2]
        shares = shares + (both[0] if len(both) == 1 else ops.concatenate(both))
    activations = step.get("activations") or ["Tanh"]
    kind = {"RNN": activations[0].lower(), "GRU": "gru", "LSTM": "lstm"}[step.operator]

    def scan(part: Tensor, start: State) -> tuple[Tensor, State]:
        if step.operator == "GRU" and not step.get("linear_before_reset", 0):
            return _reset_first(part, inner, of_h, start[0], reverse)
        return sequence(kind, part, inner, of_h, start, reverse)

    return (
        scan(shares, state) if lengths is None else _ragged(scan, shares, state, lengths, reverse)
    )


def _checked(lengths: np.ndarray, longest: int, batch: int) -> np.ndarray | None:
    """The lengths of the sequences of a batch; None if all of them have the full one."""
    if lengths.shape != (batch,) or (lengths < 0).any() or (lengths > longest).any():
        raise ValueError(
            f"sequence_lens must be {batch} numbers from 0 to {longest}, got {lengths.tolist()}"
        )
    return None if (lengths == longest).all() else lengths


def _ragged(
    scan: Callable[[Tensor, State], tuple[Tensor, State]],
    shares: Tensor,
    state: State,
    lengths: np.ndarray,
    reverse: bool,
) -> tuple[Tensor, State]:
    """`scan(part, state)` over sequences of different lengths: outputs beyond the end of a sequence
    are zeros, and its state stays what it is there. Between two lengths the same sequences run on,
    so that the steps between them are scanned at once."""
    ends = sorted({0, *lengths.tolist(), shares.shape[0]})
    spans = list(itertools.pairwise(ends))
    outputs = []
    for start, end in reversed(spans) if reverse else spans:
        runs = (lengths > start)[:, None]
        if not runs.any():
            outputs.append(ops.zeros((end - start, *state[0].shape), dtype=state[0].dtype))
            continue
        y, after = scan(shares[start:end], state)
        outputs.append(ops.where(runs, y, 0.0))
        state = tuple([ops.where(runs, a, b) for a, b in zip(after, state, strict=True)])
    return ops.concatenate(outputs[::-1] if reverse else outputs), state


def _reset_first(
    shares: Tensor, inner: Tensor, of_h: Tensor | None, h: Tensor, reverse: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A GRU whose gate r multiplies h before the product with the weights (Cho et al. 2014),
    step by step."""
    hidden = h.shape[1]
    of_gates, of_n = ops.split(inner, [2 * hidden], axis=1)
    outputs = []
    steps = range(shares.shape[0])
    for t in reversed(steps) if reverse else steps:
        a, n = ops.split(shares[t], [2 * hidden], axis=1)
        r, z = ops.split(ops.sigmoid(a + ops.matmul(h, of_gates)), 2, axis=1)
        n = n + ops.matmul(r * h, of_n)
        n = ops.tanh(n if of_h is None else n + of_h)
        h = (1 - z) * n + z * h
        outputs.append(h)
    return ops.stack(outputs[::-1] if reverse else outputs), (h,)


RECURRENT = {name: Operator(_recurrent, ATTRIBUTES, FLOATS, _check) for name in GATES}
