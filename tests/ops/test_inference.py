"""These tests check that convolutions of read-only weights may be computed at their first use
without any other effect.
"""

import gc

import numpy as np
import pytest

import minidl as md
from minidl import kernels
from minidl.ops import inference
from tests.support.errors import read_only

SHAPES = {
    "direct": ((2, 5, 5, 3), (3, 3, 3, 4), 1),
    "winograd": ((2, 6, 6, 16), (3, 3, 16, 16), 1),
    "depthwise": ((2, 6, 6, 16), (3, 3, 1, 16), 16),
}
ALGORITHM = pytest.mark.parametrize("algorithm", SHAPES)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Conv:
    """A convolution with weights that nobody can write to, on an array that nobody else refers
    to.
    """

    def __init__(self, algorithm):
        x, w, self.groups = SHAPES[algorithm]
        self.images = normal(*x)
        self.w, self.b = normal(*w, seed=1), normal(w[3], seed=2)
        self.w.flags.writeable = self.b.flags.writeable = False

    def x(self):
        return md.exp(md.tensor(self.images))  # the result of an operation, which is read-only

    def __call__(self, x=None, w=None):
        x = self.x() if x is None else x
        return md.conv(
            x,
            md.Tensor(self.w if w is None else w),
            md.Tensor(self.b),
            padding="same",
            groups=self.groups,
        )

    def expected(self):
        return self(w=self.w.copy()).data


def pending(t):
    return t._array is None and t._lazy is not None


@ALGORITHM
def test_programs(algorithm):
    conv = Conv(algorithm)
    y, s = conv.expected(), normal(*conv.expected().shape, seed=3)
    x = conv.x()
    for program, expected in (
        (lambda c: c, y),
        (md.relu, np.maximum(y, 0)),
        (lambda c: c + s, y + s),
        (lambda c: s + c, s + y),
        (lambda c: md.relu(c + s), np.maximum(y + s, 0)),
        (lambda c: md.relu(c) + s, np.maximum(y, 0) + s),
        (lambda c: md.relu(c) + c, np.maximum(y, 0) + y),
        (lambda c: c + md.relu(c), np.maximum(y, 0) + y),
        (lambda c: c + c, y + y),
        (lambda c: md.relu(c + c), np.maximum(y + y, 0)),
        (lambda c: md.relu(c + s + s), np.maximum(y + s + s, 0)),
        (lambda c: c + 1.0, y + np.float32(1)),
        (lambda c: c + s[0, 0], y + s[0, 0]),
        (lambda c: md.relu(c * 2.0), np.maximum(y * 2, 0)),
        (lambda c: c.reshape(-1), y.reshape(-1)),
        (lambda c: md.max_pool(md.relu(c), 2), md.max_pool(np.maximum(y, 0), 2).data),
        (lambda c: c.sum(), y.sum()),
    ):
        out = program(conv(x))
        np.testing.assert_allclose(out.data, expected, rtol=1e-5, atol=1e-5)


@ALGORITHM
def test_it_is_computed_later_with_its_epilogue(algorithm, monkeypatch):
    conv = Conv(algorithm)
    s = md.exp(md.tensor(normal(*conv.expected().shape)))
    y = conv()
    assert pending(y) and y.shape == conv.expected().shape and y.dtype == np.float32
    monkeypatch.delattr(kernels, "relu")
    monkeypatch.delattr(kernels, "add")
    total = md.relu(y + s)
    assert pending(total)
    np.testing.assert_allclose(total.data, np.maximum(conv.expected() + s.data, 0), rtol=1e-5)


def test_it_is_computed_at_once_if_inputs_can_be_written_to():
    conv = Conv("direct")
    assert not pending(conv(w=conv.w.copy()))  # the weights can be written to
    bias = md.Tensor(conv.b.copy())
    assert not pending(md.conv(conv.x(), md.Tensor(conv.w), bias))
    assert not pending(conv(md.Tensor(conv.images)))  # the images can be written to
    x = conv.x()
    y = conv(x)
    assert pending(y)
    with read_only():
        x.data[...] = 0
    np.testing.assert_array_equal(y.data, conv.expected())


@ALGORITHM
def test_a_leaf_may_be_written_to_before_it_is_computed(algorithm):
    conv = Conv(algorithm)
    x = md.tensor(conv.images)
    expected = conv(md.tensor(conv.images)).data
    y = conv(x)
    assert pending(y)
    x.data[...] = 0
    np.testing.assert_array_equal(y.data, expected)


@ALGORITHM
def test_gradients_do_not_depend_on_when_it_is_computed(algorithm):
    """If a gradient is needed, only a convolution that may be pooled is computed later. A pending
    convolution that is added to a tensor with a gradient is a constant.
    """
    conv = Conv(algorithm)
    x = md.tensor(conv.images, requires_grad=True) * 1
    y = conv(x)
    assert pending(y) == (algorithm == "winograd")
    assert not pending(md.relu(y))
    y = conv.expected()
    t = md.tensor(normal(*y.shape), requires_grad=True)
    out = md.relu(conv() + t)
    out.backward(np.ones(y.shape, np.float32))
    np.testing.assert_array_equal(t.grad, (out.data > 0).astype(np.float32))


def test_convolved_once_when_used_after_it_was_seen(monkeypatch):
    conv = Conv("direct")
    calls = []
    kernel = kernels.conv
    monkeypatch.setattr(kernels, "conv", lambda *a, **k: calls.append(1) or kernel(*a, **k))
    y = conv()
    kept = y.data
    np.testing.assert_array_equal(md.relu(y).data, np.maximum(kept, 0))
    assert len(calls) == 1


def test_transformed_weights_are_kept_as_long_as_the_weights():
    gc.collect()
    before = set(inference._transformed)
    conv = Conv("winograd")
    u = inference.winograd_weights(conv.w)
    assert inference.winograd_weights(conv.w) is u
    with md.use_backend("numpy"):
        assert inference.winograd_weights(conv.w) is not u
        np.testing.assert_allclose(conv().data, conv.expected(), rtol=1e-5)
    np.testing.assert_array_equal(conv().data, conv.expected())
    assert set(inference._transformed) == before | {id(conv.w)}
    del conv
    gc.collect()
    assert set(inference._transformed) == before


def test_a_view_that_is_read_only_is_not_enough():
    """It is not enough, since its base can be written to."""
    conv = Conv("direct")
    base = conv.w.copy()
    view = base.view()
    view.flags.writeable = False
    assert not pending(conv(w=view))


@ALGORITHM
@pytest.mark.parametrize("made_in", ["native", "numpy"])
def test_another_backend_may_compute_it(made_in, algorithm):
    conv = Conv(algorithm)
    with md.use_backend(made_in):
        y = conv()
        expected = conv.expected()
    assert pending(y)
    with md.use_backend("numpy" if made_in == "native" else "native"):
        np.testing.assert_allclose(y.data, expected, rtol=1e-4, atol=1e-4)


def test_read_only_views_of_memory_that_others_write_to():
    memory = bytearray(np.ones(9, np.float32).tobytes())
    weight = np.frombuffer(memoryview(memory).toreadonly(), np.float32).reshape(3, 3, 1, 1)
    y = md.conv(md.ones((1, 3, 3, 1)), weight)
    memory[:] = bytes(len(memory))
    assert y.item() == 9
