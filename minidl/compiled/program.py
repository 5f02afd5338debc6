"""What a model computes, as data that can be saved: operations on numbered values, for any batch.

`program_of` makes it of two traces (`two_traces`). A size that differs between them depends on the
batch: it becomes a `Size`, shapes and options are full of them. What depends on no input is
computed at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..grad_mode import no_grad
from ..graph import Function
from ..tensor import Tensor
from ..traced import Graph, Node, Value
from ..two_traces import BATCHES, refuse_reads, two_traces

WHERE = "compile"


class Size(NamedTuple):
    """A number that depends on the batch: base + step * batch."""

    base: int
    step: int


class Ref(NamedTuple):
    """An input of an operation: the value of that number."""

    number: int


@dataclasses.dataclass
class Known:
    """What is known of a value: its shape, of ints and Sizes, its dtype, and the array itself if
    it is a constant."""

    shape: tuple[Any, ...]
    dtype: np.dtype
    array: np.ndarray | None = None


@dataclasses.dataclass
class Operation:
    """An operation: the Function that computes it, what it takes (Refs, numbers, None), options, and
    the numbers of the values that it makes."""

    function: type[Function]
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    outputs: tuple[int, ...]
    name: str = ""          # of the node, for errors

    @property
    def kind(self) -> str:
        return self.function.__name__


@dataclasses.dataclass
class Program:
    """Operations in order, all values, and which are inputs and outputs. `returned` has Refs in the
    structure that the model returns; `batch` is the size that inputs must have, None for any."""

    values: list[Known]
    operations: list[Operation]
    inputs: list[int]
    returned: Any
    batch: int | None

    def consumers(self) -> dict[int, list[Operation]]:
        """The operations that take each value, each once."""
        found: dict[int, list[Operation]] = {}
        for operation in self.operations:
            for number in {x.number for x in operation.inputs if isinstance(x, Ref)}:
                found.setdefault(number, []).append(operation)
        return found

    def outputs(self) -> list[int]:
        """The values that the program returns, each once, in order."""
        return list(dict.fromkeys(ref.number for ref in refs_of(self.returned)))


def program_of(model: Callable[..., Any], examples: tuple[Any, ...]) -> Program:
    """The program of a model or function of tensors, in evaluation mode."""
    first, second = two_traces(model, examples, WHERE)
    refuse_reads(first, WHERE)
    for node in first:
        if node.options.get("training") is True:
            raise NotImplementedError(
                f"compile: {node.operation} of layer {node.layer!r} is in training mode, whatever "
                f"the model's mode is: its results depend on the batch")
    return _Capture(first, second).program


class _Capture:
    """Goes through two graphs of the same operations side by side."""

    def __init__(self, first: Graph, second: Graph) -> None:
        self.fixed = first is second
        self.numbers: dict[Value, int] = {}
        self.values: list[Known] = []
        self.operations: list[Operation] = []
        inputs = [self.number(a, b) for a, b in zip(first.inputs, second.inputs, strict=True)]
        for one, two in zip(first, second, strict=True):
            self.write(one, two)
        returned = self.both(first.outputs, second.outputs)
        batch = None
        if self.fixed and first.inputs and first.inputs[0].shape:
            batch = first.inputs[0].shape[0]
        self.program = Program(self.values, self.operations, inputs, returned, batch)

    def number(self, a: Value, b: Value) -> int:
        """The number of a value, which is one of both graphs."""
        if a not in self.numbers:
            array = a.array
            if array is not None:
                other = b.array
                if other is None or other.shape != array.shape or (
                        other is not array and not np.array_equal(other, array, equal_nan=True)):
                    raise NotImplementedError(
                        f"compile: {a.name} is an array that the model makes anew for each size of "
                        f"the batch: it is not in the graph")
            self.numbers[a] = len(self.values)
            shape = tuple([self.size(m, n) for m, n in zip(a.shape, b.shape, strict=True)])
            self.values.append(Known(shape, a.dtype, None if array is None else array.copy()))
        return self.numbers[a]

    def size(self, a: int, b: int) -> int | Size:
        if a == b:
            return a
        step = (b - a) // (BATCHES[1] - BATCHES[0])
        return Size(a - step * BATCHES[0], step)

    def both(self, a: Any, b: Any) -> Any:
        """Arguments of both graphs, with Refs for values and Sizes for numbers that differ."""
        if isinstance(a, Value):
            return Ref(self.number(a, b))
        if isinstance(a, dict):
            return {key: self.both(a[key], b[key]) for key in a}
        if isinstance(a, (list, tuple)):
            items = [self.both(x, y) for x, y in zip(a, b, strict=True)]
            return items if isinstance(a, list) else tuple(items)
        if isinstance(a, slice):
            return slice(*self.both((a.start, a.stop, a.step), (b.start, b.stop, b.step)))
        if isinstance(a, np.ndarray):
            if np.array_equal(a, b):
                return a
        elif isinstance(a, int) and isinstance(b, int):
            return self.size(a, b) if not isinstance(a, bool) else a
        elif a == b or a is b or (a != a and b != b):
            return a
        raise NotImplementedError(f"compile: {a!r} is another one for each size of the batch")

    def write(self, one: Node, two: Node) -> None:
        try:
            inputs = self.both(one.inputs, two.inputs)
            options = self.both(one.options, two.options)
            outputs = tuple([self.number(a, b)
                             for a, b in zip(one.outputs, two.outputs, strict=True)])
        except (KeyError, ValueError) as error:
            raise NotImplementedError(f"compile: {one.operation} of layer {one.layer!r} depends on "
                                      f"the size of the batch in a way that is not followed"
                                      ) from error
        operation = Operation(one.function, inputs, options, outputs, one.name)
        if any(isinstance(x, Ref) and self.values[x.number].array is None for x in inputs):
            self.operations.append(operation)
            return
        arrays = [self.values[x.number].array if isinstance(x, Ref) else x for x in inputs]
        for number, array in zip(outputs, applied(operation, arrays, BATCHES[0]), strict=True):
            self.values[number].array = array


def applied(operation: Operation, inputs: list[Any], batch: int) -> list[np.ndarray]:
    """What an operation makes of arrays, by its Function."""
    with no_grad():
        made = operation.function.apply(*[Tensor(x) if isinstance(x, np.ndarray) else x
                                          for x in inputs], **at(operation.options, batch))
        return [t._values() for t in (made if isinstance(made, tuple) else (made,))]


def at(x: Any, batch: int) -> Any:
    """A structure with numbers for Sizes."""
    if isinstance(x, Size):
        return x.base + x.step * batch
    if isinstance(x, dict):
        return {key: at(item, batch) for key, item in x.items()}
    if isinstance(x, slice):
        return slice(at(x.start, batch), at(x.stop, batch), at(x.step, batch))
    if isinstance(x, (list, tuple)) and not isinstance(x, Ref):
        items = [at(item, batch) for item in x]
        return items if isinstance(x, list) else tuple(items)
    return x


def refs_of(x: Any) -> list[Ref]:
    """The Refs in a structure."""
    if isinstance(x, Ref):
        return [x]
    if isinstance(x, dict):
        x = list(x.values())
    return [ref for item in x for ref in refs_of(item)] if isinstance(x, (list, tuple)) else []


def with_arrays(x: Any, arrays: dict[int, Any]) -> Any:
    """A structure with arrays for Refs."""
    if isinstance(x, Ref):
        return arrays[x.number]
    if isinstance(x, dict):
        return {key: with_arrays(item, arrays) for key, item in x.items()}
    if isinstance(x, (list, tuple)):
        items = [with_arrays(item, arrays) for item in x]
        return items if isinstance(x, list) else tuple(items)
    return x
