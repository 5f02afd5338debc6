"""Convolution of NHWC images with HWIO weights, and its two gradients, through im2col.

`stride` and `dilation` are pairs; `padding` is ((top, bottom), (left, right)).
Weights have shape (KH, KW, C_in / groups, C_out); output channels come group by group.
"""

import math

import numpy as np

from ..common import Array, Padding, Pair, Shape, into, ints


def conv(x: Array, w: Array, bias: Array | None = None, stride: Pair = (1, 1),
         padding: Padding = ((0, 0), (0, 0)), dilation: Pair = (1, 1), groups: int = 1,
         residual: Array | None = None, relu_out: bool = False, out: Array | None = None,
         threads: int = 0) -> Array:
    """y (N, OH, OW, C_out) of x (N, H, W, C_in): cross-correlation, as networks mean it; plus
    `bias` and `residual`, then ReLU if `relu_out`."""
    stride, padding, dilation, groups = ints(stride, padding, dilation, groups)
    kh, kw, ci, co = w.shape
    y = np.empty((*_output_shape(x.shape, (kh, kw), stride, padding, dilation), co), x.dtype)
    for inputs, outputs in _groups(groups, ci, co):
        columns = _im2col(x[..., inputs], (kh, kw), stride, padding, dilation)
        y[..., outputs] = _product(columns, w[..., outputs], 3)
    return into(out, ended(y, bias, residual, relu_out))


def ended(y: Array, bias: Array | None, residual: Array | None, relu_out: bool) -> Array:
    """y plus bias and residual, then ReLU if asked; in place."""
    if bias is not None:
        y += bias
    if residual is not None:
        y += residual
    return np.maximum(y, 0, out=y) if relu_out else y


def conv_input_grad(dy: Array, w: Array, input_shape: Shape, stride: Pair = (1, 1),
                    padding: Padding = ((0, 0), (0, 0)), dilation: Pair = (1, 1), groups: int = 1,
                    out: Array | None = None, threads: int = 0) -> Array:
    """dx (N, H, W, C_in) from dy (N, OH, OW, C_out)."""
    stride, padding, dilation, groups = ints(stride, padding, dilation, groups)
    input_shape = ints(*input_shape)
    kh, kw, ci, co = w.shape
    n, h, width, _ = input_shape
    (top, bottom), (left, right) = padding
    padded = np.zeros((n, h + top + bottom, width + left + right, input_shape[3]), dy.dtype)
    for inputs, outputs in _groups(groups, ci, co):
        columns = _product(dy[..., outputs], w[..., outputs].transpose(3, 0, 1, 2), 1)
        for i in range(kh):
            for j in range(kw):
                rows = _taps(i, dilation[0], stride[0], dy.shape[1])
                cols = _taps(j, dilation[1], stride[1], dy.shape[2])
                padded[:, rows, cols, inputs] += columns[:, :, :, i, j]
    return into(out, np.ascontiguousarray(padded[:, top:top + h, left:left + width]))


def conv_weight_grad(x: Array, dy: Array, kernel_shape: Pair, stride: Pair = (1, 1),
                     padding: Padding = ((0, 0), (0, 0)), dilation: Pair = (1, 1), groups: int = 1,
                     out: Array | None = None, threads: int = 0) -> Array:
    """dw (KH, KW, C_in / groups, C_out) from x (N, H, W, C_in) and dy (N, OH, OW, C_out)."""
    stride, padding, dilation, groups = ints(stride, padding, dilation, groups)
    kernel_shape = ints(*kernel_shape)
    ci, co = x.shape[3] // groups, dy.shape[3]
    dw = np.empty((*kernel_shape, ci, co), x.dtype)
    for inputs, outputs in _groups(groups, ci, co):
        columns = _im2col(x[..., inputs], kernel_shape, stride, padding, dilation)
        dw[..., outputs] = _product(columns.transpose(3, 4, 5, 0, 1, 2), dy[..., outputs], 3)
    return into(out, dw)


def _product(a: Array, b: Array, inner: int) -> Array:
    """Summed over the last `inner` axes of a and the first of b. By `matmul`: where a factor is a
    single number, `tensordot` takes NaN times 0 for 0."""
    terms = math.prod(b.shape[:inner])
    rows, columns = a.shape[:a.ndim - inner], b.shape[inner:]
    y = a.reshape(math.prod(rows), terms) @ b.reshape(terms, math.prod(columns))
    return y.reshape(*rows, *columns)


def _groups(groups: int, ci: int, co: int) -> list[tuple[slice, slice]]:
    """(input channels, output channels) of each group, as slices; ci is per group."""
    per_group = co // groups
    return [(slice(g * ci, (g + 1) * ci), slice(g * per_group, (g + 1) * per_group))
            for g in range(groups)]


def _output_shape(shape: Shape, kernel: Pair, stride: Pair, padding: Padding,
                  dilation: Pair) -> tuple[int, ...]:
    sizes = [(shape[1 + a] + sum(padding[a]) - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1
             for a in range(2)]
    return (shape[0], *sizes)


def _taps(k: int, dilation: int, stride: int, count: int) -> slice:
    """The input positions that kernel tap k meets, over all output positions."""
    start = k * dilation
    return slice(start, start + stride * (count - 1) + 1, stride)


def _im2col(x: Array, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair) -> Array:
    """The patches of x as an array (N, OH, OW, KH, KW, C)."""
    n, oh, ow = _output_shape(x.shape, kernel, stride, padding, dilation)
    padded = np.pad(x, ((0, 0), *padding, (0, 0)))
    columns = np.empty((n, oh, ow, *kernel, x.shape[3]), x.dtype)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            rows = _taps(i, dilation[0], stride[0], oh)
            cols = _taps(j, dilation[1], stride[1], ow)
            columns[:, :, :, i, j] = padded[:, rows, cols]
    return columns
