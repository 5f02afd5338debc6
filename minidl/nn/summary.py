"""The table of layers that `Layer.summary` returns."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks
from ..traced import Value, values_of
from ..tracing import trace
from .layer import Layer
from .linear import Weighted
from .parameter import Parameter


def summarize(model: Layer, input_shape: Any = None, example: Any = None) -> str:
    """Run examples through the model and list the output shape of each layer for one example."""
    if input_shape is not None and example is not None:
        raise TypeError("summary: give input_shape or example, not both")
    layers = list(model.named_layers())
    transforms = {id(layer.transform) for _, layer in layers if isinstance(layer, Weighted)}
    shapes: dict[int, str] = {}
    if input_shape is not None:
        shapes = _shapes_of_zeros(model, input_shape)
    elif example is not None:
        shapes = _shapes(model, example if isinstance(example, tuple) else (example,), "example")
    rows = [("layer", "kind", "output", "parameters")]
    for name, layer in layers[1:] or layers:
        own = sum(v.size for _, v in layer._items() if isinstance(v, Parameter))
        shape = "-" if id(layer) in transforms else shapes.get(id(layer), "-")
        rows.append((name or "model", type(layer).__name__, shape, f"{own:,}"))
    learned = [p for p in model.parameters() if p.requires_grad]
    widths = [max(len(row[k]) for row in rows) for k in range(4)]
    lines = []
    for *words, number in rows:
        cells = [word.ljust(width) for word, width in zip(words, widths[:3], strict=True)]
        lines.append("  ".join([*cells, number.rjust(widths[3])]))
    lines.insert(1, "-" * len(lines[0]))
    lines.append("-" * len(lines[0]))
    total, trained = sum(p.size for p in model.parameters()), sum(p.size for p in learned)
    lines.append(f"{total:,} parameters, {trained:,} of them trained")
    return "\n".join(lines)


def _shapes_of_zeros(model: Layer, input_shape: Any) -> dict[int, str]:
    """Output shapes for two examples of zeros, because some layers need more than one."""
    several = (
        isinstance(input_shape, (tuple, list))
        and len(input_shape) > 0
        and all(isinstance(shape, (tuple, list)) for shape in input_shape)
    )
    wanted = [
        tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
        for shape in (input_shape if several else [input_shape])
    ]
    sizes = [
        (2, *[checks.integer(n, "summary", "input_shape", 0) for n in shape]) for shape in wanted
    ]
    what = f"input_shape {tuple(wanted) if several else wanted[0]} (without the batch axis)"
    try:
        return _shapes(model, tuple([np.zeros(size, model._dtype()) for size in sizes]), what)
    except TypeError as error:
        try:  # the model may begin with an Embedding, which takes integers
            return _shapes(model, tuple([np.zeros(size, np.int64) for size in sizes]), what)
        except (TypeError, ValueError):
            raise error from None


def _shapes(model: Layer, inputs: tuple[Any, ...], what: str) -> dict[int, str]:
    """The output shape, as text, of each layer that is called, by the id of the layer."""
    try:
        graph = trace(model, *inputs)
    except (ValueError, TypeError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"summary: {what} does not fit the model: {error}") from None
    shapes: dict[int, str] = {}
    examples = {value.shape[0] for value in graph.inputs if value.shape}
    for call in graph.calls:
        if isinstance(call.output, Value):
            shapes[id(call.layer)] = str(call.output.shape[1:])
        else:
            first = next(values_of(call.output), None)
            if first is not None and first.shape and first.shape[0] in examples:
                shapes[id(call.layer)] = f"{first.shape[1:]}, ..."
    return shapes
