"""Rows of a table by their numbers (ids), and the gradient of the table."""

import numpy as np

from ..common import Array


def embedding(weight: Array, ids: Array, threads: int = 0) -> Array:
    """weight[ids]: (M, C) from weight (R, C) and ids (M,) int64."""
    return weight[ids]


def embedding_backward(dy: Array, ids: Array, rows: int, threads: int = 0) -> Array:
    """dw (rows, C): the sums of those rows of dy (M, C) that have the same id."""
    dw = np.zeros((rows, dy.shape[1]))
    np.add.at(dw, ids, dy)
    return dw.astype(dy.dtype)
