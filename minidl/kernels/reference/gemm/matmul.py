"""Matrix products."""

import numpy as np

from ..common import Array


def matmul_panels(b: Array, transpose_b: bool = False, threads: int = 0) -> Array:
    """b (K, N), or (N, K) if `transpose_b`, packed for several products `matmul(a, b, panels=...)`,
    in an order of its own."""
    return np.ascontiguousarray(b.T if transpose_b else b)


def matmul(a: Array, b: Array, transpose_a: bool = False, transpose_b: bool = False,
           panels: Array | None = None, out: Array | None = None, threads: int = 0) -> Array:
    """op(a) @ op(b) for matrices (M, K) and (K, N), or equally long stacks of them.

    `transpose_a`: a is given as (K, M); `transpose_b`: b is given as (N, K); `panels`:
    matmul_panels(b, transpose_b), if they are known, of a single matrix.
    """
    a = np.swapaxes(a, -1, -2) if transpose_a else a
    b = np.swapaxes(b, -1, -2) if transpose_b else b
    return np.matmul(a, b if panels is None else panels, out=out)
