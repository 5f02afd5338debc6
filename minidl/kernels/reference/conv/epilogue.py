"""The epilogue of a convolution: what its outputs go through."""

import numpy as np


def epilogue(y, bias, residual, relu_out):
    """Add `bias` and `residual` to y, then take a ReLU if `relu_out`; in place."""
    if bias is not None:
        y += bias
    if residual is not None:
        y += residual
    return np.maximum(y, 0, out=y) if relu_out else y
