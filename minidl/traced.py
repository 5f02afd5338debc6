"""The graph that `md.trace` gives: its values, nodes and calls of layers, and how it is written as
text and in Graphviz's language. `tracing` builds it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .graph import Function
from .tensor import Tensor

if TYPE_CHECKING:
    from .nn.layer import Layer


class Value:
    """A tensor in a `Graph`: what it is, and where it comes from and goes to.

    `name` is unique in the graph; parameters and buffers have their dotted names. `kind` is
    "input", "parameter", "constant" (buffers are constants) or "result". `shape` and `dtype` are
    those of the run with the examples. `producer` is the node that made the tensor, None unless it
    is a result; `consumers` are the nodes that take it, each once. `array` holds the values of
    constants, and the current values of parameters and buffers; it is None for the other kinds.

    >>> graph = md.trace(lambda x: md.exp(x) * 2, np.ones(3, np.float32))
    >>> value = graph.nodes[0].outputs[0]
    >>> value, value.producer.operation, [node.operation for node in value.consumers]
    (exp: float32 (3,), 'Exp', ['Multiply'])
    """

    def __init__(self, name: str, kind: str, held: Tensor | np.ndarray) -> None:
        self.name, self.kind = name, kind
        self.shape, self.dtype = held.shape, held.dtype
        self.producer: Node | None = None
        self.consumers: list[Node] = []
        self._held = held if kind in ("parameter", "constant") else None

    @property
    def array(self) -> np.ndarray | None:
        """The values of a parameter or constant; None for inputs and results."""
        return self._held.data if isinstance(self._held, Tensor) else self._held

    def __repr__(self) -> str:
        return f"{self.name}: {type_of(self)}"


class Node:
    """An operation in a `Graph`.

    `function` is the `Function` that computes it, `operation` the name of that class and `options`
    its keyword arguments: node.function.apply(*inputs, **node.options) computes the outputs again.
    `inputs` are Values, or numbers and None as they were given; `outputs` are Values. `layers` are
    the layers whose calls the operation was applied in, the outermost first. `layer` is the dotted
    name of the innermost: "" if that is the traced model itself, or if there is none.

    >>> graph = md.trace(nn.Sequential(nn.Dense(2, 3), md.relu), np.ones((1, 2), np.float32))
    >>> node = graph.nodes[0]
    >>> node.operation, node.inputs, node.layer
    ('Linear', (input: float32 (1, 2), 0.weight: float32 (2, 3), 0.bias: float32 (3,)), '0')
    """

    def __init__(
        self,
        name: str,
        function: type[Function],
        inputs: tuple[Any, ...],
        options: dict[str, Any],
        layer: str,
        layers: tuple[Layer, ...],
    ) -> None:
        self.name, self.function, self.operation = name, function, function.__name__
        self.inputs, self.options = inputs, options
        self.outputs: tuple[Value, ...] = ()
        self.layer, self.layers = layer, layers

    def __repr__(self) -> str:
        return "  ".join(cell for cell in row_of(self) if cell)


@dataclasses.dataclass(eq=False)
class Call:
    """A call of a layer in a `Graph`.

    `name` is the layer's dotted name. `inputs` and `options` are what the layer was called with,
    and `output` is what its forward and its hooks returned, with Values in place of tensors.
    `nodes` are the operations of the call, those of inner layers included.
    """

    name: str
    layer: Layer
    inputs: Any
    options: Any
    output: Any = None
    nodes: tuple[Node, ...] = ()


class Graph:
    """What `trace` gives: the operations that a function has applied, as data.

    `nodes` are in the order in which they were applied, and so is `for node in graph`; `inputs` are
    the Values of the examples' tensors, in order; `outputs` is what the function has returned, with
    Values in place of tensors (an object becomes a dict of its attributes). `parameters` and
    `constants` are the Values of these kinds that nodes take, by name. `calls` are the calls of
    layers, in the order in which they began, each with `name`, `layer`, `inputs`, `options`,
    `output` and `nodes`. `reads` are the inputs, parameters and results whose values Python has
    taken (by `.data`, `.item()`, `bool()`): what Python computed from them is in the graph as
    constants, and the graph has only the branches that were taken for the examples.

    Printed, a graph is a list of its nodes, one on each line.

    >>> model = nn.Sequential(nn.Dense(2, 3), nn.ReLU())
    >>> graph = md.trace(model, np.ones((4, 2), np.float32))
    >>> print(graph)
    input   float32 (4, 2)
    linear  float32 (4, 3)  0  Linear(input, 0.weight, 0.bias)
    relu    float32 (4, 3)  1  ReLU(linear)
    return relu
    >>> [node.operation for node in graph], len(graph), list(graph.parameters)
    (['Linear', 'ReLU'], 2, ['0.weight', '0.bias'])
    """

    def __init__(
        self,
        nodes: tuple[Node, ...],
        inputs: tuple[Value, ...],
        outputs: Any,
        calls: tuple[Call, ...],
        reads: tuple[Value, ...],
    ) -> None:
        self.nodes, self.inputs, self.outputs = nodes, inputs, outputs
        self.calls, self.reads = calls, reads
        self.parameters: dict[str, Value] = {}
        self.constants: dict[str, Value] = {}
        for node in nodes:
            for value in node.inputs:
                if isinstance(value, Value):
                    if value.kind == "parameter":
                        self.parameters[value.name] = value
                    elif value.kind == "constant":
                        self.constants[value.name] = value

    def consumers(self, value: Value) -> list[Node]:
        """The nodes that take a value, in order, each once."""
        return value.consumers

    def used_only_by(self, value: Value, nodes: Collection[Node]) -> bool:
        """Whether only these nodes use a value: no other node takes it, the function does not
        return it, and Python has not read it."""
        return (
            value not in self.reads
            and value not in values_of(self.outputs)
            and all(node in nodes for node in value.consumers)
        )

    def held(self) -> tuple[Value, ...]:
        """The parameters and constants that the graph takes, and those that Python has read."""
        found = (*self.parameters.values(), *self.constants.values(), *self.reads)
        return tuple([value for value in dict.fromkeys(found) if value.array is not None])

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __repr__(self) -> str:
        return text_of(self)

    def to_dot(self) -> str:
        """The graph as Graphviz text: `dot -Tsvg` draws it.

        >>> print(md.trace(md.exp, np.ones(3, np.float32)).to_dot())
        digraph {
          node [shape=box, fontname="sans-serif"];
          "input" [label="input\\nfloat32 (3,)", shape=ellipse];
          "exp" [label="Exp"];
          "input" -> "exp" [label="(3,)"];
          "return" [label="return", shape=ellipse];
          "exp" -> "return" [label="(3,)"];
        }
        """
        return dot_of(self)


def unused_name(name: str, names: set[str]) -> str:
    """The name, or the name and a number if it is taken already; adds it to `names`."""
    made, count = name, 0
    while made in names:
        count += 1
        made = f"{name}_{count}"
    names.add(made)
    return made


def type_of(value: Value) -> str:
    return f"{value.dtype} {value.shape}"


def row_of(node: Node) -> tuple[str, str, str, str]:
    """The cells of a node's line: the names and types of its outputs, the layer, the call."""
    given = [_text(x) for x in node.inputs]
    given += [f"{name}={_text(x)}" for name, x in node.options.items()]
    return (
        ", ".join(value.name for value in node.outputs),
        ", ".join(type_of(value) for value in node.outputs),
        node.layer,
        f"{node.operation}({', '.join(given)})",
    )


