"""From operations to layers that a plan computes: what the native steps can do, and what becomes
part of what.

A BatchNorm in evaluation mode is a scale and a shift of each channel, which the weights of a
convolution before it take in (Ioffe & Szegedy 2015, section 3.1). A sum, an activation and a pool
of 2x2 windows become the end of the layer before. Operations that are none of these stay as they
are, and are called.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import kernels
from ..ops.operation import Operation as OwnFunction
from .program import Known, Operation, Program, Ref, Size, has_sizes, refs_of

BATCH = Size(0, 1)
MOST_JOINED = 24        # inputs of a joint
MOST_SHIFT = 64         # of a scale and shift: a larger one would cost digits of what comes out
CURVES = {"Tanh": "tanh", "Sigmoid": "sigmoid", "LeakyReLU": "leaky_relu", "ELU": "elu",
          "Softplus": "softplus", "SiLU": "silu"}
SIDE_BY_SIDE = {"kernel": (2, 2), "stride": (2, 2), "dilation": (1, 1),
                "padding": ((0, 0), (0, 0))}


@dataclasses.dataclass(eq=False)
class Layer:
    """What a plan computes of value x, and adds r to, to value y: a convolution (a dense layer
    too), a pool, a map of each value, a view of the same values in another shape, or a part of a
    joint."""

    kind: str                                   # "conv", "max_pool", "avg_pool", "map", "view"
    x: int
    y: int
    r: int | None = None
    weight: np.ndarray | None = None            # (KH, KW, C_in / groups, C_out); of a map (C,)
    bias: np.ndarray | None = None              # (C_out,)
    geometry: dict[str, Any] = dataclasses.field(default_factory=dict)
    activation: tuple[Any, ...] | None = None
    pools: bool = False                         # 2x2 windows side by side, at last
    channel: int = 0                            # where y begins among the channels of its array
    kernel: str = ""                            # that computes it, see Planner.kernel_of

    def reads(self) -> list[int]:
        return [self.x] if self.r is None else [self.x, self.r]

    @property
    def plain(self) -> bool:
        """Whether nothing has become its end yet."""
        return self.r is None and self.activation is None and not self.pools


def image_of(known: Known) -> tuple[int, int, int] | None:
    """The height, width and channels of the images that a value is, or None: a plan computes
    float32 values whose first axis is the batch, of two to four axes."""
    sizes = known.shape[1:]
    if (known.dtype != np.float32 or known.array is not None or known.shape[:1] != (BATCH,)
            or not 1 <= len(sizes) <= 3 or not all(isinstance(n, int) and n > 0 for n in sizes)):
        return None
    height, width, channels = (1,) * (3 - len(sizes)) + sizes
    return height, width, channels


def layers_of(program: Program, exact: bool) -> list[Layer | Operation]:
    """The layers and calls of a program, in an order in which they can be computed; if `exact`,
    none of Winograd's."""
    return _Fusion(program, exact).done


