"""A program is what a model computes, as data that can be saved: operations on numbered values, for
a batch of any size.

`program_of` makes it of three traces (`batch_traces`). A number in a shape or an option that
differs between the first two traces depends on the batch, and becomes a `Size`. The third trace
shows whether it is linear in the size of the batch. What depends on no input is computed at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..batch_traces import BATCHES, CHECKED, batch_traces, fixed_batch_traces, refuse_reads
from ..grad_mode import no_grad
from ..graph import Function
from ..mode import evaluation
from ..tensor import Tensor
from ..traced import Graph, Node, Value

WHERE = "compile"


class Size(NamedTuple):
    """A number that depends on the batch: base + step * batch."""

    base: int
    step: int


class Ref(NamedTuple):
    """An input of an operation: the value with this number."""

    number: int


@dataclasses.dataclass(eq=False)
class Known:
    """What is known of a value: its shape, of ints and Sizes, its dtype, and the array itself if
    it is a constant. A constant that repeats the same numbers for every image, such as the initial
    state of a recurrent layer, has them once, as `entry`."""

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
    """An operation: the Function that computes it, its inputs (Refs, numbers, None), its options,
    and the numbers of the values that are its outputs."""

    function: type[Function]
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    outputs: tuple[int, ...]
    name: str = ""  # of the node, for errors

    @property
    def kind(self) -> str:
        return self.function.__name__


@dataclasses.dataclass(eq=False)
class Program:
    """Operations in order, all values, and the numbers of those that are inputs. `returned` is the
    structure that the model returns, with Refs for tensors; `batch` is the size of the batch that
    inputs must have, None for any."""

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
                f"model's mode is: its results depend on the batch"
            )
        if node.operation == "Dropout":
            raise NotImplementedError(
                f"compile: {node.name} draws a dropout mask, whatever the model's mode is: it is "
                f"another one at each call"
            )
    try:
        return _Capture(graphs).program
    except _OneBatch:
        graphs = fixed_batch_traces(model, examples, WHERE, len(graphs))
    try:
        return _Capture(graphs).program
    except _OneBatch:
        raise NotImplementedError(
            "compile: a number that the model returns, or computes with, is another one at each "
            "call: it is not in the graph"
        ) from None


class _OneBatch(Exception):
    """Raised for a number that is not linear in the size of the batch."""


class _Capture:
    """Makes a program of graphs that have the same operations, for several sizes of the batch."""

    def __init__(self, graphs: tuple[Graph, ...]) -> None:
        sizes = {graph.inputs[0].shape[:1] for graph in graphs if graph.inputs}
        self.batch = sizes.pop()[0] if len(sizes) == 1 and () not in sizes else None  # if fixed
        self.numbers: dict[Value, int] = {}
        self.values: list[Known] = []
        self.operations: list[Operation] = []
        inputs = [
            self.number(*found) for found in zip(*[graph.inputs for graph in graphs], strict=True)
        ]
        for nodes in zip(*graphs, strict=True):
            self.write(*nodes)
        returned = self.common(*[graph.outputs for graph in graphs])
        self.program = Program(self.values, self.operations, inputs, returned, self.batch)

    def number(self, *found: Value) -> int:
        """The number of a value, given as each graph has it."""
        value = found[0]
        if value not in self.numbers:
            array, entry = self.constant(value.name, [v.array for v in found])
            self.numbers[value] = len(self.values)
            shape = tuple(
                [self.size(*sizes) for sizes in zip(*[v.shape for v in found], strict=True)]
            )
            if array is None and shape[:1] == (self.batch,):
                shape = (Size(0, 1), *shape[1:])  # so layers take it for a batch
            self.values.append(Known(shape, value.dtype, array, entry))
        return self.numbers[value]

    @staticmethod
    def constant(
        name: str, arrays: list[np.ndarray | None]
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """(array, None) with a copy of an array that is the same in all graphs, or (None, entry)
        with what an array repeats for each image."""
        first = arrays[0]
        if first is None:
            return None, None
        given = [a for a in arrays if a is not None]
        varies = [len(set(sizes)) > 1 for sizes in zip(*[a.shape for a in given], strict=True)]
        longest = max(given, key=lambda a: a.size)  # the array for a batch of 2 may be empty
        entry = longest[tuple([slice(0, 1) if v else slice(None) for v in varies])]
        for array in arrays:
            if array is None or not (
                array is first
                or np.array_equal(
                    np.broadcast_to(entry, array.shape), array, equal_nan=array.dtype.kind == "f"
                )
            ):
                raise NotImplementedError(
                    f"compile: {name} is an array that the model makes anew "
                    f"for each size of the batch, or at each call: it is not "
                    f"in the graph"
                )
        return (None, entry.copy()) if any(varies) else (first.copy(), None)

    def size(self, *sizes: int) -> int | Size:
        if all(n == sizes[0] for n in sizes):
            return sizes[0]
        step = (sizes[1] - sizes[0]) // (BATCHES[1] - BATCHES[0])
        made = Size(sizes[0] - step * BATCHES[0], step)
        if tuple([at(made, batch) for batch in (*BATCHES, CHECKED)]) != sizes:
            raise _OneBatch
        return made

    def common(self, *found: Any) -> Any:
        """The arguments of all graphs as one, with Refs for values and Sizes for numbers that
        differ."""
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
        raise NotImplementedError(
            f"compile: an argument of an operation, {x!r} for {BATCHES[0]} "
            f"images, is another one for each size of the batch"
        )

    def write(self, *nodes: Node) -> None:
        """Add the operation of a node, given as each graph has it. One that depends on no input is
        computed instead."""
        first = nodes[0]
        try:
            inputs = self.common(*[node.inputs for node in nodes])
            options = self.common(*[node.options for node in nodes])
            outputs = tuple(
                [self.number(*made) for made in zip(*[node.outputs for node in nodes], strict=True)]
            )
        except (KeyError, ValueError) as error:
            raise NotImplementedError(
                f"compile: {first.name} ({first.operation}) depends on the "
                f"size of the batch in a way that is not followed"
            ) from error
        operation = Operation(first.function, inputs, options, outputs, first.name)
        if (
            has_sizes(inputs)
            or has_sizes(options)
            or any(isinstance(x, Ref) and self.values[x.number].array is None for x in inputs)
        ):
            self.operations.append(operation)
            return
        arrays = [self.values[x.number].array if isinstance(x, Ref) else x for x in inputs]
        for number, array in zip(outputs, applied(operation, arrays, BATCHES[0]), strict=True):
            self.values[number].array = array


def applied(operation: Operation, inputs: list[Any], batch: int) -> list[np.ndarray]:
    """The outputs of an operation for arrays, computed by its Function."""
    with no_grad():
        made = operation.function.apply(
            *[Tensor(x) if isinstance(x, np.ndarray) else x for x in inputs],
            **at(operation.options, batch),
        )
        return [t._values() for t in (made if isinstance(made, tuple) else (made,))]


def computed(operation: Operation, arrays: dict[int, Any], batch: int) -> list[np.ndarray]:
    """The outputs of an operation for the values that it takes, computed in evaluation mode."""
    given = [arrays[x.number] if isinstance(x, Ref) else at(x, batch) for x in operation.inputs]
    with evaluation():
        return applied(operation, given, batch)


def at(x: Any, batch: int) -> Any:
    """A structure with the Sizes in it replaced by numbers, for a size of the batch."""
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
    """A structure with the Refs in it replaced by arrays."""
    if isinstance(x, Ref):
        return arrays[x.number]
    if isinstance(x, dict):
        return {key: with_arrays(item, arrays) for key, item in x.items()}
    if isinstance(x, (list, tuple)):
        items = [with_arrays(item, arrays) for item in x]
        return items if isinstance(x, list) else tuple(items)
    return x
