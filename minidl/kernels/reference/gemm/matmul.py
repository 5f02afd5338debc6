"""Matrix products, as NumPy makes them."""

import numpy as np


def matmul_panels(b, transpose_b=False, threads=0):
    """Pack b (K, N), or (N, K) if `transpose_b`, for several products `matmul(a, b, panels=...)`.

    What it returns has an order of its own, that of the micro-kernel.
    """
    return np.ascontiguousarray(b.T if transpose_b else b)


def matmul(a, b, transpose_a=False, transpose_b=False, panels=None, out=None, threads=0):
    """Return op(a) @ op(b) for matrices (M, K) and (K, N), or equally long stacks of them.

    With `transpose_a` a is given as (K, M), with `transpose_b` b as (N, K). `panels` are those of
    a single matrix b, `matmul_panels(b, transpose_b)`, if they are known.
    """
    a = np.swapaxes(a, -1, -2) if transpose_a else a
    b = np.swapaxes(b, -1, -2) if transpose_b else b
    return np.matmul(a, b if panels is None else panels, out=out)