def text_of(graph: Graph) -> str:
    """The graph as text: a line for each input, for each node and for the outputs, in columns."""
    rows = [(value.name, type_of(value), "", "") for value in graph.inputs]
    rows += [row_of(node) for node in graph.nodes]
    widths = [max((len(row[k]) for row in rows), default=0) for k in range(3)]
    lines = [
        "  ".join([*(row[k].ljust(widths[k]) for k in range(3) if widths[k]), row[3]]).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, f"return {_text(graph.outputs)}"])


def dot_of(graph: Graph) -> str:
    """The graph in Graphviz's language. The nodes' labels list their parameters and constants."""
    lines = ['node [shape=box, fontname="sans-serif"];']
    for value in graph.inputs:
        label = _quoted(f"{value.name}\n{type_of(value)}")
        lines.append(f"{_quoted(value.name)} [label={label}, shape=ellipse];")
    for node in graph.nodes:
        held = [x.name for x in values_of(node.inputs) if x.kind in ("parameter", "constant")]
        label = "\n".join([node.operation, *([node.layer] if node.layer else []), *held])
        lines.append(f"{_quoted(node.name)} [label={_quoted(label)}];")
        lines += _edges(node.inputs, node.name)
    lines.append('"return" [label="return", shape=ellipse];')
    lines += _edges(graph.outputs, "return")
    return "\n".join(["digraph {", *("  " + line for line in lines), "}"])


def _edges(values: Any, to: str) -> Iterator[str]:
    for value in values_of(values):
        start = value.name if value.producer is None else value.producer.name
        if value.kind in ("input", "result"):
            yield f"{_quoted(start)} -> {_quoted(to)} [label={_quoted(str(value.shape))}];"


def values_of(x: Any) -> Iterator[Value]:
    """The Values in nested lists, tuples, sets and dicts."""
    if isinstance(x, Value):
        yield x
    elif isinstance(x, (list, tuple, frozenset, dict)):
        for item in x.values() if isinstance(x, dict) else x:
            yield from values_of(item)


def _text(x: Any) -> str:
    """A short text for an argument, which shows Values by name and arrays by shape."""
    if isinstance(x, Value):
        return x.name
    if isinstance(x, dict):
        return "{" + ", ".join(f"{key!r}: {_text(item)}" for key, item in x.items()) + "}"
    if isinstance(x, (list, tuple)):
        inner = ", ".join(map(_text, x))
        if isinstance(x, list):
            return f"[{inner}]"
        return f"({inner},)" if len(x) == 1 else f"({inner})"
    if isinstance(x, np.ndarray):
        return f"array{x.shape}"
    if isinstance(x, np.ufunc):
        return x.__name__
    if isinstance(x, slice):
        parts = ["" if part is None else repr(part) for part in (x.start, x.stop, x.step)]
        return ":".join(parts if x.step is not None else parts[:2])
    return str(x) if isinstance(x, np.dtype) else repr(x)


def _quoted(text: str) -> str:
    """Text as a Graphviz string, with quotes, backslashes and ends of lines escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
