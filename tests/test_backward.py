"""These tests walk backward in several threads: over one leaf, over one kept graph, and over one
that is freed.
"""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.arrays import uniform
from tests.support.errors import refuses
from tests.support.threads import in_threads


def test_no_gradient_is_lost():
    p = md.Tensor(np.zeros(100_000, np.float32), requires_grad=True)

    def work(k):
        for _ in range(40):
            (p * 1.0).sum().backward()

    assert in_threads(4, work) == []
    assert p.grad.min() == p.grad.max() == 160


def test_no_retained_gradient_is_lost():
    p = md.Tensor(np.zeros(50_000, np.float32), requires_grad=True)
    y = p * 2
    y.retain_grad()

    def work(k):
        for _ in range(20):
            y.sum().backward(retain_graph=True)

    assert in_threads(4, work) == []
    assert y.grad.min() == y.grad.max() == 80


@pytest.mark.parametrize(
    "make",
    [
        lambda x: md.tanh(x @ x) * x + x,
        lambda x: md.relu(md.batch_norm(x, None, None, training=True) + x),
        lambda x: nn.GRU(20, 20)(x.reshape(2, 10, 20))[0],
    ],
    ids=["product", "norm", "gru"],
)
def test_one_kept_graph(make):
    x = md.tensor(uniform(20, 20), requires_grad=True)
    md.manual_seed(0)
    shared = make(x)
    losses = [(shared * k).sum() for k in range(1, 5)]
    expected = [md.grad(loss, x, retain_graph=True) for loss in losses]
    got = {}

    def work(k):
        got[k] = [md.grad(losses[k], x, retain_graph=True) for _ in range(20)]

    assert in_threads(4, work) == []
    for k in range(4):
        assert all((g == expected[k]).all() for g in got[k])


def test_a_graph_that_another_thread_frees():
    """Each walk is right, or ends with an error that says why."""
    for trial in range(20):
        x = md.tensor(uniform(30, 30, seed=trial), requires_grad=True)
        shared = x
        for _ in range(10):
            shared = md.tanh(shared @ x)
        losses = [(shared * k).sum() for k in (1, 2)]
        expected = [md.grad(loss, x, retain_graph=True) for loss in losses]
        got = {}

        def work(k, losses=losses, x=x, got=got):
            got[k] = md.grad(losses[k], x, retain_graph=k == 1)

        for error in in_threads(2, work):
            assert isinstance(error, RuntimeError)
            assert "retain_graph=True" in str(error)
        for k, g in got.items():
            np.testing.assert_array_equal(g, expected[k])


def test_an_error_within_a_freed_node_says_so():
    class Freed(md.Function):
        def forward(self, x):
            self.x = x
            return x * 1

        def backward(self, dy):
            self._inputs = None  # as the walk of another thread does
            self.__dict__.clear()
            return dy * self.x

    y = Freed.apply(md.tensor([1.0], requires_grad=True))
    with refuses(RuntimeError, "another thread", "retain_graph=True"):
        y.backward()


def test_a_pending_result_may_be_computed_by_several_threads():
    for trial in range(20):
        x = md.tensor(uniform(64, 8, seed=trial))
        y = md.batch_norm(x * 1, None, None, training=True)
        expected = md.batch_norm(x, None, None, training=True).data
        got = []

        def work(k, y=y, got=got):
            got.append((y.shape, y.dtype, md.relu(y).data, y.data))

        assert in_threads(4, work) == []
        for shape, dtype, rectified, values in got:
            assert (shape, dtype) == (expected.shape, expected.dtype)
            np.testing.assert_array_equal(values, expected)
            np.testing.assert_array_equal(rectified, np.maximum(expected, 0))
