"""Watch: a tracer of one forward pass that records statistics of each layer's output.

`train.LayerStatistics` and `lab.Probe` use it; subclasses choose which statistics are recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import kernels
from ..nn.layer import Layer
from ..nn.normalization import Normalization
from ..nn.parameter import Parameter
from ..ops.activation import Curve
from ..tensor import Tensor
from ..tracers import Tracer

ACTIVATIONS = ("ReLU", *(curve.__name__ for curve in Curve.__subclasses__()))


class Units(NamedTuple):
    """The mean and the standard deviation of each unit (channel) over a batch and all positions."""

    mean: np.ndarray
    std: np.ndarray


def units_of(array: np.ndarray) -> Units:
    """Return mean and standard deviation of each unit of an array (N, ..., units), in float64."""
    mean, var = kernels.batch_stats(array)
    return Units(mean, np.sqrt(var))


class Watch(Tracer):
    """A tracer (see `tracers`) of one thread that records statistics of a model's layers.

    `rows` has an entry for each layer with parameters, each normalization and each activation, be
    it a layer or a function, in the order in which they computed: the keys are names, the values
    {"kind", "mean", "std", "weights" (whether the layer has any), ...}. Activation functions are
    named after the layer that called them: "block.relu", and "block.relu 2" for a second one.
    """

    def __init__(self, model: Layer) -> None:
        self.names = {
            id(layer): name or type(layer).__name__ for name, layer in model.named_layers()
        }
        self.model = model
        self.rows: dict[str, dict[str, Any]] = {}
        self._path: list[Layer] = []

    def call(
        self, layer: Any, run: Callable[..., Any], inputs: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        name = self.names.get(id(layer))
        self._path.append(layer)
        try:
            output = run(*inputs, **options)
        finally:
            self._path.pop()
        if name is not None and name not in self.rows and _shown(layer):
            array = first_array(output)
            if array is not None:
                self.rows[name] = {
                    "kind": type(layer).__name__,
                    "weights": bool(weights_of(layer)),
                    **self.of_layer(name, layer, given_to(inputs, options), array),
                }
        return output

    def of_layer(
        self, name: str, layer: Layer, inputs: tuple[Any, ...], output: np.ndarray
    ) -> dict[str, float]:
        """Return the statistics of a layer with parameters, or of a normalization."""
        normalizes = isinstance(layer, Normalization)
        before = first_array(inputs) if normalizes else None
        if before is None:
            return _spread(output)
        spread = _spread(before)
        return {**_spread(output), "mean_before": spread["mean"], "std_before": spread["std"]}

    def of_activation(self, kind: str, output: np.ndarray) -> dict[str, float]:
        """Return the statistics of an activation."""
        found = _spread(output)
        if kind == "ReLU" and output.ndim > 1:
            alive = output.reshape(-1, output.shape[-1]).max(axis=0) > 0
            found["dead"] = float(1 - alive.mean())
        return found

    def operation(
        self,
        function: Any,
        inputs: tuple[Any, ...],
        options: dict[str, Any],
        outputs: tuple[Any, ...],
    ) -> None:
        kind = function.__name__
        layer = self._path[-1] if self._path else None
        if kind not in ACTIVATIONS or layer is None:
            return
        name = self._name(layer, kind)
        array = first_array(outputs)
        if name not in self.rows and array is not None and array.size:
            self.rows[name] = {"kind": kind, "weights": False, **self.of_activation(kind, array)}

    def _name(self, layer: Layer, kind: str) -> str:
        """Return the name of an activation: its own if it is a layer, else one derived from the
        layer that called it."""
        own = self.names.get(id(layer), "")
        if type(layer).__name__ == kind:
            return own
        name = f"{own}.{kind.lower()}" if layer is not self.model else kind.lower()
        number = 1
        made = name
        while made in self.rows:
            number += 1
            made = f"{name} {number}"
        return made


def given_to(inputs: tuple[Any, ...], options: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return all arguments that a layer is called with, by position or by name."""
    return (*inputs, *options.values()) if options else inputs


def weights_of(layer: Layer) -> list[Parameter]:
    """Return a layer's own matrices and filters; biases, gamma and beta are not among them."""
    return [p for _, p in layer._items() if isinstance(p, Parameter) and len(p.shape) > 1]


def _shown(layer: Layer) -> bool:
    return isinstance(layer, Normalization) or any(
        isinstance(p, Parameter) for _, p in layer._items()
    )


def first_array(given: Any) -> np.ndarray | None:
    """Return the first float array in the inputs or outputs of a layer; None if there is none."""
    if isinstance(given, Tensor):
        return given._values() if given.dtype.kind == "f" and given.size else None
    if isinstance(given, Mapping):
        given = given.values()
    elif not isinstance(given, tuple | list):
        return None
    return next((found for x in given if (found := first_array(x)) is not None), None)


def _spread(array: np.ndarray) -> dict[str, float]:
    """Return mean and standard deviation over all values, computed from those of the units."""
    units = units_of(array if array.ndim > 1 else array.reshape(-1, 1))
    mean = units.mean.mean()
    variance = (np.square(units.std) + np.square(units.mean - mean)).mean()
    return {"mean": float(mean), "std": float(np.sqrt(variance))}
