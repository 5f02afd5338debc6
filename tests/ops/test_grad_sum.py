"""These tests check that two gradients of one tensor are added by the normalization that reads
them, if there is one, and otherwise at once.
"""

import numpy as np
import pytest

import minidl as md
from minidl import kernels, nn
from tests.support.arrays import close, uniform


@pytest.fixture
def adds(monkeypatch):
    """Return a list that shows how often kernels.add ran."""
    counts = []
    real = kernels.add

    def counted(*args, **options):
        counts.append(1)
        return real(*args, **options)

    monkeypatch.setattr(kernels, "add", counted)
    return counts


def tensors(count=4):
    return [
        md.tensor(uniform(5, 4, 3, seed=i).astype(np.float32), requires_grad=True)
        for i in range(count)
    ]


def join(x, residual, fused=True, relu=True):
    """Return relu(bn(x) + residual), fused or with every step computed at once."""
    y = nn.BatchNorm(3)(x)
    for step in (lambda y: y + residual, *([md.relu] if relu else [])):
        if not fused:
            y.data  # noqa: B018
        y = step(y)
    return y


USES = {
    "two": lambda h, u, v: h * u + h * v,
    "three": lambda h, u, v: h * u + h * v + md.tanh(h),
    "four": lambda h, u, v: h * u + h * v + md.tanh(h) + h,
    "itself": lambda h, u, v: h * h,
    "only one with a gradient": lambda h, u, v: h * u + h.detach() * v,
}


@pytest.mark.parametrize("relu", (True, False))
@pytest.mark.parametrize("name", USES)
def test_it_is_the_sum(name, relu):
    results = []
    for fused in (True, False):
        x, s, u, v = tensors()
        y = USES[name](join(x * 1, s * 1, fused, relu), u, v)
        y.backward(uniform(*y.shape, seed=9).astype(np.float32))
        results.append([np.zeros(()) if t.grad is None else t.grad for t in (x, s, u, v)])
    for one, two in zip(*results, strict=True):
        close(one, two, tolerance=20)


def test_a_join_adds_while_it_reads(adds):
    x, s, u, v = (t * 1 for t in tensors())
    y = USES["two"](join(x, s), u, v)
    adds.clear()
    y.backward(np.ones_like(y.data))
    assert not adds


def test_others_get_the_sum(adds):
    (x,) = tensors(1)
    h = md.tanh(x)
    y = h * 2 + h * 3
    adds.clear()
    y.backward(np.ones_like(y.data))
    assert len(adds) == 1
    close(x.grad, 5 * (1 - np.tanh(x.data) ** 2))


def test_a_leaf_used_twice_keeps_what_is_its_own():
    (x,) = tensors(1)
    dy = np.ones((5, 4, 3), np.float32)
    (x + x).backward(dy)
    np.testing.assert_array_equal(x.grad, 2 * dy)
    x.grad[...] = 7
    np.testing.assert_array_equal(dy, 1)


@pytest.mark.parametrize("name", USES)
def test_retained_in_the_middle(name):
    results = []
    for fused in (True, False):
        x, s, u, v = tensors()
        h = join(x * 1, s * 1, fused)
        h.retain_grad()
        y = USES[name](h, u, v)
        y.backward(np.ones_like(y.data))
        results.append((h.grad, x.grad, s.grad))
    for one, two in zip(*results, strict=True):
        close(one, two, tolerance=20)
