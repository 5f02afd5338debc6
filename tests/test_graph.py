"""These tests check the backward walk: graphs of any depth and form, what it frees on its way, and
exceptions.
"""

import gc
import threading
import weakref

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import uniform
from tests.support.errors import refuses
from tests.support.marks import both_backends
from tests.support.processes import python
from tests.support.tensors import leaf


def chain(length, x):
    y = x
    for _ in range(length):
        y = y + 1
    return y


@pytest.mark.parametrize("length", [10_000, 100_000])
def test_a_long_chain(length):
    """Neither the walk nor the garbage collector may recurse."""
    x = leaf(1.0)
    y = chain(length, x)
    assert y.item() == length + 1
    y.backward()
    assert x.grad.item() == 1
    freed = weakref.ref(y)
    del y
    assert freed() is None


def test_a_long_chain_that_nobody_walks():
    """It is freed by its last reference, or by the collector if it is part of a cycle."""
    y = chain(100_000, leaf(1.0))
    freed = weakref.ref(y)
    del y
    assert freed() is None
    cycle = [chain(20_000, leaf(1.0))]
    freed = weakref.ref(cycle[0])
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert freed() is None


def test_a_long_chain_in_a_thread():
    """Threads have small stacks."""
    got = []

    def work():
        x = leaf(1.0)
        chain(20_000, x).backward()
        got.append(x.grad.item())

    threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(0)
    assert got == [1]


def test_a_chain_of_pending_normalizations():
    """Each normalization refers to the one before it."""
    x = md.tensor(uniform(4, 2), requires_grad=True)
    y = x
    for _ in range(3000):
        y = md.batch_norm(y, None, None, training=True)
    y.sum().backward()
    assert np.isfinite(x.grad).all()


def test_a_tensor_used_many_times():
    x = leaf(2.0)
    total = x * 0
    for k in range(1000):
        total = total + x * k
    total.backward()
    assert x.grad.item() == 999 * 500


def test_a_wide_graph():
    x = leaf(1.0, 2.0)
    md.stack([x * k for k in range(2000)]).sum().backward()
    assert x.grad.tolist() == [1999 * 1000] * 2


def test_paths_are_not_counted_one_by_one():
    """Doubling 200 times has 2^200 paths, but each node runs once."""
    x = md.tensor(np.array([1.0]), requires_grad=True)
    y = x
    for _ in range(200):
        y = y + y
    y.backward()
    assert x.grad.item() == 2.0**200


@both_backends
def test_a_diamond(backend):
    x = md.tensor(np.array([0.5, 2.0]), requires_grad=True)
    with md.use_backend(backend):
        assert md.gradcheck(lambda x: (lambda a: md.exp(a) * a + md.tanh(a) / x)(x * x), [x])


def test_branches_of_different_age():
    """A node runs when all nodes that use it have run, however the branches were built."""
    x = leaf(3.0)
    a = x * 2
    late = a * 5
    b = a + 1
    for _ in range(10):
        b = b + 1
    (late * b + a).backward()
    assert x.grad.item() == 10 * (6 + 11) + 30 * 2 + 2


def test_a_graph_alive_at_exit():
    code = (
        "import minidl as md\nx = md.tensor([1.0], requires_grad=True)\ny = x\n"
        "for _ in range(20_000): y = y + 1\n"
    )
    done = python(code)
    assert (done.returncode, done.stderr) == (0, "")


class Fails(md.Function):
    def forward(self, x):
        return x * 1

    def backward(self, dy):
        raise ZeroDivisionError("in backward")


@pytest.mark.parametrize("retain_graph", [False, True])
def test_an_exception_in_a_backward_leaves_every_grad_alone(retain_graph):
    """Some leaves and retained tensors have gradients already."""
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    x.grad = old = np.array([7, 7], np.float32)
    bad = Fails.apply(x * 2)
    late = y * bad
    late.retain_grad()
    loss = (late + y + x).sum()
    with refuses(ZeroDivisionError, "in backward"):
        loss.backward(retain_graph=retain_graph)
    assert x.grad is old
    assert old.tolist() == [7, 7]
    assert y.grad is None
    assert late.grad is None


def test_after_an_exception_a_kept_graph_works():
    class Once(md.Function):
        fails = True

        def forward(self, x):
            return x * 1

        def backward(self, dy):
            if Once.fails:
                raise ZeroDivisionError
            return dy

    x = leaf(1.0, 2.0)
    y = (Once.apply(x * x) * x).sum()
    with pytest.raises(ZeroDivisionError):
        y.backward(retain_graph=True)
    Once.fails = False
    y.backward()
    assert x.grad.tolist() == [3, 12]


def test_arrays_are_freed_while_the_walk_goes():
    """What a node has saved is gone before the backward of an older node runs."""
    saved, alive = [], []

    class Save(md.Function):
        def forward(self, x):
            self.kept = np.ones(5000, np.float32)
            saved.append(weakref.ref(self.kept))
            return x * 1

        def backward(self, dy):
            alive.append([ref() is not None for ref in saved])
            return dy

    x = leaf(1.0)
    y = Save.apply(Save.apply(Save.apply(x)))
    y.backward()
    assert alive == [[True, True, True], [True, True, False], [True, False, False]]
    assert [ref() for ref in saved] == [None] * 3


def test_intermediate_tensors_are_freed_while_the_walk_goes():
    """This includes their gradients: a chain of n large steps never holds n large arrays in the
    backward pass.
    """
    held = []

    class Watch(md.Function):
        def forward(self, x):
            return x * 1

        def backward(self, dy):
            held.append(md.kernels.pool_bytes()[0])
            return dy.copy()

    x = md.tensor(np.ones(100_000, np.float32), requires_grad=True)
    y = x
    for _ in range(10):
        y = md.tanh(Watch.apply(y))
    y.sum().backward()
    assert held == sorted(held, reverse=True)
    assert held[0] - held[-1] >= 8 * 400_000


def test_retained_graphs_keep_their_arrays():
    x = leaf(2.0)
    y = x * x
    saved = weakref.ref(y._node)
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [8]
    del y
    gc.collect()
    assert saved() is None
