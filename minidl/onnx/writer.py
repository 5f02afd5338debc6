"""Writes a traced graph as ONNX: values with the order of their axes, arrays that become
initializers, and sizes that depend on the batch.

minidl has the channels of images last, ONNX has them second. Axis 1 of a value in the file may
therefore be the last axis of minidl's value. No value is moved before an operation needs another
order: transposes stand where a chain of operations on images begins and ends, and inside it only
where an operation, such as a LayerNorm, needs the channels last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir import tape

from ..traced import Node, Value, unused_name

Axes = tuple[int, ...]
Dim = tuple[int, int]  # a size in the two traces of a graph, for two sizes of the batch
Dims = tuple[Dim, ...]


class Written:
    """A value of the file. Its axis k is axis `axes[k]` of minidl's value; with None all axes have
    the same numbers in both. If `images` is (C, H, W), the value has images as rows, which the file
    flattens in this order and minidl as (H, W, C)."""

    __slots__ = ("axes", "dims", "images", "orders", "value")

    def __init__(
        self, value: ir.Value, dims: Dims, axes: Axes | None = None, images: Axes | None = None
    ) -> None:
        self.value, self.dims, self.images = value, dims, images
        self.axes = None if axes is None or axes == tuple(range(len(axes))) else axes
        self.orders: dict[Axes, ir.Value] = {}

    @property
    def ndim(self) -> int:
        return len(self.dims)

    @property
    def order(self) -> Axes:
        return tuple(range(self.ndim)) if self.axes is None else self.axes

    def place(self, axis: int) -> int:
        """Where the value of the file has an axis of minidl's."""
        return self.order.index(axis % self.ndim)


class Known:
    """An array that depends on no input, as each of the two traces has it. `name` is for the first
    initializer that it becomes."""

    __slots__ = ("arrays", "name", "orders")

    def __init__(self, name: str, first: np.ndarray, second: np.ndarray) -> None:
        self.name, self.arrays = name, (first, second)
        self.orders: dict[Axes, ir.Value] = {}

    @property
    def array(self) -> np.ndarray:
        """The array of the first trace."""
        return self.arrays[0]

    @property
    def dims(self) -> Dims:
        return dims_of(*(a.shape for a in self.arrays))

    @property
    def ndim(self) -> int:
        return self.array.ndim


Operand = Written | Known


def dims_of(first: Sequence[int], second: Sequence[int]) -> Dims:
    """Sizes of the two traces, side by side."""
    return tuple(zip(first, second, strict=True))


def fixed(dim: Dim) -> bool:
    """Whether a size does not depend on the batch."""
    return dim[0] == dim[1]


def channels_first(ndim: int) -> Axes:
    """The order of axes with the last one second."""
    return (0, ndim - 1, *range(1, ndim - 1)) if ndim > 2 else tuple(range(ndim))


