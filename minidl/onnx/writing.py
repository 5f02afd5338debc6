"""Makes a file of a model and an example: traces the model for two sizes of the batch, writes node
after node, and checks the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from .. import checks
from ..batch_traces import CHECKED, batch_traces, refuse_reads
from ..grad_mode import no_grad
from ..tensor import Tensor
from ..traced import Graph, Node, Value, values_of
from ..version import __version__
from .functions import FUNCTIONS
from .writer import Known, Site, Writer, Written, array_of, channels_first, dims_of

OPSET, IR_VERSION = 21, 10


def exported(
    model: Callable[..., Any], example: Any, layout: str, metadata: dict[str, str]
) -> bytes:
    """The bytes of the file that a model becomes."""
    examples = example if isinstance(example, tuple) else (example,)
    if all(isinstance(x, int | float | str | None) for x in examples):
        hint = (
            f": give a batch of this shape, np.zeros({example}, np.float32)"
            if examples and all(isinstance(x, int) for x in examples)
            else ""
        )
        raise TypeError(
            f"md.onnx.export: example must be a batch that the model takes, an array "
            f"or a tensor, or a tuple of its inputs, got {checks.shown(example)}{hint}"
        )
    graph, other, _ = batch_traces(model, examples, "md.onnx.export", (CHECKED,))
    written = _Export(graph, other, layout).model
    written.metadata_props.update(metadata)
    proto = ir.to_proto(written)
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString()


class _Export:
    """Writes the nodes of a graph one after the other."""

    def __init__(self, graph: Graph, other: Graph, layout: str) -> None:
        self.graph, self.layout = graph, layout
        static = graph is other
        lead = graph.inputs[0] if graph.inputs else None
        batches = (lead.shape[:1] + other.inputs[0].shape[:1]) if lead is not None else ()
        self.out = Writer((batches[0], batches[1]) if len(batches) == 2 else (1, 1))
        self.values: dict[Value, Any] = {}
        self.returned = set(values_of(graph.outputs))
        inputs = [self._input(a, b) for a, b in zip(graph.inputs, other.inputs, strict=True)]
        if inputs and not static:
            self.out.batch_of = inputs[0]
        refuse_reads(graph, "md.onnx.export")
        for node, twin in zip(graph, other, strict=True):
            self._write(node, twin)
        outputs = self._outputs(other)
        made = self.out.tape
        self.model = ir.Model(
            ir.Graph(
                inputs,
                outputs,
                nodes=made.nodes,
                initializers=made.initializers,
                opset_imports={"": OPSET},
                name="minidl",
            ),
            ir_version=IR_VERSION,
            producer_name="minidl",
            producer_version=__version__,
        )
        common.RemoveUnusedNodesPass()(self.model)

    def _input(self, value: Value, other: Value) -> ir.Value:
        dims = dims_of(value.shape, other.shape)
        first = self.layout == "NCHW" and len(dims) == 4
        order = channels_first(4) if first else tuple(range(len(dims)))
        written = ir.val(
            self.out.unused(value.name),
            ir.DataType.from_numpy(value.dtype),
            self.out.sizes(tuple([dims[a] for a in order])),
        )
        self.values[value] = Written(written, dims, order)
        return written

    def _write(self, node: Node, twin: Node) -> None:
        given = [self._given(a, b) for a, b in zip(node.inputs, twin.inputs, strict=True)]
        site = Site(node, twin, given)
        site.returned = any(v in self.returned for v in node.outputs)
        site.values = self.values
        site.changing = any(
            not isinstance(a, Value) and a != b
            for a, b in zip(node.inputs, twin.inputs, strict=True)
        )
        self.out.site = site
        if given and all(not isinstance(x, Written) for x in given):
            self._compute(node, twin, given)
            return
        write = FUNCTIONS.get(node.operation)
        if write is None or node.function.__module__.split(".")[0] != "minidl":
            raise self.out.refusal("this operation has no counterpart in ONNX")
        made = write(self.out, site)
        for value, written in zip(
            node.outputs, made if isinstance(made, tuple) else (made,), strict=False
        ):
            self.values[value] = written

    def _given(self, x: Any, other: Any) -> Any:
        """An input of a node: a value of the file, an array, a number or None."""
        if not isinstance(x, Value):
            return x
        if x not in self.values:
            known = array_of(x, other)
            assert known is not None
            self.values[x] = known
        return self.values[x]

    def _compute(self, node: Node, twin: Node, given: list[Any]) -> None:
        """Compute a node that depends on no input. Its outputs become arrays of the file."""
        results = []
        for k, which in enumerate((node, twin)):
            inputs = [
                Tensor(x.arrays[k]) if isinstance(x, Known) else which.inputs[i]
                for i, x in enumerate(given)
            ]
            with no_grad():
                made = which.function.apply(*inputs, **which.options)
            results.append(made if isinstance(made, tuple) else (made,))
        for value, a, b in zip(node.outputs, *results, strict=True):
            self.values[value] = Known(value.name, np.array(a.data), np.array(b.data))

    def _outputs(self, other: Graph) -> list[ir.Value]:
        """The outputs in the order in which the model returns them."""
        found = list(values_of(self.graph.outputs))
        twins = list(values_of(other.outputs))
        if not found:
            raise ValueError("md.onnx.export: model returns no tensor")
        outputs: list[ir.Value] = []
        for k, (value, twin) in enumerate(zip(found, twins, strict=True)):
            self.out.site = None
            x = self._given(value, twin)
            first = self.layout == "NCHW" and x.ndim == 4
            order = channels_first(4) if first else tuple(range(x.ndim))
            written = self.out.ordered(x, order)
            if written in outputs or written.producer() is None:
                written = self.out.op("Identity", written)
            written.name = self.out.unused("output" if len(found) == 1 else f"output_{k}")
            written.type = ir.TensorType(ir.DataType.from_numpy(value.dtype))
            dims = dims_of(value.shape, twin.shape)
            written.shape = ir.Shape(self.out.sizes(tuple([dims[a] for a in order])))
            outputs.append(written)
        return outputs
