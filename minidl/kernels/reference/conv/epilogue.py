"""The epilogue of a convolution: what its outputs go through."""

import numpy as np

from ..common import Array


def epilogue(y: Array, bias: Array | None, residual: Array | None, relu_out: bool) -> Array:
    """Add `bias` and `residual` to y, then take a ReLU if `relu_out`; in place."""
    if bias is not None:
        y += bias
    if residual is not None:
        y += residual
    return np.maximum(y, 0, out=y) if relu_out else y
