"""These tests check that a 2x2 max-pool becomes the epilogue of a 3x3 convolution, and its gradient
a part of the convolution's backward, with the same bits.
"""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.arrays import uniform
from tests.support.kernel_calls import kernels_run

KERNELS = (
    "winograd_conv",
    "winograd_conv_pool",
    "max_pool",
    "max_pool_backward",
    "relu",
    "winograd_input_grad",
    "winograd_weight_grad",
)


def leaves(**options):
    """Return images, weights and a bias; the bias is the last one."""
    shapes = (3, 7, 6, 24), (3, 3, 24, 40), (40,)
    return [md.tensor(uniform(*shape, seed=k), **options) for k, shape in enumerate(shapes)]


def run(fused, program=lambda y: md.max_pool(y, 2)):
    x, w, b = leaves(requires_grad=True)
    y = md.conv(x * 1, w, b, padding=1)
    if not fused:
        y.data  # noqa: B018
    out = program(y)
    out.backward(uniform(*out.shape, seed=9), retain_graph=True)
    first = [t.grad.copy() for t in (x, w, b)]
    out.backward(uniform(*out.shape, seed=9))
    return [out.data, *first, x.grad, w.grad, b.grad]


def test_one_pass_forward_and_two_gradients(monkeypatch):
    calls = kernels_run(monkeypatch, *KERNELS)
    x, w, b = leaves(requires_grad=True)
    y = md.max_pool(md.conv(x * 1, w, b, padding=1), 2)
    y.sum().backward()
    assert calls == ["winograd_conv_pool", "winograd_input_grad", "winograd_weight_grad"]


PROGRAMS = {
    "pool": lambda y: md.max_pool(y, 2),
    "pool relu": lambda y: md.relu(md.max_pool(y, 2)),
    "relu pool": lambda y: md.max_pool(md.relu(y), 2),
    "two pools": lambda y: md.max_pool(y, 2) * 2 + md.max_pool(y, 2),
    "another window": lambda y: md.max_pool(y, 3, 2),
    "used again": lambda y: md.max_pool(y, 2) + y.mean(),
    "a residual": lambda y: md.max_pool(y + y, 2),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_fused_and_step_by_step_are_the_same(name):
    for one, other in zip(run(True, PROGRAMS[name]), run(False, PROGRAMS[name]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * np.abs(other).max())
    np.testing.assert_array_equal(run(True, PROGRAMS[name])[0], run(False, PROGRAMS[name])[0])


def test_weights_may_be_written_to_before_it_is_computed():
    x, w, b = leaves()
    expected = md.max_pool(md.conv(x, w, b, padding=1), 2).data
    y = md.conv(x * 1, w, b, padding=1)
    w.data[...], b.data[...] = 0, 0
    np.testing.assert_array_equal(md.max_pool(y, 2).data, expected)


def test_gradients_of_a_result_that_was_never_computed():
    """The backward pass then finds the argmax first."""
    found = []
    for fused in (True, False):
        x, w, b = leaves(requires_grad=True)
        y = md.max_pool(md.conv(x * 1, w, b, padding=1), 2)
        if not fused:
            y.data  # noqa: B018
        found.append(md.grad(y, [x, w, b], uniform(*y.shape, seed=9)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_pass_in_a_folded_model(monkeypatch):
    """Convolution, normalization, ReLU and max-pool are one pass."""
    model = nn.Sequential(
        nn.Conv(16, 32, 3, padding=1), nn.BatchNorm(32), nn.ReLU(), nn.MaxPool(2)
    ).eval()
    x = md.tensor(uniform(2, 9, 8, 16))
    expected = model(x).data
    folded = nn.fold(model)
    calls = kernels_run(monkeypatch, *KERNELS)
    with md.no_grad():
        np.testing.assert_allclose(folded(x).data, expected, rtol=1e-4, atol=1e-5)
    assert calls == ["winograd_conv_pool"]
