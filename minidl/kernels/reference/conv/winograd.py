"""3x3 convolution by Winograd's F(4x4, 3x3): Y = A' [(G g G') * (B' d B)] A for every tile.

A 4x4 tile Y of outputs comes from a 6x6 tile d of inputs by 36 products instead of 144. For
points p, q (each with both signs), 0 and infinity the three matrices are those of Toom and Cook;
p = sqrt(1/2) and q = sqrt(2) keep rounding errors small, with q = 1 / p and p q = 1. The two
gradients are the transposed operations.
"""

import numpy as np

from ..common import Array, Padding, Shape, into, ints
from ..pool.pool import max_pool, max_pool_backward
from .direct import ended

P, Q = np.sqrt(0.5), np.sqrt(2.0)

INPUT = np.array([[1, 0, -2.5, 0, 1, 0],            # B'
                  [0, -Q, -2, P, 1, 0],
                  [0, Q, -2, -P, 1, 0],
                  [0, -P, -0.5, Q, 1, 0],
                  [0, P, -0.5, -Q, 1, 0],
                  [0, 1, 0, -2.5, 0, 1]])
WEIGHT = np.array([[1, 0, 0],                       # G
                   [-2 / 3, -2 / 3 * P, -1 / 3],
                   [-2 / 3, 2 / 3 * P, -1 / 3],
                   [1 / 6, Q / 6, 1 / 3],
                   [1 / 6, -Q / 6, 1 / 3],
                   [0, 0, 1]])
OUTPUT = np.array([[1, 1, 1, 1, 1, 0],              # A'
                   [0, P, -P, Q, -Q, 0],
                   [0, 0.5, 0.5, 2, 2, 0],
                   [0, P / 2, -P / 2, 2 * Q, -2 * Q, 1]])


def both(matrix: Array, tiles: Array) -> Array:
    """matrix @ tile @ matrix' for tiles (rows, columns, ...)."""
    matrix = matrix.astype(tiles.dtype)
    return np.einsum("ik,jl,kl...->ij...", matrix, matrix, tiles, optimize=True)


def tiles_of(x: Array, top: int, left: int, rows: int, cols: int, size: int) -> Array:
    """The tiles (size, size, N, rows, cols, C) whose corners are 4 apart, zeros outside of x."""
    n, _, _, c = x.shape
    padded = np.zeros((n, 4 * rows + 2, 4 * cols + 2, c), x.dtype)
    y0, x0 = max(top, 0), max(left, 0)
    inside = x[:, max(-top, 0):, max(-left, 0):][:, :4 * rows + 2 - y0, :4 * cols + 2 - x0]
    padded[:, y0:y0 + inside.shape[1], x0:x0 + inside.shape[2]] = inside
    return np.stack([[padded[:, i:i + 4 * rows:4, j:j + 4 * cols:4] for j in range(size)]
                     for i in range(size)])


def convolve(x: Array, u: Array, top: int, left: int, shape: Shape) -> Array:
    """The convolution of x with transformed weights that has an output of this shape."""
    n, oh, ow, co = shape
    rows, cols = -(-oh // 4), -(-ow // 4)
    products = np.einsum("ijnrsc,ijco->ijnrso", both(INPUT, tiles_of(x, top, left, rows, cols, 6)),
                         u, optimize=True)
    tiles = both(OUTPUT, products)
    return tiles.transpose(2, 3, 0, 4, 1, 5).reshape(n, 4 * rows, 4 * cols, co)[:, :oh, :ow]


def output_shape(x_shape: Shape, padding: Padding, channels: int) -> tuple[int, int, int, int]:
    (top, bottom), (left, right) = padding
    return (x_shape[0], x_shape[1] + top + bottom - 2, x_shape[2] + left + right - 2, channels)


def winograd_weights(w: Array, threads: int = 0) -> Array:
    """Transformed weights of w (3, 3, C_in, C_out), in an order of their own, for winograd_conv."""
    return both(WEIGHT, w)


def winograd_conv(x: Array, w: Array, padding: Padding = ((0, 0), (0, 0)),
                  bias: Array | None = None, residual: Array | None = None, relu_out: bool = False,
                  transformed: Array | None = None, out: Array | None = None,
                  threads: int = 0) -> Array:
    """y (N, OH, OW, C_out) of x (N, H, W, C_in) and w (3, 3, C_in, C_out), plus `bias` and
    `residual`, then ReLU if `relu_out`; `transformed`: winograd_weights(w), if they are known."""
    padding = ints(*padding)
    (top, _), (left, _) = padding
    u = both(WEIGHT, w) if transformed is None else transformed
    y = convolve(x, u, top, left, output_shape(x.shape, padding, w.shape[3]))
    return into(out, ended(y, bias, residual, relu_out))


def winograd_conv_pool(x: Array, w: Array, padding: Padding = ((0, 0), (0, 0)),
                       bias: Array | None = None, relu_out: bool = False,
                       transformed: Array | None = None, out: Array | None = None,
                       threads: int = 0) -> tuple[Array, Array]:
    """(y, argmax) (N, OH // 2, OW // 2, C_out): max_pool of winograd_conv by 2x2 windows side by
    side."""
    y, argmax = max_pool(winograd_conv(x, w, padding, bias, None, relu_out, transformed), (2, 2),
                         (2, 2))
    return into(out, y), argmax


def unpooled(dy: Array, argmax: Array | None, shape: Shape) -> Array:
    """The gradient in front of a max-pool of 2x2 windows side by side from that behind it; dy
    itself if argmax is None."""
    return dy if argmax is None else max_pool_backward(dy, argmax, shape, (2, 2), (2, 2))


def winograd_input_grad(dy: Array, w: Array, input_shape: Shape,
                        padding: Padding = ((0, 0), (0, 0)), argmax: Array | None = None,
                        out: Array | None = None, threads: int = 0) -> Array:
    """dx (N, H, W, C_in): dy convolved with w turned around, channels exchanged."""
    input_shape, padding = ints(input_shape, padding)
    (top, _), (left, _) = padding
    dy = unpooled(dy, argmax, output_shape(input_shape, padding, w.shape[3]))
    turned = both(WEIGHT, w[::-1, ::-1].transpose(0, 1, 3, 2))
    return into(out, convolve(dy, turned, 2 - top, 2 - left, input_shape))


def winograd_weight_grad(x: Array, dy: Array, padding: Padding = ((0, 0), (0, 0)),
                         argmax: Array | None = None, out: Array | None = None,
                         threads: int = 0) -> Array:
    """dw = G' [sum over tiles of (B' d B) (A dY A')] G."""
    padding = ints(*padding)
    (top, _), (left, _) = padding
    dy = unpooled(dy, argmax, output_shape(x.shape, padding, dy.shape[3]))
    rows, cols = -(-dy.shape[1] // 4), -(-dy.shape[2] // 4)
    du = np.einsum("ijnrsc,ijnrso->ijco", both(INPUT, tiles_of(x, top, left, rows, cols, 6)),
                   both(OUTPUT.T, tiles_of(dy, 0, 0, rows, cols, 4)), optimize=True)
    return into(out, both(WEIGHT.T, du))
