"""Lowers the operations of a program to layers that a plan computes, and fuses layers.

A BatchNorm in evaluation mode is a scale and a shift of each channel, which are folded into the
weights of a convolution before it (Ioffe & Szegedy 2015, section 3.1). A sum, an activation and a
pool of 2x2 windows become the epilogue of the layer before them. Operations that no layer computes
stay as they are, and are called.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import kernels
from ..kernels.choose import winograd_pays
from ..ops.activation import Curve
from ..ops.operation import Operation as OwnFunction
from .program import Known, Operation, Program, Ref, Size, has_sizes, refs_of

BATCH = Size(0, 1)
MOST_JOINED = 24  # inputs of a concatenation
MOST_SHIFT = 64  # of a map: a larger shift may cost digits, see `_shifts_far`
CURVES = {curve.__name__: curve.kernel for curve in Curve.__subclasses__()}
SIDE_BY_SIDE = {"kernel": (2, 2), "stride": (2, 2), "dilation": (1, 1), "padding": ((0, 0), (0, 0))}


@dataclasses.dataclass(eq=False)
class Layer:
    """What a plan computes of value x, with the residual r added, and writes to value y: a
    convolution (dense layers are 1x1 convolutions), a pool, a map of each value (scale, shift and
    activation), or a view of the same values in another shape. A concatenation is a map for each of
    its inputs, which writes a range of the channels of y."""

    kind: str  # "conv", "max_pool", "avg_pool", "map", "view"
    x: int
    y: int
    r: int | None = None
    weight: np.ndarray | None = None  # (KH, KW, C_in / groups, C_out); of a map (C,)
    bias: np.ndarray | None = None  # (C_out,)
    geometry: dict[str, Any] = dataclasses.field(default_factory=dict)
    activation: tuple[Any, ...] | None = None
    pools: bool = False  # a 2x2 max-pool of the result, with stride 2
    channel: int = 0  # the first channel of y's array that it writes
    kernel: str = ""  # the kernel's name, see Planner.kernel_of

    def reads(self) -> list[int]:
        return [self.x] if self.r is None else [self.x, self.r]

    @property
    def plain(self) -> bool:
        """Whether it has no epilogue yet."""
        return self.r is None and self.activation is None and not self.pools


def image_of(known: Known) -> tuple[int, int, int] | None:
    """The height, width and channels of the images that a value is, or None: a plan computes
    float32 values whose first axis is the batch, of two to four axes."""
    sizes = known.shape[1:]
    if (
        known.dtype != np.float32
        or known.array is not None
        or known.shape[:1] != (BATCH,)
        or not 1 <= len(sizes) <= 3
        or not all(isinstance(n, int) and n > 0 for n in sizes)
    ):
        return None
    height, width, channels = (1,) * (3 - len(sizes)) + sizes
    return height, width, channels


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


# ------------------------------------------------------------------------ operation by operation

Made = list[Layer] | None


def _array(x: Any, values: list[Known]) -> np.ndarray | None:
    """The array of an argument that is a constant; None for other arguments."""
    return values[x.number].array if isinstance(x, Ref) else None


def _conv(operation: Operation, values: list[Known]) -> Made:
    x, w, b = operation.inputs
    weight, options = _array(w, values), operation.options
    if (
        weight is None
        or (b is not None and _array(b, values) is None)
        or weight.shape[0] * weight.shape[1] > kernels.PLAN_TAPS
        or values[x.number].array is not None
    ):
        return None
    geometry = {name: options[name] for name in ("stride", "padding", "dilation", "groups")}
    return [
        Layer(
            "conv",
            x.number,
            operation.outputs[0],
            weight=weight,
            bias=_array(b, values),
            geometry=geometry,
        )
    ]


def _dense(operation: Operation, values: list[Known]) -> Made:
    x, w, *rest = operation.inputs
    weight = _array(w, values)
    bias = _array(rest[0], values) if rest else None
    if (
        weight is None
        or weight.ndim != 2
        or _array(x, values) is not None
        or (rest and rest[0] is not None and bias is None)
    ):
        return None
    geometry = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}
    return [
        Layer(
            "conv",
            x.number,
            operation.outputs[0],
            weight=weight[None, None],
            bias=bias,
            geometry=geometry,
        )
    ]


def _batch_norm(operation: Operation, values: list[Known]) -> Made:
    x, *rest = operation.inputs
    arrays = [_array(item, values) for item in rest]
    if arrays[2] is None or arrays[3] is None or operation.options.get("correction") is not None:
        return None
    gamma, beta = (None if a is None else a.astype(np.float64) for a in arrays[:2])
    scale = 1 / np.sqrt(arrays[3].astype(np.float64) + operation.options["eps"])
    scale = scale if gamma is None else scale * gamma
    shift = -arrays[2].astype(np.float64) * scale + (0.0 if beta is None else beta)
    return [Layer("map", x.number, operation.outputs[0], weight=scale, bias=shift)]


def _activation(operation: Operation, values: list[Known]) -> Made:
    name = CURVES.get(operation.kind, "relu")
    options = tuple(operation.options.values())
    if operation.kind == "GELU":
        name, options = ("gelu_tanh" if operation.options["tanh"] else "gelu"), ()
    return [
        Layer("map", operation.inputs[0].number, operation.outputs[0], activation=(name, *options))
    ]


def _sum(operation: Operation, values: list[Known]) -> Made:
    a, b = operation.inputs
    if all(isinstance(x, Ref) and values[x.number].array is None for x in (a, b)):
        if a == b:
            return [
                Layer(
                    "map",
                    a.number,
                    operation.outputs[0],
                    weight=np.full(values[a.number].shape[-1], 2.0),
                )
            ]
        shapes = [values[x.number].shape for x in (a, b)]
        if shapes[0] != shapes[1]:
            return None
        return [Layer("map", a.number, operation.outputs[0], r=b.number)]
    return _with_constant(operation, values)


def _with_constant(operation: Operation, values: list[Known]) -> Made:
    """x + c, x - c, x c, x / c and the like, for a number, or one for each channel."""
    a, b = operation.inputs
    x, other, turned = (
        (a, b, False) if isinstance(a, Ref) and values[a.number].array is None else (b, a, True)
    )
    constant = _array(other, values) if isinstance(other, Ref) else np.asarray(other)
    kind, number = operation.kind, x.number
    channels = values[number].shape[-1]
    if (
        constant is None
        or constant.dtype.kind not in "fiu"
        or (constant.size != 1 and constant.shape[-1:] != (constant.size,))
        or (constant.size not in (1, channels))
        or constant.ndim > len(values[number].shape)
    ):
        return None
    c = np.broadcast_to(constant.reshape(-1).astype(np.float64), (channels,))
    one, zero = np.ones(channels), np.zeros(channels)
    if kind == "Divide":  # the reciprocals must be normal numbers of float32
        size = np.abs(c)
        if turned or not ((size > 1e-38) & (size < 1e38)).all():
            return None
    scale, shift = {
        "Add": (one, c),
        "Multiply": (c, zero),
        "Divide": (1 / np.where(c, c, 1), zero),
        "Subtract": (-one, c) if turned else (one, -c),
    }[kind]
    return [Layer("map", number, operation.outputs[0], weight=scale, bias=shift)]


def _pool(operation: Operation, values: list[Known]) -> Made:
    options = operation.options
    geometry = {
        "kernel": options["window"],
        "stride": options["stride"],
        "padding": options["padding"],
        "dilation": options["dilation"],
    }
    if operation.kind == "AvgPool":
        rows, cols = options["counted"]
        geometry["counted"] = (*rows, *cols)
    kind = "max_pool" if operation.kind == "MaxPool" else "avg_pool"
    return [Layer(kind, operation.inputs[0].number, operation.outputs[0], geometry=geometry)]


def _global_pool(operation: Operation, values: list[Known]) -> Made:
    """The mean of all pixels: a GlobalAvgPool, or a Mean over all axes but the first and last."""
    known = values[operation.inputs[0].number]
    axes = operation.options.get("axes", (1, 2))
    if operation.kind == "Mean" and axes != tuple(range(1, len(known.shape) - 1)):
        return None
    image = image_of(known)
    if image is None or len(known.shape) < 3:
        return None
    geometry = {
        "kernel": image[:2],
        "stride": (1, 1),
        "padding": ((0, 0), (0, 0)),
        "dilation": (1, 1),
    }
    return [Layer("avg_pool", operation.inputs[0].number, operation.outputs[0], geometry=geometry)]


def _view(operation: Operation, values: list[Known]) -> Made:
    return [Layer("view", operation.inputs[0].number, operation.outputs[0])]


def _joined(operation: Operation, values: list[Known]) -> Made:
    """A concatenation of channels: a map copies each input to its range of channels."""
    shapes = [values[x.number].shape for x in operation.inputs]
    if (
        len(shapes) > MOST_JOINED
        or operation.options["axis"] != len(shapes[0]) - 1
        or any(values[x.number].array is not None for x in operation.inputs)
    ):
        return None
    made, channel = [], 0
    for x, shape in zip(operation.inputs, shapes, strict=True):
        made.append(
            Layer("map", x.number, operation.outputs[0], channel=channel, geometry={"part": True})
        )
        channel += shape[-1]
    return made


LOWERED: dict[str, Callable[[Operation, list[Known]], Made]] = {
    "Conv": _conv,
    "Linear": _dense,
    "MatMul": _dense,
    "BatchNorm": _batch_norm,
    **dict.fromkeys(("ReLU", *CURVES), _activation),
    "Add": _sum,
    **dict.fromkeys(("Subtract", "Multiply", "Divide"), _with_constant),
    "MaxPool": _pool,
    "AvgPool": _pool,
    "GlobalAvgPool": _global_pool,
    "Mean": _global_pool,
    "Reshape": _view,
    "Detach": _view,
    "Concatenate": _joined,
}
