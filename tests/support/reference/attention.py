"""The reference of attention is its formula, for one query after the other, and for several
heads.
"""

import numpy as np


def attention(q, k, v, mask=None, causal=False):
    """Return the mean of the values for each query, weighted by the keys that it may attend to
    (Vaswani et al. 2017).
    """
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    mask = np.array(True) if mask is None else np.asarray(mask)
    allowed = np.broadcast_to(mask if mask.dtype == bool else mask > -np.inf, scores.shape)
    if mask.dtype != bool:
        scores = scores + mask
    if causal:
        allowed = allowed & (np.arange(scores.shape[-1]) <= np.arange(scores.shape[-2])[:, None])
    v = np.broadcast_to(v, (*scores.shape[:-2], *v.shape[-2:]))
    y = np.zeros((*scores.shape[:-1], v.shape[-1]))
    for at in np.ndindex(scores.shape[:-1]):
        chosen = allowed[at]
        if chosen.any():
            weights = np.exp(scores[at][chosen] - scores[at][chosen].max())
            y[at] = weights / weights.sum() @ v[at[:-1]][chosen]
    return y


def projected(layer, x):
    return x @ layer.weight.data + (0 if layer.bias is None else layer.bias.data)


def multi_head(layer, query, key=None, value=None, mask=None, causal=False):
    """Return what `nn.MultiHeadAttention` computes, head by head, each from its own columns of the
    projections. The mask is (N, heads, L, S).
    """
    key = query if key is None else key
    value = key if value is None else value
    q, k, v = (
        projected(part, x)
        for part, x in ((layer.query, query), (layer.key, key), (layer.value, value))
    )
    width = layer.features // layer.heads
    heads = [
        attention(
            *(x[..., h * width : (h + 1) * width] for x in (q, k, v)),
            None if mask is None else mask[:, h],
            causal,
        )
        for h in range(layer.heads)
    ]
    return projected(layer.output, np.concatenate(heads, axis=-1))
