"""The tiles of Winograd's F(4x4, 3x3): Y = A' [(G g G') * (B' d B)] A for every tile.

A 4x4 tile Y of outputs comes from a 6x6 tile d of inputs by 36 products instead of 144 (Lavin &
Gray 2016, arXiv:1509.09308). For points p, q (each with both signs), 0 and infinity the three
matrices are those of Toom and Cook; p = sqrt(1/2) and q = sqrt(2) keep rounding errors small, with
q = 1 / p and p q = 1. The two gradients are the transposed operations.
"""

import numpy as np

from ..common import Array, Padding, Shape
from ..pool.max_pool import max_pool_backward

P, Q = np.sqrt(0.5), np.sqrt(2.0)

# The matrices B', G and A' of the formula above.
INPUT = np.array(
    [
        [1, 0, -2.5, 0, 1, 0],
        [0, -Q, -2, P, 1, 0],
        [0, Q, -2, -P, 1, 0],
        [0, -P, -0.5, Q, 1, 0],
        [0, P, -0.5, -Q, 1, 0],
        [0, 1, 0, -2.5, 0, 1],
    ]
)
WEIGHT = np.array(
    [
        [1, 0, 0],
        [-2 / 3, -2 / 3 * P, -1 / 3],
        [-2 / 3, 2 / 3 * P, -1 / 3],
        [1 / 6, Q / 6, 1 / 3],
        [1 / 6, -Q / 6, 1 / 3],
        [0, 0, 1],
    ]
)
OUTPUT = np.array(
    [
        [1, 1, 1, 1, 1, 0],
        [0, P, -P, Q, -Q, 0],
        [0, 0.5, 0.5, 2, 2, 0],
        [0, P / 2, -P / 2, 2 * Q, -2 * Q, 1],
    ]
)


def both(matrix: Array, tiles: Array) -> Array:
    """Return matrix @ tile @ matrix' for tiles (rows, columns, ...)."""
    matrix = matrix.astype(tiles.dtype)
    return np.einsum("ik,jl,kl...->ij...", matrix, matrix, tiles, optimize=True)


def tiles_of(x: Array, top: int, left: int, rows: int, cols: int, size: int) -> Array:
    """The tiles (size, size, N, rows, cols, C) whose corners are 4 apart, zeros outside of x."""
    n, _, _, c = x.shape
    padded = np.zeros((n, 4 * rows + 2, 4 * cols + 2, c), x.dtype)
    y0, x0 = max(top, 0), max(left, 0)
    inside = x[:, max(-top, 0) :, max(-left, 0) :][:, : 4 * rows + 2 - y0, : 4 * cols + 2 - x0]
    padded[:, y0 : y0 + inside.shape[1], x0 : x0 + inside.shape[2]] = inside
    return np.stack(
        [
            [padded[:, i : i + 4 * rows : 4, j : j + 4 * cols : 4] for j in range(size)]
            for i in range(size)
        ]
    )


def convolve(x: Array, u: Array, top: int, left: int, shape: Shape) -> Array:
    """The convolution of x with transformed weights that has an output of this shape."""
    n, oh, ow, co = shape
    rows, cols = -(-oh // 4), -(-ow // 4)
    products = np.einsum(
        "ijnrsc,ijco->ijnrso", both(INPUT, tiles_of(x, top, left, rows, cols, 6)), u, optimize=True
    )
    tiles = both(OUTPUT, products)
    return tiles.transpose(2, 3, 0, 4, 1, 5).reshape(n, 4 * rows, 4 * cols, co)[:, :oh, :ow]


def winograd_shape(x_shape: Shape, padding: Padding, channels: int) -> tuple[int, int, int, int]:
    """The shape of the outputs of images of some shape."""
    (top, bottom), (left, right) = padding
    return (x_shape[0], x_shape[1] + top + bottom - 2, x_shape[2] + left + right - 2, channels)


def before_pool(dy: Array, argmax: Array | None, shape: Shape) -> Array:
    """The gradient of what a max-pool of 2x2 windows side by side read, from that of its outputs,
    dy; without `argmax` there is no pool, and it is dy itself."""
    return dy if argmax is None else max_pool_backward(dy, argmax, shape, (2, 2), (2, 2))
