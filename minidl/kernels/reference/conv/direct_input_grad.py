"""The gradient of a convolution by its input: each tap gives dy, times its weights, to the pixels
that it has read."""

import numpy as np

from ..common import Array, Padding, Pair, Shape, into, ints, pairs
from .im2col import channel_groups, product, tap_positions


def conv_input_grad(
    dy: Array,
    w: Array,
    input_shape: Shape,
    stride: Pair = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
    groups: int = 1,
    out: Array | None = None,
    threads: int = 0,
) -> Array:
    """Return dx (N, H, W, C_in) for dy (N, OH, OW, C_out) and w (KH, KW, C_in / groups, C_out)."""
    stride, dilation = pairs("conv_input_grad", stride=stride, dilation=dilation)
    padding, groups = ints(padding, groups)
    input_shape = ints(*input_shape)
    kh, kw, ci, co = w.shape
    n, h, width, _ = input_shape
    (top, bottom), (left, right) = padding
    padded = np.zeros((n, h + top + bottom, width + left + right, input_shape[3]), dy.dtype)
    for inputs, outputs in channel_groups(groups, ci, co):
        columns = product(dy[..., outputs], w[..., outputs].transpose(3, 0, 1, 2), 1)
        for i in range(kh):
            for j in range(kw):
                rows = tap_positions(i, dilation[0], stride[0], dy.shape[1])
                cols = tap_positions(j, dilation[1], stride[1], dy.shape[2])
                padded[:, rows, cols, inputs] += columns[:, :, :, i, j]
    return into(out, np.ascontiguousarray(padded[:, top : top + h, left : left + width]))
