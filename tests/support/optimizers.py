"""This module has optimizers of all kinds, parameters and gradients."""

import numpy as np
import pytest

from minidl import nn, optim

KINDS = [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad, optim.LARS]
every_kind = pytest.mark.parametrize("kind", KINDS)


def parameters(shapes, dtype=np.float32):
    """Return a parameter of each shape, with the same values in every dtype up to its precision."""
    rng = np.random.default_rng(0)
    return [nn.Parameter(np.asarray(rng.normal(size=shape), dtype)) for shape in shapes]


def give_gradients(params, step):
    """Give parameters gradients of sizes from 1e-6 to 10, which depend on the step alone."""
    rng = np.random.default_rng(step)
    for p in params:
        size = 10.0 ** rng.integers(-6, 2, p.shape)
        p.grad = np.asarray(rng.normal(size=p.shape) * size, p.dtype)


def trained(make, shapes, dtype, steps):
    """Return parameters of these shapes after some steps of the optimizer that `make` makes for
    them.
    """
    params = parameters(shapes, dtype)
    optimizer = make(params)
    for step in range(steps):
        give_gradients(params, step)
        optimizer.step()
    return params


def steps(optimizer, count=2):
    """Take steps in which every gradient is 1."""
    for _ in range(count):
        for group in optimizer.groups:
            for p in group["params"]:
                p.grad = np.ones(p.shape, p.dtype)
        optimizer.step()
