"""The graph of an imported model as text, without the weights, and the way back: `models.save`
writes the weights as arrays of their own, and builds the model again from the text."""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any

import numpy as np
import onnx

from .. import checks, kernels
from .building import Builder
from .dtypes import DTYPES
from .layouts import LAYOUTS
from .model import Model
from .reading import Source, read

LEARNED = "a parameter of minidl's"  # the doc_string of an initializer whose values are left out


def build(source: Source, layout: str) -> Model:
    """The model of what a file holds, which keeps the graph, so that it can be built again."""
    proto = source.proto
    model = Builder(source, layout).build()
    kept = model.unregistered
    kept.graph, kept.layout = _without_weights(proto, set(kept.names.values())), layout
    kept.metadata = {entry.key: entry.value for entry in proto.metadata_props}
    return model


def options(model: Model) -> dict[str, str]:
    """The arguments by which `again` builds a model like this one."""
    kept = model.unregistered
    return {"graph": base64.b64encode(kept.graph).decode("ascii"), "layout": kept.layout}


def again(graph: str, layout: str) -> Model:
    """Build a model from its graph. The weights are ones, which those of a file then replace.

    ValueError for a text that is no graph and for another layout, MemoryError for weights larger
    than the memory; the other errors are those of `md.onnx.load`.
    """
    checks.choice(layout, "load", "layout", LAYOUTS)
    try:
        proto = onnx.load_model_from_string(base64.b64decode(graph, validate=True))
    except (binascii.Error, TypeError) as error:
        raise ValueError(f"the graph is no base64 text: {error}") from None
    except Exception as error:  # protobuf raises a class of its own
        raise ValueError(f"the graph is no ONNX model: {error}") from None
    empty = [t for t in proto.graph.initializer if t.doc_string == LEARNED]
    total = sum(math.prod(t.dims) for t in empty)
    if any(n < 0 for t in empty for n in t.dims) or any(t.data_type not in DTYPES for t in empty):
        raise ValueError("the graph has a parameter of no valid shape or dtype")
    kernels.check_shape("load: the parameters", (total,), np.float64)
    for tensor in empty:
        ones = np.ones(tuple(tensor.dims), DTYPES[tensor.data_type])
        tensor.raw_data = ones.tobytes()
    return build(read(proto), layout)


def _without_weights(proto: Any, names: set[str]) -> bytes:
    """The bytes of a model in which the initializers of these names have no values."""
    kept = onnx.ModelProto(ir_version=proto.ir_version)
    kept.opset_import.extend(proto.opset_import)
    kept.metadata_props.extend(proto.metadata_props)
    graph, own = proto.graph, kept.graph
    own.name = graph.name
    for field in ("node", "input", "output", "value_info"):
        getattr(own, field).extend(getattr(graph, field))
    for tensor in graph.initializer:
        if tensor.name in names:
            own.initializer.add(
                name=tensor.name, dims=tensor.dims, data_type=tensor.data_type, doc_string=LEARNED
            )
        else:
            own.initializer.append(tensor)
    return kept.SerializeToString(deterministic=True)
