"""These tests check every normalization far from 1: float32 values and gradients are those of
float64, in which squares stay in range.
"""

import numpy as np
import pytest

import minidl as md
from tests.support.marks import both_backends

C = 8
MASK = np.arange(6 * 4 * 3).reshape(6, 4, 3) % 5 > 0
NORMS = {
    "batch": lambda x, g, b: md.batch_norm(x, g, b, training=True, eps=0),
    "batch, ghosts": lambda x, g, b: md.batch_norm(x, g, b, training=True, eps=0, ghost_batch=3),
    "batch, mask": lambda x, g, b: md.batch_norm(x, g, b, training=True, eps=0, mask=MASK),
    "batch, relu": lambda x, g, b: md.relu(md.batch_norm(x, g, b, training=True, eps=0)),
    "layer": lambda x, g, b: md.layer_norm(x, g, b, eps=0),
    "layer, no gamma": lambda x, g, b: md.layer_norm(x, None, None, eps=0) * g + b,
    "rms": lambda x, g, b: md.rms_norm(x, g, eps=0) + b,
    "group": lambda x, g, b: md.group_norm(x, 2, g, b, eps=0),
    "group of all": lambda x, g, b: md.group_norm(x, 1, g, b, eps=0),
    "instance": lambda x, g, b: md.instance_norm(x, g, b, eps=0),
    "instance, no gamma": lambda x, g, b: md.instance_norm(x, None, None, eps=0) * g + b,
    "filter response": lambda x, g, b: md.filter_response_norm(x, g, b, eps=0),
    "filter response, learned": lambda x, g, b: md.filter_response_norm(x, g, b, 0 * g),
    "weight norm": lambda v, g, b: md.weight_norm(v, g) + b,
    "weight standardization": lambda v, g, b: md.weight_standardization(v, eps=0) * g + b,
}


def draw(seed, *shape):
    """Return normal numbers that float32 can represent."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def outcome(f, x, dtype):
    """Return y, and the gradients of x (times its scale), gamma and beta."""
    inputs = [
        md.Tensor(a.astype(dtype), requires_grad=True) for a in (x, 1 + draw(1, C) / 4, draw(2, C))
    ]
    y = f(*inputs)
    dx, dg, db = md.grad(y, inputs, draw(3, *y.shape).astype(dtype))
    return [np.asarray(a, np.float64) for a in (y.data, dx * np.abs(x).max().astype(dtype), dg, db)]


@both_backends
@pytest.mark.parametrize("mean", (0, 10))
@pytest.mark.parametrize("scale", (1e-35, 1e-30, 1e-20, 1e-19, 1e18, 1e19, 1e20, 1e30, 1e35))
@pytest.mark.parametrize("name", NORMS)
def test_values_and_gradients(name, scale, mean, backend):
    x = (draw(0, 6, 4, 3, C) + np.float32(mean)) * np.float32(scale)
    with md.use_backend(backend):
        got = outcome(NORMS[name], x, np.float32)
        expected = outcome(NORMS[name], x, np.float64)
    for g, w in zip(got, expected, strict=True):
        assert 0.1 < np.abs(w).max() < 1e4
        np.testing.assert_allclose(g, w, rtol=0, atol=2e-5 * np.abs(w).max())