class _Fusion:
    def __init__(self, program: Program, exact: bool) -> None:
        self.values, self.exact = program.values, exact
        self.uses = Counter(ref.number for operation in program.operations
                            for ref in refs_of(operation.inputs))
        self.returned = set(program.outputs())
        self.done: list[Layer | Operation] = []
        self.makers: dict[int, Layer] = {}
        # Views of values that nobody else takes, with the same channels, and what makes them.
        self.views: dict[int, tuple[Layer, Layer]] = {}
        for operation in program.operations:
            made = self.lowered(operation)
            if isinstance(made, Operation):
                self.done.append(made)
                continue
            for layer in made:
                if not self.absorbed(layer):
                    self.append(layer, operation)

    def lowered(self, operation: Operation) -> list[Layer] | Operation:
        """The layers that compute an operation; itself if none do."""
        lower = LOWERED.get(operation.kind) if issubclass(operation.function, OwnFunction) else None
        taken = [x.number for x in operation.inputs if isinstance(x, Ref)]
        images = [image_of(self.values[n]) for n in taken if self.values[n].array is None]
        if (lower is None or len(operation.outputs) != 1 or has_sizes(operation.inputs)
                or not images or None in (*images, image_of(self.values[operation.outputs[0]]))):
            return operation
        return lower(operation, self.values) or operation

    def append(self, layer: Layer, operation: Operation) -> None:
        """A layer at the end; its operation instead if the layer would cost digits."""
        if _shifts_far(layer):
            self.done.append(operation)
            return
        self.done.append(layer)
        if not layer.geometry.get("part"):
            self.makers[layer.y] = layer
        before = self.makers.get(layer.x)
        if (layer.kind == "view" and before is not None and self.alone(layer.x)
                and self.values[layer.x].shape[-1] == self.values[layer.y].shape[-1]):
            self.views[layer.y] = layer, before

    def alone(self, number: int) -> bool:
        """Whether one layer takes a value, and nobody else."""
        return self.uses[number] == 1 and number not in self.returned

    def absorbed(self, layer: Layer) -> bool:
        """Whether a layer has become the end of one whose values only it takes."""
        view, maker = self.views.get(layer.x, (None, None))
        if (view is not None and maker is not None and layer.kind == "map" and layer.r is None
                and not layer.geometry.get("part") and self.alone(layer.x)
                and self.ends(maker, layer, layer.x)):
            view.y = layer.y
            self.views[layer.y] = view, maker
            return True
        for x in layer.reads() if layer.kind in ("map", "max_pool") else ():
            maker = self.makers.get(x)
            if maker is None or not self.alone(x) or not self.ends(maker, layer, x):
                continue
            self.done.remove(maker)         # what it adds may have come after it
            self.done.append(maker)
            del self.makers[x]
            maker.y = layer.y
            if not layer.geometry.get("part"):
                self.makers[layer.y] = maker
            return True
        return False

    def ends(self, maker: Layer, layer: Layer, x: int) -> bool:
        """Make a layer the end of the one that made x; False if it cannot be."""
        if maker.kind not in ("conv", "map"):
            return False
        if layer.kind == "max_pool":
            if (layer.geometry != SIDE_BY_SIDE or self.exact or maker.pools
                    or maker.r is not None or not winograd_fits(maker, self.values)):
                return False
            maker.pools = True
            return True
        if layer.geometry.get("part"):
            maker.channel = layer.channel
            return True
        if maker.activation is not None:
            return False
        if maker.pools:         # the largest value is the same before a ReLU and after it
            if layer.activation != ("relu",) or layer.weight is not None or layer.r is not None:
                return False
            maker.activation = ("relu",)
            return True
        if layer.weight is not None:
            if not maker.plain:
                return False
            scaled = _scaled(maker, layer.weight, layer.bias)
            if maker.kind == "map" and _shifts_far(scaled):
                return False
            maker.weight, maker.bias = scaled.weight, scaled.bias
        elif layer.r is not None:
            if maker.r is not None:
                return False
            maker.r = layer.r if x == layer.x else layer.x
        maker.activation = layer.activation
        return True


def _scaled(maker: Layer, scale: np.ndarray, shift: np.ndarray | None) -> Layer:
    """A convolution or map that ends with a scale and a shift of each channel."""
    wide = scale.astype(np.float64)
    bias = 0.0 if maker.bias is None else maker.bias.astype(np.float64)
    weight = 1.0 if maker.weight is None else maker.weight.astype(np.float64)
    return dataclasses.replace(
        maker, weight=np.asarray(weight * wide, np.float32),
        bias=np.asarray(bias * wide + (0.0 if shift is None else shift), np.float32))


def _shifts_far(layer: Layer) -> bool:
    """Whether x scale + shift would lose digits that (x - mean) scale keeps: where the mean is many
    standard deviations from 0, both terms are much larger than their sum. A shift alone loses
    none."""
    return (layer.kind == "map" and layer.weight is not None and layer.bias is not None
            and not (np.abs(layer.weight) == 1).all()
            and bool((np.abs(layer.bias) > MOST_SHIFT).any()))


def winograd_fits(layer: Layer, values: list[Known]) -> bool:
    """Whether Winograd's kernels compute a layer: the shapes of `kernels.choose`, no activation but
    a ReLU."""
    if layer.kind != "conv" or layer.weight is None:
        return False
    image = image_of(values[layer.x])
    kh, kw, ci, co = layer.weight.shape
    geometry = layer.geometry
    return (image is not None and min(image[:2]) >= 2 and (kh, kw) == (3, 3)
            and geometry["stride"] == geometry["dilation"] == (1, 1) and geometry["groups"] == 1
            and ci % 8 == co % 8 == 0 and min(ci, co) >= 16
            and layer.activation in (None, ("relu",)))


# ------------------------------------------------------------------------ operation by operation

Made = list[Layer] | None


def _array(x: Any, values: list[Known]) -> np.ndarray | None:
    """A constant argument; None if it is none."""
    return values[x.number].array if isinstance(x, Ref) else None


def _conv(operation: Operation, values: list[Known]) -> Made:
    x, w, b = operation.inputs
    weight, options = _array(w, values), operation.options
    if (weight is None or (b is not None and _array(b, values) is None)
            or weight.shape[0] * weight.shape[1] > kernels.PLAN_TAPS
            or values[x.number].array is not None):
        return None
    geometry = {name: options[name] for name in ("stride", "padding", "dilation", "groups")}
    return [Layer("conv", x.number, operation.outputs[0], weight=weight, bias=_array(b, values),
                  geometry=geometry)]


