"""The references of convolutions are their definitions, for one output position or one kernel tap
after the other.
"""

import numpy as np

from tests.support.reference.geometry import around, borders, pair


def conv(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Multiply the window at each output position by the weights of its group."""
    (sh, sw), (dh, dw) = pair(stride), pair(dilation)
    kh, kw, ci, co = weight.shape
    sides = borders(padding, x.shape[1:3], (dh * (kh - 1), dw * (kw - 1)), (sh, sw))
    x = np.pad(x, ((0, 0), *sides, (0, 0)))
    oh = (x.shape[1] - dh * (kh - 1) - 1) // sh + 1
    ow = (x.shape[2] - dw * (kw - 1) - 1) // sw + 1
    y = np.zeros((len(x), oh, ow, co), np.result_type(x, weight))
    for i in range(oh):
        for j in range(ow):
            window = x[
                :,
                i * sh : i * sh + dh * (kh - 1) + 1 : dh,
                j * sw : j * sw + dw * (kw - 1) + 1 : dw,
            ]
            for g in range(groups):
                out = slice(g * co // groups, (g + 1) * co // groups)
                y[:, i, j, out] = np.einsum(
                    "nklc,klco->no", window[..., g * ci : (g + 1) * ci], weight[..., out]
                )
    return y if bias is None else y + bias


def conv1d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Return the sum over taps, each of which is a product of one step and the weights of its
    group.
    """
    k, ci, co = weight.shape
    reach = dilation * (k - 1)
    x = np.pad(x, ((0, 0), around(padding, x.shape[1], reach, stride), (0, 0)))
    steps = range(0, x.shape[1] - reach, stride)
    y = np.zeros((len(x), len(steps), co), np.result_type(x, weight))
    for i, t in enumerate(steps):
        for g in range(groups):
            out = slice(g * co // groups, (g + 1) * co // groups)
            for tap in range(k):
                y[:, i, out] += (
                    x[:, t + tap * dilation, g * ci : (g + 1) * ci] @ weight[tap, :, out]
                )
    return y if bias is None else y + bias


def conv_transpose(x, w, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Add a multiple of the kernel to the output for every value of x."""
    (sh, sw), (oh, ow), (dh, dw) = map(pair, (stride, output_padding, dilation))
    (top, bottom), (left, right) = map(pair, pair(padding))
    n, h, width, _ = x.shape
    kh, kw, ci, co = w.shape
    per = co // groups
    padded = np.zeros(
        (n, (h - 1) * sh + dh * (kh - 1) + 1 + oh, (width - 1) * sw + dw * (kw - 1) + 1 + ow, co)
    )
    for g in range(groups):
        for i in range(kh):
            for j in range(kw):
                padded[
                    :,
                    i * dh : i * dh + (h - 1) * sh + 1 : sh,
                    j * dw : j * dw + (width - 1) * sw + 1 : sw,
                    g * per : (g + 1) * per,
                ] += x[..., g * ci : (g + 1) * ci] @ w[i, j, :, g * per : (g + 1) * per]
    y = padded[:, top : padded.shape[1] - bottom, left : padded.shape[2] - right]
    return y if bias is None else y + bias
