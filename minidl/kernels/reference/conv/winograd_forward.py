"""3x3 convolution by Winograd's F(4x4, 3x3); the formula is in winograd_tiles.py."""

from ..common import Array, Padding, into, ints
from ..pool.max_pool import max_pool
from .epilogue import epilogue
from .winograd_tiles import WEIGHT, both, convolve, winograd_shape


def winograd_weights(w: Array, threads: int = 0) -> Array:
    """Transform w (3, 3, C_in, C_out) once for several calls of winograd_conv.

    What it returns has an order of its own.
    """
    return both(WEIGHT, w)


def winograd_conv(
    x: Array,
    w: Array,
    padding: Padding = ((0, 0), (0, 0)),
    bias: Array | None = None,
    residual: Array | None = None,
    relu_out: bool = False,
    transformed: Array | None = None,
    out: Array | None = None,
    threads: int = 0,
) -> Array:
    """Return y (N, OH, OW, C_out), x (N, H, W, C_in) convolved with w (3, 3, C_in, C_out).

    `bias` (C_out,) and `residual`, of y's shape, are added, and a ReLU follows if `relu_out`.
    `transformed` is winograd_weights(w), if it is known.
    """
    padding = ints(*padding)
    (top, _), (left, _) = padding
    u = both(WEIGHT, w) if transformed is None else transformed
    y = convolve(x, u, top, left, winograd_shape(x.shape, padding, w.shape[3]))
    return into(out, epilogue(y, bias, residual, relu_out))


def winograd_conv_pool(
    x: Array,
    w: Array,
    padding: Padding = ((0, 0), (0, 0)),
    bias: Array | None = None,
    relu_out: bool = False,
    transformed: Array | None = None,
    out: Array | None = None,
    threads: int = 0,
) -> tuple[Array, Array]:
    """Return (y, argmax) (N, OH // 2, OW // 2, C_out): a max-pool of winograd_conv.

    Its windows are 2x2, side by side; `argmax` is as max_pool gives it. The epilogue, `bias` and
    then a ReLU, comes before the pool.
    """
    y, argmax = max_pool(
        winograd_conv(x, w, padding, bias, None, relu_out, transformed), (2, 2), (2, 2)
    )
    return into(out, y), argmax