def _dense(operation: Operation, values: list[Known]) -> Made:
    x, w, *rest = operation.inputs
    weight = _array(w, values)
    bias = _array(rest[0], values) if rest else None
    if (weight is None or weight.ndim != 2 or _array(x, values) is not None
            or (rest and rest[0] is not None and bias is None)):
        return None
    geometry = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}
    return [Layer("conv", x.number, operation.outputs[0], weight=weight[None, None], bias=bias,
                  geometry=geometry)]


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
    return [Layer("map", operation.inputs[0].number, operation.outputs[0],
                  activation=(name, *options))]


def _sum(operation: Operation, values: list[Known]) -> Made:
    a, b = operation.inputs
    if all(isinstance(x, Ref) and values[x.number].array is None for x in (a, b)):
        if a == b:
            return [Layer("map", a.number, operation.outputs[0],
                          weight=np.full(values[a.number].shape[-1], 2.0))]
        shapes = [values[x.number].shape for x in (a, b)]
        if shapes[0] != shapes[1]:
            return None
        return [Layer("map", a.number, operation.outputs[0], r=b.number)]
    return _with_constant(operation, values)


def _with_constant(operation: Operation, values: list[Known]) -> Made:
    """x + c, x - c, x c, x / c and the like, for a number, or one for each channel."""
    a, b = operation.inputs
    x, other, turned = (a, b, False) if isinstance(a, Ref) and values[a.number].array is None \
        else (b, a, True)
    constant = _array(other, values) if isinstance(other, Ref) else np.asarray(other)
    kind, number = operation.kind, x.number
    channels = values[number].shape[-1]
    if constant is None or constant.dtype.kind not in "fiu" or (
            constant.size != 1 and constant.shape[-1:] != (constant.size,)) or (
            constant.size not in (1, channels)) or constant.ndim > len(values[number].shape):
        return None
    c = np.broadcast_to(constant.reshape(-1).astype(np.float64), (channels,))
    one, zero = np.ones(channels), np.zeros(channels)
    if kind == "Divide":        # by numbers whose reciprocals float32 has
        size = np.abs(c)
        if turned or not ((size > 1e-38) & (size < 1e38)).all():
            return None
    scale, shift = {"Add": (one, c), "Multiply": (c, zero), "Divide": (1 / np.where(c, c, 1), zero),
                    "Subtract": (-one, c) if turned else (one, -c)}[kind]
    return [Layer("map", number, operation.outputs[0], weight=scale, bias=shift)]


def _pool(operation: Operation, values: list[Known]) -> Made:
    options = operation.options
    geometry = {"kernel": options["window"], "stride": options["stride"],
                "padding": options["padding"], "dilation": options["dilation"]}
    if operation.kind == "AvgPool":
        rows, cols = options["counted"]
        geometry["counted"] = (*rows, *cols)
    kind = "max_pool" if operation.kind == "MaxPool" else "avg_pool"
    return [Layer(kind, operation.inputs[0].number, operation.outputs[0], geometry=geometry)]


def _global_pool(operation: Operation, values: list[Known]) -> Made:
    """The mean of all pixels, also as md.mean of the axes between the first and the last."""
    known = values[operation.inputs[0].number]
    axes = operation.options.get("axes", (1, 2))
    if operation.kind == "Mean" and axes != tuple(range(1, len(known.shape) - 1)):
        return None
    image = image_of(known)
    if image is None or len(known.shape) < 3:
        return None
    geometry = {"kernel": image[:2], "stride": (1, 1), "padding": ((0, 0), (0, 0)),
                "dilation": (1, 1)}
    return [Layer("avg_pool", operation.inputs[0].number, operation.outputs[0], geometry=geometry)]


def _view(operation: Operation, values: list[Known]) -> Made:
    return [Layer("view", operation.inputs[0].number, operation.outputs[0])]


def _joined(operation: Operation, values: list[Known]) -> Made:
    """Channels side by side: each input is copied to its place."""
    shapes = [values[x.number].shape for x in operation.inputs]
    if (len(shapes) > MOST_JOINED or operation.options["axis"] != len(shapes[0]) - 1
            or any(values[x.number].array is not None for x in operation.inputs)):
        return None
    made, channel = [], 0
    for x, shape in zip(operation.inputs, shapes, strict=True):
        made.append(Layer("map", x.number, operation.outputs[0], channel=channel,
                          geometry={"part": True}))
        channel += shape[-1]
    return made


LOWERED: dict[str, Callable[[Operation, list[Known]], Made]] = {
    "Conv": _conv, "Linear": _dense, "MatMul": _dense, "BatchNorm": _batch_norm,
    **dict.fromkeys(("ReLU", "GELU", *CURVES), _activation), "Add": _sum,
    **dict.fromkeys(("Subtract", "Multiply", "Divide"), _with_constant),
    "MaxPool": _pool, "AvgPool": _pool, "GlobalAvgPool": _global_pool, "Mean": _global_pool,
    "Reshape": _view, "Detach": _view, "Concatenate": _joined}
