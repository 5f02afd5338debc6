"""Attention, composed of other operations, which also give its gradient."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import checks
from ..hints import for_newcomers
from ..tensor import Tensor
from .common import as_tensor, float_tensor, same_float
from .linalg import matmul
from .logic import any as any_of
from .logic import bitwise, compare
from .math import add, multiply
from .random import dropout
from .select import where
from .shape import transpose
from .softmax import softmax


@for_newcomers
def scaled_dot_product_attention(
    q: Any, k: Any, v: Any, mask: Any = None, causal: bool = False
) -> Tensor:
    """Averages of values v, for each query weighted by how well the keys match it (Vaswani et al.
    2017, arXiv 1706.03762):

        softmax(q k^T / sqrt(features)) v

    q (..., L, features), k (..., S, features), v (..., S, out) to (..., L, out); leading axes
    broadcast. `mask` (..., L, S), which broadcasts, says what each query may attend to: booleans,
    True where it may, or floats that are added before the softmax, -inf where it may not.
    With `causal` query i attends to the keys 0 to i alone, or, with a mask too, to those of them
    that the mask allows. A query that may attend to nothing gets zeros.

    ValueError for shapes that do not fit; TypeError for mixed dtypes, and a mask of integers.

    >>> q, k = md.tensor([[0., 0.], [100., 0.]]), md.tensor([[1., 0.], [0., 1.]])
    >>> v = md.tensor([[2.], [4.]])
    >>> md.scaled_dot_product_attention(q, k, v)
    tensor([[3.],
            [2.]])
    >>> md.scaled_dot_product_attention(q, k, v, mask=[[False, True], [False, False]])
    tensor([[4.],
            [0.]])
    """
    where_ = "scaled_dot_product_attention"
    q, k, v = (float_tensor(t, where_, name) for name, t in (("q", q), ("k", k), ("v", v)))
    same_float(where_, q=q, k=k, v=v)
    _check_shapes(where_, q, k, v)
    causal = checks.flag(causal, where_, "causal")
    scores = (*np.broadcast_shapes(q.shape[:-2], k.shape[:-2]), q.shape[-2], k.shape[-2])
    bias, allowed = (None, None) if mask is None else split_mask(mask, q, scores, where_)
    return attend(q, k, v, bias, allowed, causal)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    allowed: Tensor | None,
    causal: bool,
    drop: float = 0.0,
) -> Tensor:
    """Attention for checked arguments: `bias` is added to the scores, `allowed` says where scores
    count, and `drop` is the probability with which a weight is dropped."""
    transposed = transpose(k, (*range(k.ndim - 2), k.ndim - 1, k.ndim - 2))
    scores = matmul(multiply(q, 1 / math.sqrt(q.shape[-1])), transposed)
    if bias is not None:
        scores = add(scores, bias)
    if causal:
        lower = Tensor(np.tri(*scores.shape[-2:], dtype=bool))
        if allowed is None:  # every query has a key then, so that the softmax is defined
            scores = where(lower, scores, -math.inf)
        else:
            allowed = bitwise(np.bitwise_and, lower, allowed)
    if allowed is None:
        return matmul(dropout(softmax(scores), drop, drop > 0), v)
    # A softmax of scores that are all -inf would be NaN. So the scores of a query without keys are
    # 0 here, and its result is set to 0 below.
    some = any_of(allowed, axis=-1, keepdims=True)
    scores = where(allowed, scores, where(some, -math.inf, 0.0))
    y = matmul(dropout(softmax(scores), drop, drop > 0), v)
    return where(some, y, 0.0)


def split_mask(
    mask: Any, q: Tensor, scores: tuple[int, ...], where_: str
) -> tuple[Tensor | None, Tensor]:
    """Split a mask into `bias` and `allowed` for `attend`; `scores` is the shape of the scores."""
    t = as_tensor(mask, where_, "mask")
    if t.dtype.kind not in "bf":
        raise TypeError(
            f"{where_}: mask must be booleans, True where a query may attend, or "
            f"floats that are added to the scores, got {t.dtype}"
        )
    try:
        fits = np.broadcast_shapes(t.shape, scores) == scores
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{where_}: mask must broadcast to {scores}, the queries and keys, got shape {t.shape}"
        )
    if t.dtype.kind == "b":
        return None, t if t.ndim else t.reshape(1)
    same_float(where_, q=q, mask=t)
    allowed = compare(np.not_equal, t, -math.inf)
    return where(allowed, t, 0.0), allowed if t.ndim else allowed.reshape(1)


def _check_shapes(where_: str, q: Tensor, k: Tensor, v: Tensor) -> None:
    for name, t in (("q", q), ("k", k), ("v", v)):
        if t.ndim < 2:
            raise ValueError(
                f"{where_}: {name} must be (..., positions, features), got shape {t.shape}"
            )
    if q.shape[-1] != k.shape[-1] or q.shape[-1] == 0:
        raise ValueError(
            f"{where_}: q and k must have the same features, at least one, got shapes "
            f"{q.shape} and {k.shape}"
        )
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(
            f"{where_}: k and v must have the same positions, got shapes {k.shape} and {v.shape}"
        )
    try:
        np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    except ValueError:
        raise ValueError(
            f"{where_}: the leading axes of q {q.shape}, k {k.shape} and v {v.shape} "
            f"do not broadcast"
        ) from None
