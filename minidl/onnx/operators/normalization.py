"""Normalizations by statistics of the batch, of each example, and of windows of channels. Those of
the batch are layers where the file has their running statistics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import nn, ops
from ...tensor import Tensor
from ..steps import FLOATS, Operator, Step, refuse
from ..values import Held, held_last

MOST_CHANNELS = 4096  # of the window of a local response normalization


def _trains(step: Step) -> bool:
    """Whether the file has a BatchNormalization in training mode: it then normalizes with the
    statistics of its batch."""
    if step.opset >= 14:
        return bool(step.get("training_mode", 0))
    if step.opset < 7:
        return not step.get("is_test", 0)
    return any(step.makes(k) for k in range(1, len(step.outputs)))


def _check_batch_norm(step: Step) -> None:
    refuse(
        step, not step.get("spatial", 1), "spatial=0, statistics of every place, is not supported"
    )
    step.attributes["training"] = _trains(step)


def check_statistics(step: Step) -> None:
    """Refuse outputs for statistics that something takes in a file of an opset before 14, since
    versions differ in what these outputs are."""
    refuse(
        step,
        step.opset < 14 and any(step.makes(k) for k in range(1, len(step.outputs))),
        "outputs for statistics, before opset 14, are not supported",
    )


def batch_norm_layer(
    step: Step, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, var: np.ndarray
) -> nn.BatchNorm:
    """The layer for a BatchNormalization whose parameters and statistics are in the file."""
    momentum = round(1 - step.get("momentum", 0.9), 9)  # the new batch's share
    layer = nn.BatchNorm(len(gamma), step.get("epsilon", 1e-5), momentum)
    layer.gamma, layer.beta = nn.Parameter(gamma), nn.Parameter(beta)
    layer.running_mean, layer.running_var = mean, var
    return layer


def run_batch_norm_layer(step: Step, layer: Any, x: Held) -> Held:
    return held_last(layer(x.last))


def _batch_norm(step: Step, x: Held, gamma: Held, beta: Held, mean: Held, var: Held) -> Any:
    images, eps = x.last, step.get("epsilon", 1e-5)
    if not step.attributes["training"]:
        return held_last(
            ops.batch_norm(images, gamma.plain, beta.plain, mean.array(), var.array(), eps=eps)
        )
    y = held_last(ops.batch_norm(images, gamma.plain, beta.plain, training=True, eps=eps))
    if not step.makes(1):
        return y
    axes, keep = tuple(range(images.ndim - 1)), step.get("momentum", 0.9)
    return (
        y,
        Held(mean.plain * keep + ops.mean(images, axes) * (1 - keep)),
        Held(var.plain * keep + ops.var(images, axes) * (1 - keep)),
    )


def _instance_norm(step: Step, x: Held, gamma: Held, beta: Held) -> Held:
    images = x.last
    return held_last(
        ops.group_norm(images, images.shape[-1], gamma.plain, beta.plain, step.get("epsilon", 1e-5))
    )


def _group_norm(step: Step, x: Held, gamma: Held, beta: Held) -> Held:
    images, groups = x.last, step.get("num_groups")
    scale, shift = gamma.plain, beta.plain
    if step.opset < 21:  # before, the file has one factor for each group
        size = images.shape[-1] // groups
        scale, shift = (
            ops.reshape(ops.broadcast_to(ops.expand_dims(g, 1), (groups, size)), (groups * size,))
            for g in (scale, shift)
        )
    return held_last(ops.group_norm(images, groups, scale, shift, step.get("epsilon", 1e-5)))


def _rows(step: Step, x: Tensor, centre: bool, scale: Held, bias: Held | None) -> Any:
    """x normalized over its axes from `axis` on."""
    axis = step.axis(x.ndim, -1)
    shape, eps = x.shape[axis:], step.get("epsilon", 1e-5)
    rows = ops.reshape(x, (*x.shape[:axis], math.prod(shape)))
    fit = scale.shape == shape and (bias is None or bias.shape == shape)
    gamma, beta = (
        ops.reshape(v.plain, (rows.shape[-1],)) if v is not None and fit else None
        for v in (scale, bias)
    )
    y = ops.layer_norm(rows, gamma, beta, eps) if centre else ops.rms_norm(rows, gamma, eps)
    y = ops.reshape(y, x.shape)
    if not fit:
        y = y * scale.plain
        y = y if bias is None else y + bias.plain
    return y


def _layer_norm(step: Step, x: Held, scale: Held, bias: Held | None = None) -> Any:
    t = x.plain
    y = Held(_rows(step, t, True, scale, bias))
    if not (step.makes(1) or step.makes(2)):
        return y
    axes = tuple(range(step.axis(t.ndim, -1), t.ndim))
    var = ops.var(t, axes, keepdims=True)
    return (
        y,
        Held(ops.mean(t, axes, keepdims=True)),
        Held(1 / ops.sqrt(var + step.get("epsilon", 1e-5))),
    )


def _rms_norm(step: Step, x: Held, scale: Held) -> Held:
    return Held(_rows(step, x.plain, False, scale, None))


def _check_rows(step: Step) -> None:
    refuse(
        step,
        step.get("stash_type", 1) not in (1, 11),
        "statistics of another dtype than float32 (stash_type) are not supported",
    )


def _check_group_norm(step: Step) -> None:
    _check_rows(step)
    if step.get("num_groups", 0) < 1:
        raise ValueError(
            f"GroupNormalization of node {step.name!r}: num_groups must be at least 1, got "
            f"{step.get('num_groups')}"
        )


def _lp_normalization(step: Step, x: Held) -> Held:
    place, p = x.place(step.get("axis", -1)), step.get("p", 2)
    t = x.tensor
    norm = (
        ops.sum(ops.abs(t), place, keepdims=True)
        if p == 1
        else ops.sqrt(ops.sum(t * t, place, keepdims=True))
    )
    return x.like(ops.where(norm == 0, ops.multiply(t, 0), t / ops.where(norm == 0, 1.0, norm)))


def _mean_variance(step: Step, x: Held) -> Held:
    places = tuple([x.place(axis) for axis in step.get("axes", (0, 2, 3))])
    t = x.tensor
    mean = ops.mean(t, places, keepdims=True)
    return x.like((t - mean) / (ops.std(t, places, keepdims=True) + 1e-9))


def _local_response(step: Step, x: Held) -> Held:
    """x / (bias + alpha / size sum of squares of neighbouring channels)^beta (Krizhevsky et al.
    2012)."""
    t, size = x.last, step.get("size")
    if not 0 < size <= MOST_CHANNELS:
        raise ValueError(f"size must be from 1 to {MOST_CHANNELS}, got {size}")
    squares = ops.multiply(t, t)
    before = (size - 1) // 2
    border = [(0, 0)] * (t.ndim - 1) + [(before, size - 1 - before)]
    wide, channels = ops.pad(squares, border), t.shape[-1]
    total = wide[..., :channels]
    for k in range(1, size):
        total = total + wide[..., k : k + channels]
    scale = total * (step.get("alpha", 1e-4) / size) + step.get("bias", 1.0)
    return held_last(t / ops.power(scale, step.get("beta", 0.75)))


NORMALIZATION = {
    "BatchNormalization": Operator(
        _batch_norm,
        ("epsilon", "momentum", "training_mode", "is_test", "spatial"),
        FLOATS,
        _check_batch_norm,
        "images",
    ),
    "InstanceNormalization": Operator(_instance_norm, ("epsilon",), places="images"),
    "GroupNormalization": Operator(
        _group_norm, ("epsilon", "num_groups", "stash_type"), FLOATS, _check_group_norm, "images"
    ),
    "LRN": Operator(_local_response, ("alpha", "beta", "bias", "size"), places="images"),
    "LayerNormalization": Operator(
        _layer_norm, ("axis", "epsilon", "stash_type"), FLOATS, _check_rows
    ),
    "RMSNormalization": Operator(_rms_norm, ("axis", "epsilon", "stash_type"), FLOATS, _check_rows),
    "LpNormalization": Operator(_lp_normalization, ("axis", "p"), places="any"),
    "MeanVarianceNormalization": Operator(_mean_variance, ("axes",), places="any"),
}
