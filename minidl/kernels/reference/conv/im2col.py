"""The patches of images as a matrix, with which direct convolutions are matrix products.

`stride` and `dilation` are pairs; `padding` is ((top, bottom), (left, right)). Weights have shape
(KH, KW, C_in / groups, C_out); output channels come group by group.
"""

import math

import numpy as np

from ..common import Array, Padding, Pair, Shape


def product(a: Array, b: Array, inner: int) -> Array:
    """The product of a and b, summed over the last `inner` axes of a and the first of b.

    It is made by `matmul`, since `tensordot` takes NaN times 0 for 0 where a factor is one number.
    """
    terms = math.prod(b.shape[:inner])
    rows, columns = a.shape[: a.ndim - inner], b.shape[inner:]
    y = a.reshape(math.prod(rows), terms) @ b.reshape(terms, math.prod(columns))
    return y.reshape(*rows, *columns)


def channel_groups(groups: int, ci: int, co: int) -> list[tuple[slice, slice]]:
    """(input channels, output channels) of each group, as slices; ci is per group."""
    per_group = co // groups
    return [
        (slice(g * ci, (g + 1) * ci), slice(g * per_group, (g + 1) * per_group))
        for g in range(groups)
    ]


def output_shape(
    shape: Shape, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair
) -> tuple[int, ...]:
    """The shape (N, OH, OW) of the outputs of images of some shape."""
    (top, bottom), (left, right) = padding
    added = top + bottom, left + right
    sizes = [
        (shape[1 + a] + added[a] - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1
        for a in range(2)
    ]
    return (shape[0], *sizes)


def tap_positions(k: int, dilation: int, stride: int, count: int) -> slice:
    """The input positions that kernel tap k meets, over all output positions."""
    start = k * dilation
    return slice(start, start + stride * (count - 1) + 1, stride)


def im2col(x: Array, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair) -> Array:
    """The patches of x as an array (N, OH, OW, KH, KW, C)."""
    n, oh, ow = output_shape(x.shape, kernel, stride, padding, dilation)
    padded = np.pad(x, ((0, 0), *padding, (0, 0)))
    columns = np.empty((n, oh, ow, *kernel, x.shape[3]), x.dtype)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            rows = tap_positions(i, dilation[0], stride[0], oh)
            cols = tap_positions(j, dilation[1], stride[1], ow)
            columns[:, :, :, i, j] = padded[:, rows, cols]
    return columns
