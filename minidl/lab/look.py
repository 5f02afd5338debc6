"""Look: one pass through a model, followed: what layers are given and give, which activations are
saturated, and which weights a normalization follows."""

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

NORMALIZATIONS = (BatchNorm, LayerNorm, GroupNorm)  # the operations, with those made of them


class Look(Watch):
    """What one pass has shown, layer by layer, in the order in which they computed.

    `rows`: figures of each layer, as `Watch` has them, and "saturated" of sigmoids and tanhs.
    `inputs`: of each layer with weights the means and standard deviations of its input's units.
    """

    def __init__(self, model: Layer) -> None:
        super().__init__(model)
        self.inputs: dict[str, Units] = {}
        # Whose output a tensor is, by its id; the tensors stand beside them so that they live.
        self._made: dict[int, tuple[str, Tensor]] = {}
        # Who uses the outputs of a layer: normalizations (True), anything else (False).
        self._users: dict[str, set[bool]] = {}
        self._inside = 0  # how many normalizations are being called
        self._running = False  # whether one of them has used running statistics

    @property
    def normalized(self) -> set[str]:
        """The layers with weights whose output goes into normalizations, straight and nowhere else.
        Those that use running statistics do not count: the length of the weights matters then."""
        return {name for name, users in self._users.items() if users == {True}}

    def call(
        self, layer: Any, run: Callable[..., Any], inputs: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        if isinstance(layer, Normalization):
            output = self._normalization(layer, run, inputs, options)
        else:
            output = super().call(layer, run, inputs, options)
        name = self.names.get(id(layer))
        if name is not None and isinstance(output, Tensor) and weights_of(layer):
            self._made[id(output)] = name, output
        return output

    def _normalization(
        self,
        layer: Normalization,
        run: Callable[..., Any],
        inputs: tuple[Any, ...],
        options: dict[str, Any],
    ) -> Any:
        """Call one: what it computes with its input is a normalization as a whole."""
        self._running = self._running and self._inside > 0
        self._inside += 1
        try:
            output = super().call(layer, run, inputs, options)
        finally:
            self._inside -= 1
        if not self._inside:
            self._used(given_to(inputs, options), not self._running)
        return output

    def of_layer(
        self, name: str, layer: Layer, inputs: tuple[Any, ...], output: np.ndarray
    ) -> dict[str, float]:
        first = inputs[0] if inputs else None  # the model's own input may be an array
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
        if self._inside:
            self._running = self._running or running
        else:
            self._used(inputs, own and not running)
        super().operation(function, inputs, options, outputs)

    def _used(self, inputs: tuple[Any, ...], normalized: bool) -> None:
        """Something has been given these: take note of the layers that have made them. It is the
        first input that a normalization normalizes."""
        for place, x in enumerate(inputs):
            if id(x) in self._made:
                self._users.setdefault(self._made[id(x)][0], set()).add(normalized and not place)


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
        if name not in layers:  # an activation that is no layer
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
