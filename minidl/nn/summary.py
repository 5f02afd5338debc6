"""The table that `Layer.summary` returns."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor
from .layer import Layer, Parameter
from .linear import Weighted


def summarize(model: Layer, input_shape: int | tuple[int, ...]) -> str:
    """Run two examples of zeros through the model and write down what each layer makes of one."""
    if isinstance(input_shape, int | np.integer):
        input_shape = (input_shape,)
    shapes: dict[int, Any] = {}
    handles = []

    def note(layer: Layer, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor) and id(layer) not in transforms:
            shapes[id(layer)] = output.shape[1:]

    layers = list(model.named_layers())
    transforms = {id(layer.transform) for _, layer in layers if isinstance(layer, Weighted)}
    for _, layer in layers:
        handles.append(layer.register_forward_hook(note))
    try:
        model.predict(np.zeros((2, *input_shape), model._dtype()))
    except (ValueError, TypeError) as error:
        raise type(error)(f"summary: input_shape {tuple(input_shape)} (without the batch axis) "
                          f"does not fit the model: {error}") from None
    finally:
        for handle in handles:
            handle.remove()
    rows = [("layer", "kind", "output", "parameters")]
    for name, layer in layers[1:] or layers:
        own = sum(v.size for _, v in layer._items() if isinstance(v, Parameter))
        shape = shapes.get(id(layer))
        rows.append((name or "model", type(layer).__name__,
                     "-" if shape is None else str(tuple(shape)), f"{own:,}"))
    learned = [p for p in model.parameters() if p.requires_grad]
    widths = [max(len(row[k]) for row in rows) for k in range(4)]
    lines = ["  ".join([row[0].ljust(widths[0]), row[1].ljust(widths[1]),
                        row[2].ljust(widths[2]), row[3].rjust(widths[3])]) for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    lines.append("-" * len(lines[0]))
    total, trained = sum(p.size for p in model.parameters()), sum(p.size for p in learned)
    lines.append(f"{total:,} parameters, {trained:,} of them trained")
    return "\n".join(lines)
