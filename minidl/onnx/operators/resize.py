"""Resize and Upsample: to the nearest value, or linearly between two, one axis after the other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import kernels, ops
from ...ops.operation import Operation
from ...tensor import Tensor
from ..steps import FLOATS, Operator, Step, refuse
from ..values import Held
from .shapes import axes_of

COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric",
               "half_pixel_symmetric")
ROUNDINGS = {"round_prefer_floor": lambda x: np.ceil(x - 0.5),
             "round_prefer_ceil": lambda x: np.floor(x + 0.5),
             "floor": np.floor, "ceil": np.ceil}


class TakeInOrder(Operation):
    """y = the entries of x at places along an axis, which never decrease;  dx = the sum of dy over
    the places of each entry."""

    def forward(self, x: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
        self.shape, self.places, self.axis = x.shape, places, axis
        return np.take(x, places, axis)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        chosen, first = np.unique(self.places, return_index=True)
        dx = np.zeros(self.shape, dy.dtype)
        if len(first):
            dx[(slice(None),) * self.axis + (chosen,)] = np.add.reduceat(dy, first, self.axis)
        return dx


def _check(step: Step) -> None:
    mode = step.get("mode", "nearest")
    refuse(step, mode not in ("nearest", "linear", "bilinear"), f"mode={mode!r} is not supported")
    if step.operator == "Upsample" or step.opset < 11:
        return
    word = step.get("coordinate_transformation_mode", "half_pixel")
    refuse(step, word not in COORDINATES,
           f"coordinate_transformation_mode={word!r} is not supported")
    rounding = step.get("nearest_mode", "round_prefer_floor")
    refuse(step, rounding not in ROUNDINGS, f"nearest_mode={rounding!r} is not supported")
    refuse(step, step.get("antialias", 0), "antialias=1 is not supported")


def _coordinates(word: str, n: int, size: int, scale: float) -> np.ndarray:
    """Where in n values the `size` values lie."""
    x = np.arange(size, dtype=np.float64)
    if word == "asymmetric":
        return x / scale
    if word == "align_corners":
        return x * (n - 1) / (n * scale - 1) if size > 1 else np.zeros(size)
    if word == "pytorch_half_pixel" and size == 1:
        return np.zeros(1)
    half = (x + 0.5) / scale - 0.5
    if word == "half_pixel_symmetric":
        share = size / (scale * n)
        return n / 2 * (1 - share) + half
    return half


def _along(x: Tensor, axis: int, at: np.ndarray, rounding: Any) -> Tensor:
    """One axis: values at coordinates, rounded or between two."""
    n = x.shape[axis]
    if rounding is not None:
        return _taken(x, np.clip(rounding(at), 0, n - 1).astype(np.int64), axis)
    at = np.clip(at, 0, n - 1)
    low = np.floor(at).astype(np.int64)
    share = (at - low).astype(x.dtype).reshape((-1,) + (1,) * (x.ndim - axis - 1))
    below, above = _taken(x, low, axis), _taken(x, np.minimum(low + 1, n - 1), axis)
    return below * (1 - share) + above * share


def _taken(x: Tensor, places: np.ndarray, axis: int) -> Tensor:
    return TakeInOrder.apply(x, places=places, axis=axis)


def _sizes(step: Step, shape: tuple[int, ...], axes: tuple[int, ...], scales: Any, sizes: Any
           ) -> list[tuple[int, float]]:
    """(size, scale) of each axis that is given."""
    if sizes is None:
        return [(math.floor(np.float32(shape[a]) * np.float32(s)), s)
                for a, s in zip(axes, scales, strict=True)]
    policy = step.get("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return [(size, size / shape[a]) for a, size in zip(axes, sizes, strict=True)]
    pick = min if policy == "not_larger" else max
    scale = pick(size / shape[a] for a, size in zip(axes, sizes, strict=True))
    return [(math.floor(scale * shape[a] + 0.5), scale) for a in axes]


def _resize(step: Step, x: Held, *given: Held | None) -> Held:
    scales: Any = step.get("scales")
    sizes = None
    if step.operator == "Resize" and step.opset >= 11:
        _, by, to = (*given, None, None, None)[:3]
        scales = None if by is None or not by.tensor.size else by.array().tolist()
        sizes = None if to is None or not to.tensor.size else to.ints()
    elif given and given[0] is not None:
        scales = given[0].array().tolist()
    if scales is None and sizes is None:
        raise ValueError(f"{step.operator} of node {step.name!r}: neither scales nor sizes are "
                         f"given")
    old = step.operator == "Upsample" or step.opset < 11
    word = "asymmetric" if old else step.get("coordinate_transformation_mode", "half_pixel")
    nearest = step.get("mode", "nearest") == "nearest"
    rounding = step.get("nearest_mode", "round_prefer_floor")
    axes = axes_of(step, x.ndim, None, range(x.ndim))
    y, shape = x.tensor, x.shape
    for axis, (size, scale) in zip(axes, _sizes(step, shape, axes, scales, sizes), strict=True):
        if size == shape[axis] and scale == 1:
            continue
        if size < 1 or scale <= 0:
            raise ValueError(f"{step.operator} of node {step.name!r}: an axis of length "
                             f"{shape[axis]} would get length {size}")
        place = x.place(axis)
        kernels.check_shape(step.operator, tuple([size if k == place else n for k, n in
                                                  enumerate(y.shape)]), y.dtype)
        if old:     # what runtimes do, of which the standard says nothing
            rounding = "floor" if scale >= 1 else "ceil"
        y = _along(y, place, _coordinates(word, shape[axis], size, scale),
                   ROUNDINGS[rounding] if nearest else None)
    return x.like(ops.reshape(y, y.shape) if y is x.tensor else y)


RESIZE = {
    "Resize": Operator(_resize, (
        "mode", "coordinate_transformation_mode", "nearest_mode", "axes", "antialias",
        "cubic_coeff_a", "exclude_outside", "extrapolation_value", "keep_aspect_ratio_policy"),
        FLOATS, _check, "images"),
    "Upsample": Operator(_resize, ("mode", "scales"), FLOATS, _check, "images"),
}
