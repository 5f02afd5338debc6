"""Observing one forward pass through a model.

`Look` records the statistics of the inputs and outputs of the layers, the share of saturated
activations, and which layers with weights are directly followed by a normalization.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..nn.layer import Layer
from ..nn.normalization import Normalization
from ..nn.parameter import Parameter
from ..ops.layer_norm import GroupNorm, LayerNorm
from ..ops.norm import BatchNorm
from ..random import SEED
from ..tensor import Tensor
from ..tracers import following
from ..train.inspection import undisturbed
from ..train.watch import Units, Watch, first_array, given_to, units_of, weights_of
from .measures import Block, saturated

NORMALIZATIONS = (BatchNorm, LayerNorm, GroupNorm)  # operations; subclasses of them count too


class Look(Watch):
    """The observations of one forward pass, layer by layer, in the order of their calls.

    `rows` has the figures of each layer, as in `Watch`, and "saturated" for sigmoids and tanhs.
    `inputs` has, for each layer with weights, the mean and the standard deviation of each unit of
    its input.
    """

    def __init__(self, model: Layer) -> None:
        super().__init__(model)
        self.inputs: dict[str, Units] = {}
        # Maps the id of a tensor to the layer whose output it is. The tensor is kept with it, so
        # that it stays alive and its id is not reused.
        self._producers: dict[int, tuple[str, Tensor]] = {}
        # For each layer, whether the consumers of its output are normalizations: True, False, both.
        self._consumers: dict[str, set[bool]] = {}
        self._depth = 0  # how many calls of normalization layers the pass is inside of
        self._running = False  # whether an operation inside of them has used running statistics

    @property
    def normalized(self) -> set[str]:
        """The names of the layers with weights whose output is consumed by normalizations alone. A
        normalization by running statistics does not count, because its output does depend on the
        norm of the weights."""
        return {name for name, consumers in self._consumers.items() if consumers == {True}}

    def call(
        self, layer: Any, run: Callable[..., Any], inputs: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        if isinstance(layer, Normalization):
            output = self._normalization(layer, run, inputs, options)
        else:
            output = super().call(layer, run, inputs, options)
        name = self.names.get(id(layer))
        if name is not None and isinstance(output, Tensor) and weights_of(layer):
            self._producers[id(output)] = name, output
        return output

    def _normalization(
        self,
        layer: Normalization,
        run: Callable[..., Any],
        inputs: tuple[Any, ...],
        options: dict[str, Any],
    ) -> Any:
        """Call a normalization layer. It counts as one consumer of its input, whatever operations
        it consists of."""
        self._running = self._running and self._depth > 0
        self._depth += 1
        try:
            output = super().call(layer, run, inputs, options)
        finally:
            self._depth -= 1
        if not self._depth:
            self._consume(given_to(inputs, options), not self._running)
        return output

    def of_layer(
        self, name: str, layer: Layer, inputs: tuple[Any, ...], output: np.ndarray
    ) -> dict[str, float]:
        first = inputs[0] if inputs else None  # the first layer may get an array, not a Tensor
        given = first if isinstance(first, np.ndarray) else first_array(inputs)
        if given is not None and given.ndim > 1 and given.dtype.kind == "f" and weights_of(layer):
            self.inputs[name] = units_of(np.ascontiguousarray(given))
        return super().of_layer(name, layer, inputs, output)

    def of_activation(self, kind: str, output: np.ndarray) -> dict[str, float]:
        found = super().of_activation(kind, output)
        if kind in ("Sigmoid", "Tanh"):
            found["saturated"] = saturated(kind, output)
        return found

    def operation(
        self,
        function: Any,
        inputs: tuple[Any, ...],
        options: dict[str, Any],
        outputs: tuple[Any, ...],
    ) -> None:
        own = issubclass(function, NORMALIZATIONS)
        running = own and options.get("training") is False
        if self._depth:
            self._running = self._running or running
        else:
            self._consume(inputs, own and not running)
        super().operation(function, inputs, options, outputs)

    def _consume(self, inputs: tuple[Any, ...], normalized: bool) -> None:
        """Record a consumer of these inputs for the layers that have produced them. A normalization
        normalizes its first input only; it uses the others, such as gamma, as they are."""
        for place, x in enumerate(inputs):
            if id(x) in self._producers:
                name = self._producers[id(x)][0]
                self._consumers.setdefault(name, set()).add(normalized and not place)


def look(model: Layer, run: Callable[[], Any]) -> tuple[Look, Any]:
    """Call `run`, which must call the model. Return the observations, and what `run` returns."""
    seen = Look(model)
    with following(seen):
        result = run()
    return seen, result


def input_units(model: Layer, images: np.ndarray, seed: int = SEED) -> dict[str, Units]:
    """Return the mean and the standard deviation of each unit of the input of each layer with
    weights, over a batch. The state of the model is not changed, and the random numbers of the
    pass (dropout, noise) come from the seed."""
    with undisturbed(model, "lab", seed):
        return look(model, lambda: model(images))[0].inputs


def blocks_of(model: Layer, order: Any) -> list[Block]:
    """Partition the parameters of a model into blocks. A block begins with a layer that has
    weights, and also has the parameters of the layers after it, up to the next one with weights.

    order: the names of the layers in the order of their calls, such as `Look.rows`

    Layers before the first weights, and layers that were not called, belong to no block.
    """
    layers = {name or type(layer).__name__: layer for name, layer in model.named_layers()}
    blocks: list[Block] = []
    seen: set[int] = set()
    for name in order:
        if name not in layers:  # `Look.rows` also has activations that are plain functions
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
