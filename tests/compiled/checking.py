"""What tests of compiled models share: the oracle is the model itself in evaluation mode."""

import numpy as np

import minidl as md
from minidl import nn
from minidl.traced import values_of
from tests.harness import threads

TOLERANCE = 1e-5        # of the largest value of each array


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def evaluated(model, *inputs):
    """What a model returns in evaluation mode, with arrays in place of tensors."""
    made = md.trace(model, *inputs)         # in that mode, whatever the model's own is
    assert made is not None
    modes = [(part, part.training) for _, part in model.named_layers()] \
        if isinstance(model, nn.Layer) else []
    try:
        if modes:
            model.eval()
        with md.no_grad():
            return arrays_in(model(*[md.tensor(x) for x in inputs]))
    finally:
        for part, mode in modes:
            part.training = mode


def arrays_in(x):
    """A structure with arrays in place of tensors."""
    if isinstance(x, md.Tensor):
        return np.array(x.data)
    if isinstance(x, dict):
        return {key: arrays_in(item) for key, item in x.items()}
    if isinstance(x, (list, tuple)):
        items = [arrays_in(item) for item in x]
        return items if isinstance(x, list) else tuple(items)
    return x
