"""Attention as a layer: `ops.attention` between learned projections."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, kernels, ops
from ..ops.attention import attend, split_mask
from ..ops.common import as_tensor, float_tensor, origin_of_float64
from ..tensor import Tensor
from . import init
from .layer import Layer
from .linear import Dense


class MultiHeadAttention(Layer):
    """Attention by several heads (Vaswani et al. 2017, arXiv 1706.03762), of queries (N, L,
    features) to keys (N, S, key_features) and values (N, S, value_features), to (N, L, features).

    Each of `heads` heads applies `md.scaled_dot_product_attention` to its own part of the projected
    features; the results of all heads are joined and projected once more. The layer is called as
    `attention(query, key=None, value=None, mask=None, key_mask=None, causal=False)`. Without a
    value the keys are the values too, and without a key the queries are the keys.

    True in a mask always means that something takes part; PyTorch's boolean masks are True where it
    does not. `mask`, of shape (L, S), (N, L, S) or (N, heads, L, S), says which keys each query may
    attend to: booleans, or floats that are added to the scores. `key_mask`, booleans (N, S), says
    which keys exist, for sequences that are padded. With `causal` query i attends to the keys 0 to
    i alone. A query that may attend to nothing gets the bias of `output`.

    In training, `dropout` acts on the weights of the keys. The layers `query`, `key`, `value` and
    `output` are `Dense`; weights start as xavier_uniform, biases at zero. PyTorch's in_proj_weight
    consists of the transposed weights of the first three, one below the other. The layer does not
    normalize.

    ValueError for arguments out of range and shapes that do not fit; TypeError for mixed dtypes.

    >>> attention = nn.MultiHeadAttention(16, heads=4)
    >>> attention(md.zeros((8, 10, 16)), causal=True).shape
    (8, 10, 16)
    >>> attention(md.zeros((8, 10, 16)), md.zeros((8, 7, 16)), key_mask=np.ones((8, 7), bool)).shape
    (8, 10, 16)
    """

    def __init__(
        self,
        features: int,
        heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        key_features: int | None = None,
        value_features: int | None = None,
    ) -> None:
        super().__init__()
        where = type(self).__name__
        features = checks.size(features, where, "features")
        heads = checks.size(heads, where, "heads")
        if features % heads:
            raise ValueError(f"{where}: {features} features do not divide into {heads} heads")
        self.features, self.heads = features, heads
        self.dropout = checks.fraction(dropout, where, "dropout")
        bias = checks.flag(bias, where, "bias")
        of_keys = _given(key_features, features, "key_features")
        of_values = _given(value_features, features, "value_features")
        for size in (features, of_keys, of_values):
            kernels.check_shape(where, (size, features))
        self.query = _projection(features, features, bias)
        self.key = _projection(of_keys, features, bias)
        self.value = _projection(of_values, features, bias)
        self.output = _projection(features, features, bias)

    def forward(
        self,
        query: Any,
        key: Any = None,
        value: Any = None,
        mask: Any = None,
        key_mask: Any = None,
        causal: bool = False,
    ) -> Tensor:
        where = type(self).__name__
        query = self._sequences(query, "query", self.query)
        key = (
            query
            if key is None and self.key.in_features == self.features
            else self._sequences(key, "key", self.key)
        )
        value = (
            key
            if value is None and self.value.in_features == self.key.in_features
            else self._sequences(value, "value", self.value)
        )
        n, length, _ = query.shape
        if key.shape[0] != n or value.shape[:2] != key.shape[:2]:
            raise ValueError(
                f"{where}: query, key and value must have the same N, and key and "
                f"value the same S, got shapes {query.shape}, {key.shape} and "
                f"{value.shape}"
            )
        causal = checks.flag(causal, where, "causal")
        bias, allowed = self._masks(mask, key_mask, query, (n, self.heads, length, key.shape[1]))
        y = attend(
            self._parts(self.query(query)),
            self._parts(self.key(key)),
            self._parts(self.value(value)),
            bias,
            allowed,
            causal,
            self.dropout if self.training else 0.0,
        )
        y = ops.transpose(y, (0, 2, 1, 3))
        return self.output(ops.reshape(y, (n, length, self.features)))

    def _sequences(self, x: Any, name: str, projection: Dense) -> Tensor:
        """x as a tensor, checked that it is sequences of the projection's features and dtype."""
        where = type(self).__name__
        x = float_tensor(x, where, name)
        if x.ndim != 3 or x.shape[2] != projection.in_features:
            hint = (
                ": the batch axis is missing: x[None]"
                if x.ndim == 2 and x.shape[1] == projection.in_features
                else ""
            )
            raise ValueError(
                f"{where} expected {name} (N, positions, {projection.in_features}), "
                f"got {x.shape}{hint}"
            )
        if x.dtype != projection.weight.dtype:
            raise TypeError(
                f"{where}: {name} is {x.dtype}, the layer {projection.weight.dtype}; "
                f"convert with astype{origin_of_float64({name: x})}"
            )
        return x

    def _parts(self, x: Tensor) -> Tensor:
        """Split x (N, positions, features) by heads: (N, heads, positions, features / heads)."""
        parts = ops.reshape(x, (*x.shape[:2], self.heads, self.features // self.heads))
        return ops.transpose(parts, (0, 2, 1, 3))

    def _masks(
        self, mask: Any, key_mask: Any, query: Tensor, scores: tuple[int, ...]
    ) -> tuple[Tensor | None, Tensor | None]:
        """`bias` and `allowed` of `ops.attention.attend`, from both masks."""
        where = type(self).__name__
        n, _, length, keys = scores
        bias, allowed = None, None
        if mask is not None:
            t = as_tensor(mask, where, "mask")
            if t.shape not in ((length, keys), (n, length, keys), scores):
                raise ValueError(
                    f"{where}: mask must have shape {(length, keys)}, "
                    f"{(n, length, keys)} or {scores}, got {t.shape}"
                )
            t = ops.expand_dims(t, 1) if t.ndim == 3 else t
            bias, allowed = split_mask(t, query, scores, where)
        if key_mask is not None:
            t = as_tensor(key_mask, where, "key_mask")
            if t.dtype.kind != "b":
                raise TypeError(
                    f"{where}: key_mask must be booleans, True where a key counts, got {t.dtype}"
                )
            if t.shape != (n, keys):
                raise ValueError(f"{where}: key_mask must have shape {(n, keys)}, got {t.shape}")
            t = ops.reshape(t, (n, 1, 1, keys))
            allowed = t if allowed is None else ops.bitwise(np.bitwise_and, allowed, t)
        return bias, allowed

    def extra_repr(self) -> str:
        text = f"{self.features}, heads={self.heads}"
        return text if self.dropout == 0 else f"{text}, dropout={self.dropout:g}"


def _given(features: int | None, default: int, name: str) -> int:
    return default if features is None else checks.size(features, "MultiHeadAttention", name)


def _projection(in_features: int, out_features: int, bias: bool) -> Dense:
    layer = Dense(in_features, out_features, bias)
    layer.weight.data = init.xavier_uniform((in_features, out_features))
    return layer
