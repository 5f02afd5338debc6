"""Attention by several heads in NumPy: what `nn.MultiHeadAttention` is compared with."""

import numpy as np

from tests.ops.test_attention import attention


def projected(layer, x):
    return x @ layer.weight.data + (0 if layer.bias is None else layer.bias.data)


def multi_head(layer, query, key=None, value=None, mask=None, causal=False):
    """Head by head, from its columns of the projections; a mask (N, heads, L, S)."""
    key = query if key is None else key
    value = key if value is None else value
    q, k, v = (projected(part, x) for part, x in ((layer.query, query), (layer.key, key),
                                                  (layer.value, value)))
    width = layer.features // layer.heads
    heads = [attention(*(x[..., h * width:(h + 1) * width] for x in (q, k, v)),
                       None if mask is None else mask[:, h], causal) for h in range(layer.heads)]
    return projected(layer.output, np.concatenate(heads, axis=-1))
