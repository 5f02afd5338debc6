"""The elementwise part of a step of a recurrent layer, and its gradient.

LSTM (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000), GRU (Cho et al.
2014, with the reset gate where PyTorch has it). There are N examples of H hidden values. `x` and
`hidden` are what the input and the last h add to the gates, which stand one after another in a row.
"""

import numpy as np

from ..common import Array


def lstm_cell(
    x: Array, hidden: Array, c: Array, squash: bool = True, threads: int = 0
) -> tuple[Array, Array, Array]:
    """(gates, c_new, h) from x and hidden (N, 4 H) and c (N, H); gates (N, 4 H) are

    i, f, o = sigmoid(x + hidden),  g = tanh(x + hidden),  in the order i, f, g, o;
    c_new = f c + i g,  h = o tanh(c_new), or o itself without `squash`.
    """
    i, f, g, o = np.split(x + hidden, 4, axis=1)
    i, f, g, o = _logistic(i), _logistic(f), np.tanh(g), _logistic(o)
    c_new = f * c + i * g
    return np.concatenate([i, f, g, o], axis=1), c_new, o * np.tanh(c_new) if squash else o


def lstm_cell_backward(
    dh: Array,
    dc: Array,
    gates: Array,
    c: Array,
    c_new: Array,
    squash: bool = True,
    threads: int = 0,
) -> tuple[Array, Array]:
    """(dx, dc_old): the gradients of x, which is that of hidden as well, and of c. With
    t = tanh(c_new) and s = dc + dh o (1 - t^2), or without `squash` t = 1 and s = dc:

        di = s g i (1 - i),  df = s c f (1 - f),  dg = s i (1 - g^2),  do = dh t o (1 - o),
        dc_old = s f.
    """
    i, f, g, o = np.split(gates, 4, axis=1)
    t = np.tanh(c_new) if squash else np.ones_like(c_new)
    s = dc + dh * o * (1 - t * t) if squash else dc
    dx = [s * g * i * (1 - i), s * c * f * (1 - f), s * i * (1 - g * g), dh * t * o * (1 - o)]
    return np.concatenate(dx, axis=1), s * f


def gru_cell(
    x: Array, hidden: Array, bias: Array | None, h: Array, threads: int = 0
) -> tuple[Array, Array]:
    """(gates, h_new) from x and hidden (N, 3 H), bias (H,) or None and h (N, H); gates (N, 3 H) are

    r, z = sigmoid(x + hidden),  n = tanh(x + r (hidden + bias)),  in the order r, z, n;
    h_new = (1 - z) n + z h.
    """
    (xr, xz, xn), (hr, hz, hn) = np.split(x, 3, axis=1), np.split(hidden, 3, axis=1)
    r, z = _logistic(xr + hr), _logistic(xz + hz)
    n = np.tanh(xn + r * (hn if bias is None else hn + bias))
    return np.concatenate([r, z, n], axis=1), (1 - z) * n + z * h


def gru_cell_backward(
    dy: Array, gates: Array, hidden: Array, bias: Array | None, h: Array, threads: int = 0
) -> tuple[Array, Array, Array | None, Array]:
    """(dx, dhidden, dbias, dh) from the gradient of h_new; dbias is None without a bias. With
    q = hidden + bias in the place of n:

        dn = dy (1 - z) (1 - n^2),  dz = dy (h - n) z (1 - z),  dr = dn q r (1 - r),  dh = dy z;
        dx = [dr, dz, dn],  dhidden = [dr, dz, dn r],  dbias = sum over N of dn r.
    """
    r, z, n = np.split(gates, 3, axis=1)
    q = np.split(hidden, 3, axis=1)[2]
    q = q if bias is None else q + bias
    dn, dz = dy * (1 - z) * (1 - n * n), dy * (h - n) * z * (1 - z)
    dr = dn * q * r * (1 - r)
    return (
        np.concatenate([dr, dz, dn], axis=1),
        np.concatenate([dr, dz, dn * r], axis=1),
        None if bias is None else (dn * r).sum(axis=0),
        dy * z,
    )


def _logistic(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)
