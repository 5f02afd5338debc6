"""What a model computes, as data that can be saved: operations on numbered values, for any batch.

`program_of` makes it of three traces (`batch_traces`). A size that differs between the first two
depends on the batch: it becomes a `Size`, shapes and options are full of them. The third shows
whether it does so in a straight line. What depends on no input is computed at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..batch_traces import BATCHES, batch_traces, fixed_batch_traces, refuse_reads
from ..grad_mode import no_grad
from ..graph import Function
from ..mode import evaluation
from ..tensor import Tensor
from ..traced import Graph, Node, Value

WHERE = "compile"
CHECKED = 9         # a third size of the batch, for which numbers must be as the first two say


class Size(NamedTuple):
    """A number that depends on the batch: base + step * batch."""

    base: int
    step: int


class Ref(NamedTuple):
    """An input of an operation: the value of that number."""

    number: int


@dataclasses.dataclass(eq=False)
class Known:
    """What is known of a value: its shape, of ints and Sizes, its dtype, and the array itself if
    it is a constant. Of one that is the same for every image and as long as the batch, the first
    state of a recurrent layer for one, `entry` has it once."""

    shape: tuple[Any, ...]
    dtype: np.dtype
    array: np.ndarray | None = None
    entry: np.ndarray | None = None

    def constant(self, batch: int) -> np.ndarray | None:
        """The array of a constant for a batch; None if the value is none."""
        if self.entry is None:
            return self.array
        return np.ascontiguousarray(np.broadcast_to(self.entry, at(self.shape, batch)))


@dataclasses.dataclass(eq=False)
class Operation:
    """An operation: the Function that computes it, what it takes (Refs, numbers, None), options,
    and the numbers of the values that it makes."""

    function: type[Function]
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    outputs: tuple[int, ...]
    name: str = ""          # of the node, for errors

    @property
    def kind(self) -> str:
        return self.function.__name__


@dataclasses.dataclass(eq=False)
class Program:
    """Operations in order, all values, and which are inputs and outputs. `returned` has Refs in the
    structure that the model returns; `batch` is the size that inputs must have, None for any."""

    values: list[Known]
    operations: list[Operation]
    inputs: list[int]
    returned: Any
    batch: int | None

    def outputs(self) -> list[int]:
        """The values that the program returns, each once, in order."""
        return list(dict.fromkeys(ref.number for ref in refs_of(self.returned)))


def program_of(model: Callable[..., Any], examples: tuple[Any, ...]) -> Program:
    """The program of a model or function of tensors, in evaluation mode."""
    graphs = batch_traces(model, examples, WHERE, (CHECKED,))
    refuse_reads(graphs[0], WHERE)
    for node in graphs[0]:
        if node.options.get("training") is True:
            raise NotImplementedError(
                f"compile: {node.name} ({node.operation}) is in training mode, whatever the "
                f"model's mode is: its results depend on the batch")
        if node.operation == "Dropout":
            raise NotImplementedError(
                f"compile: {node.name} draws a dropout mask, whatever the model's mode is: it is "
                f"another one at each call")
    try:
        return _Capture(graphs).program
    except _OneBatch:
        return _Capture(fixed_batch_traces(model, examples, WHERE, len(graphs))).program


class _OneBatch(Exception):
    """A number follows the size of the batch in no straight line."""


class _Capture:
    """Goes through graphs of the same operations side by side."""

    def __init__(self, graphs: tuple[Graph, ...]) -> None:
        sizes = {graph.inputs[0].shape[:1] for graph in graphs if graph.inputs}
        self.batch = sizes.pop()[0] if len(sizes) == 1 and () not in sizes else None    # if fixed
        self.numbers: dict[Value, int] = {}
        self.values: list[Known] = []
        self.operations: list[Operation] = []
        inputs = [self.number(*found) for found in
                  zip(*[graph.inputs for graph in graphs], strict=True)]
        for nodes in zip(*graphs, strict=True):
            self.write(*nodes)
        returned = self.common(*[graph.outputs for graph in graphs])
        self.program = Program(self.values, self.operations, inputs, returned, self.batch)

    def number(self, *found: Value) -> int:
        """The number of a value, which is one of all graphs."""
        value = found[0]
        if value not in self.numbers:
            array, entry = self.constant(value.name, [v.array for v in found])
            self.numbers[value] = len(self.values)
            shape = tuple([self.size(*sizes) for sizes in
                           zip(*[v.shape for v in found], strict=True)])
            if array is None and shape[:1] == (self.batch,):
                shape = (Size(0, 1), *shape[1:])    # an entry of it depends on no other one
            self.values.append(Known(shape, value.dtype, array, entry))
        return self.numbers[value]

    @staticmethod
    def constant(name: str, arrays: list[np.ndarray | None]
                 ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """A copy of an array that is the same in all graphs; or else of what is repeated in it for
        each image."""
        first = arrays[0]
        if first is None:
            return None, None
        sizes = list(zip(*[a.shape for a in arrays if a is not None], strict=True))
        repeated = tuple([slice(0, 1) if len(set(n)) > 1 else slice(None) for n in sizes])
        entry = first[repeated]
        for array in arrays:
            if array is None or not (array is first or np.array_equal(
                    np.broadcast_to(entry, array.shape), array, equal_nan=array.dtype.kind == "f")):
                raise NotImplementedError(f"compile: {name} is an array that the model makes anew "
                                          f"for each size of the batch, or at each call: it is not "
                                          f"in the graph")
        return (first.copy(), None) if entry.shape == first.shape else (None, entry.copy())

    def size(self, *sizes: int) -> int | Size:
        if all(n == sizes[0] for n in sizes):
            return sizes[0]
        step = (sizes[1] - sizes[0]) // (BATCHES[1] - BATCHES[0])
        made = Size(sizes[0] - step * BATCHES[0], step)
        if tuple([at(made, batch) for batch in (*BATCHES, CHECKED)]) != sizes:
            raise _OneBatch
        return made

    def common(self, *found: Any) -> Any:
        """Arguments of all graphs, with Refs for values and Sizes for numbers that differ."""
        x = found[0]
        if isinstance(x, Value):
            return Ref(self.number(*found))
        if isinstance(x, dict):
            return {key: self.common(*[other[key] for other in found]) for key in x}
        if isinstance(x, (list, tuple)):
            items = [self.common(*group) for group in zip(*found, strict=True)]
            return items if isinstance(x, list) else tuple(items)
        if isinstance(x, slice):
            return slice(*self.common(*[(s.start, s.stop, s.step) for s in found]))
        if isinstance(x, np.ndarray):
            if all(np.array_equal(x, other) for other in found[1:]):
                return x
        elif all(n is x or n == x or (n != n and x != x) for n in found):
            return x
        elif all(isinstance(n, int) and not isinstance(n, bool) for n in found):
            return self.size(*found)
        raise NotImplementedError(f"compile: an argument of an operation, {x!r} for {BATCHES[0]} "
                                  f"images, is another one for each size of the batch")

    def write(self, *nodes: Node) -> None:
        one = nodes[0]
        try:
            inputs = self.common(*[node.inputs for node in nodes])
            options = self.common(*[node.options for node in nodes])
            outputs = tuple([self.number(*made) for made in
                             zip(*[node.outputs for node in nodes], strict=True)])
        except (KeyError, ValueError) as error:
            raise NotImplementedError(f"compile: {one.name} ({one.operation}) depends on the size "
                                      f"of the batch in a way that is not followed") from error
        operation = Operation(one.function, inputs, options, outputs, one.name)
        if has_sizes(inputs) or has_sizes(options) or any(
                isinstance(x, Ref) and self.values[x.number].array is None for x in inputs):
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


def computed(operation: Operation, arrays: dict[int, Any], batch: int) -> list[np.ndarray]:
    """What an operation makes of the values that it takes, in evaluation mode."""
    given = [arrays[x.number] if isinstance(x, Ref) else at(x, batch) for x in operation.inputs]
    with evaluation():
        return applied(operation, given, batch)


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


def has_sizes(x: Any) -> bool:
    """Whether a structure has a number that depends on the batch."""
    if isinstance(x, (Size, Ref)):
        return isinstance(x, Size)
    if isinstance(x, slice):
        return has_sizes((x.start, x.stop, x.step))
    if isinstance(x, dict):
        x = list(x.values())
    return isinstance(x, (list, tuple)) and any(map(has_sizes, x))


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
