"""Look: one pass through a model, followed: what layers are given and give, which activations are
saturated, and which weights a normalization follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..nn.layer import Layer
from ..nn.parameter import Parameter
from ..random import SEED
from ..tensor import Tensor
from ..tracers import following
from ..train.inspection import undisturbed
from ..train.watch import (
    Units,
    Watch,
    first_array,
    is_norm,
    names_norm,
    units_of,
    weights_of,
)
from .measures import Block, saturated


class Look(Watch):
    """What one pass has shown, layer by layer, in the order in which they computed.

    `rows`: figures of each layer, as `Watch` has them, and "saturated" of sigmoids and tanhs.
    `inputs`: of each layer with weights the means and standard deviations of its input's units.
    `normalized`: the layers with weights whose output goes straight into a normalization.
    """

    def __init__(self, model: Layer) -> None:
        super().__init__(model)
        self.inputs: dict[str, Units] = {}
        self.normalized: set[str] = set()
        # Whose output a tensor is, by its id; the tensors stand beside them so that they live.
        self._made: dict[int, tuple[str, Tensor]] = {}

    def call(self, layer: Any, run: Callable[..., Any], inputs: tuple[Any, ...],
             options: dict[str, Any]) -> Any:
        if is_norm(layer):
            self._follows(inputs)
        output = super().call(layer, run, inputs, options)
        name = self.names.get(id(layer))
        if name is not None and isinstance(output, Tensor) and weights_of(layer):
            self._made[id(output)] = name, output
        return output

    def of_layer(self, name: str, layer: Layer, inputs: tuple[Any, ...],
                 output: np.ndarray) -> dict[str, float]:
        first = inputs[0] if inputs else None       # the model's own input may be an array
        given = first if isinstance(first, np.ndarray) else first_array(inputs)
        if (given is not None and given.ndim > 1 and given.dtype.kind == "f"
                and weights_of(layer)):
            self.inputs[name] = units_of(np.ascontiguousarray(given))
        return super().of_layer(name, layer, inputs, output)

    def of_activation(self, kind: str, output: np.ndarray) -> dict[str, float]:
        found = super().of_activation(kind, output)
        if kind in ("Sigmoid", "Tanh"):
            found["saturated"] = saturated(kind, output)
        return found

    def operation(self, function: Any, inputs: tuple[Any, ...], options: dict[str, Any],
                  outputs: tuple[Any, ...]) -> None:
        if names_norm(function.__name__):
            self._follows(inputs)
        super().operation(function, inputs, options, outputs)

    def _follows(self, inputs: tuple[Any, ...]) -> None:
        """A normalization is given something: take note of the layer that has made it."""
        for x in inputs[:1]:
            if id(x) in self._made:
                self.normalized.add(self._made[id(x)][0])


def look(model: Layer, run: Callable[[], Any]) -> tuple[Look, Any]:
    """Call `run`, which calls the model, and follow it: what was seen, and what it returns."""
    seen = Look(model)
    with following(seen):
        result = run()
    return seen, result


def input_units(model: Layer, images: np.ndarray, seed: int = SEED) -> dict[str, Units]:
    """The means and standard deviations of the units that each layer with weights is given of a
    batch; the model is left as it was. What is drawn (dropout, noise) is drawn from a seed."""
    with undisturbed(model, "lab", seed):
        return look(model, lambda: model(images))[0].inputs


def blocks_of(model: Layer, order: Any) -> list[Block]:
    """The parameters of a model in blocks: each begins with a layer that has weights, and goes on
    with what has parameters up to the next.

    order: the names of the layers in the order in which they compute, as `Look.rows`

    What comes before the first weights, and layers that were not called, belong to no block.
    """
    layers = {name or type(layer).__name__: layer for name, layer in model.named_layers()}
    blocks: list[Block] = []
    seen: set[int] = set()
    for name in order:
        if name not in layers:      # an activation that is no layer
            continue
        layer = layers[name]
        own = [p for _, p in layer._items() if isinstance(p, Parameter) and id(p) not in seen]
        seen |= {id(p) for p in own}
        weights = [p for p in weights_of(layer) if any(p is other for other in own)]
        if weights:
            blocks.append(Block(name, [p for p in weights if p.requires_grad], []))
        if blocks:
            blocks[-1].parameters.extend(p for p in own if p.requires_grad)
    return blocks
