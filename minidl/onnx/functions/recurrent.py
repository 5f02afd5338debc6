"""Writes recurrent layers: a sequence as one RNN, GRU or LSTM of the file, a cell with
normalizations as the operations that it is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from ...traced import Node, Value
from ..writer import Dims, Known, Site, Writer, Written

Emit = Callable[[Writer, Site], Any]

# For each gate in the file's order, the number of the same gate in minidl's order. An LSTM has
# (i, o, f, c) in a file and (i, f, g, o) in minidl, a GRU (z, r, h) and (r, z, n).
GATES = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2)}
FIRST = np.array([0], np.int64)


def _turned(weight: np.ndarray, gates: tuple[int, ...]) -> np.ndarray:
    """(in, gates * hidden) as (1, gates * hidden, in), the gates in the file's order."""
    parts = np.split(weight.T, len(gates))
    return np.concatenate([parts[g] for g in gates])[None]


def _projection(node: Node) -> tuple[Value, Value, Value | None] | None:
    """(x, weights, bias or None) if the input of a sequence is x times weights, plus a bias, as
    minidl's layers compute it; else None."""
    bias = None
    value = node.inputs[0]
    made = value.producer
    if made is not None and made.operation == "Add" and _held(made.inputs[1], 1):
        bias = made.inputs[1]
        made = made.inputs[0].producer
    if made is None or made.operation != "Reshape" or made.inputs[0].producer is None:
        return None
    product = made.inputs[0].producer
    if product.operation != "MatMul" or not _held(product.inputs[1], 2):
        return None
    rows = product.inputs[0].producer
    if (
        rows is None
        or rows.operation != "Reshape"
        or len(rows.inputs[0].shape) != 3
        or rows.inputs[0].shape[:2] != value.shape[:2]
    ):
        return None
    return rows.inputs[0], product.inputs[1], bias


def _held(x: Any, ndim: int) -> bool:
    """Whether an input is an array of so many axes that the model holds."""
    return isinstance(x, Value) and x.array is not None and x.array.ndim == ndim


def _sequence(operator: str, activation: str | None = None) -> Emit:
    def emit(out: Writer, site: Site) -> tuple[Written, ...]:
        return _emit(out, site, operator, activation)

    return emit


def _emit(out: Writer, site: Site, operator: str, activation: str | None) -> tuple[Written, ...]:
    x, weight, of_h, *state = site.inputs
    gates = GATES[operator]
    if not isinstance(weight, Known) or not (of_h is None or isinstance(of_h, Known)):
        raise out.refusal("weights that are computed from the input are not supported")
    hidden, width = weight.array.shape
    found = _projection(site.node)
    if found is None:  # the node's own projection must not change what it is given
        value, by = out.plain(x), np.eye(width, dtype=site.dtype)
        name, bias = "identity", None
    else:
        source, by_value, shift = found
        value, by = out.plain(site.values[source]), np.asarray(by_value.array)
        name, bias = by_value.name, shift
    biases = None
    if bias is not None or of_h is not None:
        biases = _biases(bias, of_h, gates, hidden, site.dtype)
    begin = [_initial(out, s) for s in state]
    attributes: dict[str, Any] = {
        "hidden_size": hidden,
        "direction": "reverse" if site.options["reverse"] else "forward",
    }
    if activation is not None:
        attributes["activations"] = [activation]
    if operator == "GRU":
        attributes["linear_before_reset"] = 1
    made = out.ops(
        operator,
        len(site.dims),
        value,
        out.initializer(_turned(by, gates), name),
        out.initializer(_turned(weight.array, gates), weight.name),
        None
        if biases is None
        else out.initializer(biases, bias.name if bias is not None else "bias"),
        None,
        *begin,
        **attributes,
    )
    outputs = [
        out.op("Squeeze", made[0], np.array([1], np.int64)),
        *(out.op("Squeeze", m, FIRST) for m in made[1:]),
    ]
    return tuple([Written(v, dims) for v, dims in zip(outputs, site.dims, strict=True)])


def _biases(
    bias: Value | None, of_h: Known | None, gates: tuple[int, ...], hidden: int, dtype: np.dtype
) -> np.ndarray:
    """The biases of x, then those of h, with the gates in the file's order."""
    first = np.zeros(len(gates) * hidden, dtype) if bias is None else np.asarray(bias.array)
    parts = np.split(first, len(gates))
    second = np.zeros_like(first)
    if of_h is not None:  # only a GRU has one: for its gate n, the last in both orders
        second[-hidden:] = of_h.array
    return np.concatenate([*(parts[g] for g in gates), second])[None]


def _initial(out: Writer, state: Any) -> ir.Value | None:
    """The state at the first step; None for zeros, which are the file's default."""
    if isinstance(state, Known) and not any(a.any() for a in state.arrays):
        return None
    return out.op("Unsqueeze", out.plain(state), FIRST)


def _gates(out: Writer, value: ir.Value, count: int, hidden: int) -> Any:
    return out.ops("Split", count, value, np.full(count, hidden, np.int64), axis=1)


def _lstm_cell(out: Writer, site: Site) -> tuple[Written, ...]:
    x, h, c = (out.plain(v) for v in site.inputs)
    dims = site.dims[0]
    i, f, g, o = _gates(out, out.op("Add", x, h), 4, dims[1][0])
    i, f, o = (out.op("Sigmoid", gate) for gate in (i, f, o))
    kept = out.op("Add", out.op("Mul", f, c), out.op("Mul", i, out.op("Tanh", g)))
    y = out.op("Mul", o, out.op("Tanh", kept)) if site.options["squash"] else o
    return _both(y, kept, dims)


def _both(y: ir.Value, kept: ir.Value, dims: Dims) -> tuple[Written, ...]:
    return Written(y, dims), Written(kept, dims)


def _gru_cell(out: Writer, site: Site) -> Written:
    x, hidden, bias, h = site.inputs
    size = site.dims[0][1][0]
    before = out.plain(h)
    a, b, c = _gates(out, out.plain(x), 3, size)
    p, q, s = _gates(out, out.plain(hidden), 3, size)
    r, z = (out.op("Sigmoid", out.op("Add", *pair)) for pair in ((a, p), (b, q)))
    s = s if bias is None else out.op("Add", s, out.plain(bias))
    n = out.op("Tanh", out.op("Add", c, out.op("Mul", r, s)))
    y = out.op("Add", n, out.op("Mul", z, out.op("Sub", before, n)))
    return Written(y, site.dims[0])


RECURRENT: dict[str, Emit] = {
    "LSTM": _sequence("LSTM"),
    "GRU": _sequence("GRU"),
    "TanhRNN": _sequence("RNN", "Tanh"),
    "ReluRNN": _sequence("RNN", "Relu"),
    "LSTMCell": _lstm_cell,
    "GRUCell": _gru_cell,
}
