"""This module makes recurrent layers of all kinds and normalizations."""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.arrays import uniform

KINDS = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}
NORMS = (None, "layer", "batch")
each = pytest.mark.parametrize("name", KINDS)
each_norm = pytest.mark.parametrize("norm", NORMS)


def made(name, *args, dtype=np.float64, **options):
    """Return a layer with weights, gammas and betas that are all different."""
    md.manual_seed(0)
    layer = KINDS[name](*args, **options).astype(dtype)
    for k, (label, p) in enumerate(layer.named_parameters()):
        if "norm" in label:
            p.data = uniform(*p.shape, dtype=dtype, seed=k, low=0.3, high=1.2)
    return layer


def flat(result):
    """Return (output, h) or (output, h, c)."""
    output, state = result
    return (output, *state) if isinstance(state, tuple) else (output, state)
