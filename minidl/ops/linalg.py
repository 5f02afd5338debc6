"""Matrix products."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import kernels
from ..tensor import Tensor
from .common import as_tensor, same_float
from .operation import Operation
from .shape import broadcast_to, expand_dims, reshape, squeeze


class MatMul(Operation):
    """y = a b, for matrices or equally long stacks of them;  da = dy b^T, db = a^T dy."""

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.a: Any = a if self.needs_grad[1] else None
        self.b: Any = b if self.needs_grad[0] else None
        return kernels.matmul(a, b)

    def backward(self, dy: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        return (
            kernels.matmul(dy, self.b, transpose_b=True) if self.needs_grad[0] else None,
            kernels.matmul(self.a, dy, transpose_a=True) if self.needs_grad[1] else None,
        )


class Linear(Operation):
    """y = x w + b, for rows x (..., in);  dx = dy w^T, dw = x^T dy, db = the sum of dy's rows."""

    def forward(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
        self.shape, self.weight = x.shape, weight
        self.rows = rows = x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        y = kernels.matmul(rows, weight)
        if bias is not None:
            kernels.add(y, bias, out=y)
        return y if x.ndim == 2 else y.reshape(*x.shape[:-1], weight.shape[1])

    def backward(self, dy: np.ndarray) -> tuple[np.ndarray | None, ...]:
        x, weight, bias = self.needs_grad
        dx = dw = db = None
        if dy.ndim != 2:
            dy = dy.reshape(len(self.rows), dy.shape[-1])
        if x:
            dx = kernels.matmul(dy, self.weight, transpose_b=True)
            if len(self.shape) != 2:
                dx = dx.reshape(self.shape)
        if weight:
            dw = kernels.matmul(self.rows, dy, transpose_a=True)
        if bias:
            db = kernels.sum(dy[None])[0]
        return dx, dw, db


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (..., in) times weight (in, out), plus bias (out,), in one operation for `nn.Dense`.
    ValueError for shapes that do not fit, TypeError for mixed dtypes."""
    if weight._dtype is not x._dtype or (bias is not None and bias._dtype is not x._dtype):
        same_float("Dense", x=x, weight=weight, bias=bias)
    return Linear.apply(x, weight, bias)


def matmul(a: Any, b: Any) -> Tensor:
    """a @ b as in NumPy, for vectors, matrices, and stacks of matrices (..., rows, inner), which
    broadcast. The result lacks the axis that a vector does not have.

    ValueError for shapes that do not fit, TypeError unless both are float32 or both float64.

    >>> md.matmul(md.tensor([[1., 2.], [3., 4.]]), md.tensor([1., 1.]))
    tensor([3., 7.])
    >>> md.matmul(md.ones((5, 1, 2, 3)), md.ones((4, 3, 2))).shape
    (5, 4, 2, 2)
    """
    a, b = as_tensor(a, "matmul", "a"), as_tensor(b, "matmul", "b")
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(f"matmul: needs at least one axis, got shapes {a.shape} and {b.shape}")
    if a.dtype.char not in "fd" or b.dtype.char not in "fd":
        raise TypeError(f"matmul: needs float32 or float64, got {a.dtype} and {b.dtype}")
    same_float("matmul", a=a, b=b)
    inner_b = b.shape[0] if b.ndim == 1 else b.shape[-2]
    if a.shape[-1] != inner_b:
        raise ValueError(
            f"matmul: the last axis of a {a.shape} does not match b {b.shape}: "
            f"{a.shape[-1]} against {inner_b}"
        )
    if a.ndim == 2 and b.ndim == 2:
        return MatMul.apply(a, b)
    if a.ndim == 1:
        return squeeze(matmul(expand_dims(a, 0), b), -2 if b.ndim > 1 else 0)
    if b.ndim == 1:
        return squeeze(matmul(a, expand_dims(b, 1)), -1)
    if b.ndim == 2:  # one matrix for all rows
        rows = (
            reshape(a, (-1, a.shape[-1]))
            if a.size
            else reshape(a, (int(np.prod(a.shape[:-1])), a.shape[-1]))
        )
        return reshape(MatMul.apply(rows, b), (*a.shape[:-1], b.shape[1]))
    try:
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ValueError(
            f"matmul: the stacks of a {a.shape} and b {b.shape} do not broadcast"
        ) from None
    count = int(np.prod(batch))
    stacks = [
        reshape(broadcast_to(t, (*batch, *t.shape[-2:])), (count, *t.shape[-2:])) for t in (a, b)
    ]
    return reshape(MatMul.apply(*stacks), (*batch, a.shape[-2], b.shape[-1]))
