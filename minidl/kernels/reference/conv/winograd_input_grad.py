"""The gradient of a 3x3 convolution by its input, by Winograd's F(4x4, 3x3): dy convolved with w
turned around, its channels exchanged."""

from ..common import Array, Padding, Shape, into, ints
from .winograd_tiles import WEIGHT, before_pool, both, convolve, winograd_shape


def winograd_input_grad(
    dy: Array,
    w: Array,
    input_shape: Shape,
    padding: Padding = ((0, 0), (0, 0)),
    argmax: Array | None = None,
    out: Array | None = None,
    threads: int = 0,
) -> Array:
    """Return dx (N, H, W, C_in) for dy (N, OH, OW, C_out) and w (3, 3, C_in, C_out).

    With `argmax`, which winograd_conv_pool gave, dy (N, OH // 2, OW // 2, C_out) is the gradient
    of the pool's outputs, and goes to the places that won.
    """
    input_shape, padding = ints(input_shape, padding)
    (top, _), (left, _) = padding
    dy = before_pool(dy, argmax, winograd_shape(input_shape, padding, w.shape[3]))
    turned = both(WEIGHT, w[::-1, ::-1].transpose(0, 1, 3, 2))
    return into(out, convolve(dy, turned, 2 - top, 2 - left, input_shape))
