"""The convolution of NHWC images with HWIO weights: the product of patches and weights."""

import numpy as np

from ..common import Array, Padding, Pair, into, ints, pairs
from .epilogue import epilogue
from .im2col import channel_groups, im2col, output_shape, product


def conv(
    x: Array,
    w: Array,
    bias: Array | None = None,
    stride: Pair = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
    groups: int = 1,
    residual: Array | None = None,
    relu_out: bool = False,
    out: Array | None = None,
    threads: int = 0,
) -> Array:
    """Return y (N, OH, OW, C_out), x (N, H, W, C_in) convolved with w.

    w is (KH, KW, C_in / groups, C_out). This is a cross-correlation, as networks mean
    convolutions. `bias` (C_out,) and `residual`, of y's shape, are added, and a ReLU follows if
    `relu_out`.
    """
    stride, dilation = pairs("conv", stride=stride, dilation=dilation)
    padding, groups = ints(padding, groups)
    kh, kw, ci, co = w.shape
    y = np.empty((*output_shape(x.shape, (kh, kw), stride, padding, dilation), co), x.dtype)
    for inputs, outputs in channel_groups(groups, ci, co):
        columns = im2col(x[..., inputs], (kh, kw), stride, padding, dilation)
        y[..., outputs] = product(columns, w[..., outputs], 3)
    return into(out, epilogue(y, bias, residual, relu_out))
