"""A `Layer` is what a plan computes, and `LOWERED` makes layers of the operations of a program.

A BatchNorm in evaluation mode is a scale and a shift of each channel. Operations that no layer
computes have no entry or get None: they stay as they are, and are called. What becomes of layers
that follow one another stands in `fusion`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import kernels
from ..ops.activation import Curve
from .program import Known, Operation, Ref, Size

BATCH = Size(0, 1)
MOST_JOINED = 24  # inputs of a concatenation
CURVES = {curve.__name__: curve.kernel for curve in Curve.__subclasses__()}


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


Made = list[Layer] | None


def _layer(kind: str, operation: Operation, x: Ref | None = None, **options: Any) -> list[Layer]:
    """One layer that makes the result of an operation, of its first input or of x."""
    return [Layer(kind, (x or operation.inputs[0]).number, operation.outputs[0], **options)]


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
    return _layer("conv", operation, weight=weight, bias=_array(b, values), geometry=geometry)


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
    return _layer("conv", operation, weight=weight[None, None], bias=bias, geometry=geometry)


def _batch_norm(operation: Operation, values: list[Known]) -> Made:
    arrays = [_array(item, values) for item in operation.inputs[1:]]
    if arrays[2] is None or arrays[3] is None or operation.options.get("correction") is not None:
        return None
    gamma, beta = (None if a is None else a.astype(np.float64) for a in arrays[:2])
    scale = 1 / np.sqrt(arrays[3].astype(np.float64) + operation.options["eps"])
    scale = scale if gamma is None else scale * gamma
    shift = -arrays[2].astype(np.float64) * scale + (0.0 if beta is None else beta)
    return _layer("map", operation, weight=scale, bias=shift)


def _activation(operation: Operation, values: list[Known]) -> Made:
    name = CURVES.get(operation.kind, "relu")
    options = tuple(operation.options.values())
    if operation.kind == "GELU":
        name, options = ("gelu_tanh" if operation.options["tanh"] else "gelu"), ()
    return _layer("map", operation, activation=(name, *options))


def _sum(operation: Operation, values: list[Known]) -> Made:
    a, b = operation.inputs
    if all(isinstance(x, Ref) and values[x.number].array is None for x in (a, b)):
        shapes = [values[x.number].shape for x in (a, b)]
        if a == b:
            return _layer("map", operation, weight=np.full(shapes[0][-1], 2.0))
        return _layer("map", operation, r=b.number) if shapes[0] == shapes[1] else None
    return _with_constant(operation, values)


def _with_constant(operation: Operation, values: list[Known]) -> Made:
    """x + c, x - c, x c, x / c and the like, for a number, or one for each channel."""
    x, other = operation.inputs
    turned = not isinstance(x, Ref) or values[x.number].array is not None
    if turned:
        x, other = other, x
    constant = _array(other, values) if isinstance(other, Ref) else np.asarray(other)
    kind, shape = operation.kind, values[x.number].shape
    channels = shape[-1]
    if (
        constant is None
        or constant.dtype.kind not in "fiu"
        or (constant.size != 1 and constant.shape[-1:] != (constant.size,))
        or (constant.size not in (1, channels))
        or constant.ndim > len(shape)
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
    return _layer("map", operation, x, weight=scale, bias=shift)


def _pool(operation: Operation, values: list[Known]) -> Made:
    options = operation.options
    geometry = {name: options[name] for name in ("stride", "padding", "dilation")}
    geometry["kernel"] = options["window"]
    if operation.kind == "AvgPool":
        rows, cols = options["counted"]
        geometry["counted"] = (*rows, *cols)
    kind = "max_pool" if operation.kind == "MaxPool" else "avg_pool"
    return _layer(kind, operation, geometry=geometry)


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
    return _layer("avg_pool", operation, geometry=geometry)


def _view(operation: Operation, values: list[Known]) -> Made:
    return _layer("view", operation)


def _joined(operation: Operation, values: list[Known]) -> Made:
    """A concatenation of channels: a map copies each input to its range of channels."""
    shapes = [values[x.number].shape for x in operation.inputs]
    if (
        len(shapes) > MOST_JOINED
        or operation.options["axis"] != len(shapes[0]) - 1
        or any(values[x.number].array is not None for x in operation.inputs)
    ):
        return None
    made: list[Layer] = []
    channel = 0
    for x, shape in zip(operation.inputs, shapes, strict=True):
        made += _layer("map", operation, x, channel=channel, geometry={"part": True})
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
