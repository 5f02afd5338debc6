"""Parameters and gradients for the tests of optimizers."""

import numpy as np

from minidl import nn


def parameters(shapes, dtype=np.float32):
    """A parameter of each shape: the same values in every dtype, to its precision."""
    rng = np.random.default_rng(0)
    return [nn.Parameter(np.asarray(rng.normal(size=shape), dtype)) for shape in shapes]


def give_gradients(params, step):
    """Gradients that are a function of the step, of sizes from 1e-6 to 10."""
    rng = np.random.default_rng(step)
    for p in params:
        size = 10.0 ** rng.integers(-6, 2, p.shape)
        p.grad = np.asarray(rng.normal(size=p.shape) * size, p.dtype)


def trained(make, shapes, dtype, steps):
    """Parameters of these shapes after some steps of the optimizer that `make` gives for them."""
    params = parameters(shapes, dtype)
    optimizer = make(params)
    for step in range(steps):
        give_gradients(params, step)
        optimizer.step()
    return params
