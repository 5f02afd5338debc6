"""Matrix products. Where their weights are parameters they are dense layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import nn, ops
from ..steps import FLOATS, Operator, Step
from ..values import Held


def _matmul(step: Step, a: Held, b: Held, bias: Held | None = None) -> Held:
    """A product, and the bias of an Add that has been fused with it."""
    y = ops.matmul(a.plain, b.plain)
    return Held(y if bias is None else y + bias.plain)


def _gemm(step: Step, a: Held, b: Held, c: Held | None = None) -> Held:
    left, right = a.plain, b.plain
    left = ops.transpose(left) if step.get("transA", 0) else left
    right = ops.transpose(right) if step.get("transB", 0) else right
    y = ops.matmul(left, right)
    alpha, beta = step.get("alpha", 1.0), step.get("beta", 1.0)
    y = y if alpha == 1 else y * alpha
    if c is None or beta == 0:
        return Held(y)
    return Held(y + (c.plain if beta == 1 else c.plain * beta))


def is_dense(step: Step, shapes: list[tuple[int, ...]]) -> bool:
    """Whether a Gemm is what a dense layer computes, for weights, and a bias, of these shapes."""
    out = shapes[0][0 if step.get("transB", 0) else 1] if len(shapes[0]) == 2 else 0
    return (
        len(shapes[0]) == 2
        and 0 not in shapes[0]
        and not step.get("transA", 0)
        and step.get("alpha", 1.0) == 1
        and (len(shapes) == 1 or (shapes[1] == (out,) and step.get("beta", 1.0) == 1))
    )


def dense_layer(step: Step, weight: np.ndarray, bias: np.ndarray | None = None) -> nn.Dense:
    """The layer for a Gemm of such weights."""
    if step.get("transB", 0):
        weight = np.ascontiguousarray(weight.T)
    layer = nn.Dense(weight.shape[0], weight.shape[1], bias is not None)
    layer.weight = nn.Parameter(weight)
    if bias is not None:
        layer.bias = nn.Parameter(bias)
    return layer


def is_product(step: Step, shapes: list[tuple[int, ...]]) -> bool:
    """Whether a MatMul, with the bias of an Add that has been fused with it, is what a dense layer
    computes."""
    return len(shapes[0]) == 2 and 0 not in shapes[0] and shapes[1:] in ([], [shapes[0][1:]])


def run_dense_layer(step: Step, layer: Any, x: Held) -> Held:
    return Held(layer(x.plain))


def _einsum(step: Step, *values: Held) -> Held:
    return Held(ops.einsum(step.get("equation"), *[v.plain for v in values]))


MATRIX = {
    "MatMul": Operator(_matmul, (), FLOATS),
    "Gemm": Operator(_gemm, ("alpha", "beta", "transA", "transB", "broadcast"), FLOATS),
    "Einsum": Operator(_einsum, ("equation",), FLOATS),
}
