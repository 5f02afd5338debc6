"""Resize and Upsample: to the nearest value, or linearly between two.

`md.resize` computes them where it takes values from the same places. `Resample` computes the other
ways of the standard to lay the result over the input, one axis after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import kernels, ops
from ...ops.resample import MODES, Resample
from ..steps import FLOATS, Operator, Step, refuse
from ..values import Held, held_last
from .shapes import axes_of

COORDINATES = (
    "half_pixel",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "half_pixel_symmetric",
)
ROUNDINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _check(step: Step) -> None:
    mode = step.get("mode", "nearest")
    refuse(step, mode not in ("nearest", "linear", "bilinear"), f"mode={mode!r} is not supported")
    if step.operator == "Upsample" or step.opset < 11:
        return
    word = step.get("coordinate_transformation_mode", "half_pixel")
    refuse(
        step, word not in COORDINATES, f"coordinate_transformation_mode={word!r} is not supported"
    )
    rounding = step.get("nearest_mode", "round_prefer_floor")
    refuse(step, rounding not in ROUNDINGS, f"nearest_mode={rounding!r} is not supported")
    refuse(step, step.get("antialias", 0), "antialias=1 is not supported")


def _coordinates(word: str, n: int, size: int, scale: float) -> np.ndarray:
    """The coordinates of the `size` new values on an axis of n values, by the formula of the
    standard for a coordinate_transformation_mode."""
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


def _is_ours(mode: str, places: np.ndarray, length: int) -> bool:
    """Whether `md.resize` takes the values of an axis from these places."""
    table = MODES[mode](length, len(places))
    ours = table.starts + table.weights @ np.arange(table.weights.shape[1])
    return np.allclose(places, ours, rtol=0, atol=1e-6)


def _sizes(
    step: Step, shape: tuple[int, ...], axes: tuple[int, ...], scales: Any, sizes: Any
) -> list[tuple[int, float]]:
    """The new size of each of the axes, and the scale that its coordinates are computed with."""
    if sizes is None:
        return [
            (math.floor(np.float32(shape[a]) * np.float32(s)), s)
            for a, s in zip(axes, scales, strict=True)
        ]
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
        raise ValueError(
            f"{step.operator} of node {step.name!r}: neither scales nor sizes are given"
        )
    old = step.operator == "Upsample" or step.opset < 11
    word = "asymmetric" if old else step.get("coordinate_transformation_mode", "half_pixel")
    mode = "nearest" if step.get("mode", "nearest") == "nearest" else "linear"
    rounding = step.get("nearest_mode", "round_prefer_floor")
    axes = axes_of(step, x.ndim, None, range(x.ndim))
    shape, places = list(x.shape), {}
    for axis, (size, scale) in zip(axes, _sizes(step, x.shape, axes, scales, sizes), strict=True):
        length = shape[axis]
        if size == length and scale == 1:
            continue
        if size < 1 or scale <= 0:
            raise ValueError(
                f"{step.operator} of node {step.name!r}: an axis of length "
                f"{length} would get length {size}"
            )
        shape[axis] = size
        kernels.check_shape(step.operator, tuple(shape), x.dtype)
        at = _coordinates(word, length, size, scale)
        if old:  # the standard says nothing of the rounding, and runtimes do this
            rounding = "floor" if scale >= 1 else "ceil"
        at = ROUNDINGS[rounding](at) if mode == "nearest" else at
        places[axis] = np.clip(at, 0, length - 1)
    if (
        x.ndim in (3, 4)
        and places
        and all(axis > 1 and _is_ours(mode, at, x.shape[axis]) for axis, at in places.items())
    ):
        return held_last(ops.resize(x.last, tuple(shape[2:]), mode))
    t = x.tensor
    for axis, at in places.items():
        t = Resample.apply(t, places=at, axis=x.place(axis))
    return x.like(t)


RESIZE = {
    "Resize": Operator(
        _resize,
        (
            "mode",
            "coordinate_transformation_mode",
            "nearest_mode",
            "axes",
            "antialias",
            "cubic_coeff_a",
            "exclude_outside",
            "extrapolation_value",
            "keep_aspect_ratio_policy",
        ),
        FLOATS,
        _check,
        "images",
    ),
    "Upsample": Operator(_resize, ("mode", "scales"), FLOATS, _check, "images"),
}
