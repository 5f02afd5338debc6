"""The table that `Layer.summary` returns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import checks
from ..tensor import Tensor
from .layer import Layer
from .linear import Weighted
from .mode import evaluation, observing
from .parameter import Parameter
from .predict import model_input


def summarize(model: Layer, input_shape: Any = None, example: Any = None) -> str:
    """Run examples through the model and write down what each layer makes of one."""
    if input_shape is not None and example is not None:
        raise TypeError("summary: give input_shape or example, not both")
    layers = list(model.named_layers())
    transforms = {id(layer.transform) for _, layer in layers if isinstance(layer, Weighted)}
    shapes: dict[int, str] = {}
    if input_shape is not None:
        shapes = _shapes_of_zeros(model, input_shape)
    elif example is not None:
        inputs = [model_input(model, x) for x in
                  (example if isinstance(example, tuple) else (example,))]
        shapes = _shapes(model, inputs, "example")
    rows = [("layer", "kind", "output", "parameters")]
    for name, layer in layers[1:] or layers:
        own = sum(v.size for _, v in layer._items() if isinstance(v, Parameter))
        shape = "-" if id(layer) in transforms else shapes.get(id(layer), "-")
        rows.append((name or "model", type(layer).__name__, shape, f"{own:,}"))
    learned = [p for p in model.parameters() if p.requires_grad]
    widths = [max(len(row[k]) for row in rows) for k in range(4)]
    lines = ["  ".join([row[0].ljust(widths[0]), row[1].ljust(widths[1]),
                        row[2].ljust(widths[2]), row[3].rjust(widths[3])]) for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    lines.append("-" * len(lines[0]))
    total, trained = sum(p.size for p in model.parameters()), sum(p.size for p in learned)
    lines.append(f"{total:,} parameters, {trained:,} of them trained")
    return "\n".join(lines)


def _shapes_of_zeros(model: Layer, input_shape: Any) -> dict[int, str]:
    """Output shapes for zeros, of two examples since some layers need more than one."""
    several = isinstance(input_shape, (tuple, list)) and len(input_shape) > 0 and all(
        isinstance(shape, (tuple, list)) for shape in input_shape)
    wanted = [tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
              for shape in (input_shape if several else [input_shape])]
    sizes = [(2, *[checks.whole(n, "summary", "input_shape", 0) for n in shape])
             for shape in wanted]
    what = (f"input_shape {tuple(wanted) if several else wanted[0]} (without the batch axis)")
    try:
        return _shapes(model, [Tensor(np.zeros(size, model._dtype())) for size in sizes], what)
    except TypeError as error:
        try:        # numbers of rows of an Embedding
            return _shapes(model, [Tensor(np.zeros(size, np.int64)) for size in sizes], what)
        except (TypeError, ValueError):
            raise error from None


def _shapes(model: Layer, inputs: list[Tensor], what: str) -> dict[int, str]:
    """The output shape of each layer that is called, as text, by id."""
    shapes: dict[int, str] = {}
    examples = {len(x) for x in inputs if x.ndim}

    def note(layer: Layer, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor):
            shapes[id(layer)] = str(output.shape[1:])
        else:
            first = next(_tensors(output), None)
            if first is not None and first.ndim and len(first) in examples:
                shapes[id(layer)] = f"{first.shape[1:]}, ..."

    try:
        with evaluation(), observing(note):
            model(*inputs)
    except (ValueError, TypeError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"summary: {what} does not fit the model: {error}") from None
    return shapes


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in tuples, lists and dicts of outputs."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)
