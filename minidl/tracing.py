"""`trace(f, *examples)` runs f once and records what it computes as data.

`Function.apply`, `Layer.__call__` and reads of values tell the tracer of a thread what happens (see
`tracers`). The tracer in this module turns that into the nodes and values of a `Graph` (see
`traced`).
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable
from numbers import Real
from types import FunctionType, GeneratorType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks, kernels
from .arrays import array_like, plain_array
from .grad_mode import no_grad
from .graph import Function
from .mode import evaluation
from .ops.common import SMALL
from .tensor import Tensor
from .traced import Call, Graph, Node, Value, unused_name
from .tracers import Tracer, following

if TYPE_CHECKING:
    from .nn.layer import Layer


def model_input(x: Any, dtype: np.dtype) -> Tensor:
    """A batch as a model takes it: uint8 images are divided by 255 and converted to `dtype`."""
    batch = x.data if isinstance(x, Tensor) else np.asarray(plain_array(x), order="C")
    if batch.dtype == np.uint8:
        batch = kernels.to_float(batch).astype(dtype, copy=False)
    return Tensor(batch)


def trace(f: Callable[..., Any], *examples: Any, training: bool = False) -> Graph:
    """The graph of what f, a layer or any function of tensors, computes for the examples.

    `examples` are what f takes. Arrays and lists of numbers become tensors, also in tuples, lists
    and dicts; uint8 images are divided by 255, as `predict` does; everything else is passed on as
    it is. f runs
    once, on this thread, without a graph for gradients, and computes no more than it does without
    the trace: results that wait for their first use go on waiting. The trace does not see what
    other threads compute.

    Meanwhile all layers are in evaluation mode, for this thread alone, so that nothing in them
    changes. With `training=True` they stay in their modes: running statistics move and random
    numbers are drawn as in any other call. Batch statistics and the keys of dropout masks are then
    options of their nodes, with the numbers of this batch.

    The graph is that of this run: its shapes, the numbers that Python has computed and the branches
    that were taken are those for the examples. `Graph.reads` lists the values that such a branch
    may depend on. An error of f is raised as it is. TypeError if f cannot be called.

    >>> graph = md.trace(lambda x, y: (x + y).sum(), np.ones((2, 3)), np.ones(3))
    >>> print(graph)
    input_0  float64 (2, 3)
    input_1  float64 (3,)
    add      float64 (2, 3)  Add(input_0, input_1)
    sum      float64 ()      Sum(add, axes=(0, 1), keepdims=False)
    return sum
    """
    if not callable(f):
        raise TypeError(f"trace: f must be a layer or a function, got {type(f).__name__}")
    checks.flag(training, "trace", "training")
    tracer = _Tracer()
    model: Any = getattr(f, "__self__", f)  # f may be a method of a model
    dtype = np.dtype(np.float32)
    if _is_layer(model):
        tracer.name_parts(model, "")
        dtype = model._dtype()
    arguments = [tracer.argument(x, dtype) for x in examples]
    with no_grad() if training else evaluation(), following(tracer):
        result = f(*arguments)
        if isinstance(result, GeneratorType):
            result = tuple(result)
    outputs = tracer.values_in(result, inside=True)
    return Graph(
        tuple(tracer.nodes),
        tracer.named_inputs(),
        outputs,
        tuple(tracer.calls),
        tuple(tracer.taken),
    )


def _numbers(x: Any) -> bool:
    """Whether x is a number, or a list of numbers, nested or not."""
    if not isinstance(x, list):
        return isinstance(x, (Real, np.generic))
    return all(map(_numbers, x))


class _Tracer(Tracer):
    """The tracer that records what its thread does. It recognizes tensors by identity while they
    live. It keeps none alive, because a tensor that is gone never has to be computed."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.calls: list[Call] = []
        self.inputs: list[Value] = []
        self.taken: dict[Value, None] = {}  # the values that Python has read, in order
        self.path: list[Layer] = []  # the layers that are being called, outermost first
        self.known: dict[int, tuple[weakref.ref[Any], Value]] = {}
        self.layers: dict[int, tuple[str, Layer]] = {}
        self.parts: dict[int, tuple[str, Any]] = {}  # parameters and buffers
        self.parameters: set[str] = set()
        # Values of parts by name, because every view of a row of a part is another array object.
        self.named: dict[str, Value] = {}
        self.names = {"return"}

    # --------------------------------------------------------------------- the tracer's protocol

    def operation(
        self,
        function: type[Function],
        inputs: tuple[Any, ...],
        options: dict[str, Any],
        outputs: tuple[Any, ...],
    ) -> None:
        given = tuple([self.value(x) if isinstance(x, (Tensor, np.ndarray)) else x for x in inputs])
        layer = self.layers[id(self.path[-1])][0] if self.path else ""
        node = Node(
            self.unused(function.__name__.lower()),
            function,
            given,
            dict(options),
            layer,
            tuple(self.path),
        )
        made = []
        for k, t in enumerate(outputs):
            value = Value(node.name if len(outputs) == 1 else f"{node.name}.{k}", "result", t)
            value.producer = node
            self.know(t, value)
            made.append(value)
        node.outputs = tuple(made)
        for value in dict.fromkeys(x for x in given if isinstance(x, Value)):
            value.consumers.append(node)
        self.nodes.append(node)

    def call(
        self,
        layer: Layer,
        run: Callable[..., Any],
        inputs: tuple[Any, ...],
        options: dict[str, Any],
    ) -> Any:
        if id(layer) not in self.layers:
            self.name_parts(layer, self.unused(type(layer).__name__))
        call = Call(
            self.layers[id(layer)][0], layer, self.values_in(inputs), self.values_in(options)
        )
        self.calls.append(call)
        first = len(self.nodes)
        self.path.append(layer)
        try:
            output = run(*inputs, **options)
        finally:
            self.path.pop()
        call.nodes, call.output = tuple(self.nodes[first:]), self.values_in(output)
        return output

    def read(self, tensor: Tensor) -> None:
        if id(tensor) in self.known or _learns(tensor) or self.part_name(tensor):
            value = self.value(tensor)
            if value.kind != "constant":
                self.taken[value] = None

    def copied(self, tensor: Tensor, array: np.ndarray) -> None:
        if self.part_name(array):  # any other array may be written to before its next use
            self.know(tensor, self.value(array))

    # -------------------------------------------------------------------------------- the values

    def know(self, x: Tensor | np.ndarray, value: Value) -> None:
        self.known[id(x)] = weakref.ref(x), value

    def value(self, x: Tensor | np.ndarray) -> Value:
        """The Value of a tensor, or of an array that is given to an operation. It is a new one if
        no operation in the trace has made the tensor and none has used it before."""
        found = self.known.get(id(x))
        if found is not None and found[0]() is x:
            return found[1]
        name = self.part_name(x)
        kind = "parameter" if _learns(x) or name in self.parameters else "constant"
        value = self.named.get(name) if name else None
        if value is None:
            held = x if name or kind == "parameter" else _as_it_is(x)
            value = Value(name or self.unused(kind), kind, held)
            if name:
                self.named[name] = value
        if name or isinstance(x, Tensor):  # any other array may be refilled for its next use
            self.know(x, value)
        return value

    def argument(self, x: Any, dtype: np.dtype) -> Any:
        """An example as f takes it, with uint8 images converted to `dtype`; its tensors become
        inputs of the graph."""
        if isinstance(x, dict):
            return {key: self.argument(item, dtype) for key, item in x.items()}
        if isinstance(x, (list, tuple)) and not _numbers(x):
            items = [self.argument(item, dtype) for item in x]
            return type(x)(*items) if hasattr(x, "_fields") else type(x)(items)
        if isinstance(x, np.generic) or not (isinstance(x, (Tensor, list)) or array_like(x)):
            return x
        tensor = model_input(x, dtype)
        value = Value(self.unused(f"input_{len(self.inputs)}"), "input", tensor)
        self.know(tensor, value)
        self.inputs.append(value)
        return tensor

    def named_inputs(self) -> tuple[Value, ...]:
        if len(self.inputs) == 1:
            self.inputs[0].name = self.unused("input")
        return tuple(self.inputs)

    def values_in(self, x: Any, inside: bool = False, seen: dict[int, Any] | None = None) -> Any:
        """x with Values in place of its tensors, in lists, tuples, dicts and sets. With `inside`
        other objects are searched too, and become dicts of their attributes."""
        if isinstance(x, Tensor):
            return self.value(x)
        seen = {} if seen is None else seen
        if id(x) in seen:
            return seen[id(x)]
        seen[id(x)] = None  # ends the recursion for an object that holds itself
        within: Any = x
        if inside and not isinstance(x, (dict, list, tuple, set, frozenset)):
            within = _attributes(x)
        made: Any = x
        if isinstance(within, dict):
            made = {key: self.values_in(item, inside, seen) for key, item in within.items()}
        elif isinstance(within, (list, tuple, set, frozenset)):
            made = [self.values_in(item, inside, seen) for item in within]
            if not isinstance(within, list):
                made = (
                    type(x)(*made)
                    if hasattr(x, "_fields")
                    else (frozenset(made) if isinstance(within, (set, frozenset)) else tuple(made))
                )
        seen[id(x)] = made
        return made

    # --------------------------------------------------------------------------------- the names

    def name_parts(self, layer: Layer, name: str) -> None:
        """Give names to a layer that is not yet known, and to everything that it holds."""
        for inner, part in layer.named_layers(name):
            self.layers.setdefault(id(part), (inner, part))
        prefix = f"{name}." if name else ""
        parameters = dict(layer.named_parameters())
        self.parameters.update(prefix + inner for inner in parameters)
        for inner, held in (*parameters.items(), *layer.named_buffers()):
            self.parts.setdefault(id(held), (prefix + inner, held))
            self.names.add(prefix + inner)

    def part_name(self, x: Any) -> str | None:
        """The name of a parameter or buffer, or of a row of one."""
        found = self.parts.get(id(x))
        if found is not None and found[1] is x:
            return found[0]
        if isinstance(x, Tensor):
            return self.part_name(x._array)  # the tensor may wrap a buffer's array
        base = getattr(x, "base", None)
        found = self.parts.get(id(base))
        if (
            found is None
            or found[1] is not base
            or base.ndim == 0
            or x.dtype != base.dtype
            or (x.shape, x.strides) != (base.shape[1:], base.strides[1:])
        ):
            return None
        start = x.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        row = next((k for k in range(len(base)) if k * base.strides[0] == start), None)
        return None if row is None else f"{found[0]}[{row}]"

    def unused(self, name: str) -> str:
        """The name, or the name and a number if it is taken already."""
        return unused_name(name, self.names)


def _is_layer(x: Any) -> bool:
    return hasattr(x, "named_layers") and not isinstance(x, type)


def _learns(x: Tensor | np.ndarray) -> bool:
    return isinstance(x, Tensor) and x._requires_grad and x._node is None


def _attributes(x: Any) -> Any:
    """The attributes of an object that a function has returned, or x where it has none."""
    if isinstance(x, (type, ModuleType, FunctionType)) or _is_layer(x):
        return x
    if dataclasses.is_dataclass(x):
        return {field.name: getattr(x, field.name) for field in dataclasses.fields(x)}
    return getattr(x, "__dict__", None) or x


def _as_it_is(x: Tensor | np.ndarray) -> Tensor | np.ndarray:
    """A constant that nobody can change: an array is copied, and so is a tensor unless it is large
    or not computed yet."""
    if isinstance(x, np.ndarray):
        return x.copy()
    array = x._array
    return x if array is None or array.nbytes > SMALL else array.copy()
