"""Which nodes become layers of minidl, how their weights are laid out there, and how the layers are
called. A `Kind` says so for one operator.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import nn
from .operators import convolution, matrix, normalization
from .operators.geometry import weights_last
from .steps import Step
from .values import Held

Shapes = list[tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Kind:
    """`make(step, *arrays)` gives the layer for the arrays that the node takes besides its first
    input, `run(step, layer, x)` calls it. `names` are those of the layer's parameters and buffers,
    in the order of the arrays. `fits(step, shapes)` says whether the layer computes what a node
    with arrays of such shapes does."""

    make: Callable[..., Any]
    run: Callable[..., Held]
    names: tuple[str, ...]
    fits: Callable[[Step, Shapes], bool]


def _conv(step: Step, weight: np.ndarray, bias: np.ndarray | None = None) -> Any:
    return convolution.conv_layer(step, weights_last(weight), bias)


def _conv_transpose(step: Step, weight: np.ndarray, bias: np.ndarray | None = None) -> Any:
    return convolution.transpose_layer(
        step, convolution.transposed_weights(weight, step.get("group", 1)), bias
    )


def _convolves(step: Step, shapes: Shapes) -> bool:
    weight, groups = shapes[0], step.get("group", 1)
    out = weight[0] if step.operator == "Conv" else weight[1] * groups
    return (
        len(weight) in (3, 4)
        and 0 not in weight
        and groups > 0
        and weight[0] % groups == 0
        and all(shape == (out,) for shape in shapes[1:])
    )


def _normalizes(step: Step, shapes: Shapes) -> bool:
    return (
        not any(step.makes(k) for k in range(1, len(step.outputs)))
        and len(set(shapes)) == 1
        and len(shapes[0]) == 1
        and shapes[0][0] > 0
        and 0 <= step.get("momentum", 0.9) <= 1
    )


def run(step: Step, layer: Any, x: Any) -> Held:
    """The output of a step whose layer is given."""
    return KINDS[step.operator].run(step, layer, x)


def _dropped(step: Step, layer: Any, x: Held) -> Held:
    return x.like(layer(x.tensor))


def dropout_of(step: Step) -> nn.Dropout | None:
    """The layer for a Dropout. None if the share, or whether the node is training, is computed, or
    if the mask is asked for: the node then stays one."""
    share = step.get("ratio", 0.5)
    if step.has(1):
        if step.known[1] is None:
            return None
        share = float(step.known[1].reshape(-1)[0])
    if step.makes(1) or not 0 <= share <= 1 or (step.has(2) and step.known[2] is None):
        return None
    return nn.Dropout(share)


def trains(step: Step) -> bool:
    """Whether the file has a node in training mode, in which its layer then begins."""
    given = step.known[2] if step.operator == "Dropout" and step.has(2) else None
    return bool(step.get("training") or (given is not None and given.reshape(-1)[0]))


KINDS = {
    "Conv": Kind(_conv, convolution.run_conv_layer, ("weight", "bias"), _convolves),
    "ConvTranspose": Kind(
        _conv_transpose, convolution.run_transpose_layer, ("weight", "bias"), _convolves
    ),
    "Gemm": Kind(matrix.dense_layer, matrix.run_dense_layer, ("weight", "bias"), matrix.is_dense),
    "MatMul": Kind(
        matrix.dense_layer, matrix.run_dense_layer, ("weight", "bias"), matrix.is_product
    ),
    "BatchNormalization": Kind(
        normalization.batch_norm_layer,
        normalization.run_batch_norm_layer,
        ("gamma", "beta", "running_mean", "running_var"),
        _normalizes,
    ),
    "Dropout": Kind(lambda step: dropout_of(step), _dropped, (), lambda step, shapes: False),
}
