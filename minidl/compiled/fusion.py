"""Lowers a program to layers, and fuses each layer with its producer where it can.

The scale and shift of a BatchNorm are folded into the weights of a convolution before it (Ioffe &
Szegedy 2015, section 3.1). A sum, an activation and a pool of 2x2 windows become the epilogue of
the layer before them. What layer an operation is stands in `layers`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np

from ..kernels.choose import winograd_pays
from ..ops.operation import Operation as OwnFunction
from .layers import LOWERED, Layer, image_of
from .program import Known, Operation, Program, Ref, has_sizes, refs_of

MOST_SHIFT = 64  # of a map: a larger shift may cost digits, see `_shifts_far`
SIDE_BY_SIDE = {"kernel": (2, 2), "stride": (2, 2), "dilation": (1, 1), "padding": ((0, 0), (0, 0))}


def layers_of(program: Program, exact: bool) -> list[Layer | Operation]:
    """The layers and calls of a program, in an order in which they can be computed; if `exact`,
    none of Winograd's."""
    return _Fusion(program, exact).done


class _Fusion:
    """Goes through the operations of a program, lowers each, and fuses the layer with its producer
    where it can. `done` has the layers and calls in order; `producers` the layers by the values
    that they make."""

    def __init__(self, program: Program, exact: bool) -> None:
        self.values, self.exact = program.values, exact
        self.uses = Counter(
            ref.number for operation in program.operations for ref in refs_of(operation.inputs)
        )
        self.returned = set(program.outputs())
        self.done: list[Layer | Operation] = []
        self.producers: dict[int, Layer] = {}
        # Views with the channels of a value that nothing else takes, and the value's producer.
        self.views: dict[int, tuple[Layer, Layer]] = {}
        for operation in program.operations:
            made = self.lowered(operation)
            if isinstance(made, Operation):
                self.done.append(made)
                continue
            for layer in made:
                if not self.fused(layer):
                    self.append(layer, operation)

    def lowered(self, operation: Operation) -> list[Layer] | Operation:
        """The layers that compute an operation; itself if none do."""
        lower = LOWERED.get(operation.kind) if issubclass(operation.function, OwnFunction) else None
        taken = [x.number for x in operation.inputs if isinstance(x, Ref)]
        images = [image_of(self.values[n]) for n in taken if self.values[n].array is None]
        if (
            lower is None
            or len(operation.outputs) != 1
            or has_sizes(operation.inputs)
            or not images
            or None in (*images, image_of(self.values[operation.outputs[0]]))
        ):
            return operation
        return lower(operation, self.values) or operation

    def append(self, layer: Layer, operation: Operation) -> None:
        """Append a layer, or its operation if the layer would cost digits."""
        if _shifts_far(layer):
            self.done.append(operation)
            return
        self.done.append(layer)
        if not layer.geometry.get("part"):
            self.producers[layer.y] = layer
        producer = self.producers.get(layer.x)
        if (
            layer.kind == "view"
            and producer is not None
            and self.taken_once(layer.x)
            and self.values[layer.x].shape[-1] == self.values[layer.y].shape[-1]
        ):
            self.views[layer.y] = layer, producer

    def taken_once(self, number: int) -> bool:
        """Whether a value has a single consumer, and the program does not return it."""
        return self.uses[number] == 1 and number not in self.returned

    def fused(self, layer: Layer) -> bool:
        """Fuse a layer with the producer of a value that only it takes. Returns whether it is."""
        view, producer = self.views.get(layer.x, (None, None))
        if (
            view is not None
            and producer is not None
            and layer.kind == "map"
            and layer.r is None
            and not layer.geometry.get("part")
            and self.taken_once(layer.x)
            and self.extend(producer, layer, layer.x)
        ):
            view.y = layer.y
            self.views[layer.y] = view, producer
            return True
        for x in layer.reads() if layer.kind in ("map", "max_pool") else ():
            producer = self.producers.get(x)
            if producer is None or not self.taken_once(x) or not self.extend(producer, layer, x):
                continue
            self.done.remove(producer)  # the residual that it adds now may be made after it
            self.done.append(producer)
            del self.producers[x]
            producer.y = layer.y
            if not layer.geometry.get("part"):
                self.producers[layer.y] = producer
            return True
        return False

    def extend(self, producer: Layer, layer: Layer, x: int) -> bool:
        """Make a layer the epilogue of the producer of x. Returns False if it cannot be."""
        if producer.kind not in ("conv", "map"):
            return False
        if layer.kind == "max_pool":
            if (
                layer.geometry != SIDE_BY_SIDE
                or self.exact
                or producer.pools
                or producer.r is not None
                or not winograd_fits(producer, self.values)
            ):
                return False
            producer.pools = True
            return True
        if layer.geometry.get("part"):
            producer.channel = layer.channel
            return True
        if producer.activation is not None:
            return False
        if producer.pools:  # the largest value is the same before a ReLU and after it
            if layer.activation != ("relu",) or layer.weight is not None or layer.r is not None:
                return False
            producer.activation = ("relu",)
            return True
        if layer.weight is not None:
            if not producer.plain:
                return False
            scaled = _scaled(producer, layer.weight, layer.bias)
            if producer.kind == "map" and _shifts_far(scaled):
                return False
            producer.weight, producer.bias = scaled.weight, scaled.bias
        elif layer.r is not None:
            if producer.r is not None:
                return False
            producer.r = layer.r if x == layer.x else layer.x
        producer.activation = layer.activation
        return True


def _scaled(layer: Layer, scale: np.ndarray, shift: np.ndarray | None) -> Layer:
    """A convolution or map with a scale and a shift of each channel folded into it."""
    wide = scale.astype(np.float64)
    bias = 0.0 if layer.bias is None else layer.bias.astype(np.float64)
    weight = 1.0 if layer.weight is None else layer.weight.astype(np.float64)
    return dataclasses.replace(
        layer,
        weight=np.asarray(weight * wide, np.float32),
        bias=np.asarray(bias * wide + (0.0 if shift is None else shift), np.float32),
    )


def _shifts_far(layer: Layer) -> bool:
    """Whether x scale + shift would lose digits that (x - mean) scale keeps: where the mean is many
    standard deviations from 0, both terms are much larger than their sum. A scale of 1 loses no
    digits."""
    return (
        layer.kind == "map"
        and layer.weight is not None
        and layer.bias is not None
        and not (np.abs(layer.weight) == 1).all()
        and bool((np.abs(layer.bias) > MOST_SHIFT).any())
    )


def winograd_fits(layer: Layer, values: list[Known]) -> bool:
    """Whether Winograd's kernels compute a layer: its shape must be one that `kernels.choose` gives
    to them, and its activation a ReLU or none."""
    if layer.kind != "conv" or layer.weight is None:
        return False
    image, geometry = image_of(values[layer.x]), layer.geometry
    return (
        image is not None
        and layer.activation in (None, ("relu",))
        and winograd_pays(
            (1, *image),
            np.dtype(np.float32),
            layer.weight.shape,
            geometry["stride"],
            geometry["dilation"],
            geometry["groups"],
            "default",
        )
    )
