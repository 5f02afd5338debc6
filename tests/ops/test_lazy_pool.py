"""These tests check that a 2x2 max-pool becomes part of a normalization's pass: one pass, the same
values, and no effect on other consumers.
"""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.arrays import close, uniform
from tests.support.kernel_calls import kernels_run


@pytest.fixture
def calls(monkeypatch):
    """Return the kernels that ran, of the fused ones and of those that a fused pass replaces."""
    return kernels_run(
        monkeypatch,
        "batch_norm_apply",
        "batch_norm_backward",
        "relu",
        "relu_backward",
        "max_pool",
        "max_pool_backward",
        "batch_norm_pool",
        "batch_norm_pool_backward",
    )


def layer(relu=True, channels=16):
    bn = nn.BatchNorm(channels)
    bn.gamma.data = uniform(channels, seed=3).astype(np.float32)
    bn.beta.data = uniform(channels, seed=4).astype(np.float32)
    return nn.Sequential(bn, *([nn.ReLU()] if relu else []))


def images(channels=16, seed=0):
    return md.tensor(uniform(3, 6, 5, channels, seed=seed).astype(np.float32), requires_grad=True)


@pytest.mark.parametrize("relu", (True, False))
@pytest.mark.parametrize("training", (True, False))
def test_one_pass_forward_and_one_backward(training, relu, calls):
    model = layer(relu)
    model.train() if training else model.eval()
    x = images()
    y = nn.Sequential(model, nn.MaxPool(2))(x)
    y.sum().backward()
    assert calls == ["batch_norm_pool", "batch_norm_pool_backward"]
    assert x.grad.shape == x.shape


@pytest.mark.parametrize("relu", (True, False))
@pytest.mark.parametrize("training", (True, False))
def test_results_are_those_of_the_steps(training, relu):
    results = []
    for fused in (True, False):
        model, x = layer(relu), images()
        model.train() if training else model.eval()
        h = model(x)
        if not fused:
            h.data  # noqa: B018
        y = md.max_pool(h, 2)
        y.backward(uniform(*y.shape, seed=9).astype(np.float32))
        results.append((y.data, x.grad, model[0].gamma.grad, model[0].beta.grad))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    for one, other in zip(*results, strict=True):
        close(one, other, tolerance=20)


@pytest.mark.parametrize(
    "options",
    ({"window": 3}, {"window": 2, "stride": 1}, {"window": 2, "padding": 1}, {"window": (2, 1)}),
)
def test_other_windows_compute_it_first(options, calls):
    md.max_pool(layer()(images()), **options)
    assert calls == ["batch_norm_apply", "max_pool"]


def test_other_channels_and_dtypes_compute_it_first(calls):
    md.max_pool(layer(channels=20)(images(20)), 2)
    md.max_pool(layer().astype(np.float64)(images().astype(np.float64)), 2)
    assert calls == ["batch_norm_apply", "max_pool"] * 2


def test_a_residual_computes_it_first(calls):
    x = images()
    md.max_pool(md.relu(layer(relu=False)(x) + x * 2), 2)
    assert calls == ["batch_norm_apply", "max_pool"]


def program(h, other):
    """Use both the pooled and the full image."""
    return md.max_pool(h, 2).sum() + (h * other).sum()


@pytest.mark.parametrize("relu", (True, False))
def test_a_second_user_of_the_normalization(relu):
    other = md.tensor(uniform(3, 6, 5, 16, seed=5).astype(np.float32))
    results = []
    for fused in (True, False):
        model, x = layer(relu), images()
        h = model(x)
        if not fused:
            h.data  # noqa: B018
        program(h, other).backward()
        results.append((x.grad, model[0].gamma.grad, model[0].beta.grad))
    for one, two in zip(*results, strict=True):
        close(one, two, tolerance=20)


def test_retained_gradients_inside():
    x = images()
    bn, relu = layer(relu=False), nn.ReLU()
    n = bn(x)
    h = relu(n)
    n.retain_grad()
    h.retain_grad()
    md.max_pool(h, 2).sum().backward()
    plain = md.tensor(n.data, requires_grad=True)
    whole = md.relu(plain)
    whole.retain_grad()
    md.max_pool(whole, 2).sum().backward()
    np.testing.assert_array_equal(h.grad, whole.grad)
    np.testing.assert_array_equal(n.grad, plain.grad)


def test_two_pools_of_one_normalization():
    results = []
    for fused in (True, False):
        model, x = layer(), images()
        h = model(x)
        if not fused:
            h.data  # noqa: B018
        (md.max_pool(h, 2) * 2 + md.max_pool(h, 2)).sum().backward()
        results.append((x.grad, model[0].gamma.grad))
    for one, two in zip(*results, strict=True):
        close(one, two, tolerance=20)


def test_the_graph_can_be_used_twice():
    model, x = layer(), images()
    y = md.max_pool(model(x), 2)
    y.backward(np.ones_like(y.data), retain_graph=True)
    first = x.grad.copy()
    y.backward(np.ones_like(y.data))
    close(x.grad, 2 * first)
