"""The gradient of a 3x3 convolution by its weights, by Winograd's F(4x4, 3x3):
dw = G' [sum over tiles of (B' d B) (A dY A')] G."""

import numpy as np

from ..common import Array, Padding, into, ints
from .winograd_tiles import INPUT, OUTPUT, WEIGHT, before_pool, both, tiles_of, winograd_shape


def winograd_weight_grad(
    x: Array,
    dy: Array,
    padding: Padding = ((0, 0), (0, 0)),
    argmax: Array | None = None,
    out: Array | None = None,
    threads: int = 0,
) -> Array:
    """Return dw (3, 3, C_in, C_out) for x (N, H, W, C_in) and dy (N, OH, OW, C_out).

    With `argmax` dy is the gradient of a pool's outputs, as in winograd_input_grad.
    """
    padding = ints(*padding)
    (top, _), (left, _) = padding
    dy = before_pool(dy, argmax, winograd_shape(x.shape, padding, dy.shape[3]))
    rows, cols = -(-dy.shape[1] // 4), -(-dy.shape[2] // 4)
    du = np.einsum(
        "ijnrsc,ijnrso->ijco",
        both(INPUT, tiles_of(x, top, left, rows, cols, 6)),
        both(OUTPUT.T, tiles_of(dy, 0, 0, rows, cols, 4)),
        optimize=True,
    )
    return into(out, both(WEIGHT.T, du))
