"""This module makes small tensors to compute with, and a normalization whose result is lazy."""

import numpy as np

import minidl as md
from minidl import nn
from tests.support.arrays import uniform

VALUES = uniform(4, 3)


def leaf(*values):
    """Return a tensor of numbers, or of lists of them, that requires a gradient."""
    return md.tensor(values, requires_grad=True)


def parameter(*shape, fill=1.0):
    return nn.Parameter(np.full(shape, fill, np.float32))


def normalized(x):
    return md.batch_norm(x, None, None, training=True)
