"""This module has models to compile, and compares them with their reference, which is the model
itself in evaluation mode.
"""

import re

import numpy as np

import minidl as md
from minidl import nn
from minidl.mode import evaluation
from tests.support.threads import threads

TOLERANCE = 1e-5  # relative to the largest value of each array


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def module(forward, *parts):
    """Return a layer that holds parts and calls forward(*inputs, *parts)."""

    class Module(nn.Layer):
        def __init__(self):
            super().__init__()
            self.parts = list(parts)

        def forward(self, *inputs):
            return forward(*inputs, *self.parts)

    return settled(Module())


def conv(inside=8, out=16, window=3, **options):
    return nn.Conv(inside, out, window, **{"padding": "same", **options})


def settled(model, seed=1):
    """Return a model whose BatchNorms have statistics, scales and shifts that are not the initial
    ones.
    """
    rng = np.random.default_rng(seed)
    for _, layer in model.named_layers():
        if isinstance(layer, nn.BatchNorm):
            size = layer.running_mean.shape
            layer.running_mean[...] = rng.normal(0, 1, size)
            layer.running_var[...] = rng.uniform(0.5, 2, size)
            if layer.gamma is not None:
                layer.gamma.data = rng.normal(1, 0.5, size).astype(np.float32)
            if layer.beta is not None:
                layer.beta.data = rng.normal(0, 0.5, size).astype(np.float32)
    return model


def network(*layers):
    """Return a Sequential of layers, settled."""
    return settled(nn.Sequential(*layers))


def evaluated(model, *inputs):
    """Return what a model returns in evaluation mode, with arrays in place of tensors."""
    with evaluation():
        return arrays_in(model(*[md.tensor(x) for x in inputs]))


def arrays_in(x):
    """Return a structure with arrays in place of tensors."""
    if isinstance(x, md.Tensor):
        return np.array(x.data)
    if isinstance(x, dict):
        return {key: arrays_in(item) for key, item in x.items()}
    items = [arrays_in(item) for item in x]
    return items if isinstance(x, list) else tuple(items)


def leaves(x):
    """Return the arrays of a structure, in order."""
    if isinstance(x, np.ndarray):
        return [x]
    return [leaf for item in (x.values() if isinstance(x, dict) else x) for leaf in leaves(item)]


def of_size(example, size):
    """Return another batch than the example, with so many entries."""
    if example.dtype.kind != "f":
        return np.resize(example, (size, *example.shape[1:]))
    return draw(size, *example.shape[1:], seed=size).astype(example.dtype)


def assert_equal(ours, expected):
    """Check that two results have the same structure and dtypes, and values within the tolerance,
    with NaN and infinities in the same places.
    """
    assert type(ours) is type(expected)
    if isinstance(expected, dict):
        assert list(ours) == list(expected)
    for a, b in zip(leaves(ours), leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        finite = np.isfinite(b)
        np.testing.assert_array_equal(a[~finite], b[~finite])
        largest = np.abs(b[finite], dtype=np.float64).max(initial=0.0)
        np.testing.assert_allclose(a[finite], b[finite], rtol=0, atol=TOLERANCE * float(largest))


def check(model, *examples, sizes=(1, 2, 5, 17), teams=(1, 2, 3)):
    """Compile a model, compare it with the model for batches of several sizes, and return it.
    Values agree to the tolerance, and bits for any number of threads.
    """
    compiled = md.compile(model, *examples)
    for size in sizes:
        inputs = [of_size(np.asarray(x), size) for x in examples]
        expected, bits = evaluated(model, *inputs), set()
        for n in teams:
            with threads(n):
                ours = compiled(*inputs)
            assert_equal(ours, expected)
            bits.add(b"".join(a.tobytes() for a in leaves(ours)))
        assert len(bits) == 1, f"other bits on another number of threads, {size} images"
    return compiled


def steps(compiled):
    """Return what a compiled model computes, without names of kernels and sizes."""
    return [re.sub(r" \(\w+\)| -> .*", "", step) for step in compiled.steps]
