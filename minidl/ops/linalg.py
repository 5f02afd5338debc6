"""Matrix products."""

from __future__ import annotations

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
        return (kernels.matmul(dy, self.b, transpose_b=True) if self.needs_grad[0] else None,
                kernels.matmul(self.a, dy, transpose_a=True) if self.needs_grad[1] else None)


def matmul(a: Any, b: Any) -> Tensor:
    """a @ b with NumPy's meaning: vectors, matrices, and stacks of matrices (..., rows, inner) that
    broadcast. The result has no axis where an operand was a vector.

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
        raise ValueError(f"matmul: the last axis of a {a.shape} does not match b {b.shape}: "
                         f"{a.shape[-1]} against {inner_b}")
    if a.ndim == 2 and b.ndim == 2:
        return MatMul.apply(a, b)
    if a.ndim == 1:
        return squeeze(matmul(expand_dims(a, 0), b), -2 if b.ndim > 1 else 0)
    if b.ndim == 1:
        return squeeze(matmul(a, expand_dims(b, 1)), -1)
    if b.ndim == 2:         # one matrix for all rows
        rows = reshape(a, (-1, a.shape[-1])) if a.size else reshape(
            a, (int(np.prod(a.shape[:-1])), a.shape[-1]))
        return reshape(MatMul.apply(rows, b), (*a.shape[:-1], b.shape[1]))
    try:
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ValueError(f"matmul: the stacks of a {a.shape} and b {b.shape} "
                         f"do not broadcast") from None
    count = int(np.prod(batch))
    stacks = [reshape(broadcast_to(t, (*batch, *t.shape[-2:])), (count, *t.shape[-2:]))
              for t in (a, b)]
    return reshape(MatMul.apply(*stacks), (*batch, a.shape[-2], b.shape[-1]))