class Writer:
    """Nodes and initializers of a file in the making. `batches` are the sizes of the batch in the
    two traces."""

    def __init__(self, batches: Dim) -> None:
        self.tape, self.batches = tape.Tape(), batches
        self.made: dict[tuple[Any, ...], ir.Value] = {}  # small initializers, by their contents
        self.names: set[str] = set()
        self.site: Any = None  # the node that is being written
        self.batch_of: ir.Value | None = None  # the input whose first axis is the batch
        self._batch: ir.Value | None = None

    # -------------------------------------------------------------------- nodes and initializers

    def op(self, operator: str, *inputs: Any, **attributes: Any) -> ir.Value:
        """A node of one output; its inputs are values of the file, arrays, or None."""
        return self.ops(operator, 1, *inputs, **attributes)[0]

    def ops(
        self, operator: str, outputs: int, *inputs: Any, **attributes: Any
    ) -> Sequence[ir.Value]:
        """A node of several outputs."""
        given = [self.initializer(x) if isinstance(x, np.ndarray) else x for x in inputs]
        while given and given[-1] is None:
            given.pop()
        name = self.unused(self.site.name if self.site is not None else operator.lower())
        values = [
            ir.Value(name=self.unused(name if outputs == 1 else f"{name}.{k}"))
            for k in range(outputs)
        ]
        self.tape.op_multi_out(operator, given, attributes, outputs=values, name=name)
        return values

    def unused(self, name: str) -> str:
        """The name, or one with a number where that is taken."""
        return unused_name(name, self.names)

    def initializer(self, array: np.ndarray, name: str = "constant") -> ir.Value:
        """An initializer. Small ones of equal contents are written once."""
        array = np.asarray(array, order="C")
        small = array.nbytes < 1024
        key = (name, array.dtype.str, array.shape, array.tobytes() if small else b"")
        if small and key in self.made:
            return self.made[key]
        own = self.unused(name)
        made = self.tape.initializer(ir.tensor(array, name=own), own)
        if small:
            self.made[key] = made
        return made

    # ------------------------------------------------------------------------- values in an order

    def ordered(self, x: Operand, order: Axes) -> ir.Value:
        """A value with its axes in an order of minidl's axes. An array is written in this order, a
        value of the file is transposed, once for each order."""
        if isinstance(x, Known):
            return self._known(x, order)
        if order == x.order:
            return x.value
        if order not in x.orders:
            perm = [x.order.index(axis) for axis in order]
            x.orders[order] = self.op("Transpose", x.value, perm=perm)
        return x.orders[order]

    def plain(self, x: Operand) -> ir.Value:
        """A value with its axes as minidl has them."""
        return self.ordered(x, tuple(range(x.ndim)))

    def first(self, x: Operand) -> ir.Value:
        """A value with the channels, minidl's last axis, second."""
        return self.ordered(x, channels_first(x.ndim))

    def _known(self, x: Known, order: Axes) -> ir.Value:
        if order not in x.orders:
            x.orders[order] = self._expanded(x.name, *(a.transpose(order) for a in x.arrays))
        return x.orders[order]

    def _expanded(self, name: str, first: np.ndarray, second: np.ndarray) -> ir.Value:
        """An array of the two traces as a value. Its sizes may depend on the batch if its values
        do not."""
        if first.shape == second.shape:
            if not np.array_equal(first, second, equal_nan=first.dtype.kind == "f"):
                raise self.refusal("a constant depends on the size of the batch")
            return self.initializer(first, name)
        dims = dims_of(first.shape, second.shape)
        longer = max(first, second, key=lambda array: array.size)  # the other one may be empty
        small = longer[tuple([slice(None) if fixed(d) else slice(0, 1) for d in dims])]
        for array in (first, second):
            if not np.array_equal(np.broadcast_to(small, array.shape), array):
                raise self.refusal("a constant depends on the size of the batch")
        return self.op("Expand", self.initializer(small, name), self.shape(dims))

    def aligned(self, values: Sequence[Operand]) -> tuple[list[ir.Value], Axes | None]:
        """Operands of an operator that broadcasts, with their axes in one order, which the largest
        of them has; and that order."""
        ndim = max(x.ndim for x in values)
        written = [x for x in values if isinstance(x, Written) and x.ndim == ndim]
        lead = max(
            written,
            default=None,
            key=lambda x: (int(np.prod([d[0] for d in x.dims])), x.axes is not None),
        )
        order = tuple(range(ndim)) if lead is None else lead.order
        return [self._aligned(x, ndim, order) for x in values], order

    def _aligned(self, x: Operand, ndim: int, order: Axes) -> ir.Value:
        if x.ndim == ndim:
            return self.ordered(x, order)
        if x.ndim == 0 or order == tuple(range(ndim)):
            return self.plain(x)
        extra = ndim - x.ndim
        if isinstance(x, Known):
            wide = Known(x.name, *(a.reshape((1,) * extra + a.shape) for a in x.arrays))
            return self.ordered(wide, order)
        value = self.op("Unsqueeze", self.plain(x), np.arange(extra))
        return self.ordered(Written(value, ((1, 1),) * extra + x.dims), order)

    # ------------------------------------------------------------------------------------ sizes

    def shape(self, dims: Dims, one_open: bool = False) -> ir.Value:
        """Sizes as a list of integers, those that depend on the batch computed from it; with
        `one_open` a single one of these is -1, which Reshape finds out."""
        moving = [d for d in dims if not fixed(d)]
        if not moving or (one_open and len(moving) == 1):
            sizes = [d[0] if fixed(d) else -1 for d in dims]
            return self.initializer(np.array(sizes, np.int64), "shape")
        parts = [
            self.initializer(np.array([d[0]], np.int64), "size") if fixed(d) else self._size(d)
            for d in dims
        ]
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=0)

    def _size(self, dim: Dim) -> ir.Value:
        """The size slope N + offset for a batch of N, as a list of one number."""
        a, b = self.batches
        slope, rest = divmod(dim[1] - dim[0], b - a)
        if rest or self.batch_of is None:
            raise self.refusal(
                f"a size depends on that of the batch in a way that is not linear: "
                f"{dim[0]} for {a}, {dim[1]} for {b}"
            )
        if self._batch is None:
            self._batch = self.op("Shape", self.batch_of, start=0, end=1)
        value, offset = self._batch, dim[0] - slope * a
        if slope != 1:
            value = self.op("Mul", value, np.array([slope], np.int64))
        return value if not offset else self.op("Add", value, np.array([offset], np.int64))

    def sizes(self, dims: Dims) -> list[int | str]:
        """Sizes for the type of a value: "N" for the size of the batch, another word for a size
        that depends on it in another way."""
        found: list[int | str] = []
        for dim in dims:
            if fixed(dim):
                found.append(dim[0])
            elif dim == self.batches:
                found.append("N")
            else:
                slope = (dim[1] - dim[0]) / (self.batches[1] - self.batches[0])
                found.append(f"{slope:g}*N{dim[0] - slope * self.batches[0]:+g}")
        return found

    def refusal(self, why: str) -> NotImplementedError:
        """The error for what cannot be written."""
        site = self.site
        what = "the model" if site is None else f"{site.node.operation} of {_where(site.node)}"
        return NotImplementedError(f"md.onnx.export: {what}: {why}")


class Site:
    """A node of the traced graph that is being written: its inputs, as values, arrays, numbers or
    None, its options in the two traces, and the sizes of its outputs.

    `changing` says that a number which it takes depends on the batch, `returned` that the model
    returns one of its outputs. `values` has all that is written so far, by the values of the trace.
    """

    changing = returned = False
    values: dict[Value, Any]

    def __init__(self, node: Node, other: Node, inputs: list[Any]) -> None:
        self.node, self.inputs = node, inputs
        self.name = node.name
        self.options, self.others = node.options, other.options
        self.dims = [
            dims_of(a.shape, b.shape) for a, b in zip(node.outputs, other.outputs, strict=True)
        ]

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the first output."""
        return self.node.outputs[0].dtype

    def type_of(self, k: int) -> np.dtype:
        """The dtype of an input that is a tensor."""
        return self.node.inputs[k].dtype


def _where(node: Node) -> str:
    return f"the layer {node.layer!r}" if node.layer else f"the model ({node.name})"


def array_of(first: Value, second: Value) -> Known | None:
    """The array of a parameter or constant of the two traces; None for other values."""
    if first.array is None or second.array is None:
        return None
    return Known(first.name, np.asarray(first.array), np.asarray(second.array))
