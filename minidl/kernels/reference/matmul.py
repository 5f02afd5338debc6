"""Matrix products."""

import numpy as np


def matmul(a, b, transpose_a=False, transpose_b=False, out=None, threads=0):
    """op(a) @ op(b) for matrices (M, K) and (K, N), or equally long stacks of them.

    `transpose_a`: a is given as (K, M); `transpose_b`: b is given as (N, K).
    """
    a = np.swapaxes(a, -1, -2) if transpose_a else a
    b = np.swapaxes(b, -1, -2) if transpose_b else b
    return np.matmul(a, b, out=out)
