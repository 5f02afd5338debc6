"""The references of the recurrent layers of `nn` are the equations of their papers, for one time
step after the other.
"""

import numpy as np

from minidl import nn
from tests.support.reference.activation import sigmoid


def normalized(norm, x):
    """Normalize over the row or over the batch, as in training."""
    if norm is None:
        return x
    axis = 0 if isinstance(norm, nn.StepNorm) else 1
    y = (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + 1e-5)
    beta = getattr(norm, "beta", None)
    return norm.gamma.data * y + (0 if beta is None else beta.data)


def one_step(layer, cell, x, h, c):
    """Return (h, c) of the next step by the equations of the papers."""
    b = 0 if cell.bias is None else cell.bias.data
    wx = normalized(cell.norm_x, x @ cell.weight_x.data) + b
    wh = normalized(cell.norm_h, h @ cell.weight_h.data)
    size = h.shape[1]
    if isinstance(layer, nn.RNN):
        a = wx + wh
        return np.maximum(a, 0) if layer.nonlinearity == "relu" else np.tanh(a), c
    if isinstance(layer, nn.GRU):
        r = sigmoid(wx[:, :size] + wh[:, :size])
        z = sigmoid(wx[:, size : 2 * size] + wh[:, size : 2 * size])
        inner = wh[:, 2 * size :] + (0 if cell.bias_h is None else cell.bias_h.data)
        n = np.tanh(wx[:, 2 * size :] + r * inner)
        return (1 - z) * n + z * h, c
    a = wx + wh
    i, f, g, o = (a[:, k * size : (k + 1) * size] for k in range(4))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(normalized(cell.norm_c, c)), c


def by_loops(layer, x, h=None, c=None):
    """Return (output, h, c) of the layer, one step after another."""
    n, steps, _ = x.shape
    directions = 2 if layer.bidirectional else 1
    last_h, last_c = [], []
    for first in range(0, len(layer.cells), directions):
        outputs = []
        for k in range(first, first + directions):
            hk = np.zeros((n, layer.hidden)) if h is None else h[k]
            ck = np.zeros((n, layer.hidden)) if c is None else c[k]
            output = np.zeros((n, steps, layer.hidden))
            order = range(steps) if k == first else reversed(range(steps))
            for t in order:
                hk, ck = one_step(layer, layer.cells[k], x[:, t], hk, ck)
                output[:, t] = hk
            outputs.append(output)
            last_h.append(hk)
            last_c.append(ck)
        x = np.concatenate(outputs, axis=2)
    return x, np.stack(last_h), np.stack(last_c)
