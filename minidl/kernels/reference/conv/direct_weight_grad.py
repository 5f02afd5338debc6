"""The gradient of a convolution by its weights: the product of transposed patches and dy."""

import numpy as np

from ..common import Array, Padding, Pair, into, ints, pairs
from .im2col import channel_groups, im2col, product


def conv_weight_grad(
    x: Array,
    dy: Array,
    kernel_shape: Pair,
    stride: Pair = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
    groups: int = 1,
    out: Array | None = None,
    threads: int = 0,
) -> Array:
    """Return dw (KH, KW, C_in / groups, C_out) for x (N, H, W, C_in) and dy (N, OH, OW, C_out)."""
    stride, dilation = pairs("conv_weight_grad", stride=stride, dilation=dilation)
    padding, groups = ints(padding, groups)
    kernel_shape = ints(*kernel_shape)
    ci, co = x.shape[3] // groups, dy.shape[3]
    dw = np.empty((*kernel_shape, ci, co), x.dtype)
    for inputs, outputs in channel_groups(groups, ci, co):
        columns = im2col(x[..., inputs], kernel_shape, stride, padding, dilation)
        dw[..., outputs] = product(columns.transpose(3, 4, 5, 0, 1, 2), dy[..., outputs], 3)
    return into(out, dw)
