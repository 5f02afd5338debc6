"""Matrix products, as NumPy makes them."""

import numpy as np

from ..common import Array


def matmul_panels(b: Array, transpose_b: bool = False, threads: int = 0) -> Array:
    """Pack b (K, N), or (N, K) if `transpose_b`, for several products `matmul(a, b, panels=...)`.

    What it returns has an order of its own, that of the micro-kernel.
    """
    return np.ascontiguousarray(b.T if transpose_b else b)


def matmul(
    a: Array,
    b: Array,
    transpose_a: bool = False,
    transpose_b: bool = False,
    panels: Array | None = None,
    out: Array | None = None,
    threads: int = 0,
) -> Array:
    """Return op(a) @ op(b) for matrices (M, K) and (K, N), or equally long stacks of them.

    With `transpose_a` a is given as (K, M), with `transpose_b` b as (N, K). `panels` are those of
    a single matrix b, `matmul_panels(b, transpose_b)`, if they are known.
    """
    a = np.swapaxes(a, -1, -2) if transpose_a else a
    b = np.swapaxes(b, -1, -2) if transpose_b else b
    return np.matmul(a, b if panels is None else panels, out=out)
