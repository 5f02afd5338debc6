"""These tests check backward, md.grad and retain_grad: which gradient goes where, and who owns its
memory.

Deep graphs are in test_graph, user-defined functions in test_function, and no_grad in test_no_grad.
"""

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import uniform
from tests.support.cases import errors_of
from tests.support.errors import refuses
from tests.support.tensors import leaf


def test_gradients_accumulate():
    x = leaf(1.0, 2.0)
    for k in (1, 2, 3):
        (x * x).sum().backward()
        assert x.grad.tolist() == [2 * k, 4 * k]


def test_an_array_taken_from_grad_never_changes():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    taken = []
    for _ in range(3):
        y.backward(retain_graph=True)
        taken.append((x.grad, x.grad.copy()))
    x.grad = None
    y.backward(retain_graph=True)
    (x * 5).sum().backward()
    for array, before in taken:
        np.testing.assert_array_equal(array, before)
    arrays = [array for array, _ in taken] + [x.grad]
    assert not any(np.shares_memory(a, b) for a in arrays for b in arrays if a is not b)


@pytest.mark.parametrize(
    "f",
    [
        lambda a, b: a + b,
        lambda a, b: a - b,
        lambda a, b: a.reshape(-1) + b.reshape(-1),
        lambda a, b: md.concatenate([a, b]),
        lambda a, b: md.stack([a, b]),
        lambda a, b: md.transpose(a) + md.transpose(b),
        lambda a, b: md.pad(a, 1) + md.pad(b, 1),
        lambda a, b: md.expand_dims(a, 0) + b,
        lambda a, b: a[:] + b[...],
        lambda a, b: md.broadcast_to(a, (2, 3)) + md.flatten(b).reshape(2, 3),
        lambda a, b: md.batch_norm(a, None, None, training=True) + b,
        lambda a, b: md.relu(md.batch_norm(a, None, None, training=True) + b),
        lambda a, b: md.split(md.concatenate([a, b]), 2)[0] + b,
        lambda a, b: md.where(True, a, b) + b,
        lambda a, b: md.dropout(a, 0.0) + b.astype(np.float32),
        lambda a, b: md.clip(a, -9, 9) + b,
    ],
)
@pytest.mark.parametrize("twice", [False, True])
def test_gradients_share_no_memory(f, twice):
    """They do not share it with each other, with the tensors, or with the gradient passed in, which
    may change afterwards.
    """
    a, b = (md.tensor(uniform(2, 3, seed=k), requires_grad=True) for k in (0, 1))
    y = f(a, b) + (a.sum() if twice else 0)
    start = uniform(*y.shape, seed=2)
    y.backward(start)
    before = a.grad.copy(), b.grad.copy()
    assert not np.shares_memory(a.grad, b.grad)
    for g in (a.grad, b.grad):
        for other in (a.data, b.data, start):
            assert not np.shares_memory(g, other)
        assert g.flags.writeable
        assert g.flags.c_contiguous
    start[...] = 0
    a.data[...] = 0
    np.testing.assert_array_equal(a.grad, before[0])
    a.grad[...] = 0
    np.testing.assert_array_equal(b.grad, before[1])


def test_a_leaf_is_its_own_gradient():
    x = leaf(1.0, 2.0)
    start = np.array([3, 4], np.float32)
    x.backward(start)
    assert x.grad.tolist() == [3, 4]
    assert not np.shares_memory(x.grad, start)
    s = md.tensor(5.0, requires_grad=True)
    s.backward()
    s.backward()
    assert s.grad.item() == 2
    assert s.grad.shape == ()


@pytest.mark.parametrize(
    "start",
    [
        np.array([1.0, 2.0]),
        np.array([1.0, 2.0], np.float32),
        [1, 2],
        md.tensor([1.0, 2.0]),
        np.array([1.0, 9.0, 2.0])[::2],
        np.array([1, 2]),
    ],
    ids=lambda v: type(v).__name__,
)
def test_the_gradient_to_start_from(start):
    x = leaf(3.0, 4.0)
    (x * x).backward(start)
    assert x.grad.tolist() == [6, 16]
    assert x.grad.dtype == np.float32


def test_any_tensor_with_one_element_needs_no_gradient():
    x = leaf(3.0)
    for y in (x * 2, (x * 2).reshape(1, 1), (x * 2).sum()):
        y.backward()
    assert x.grad.tolist() == [6]


def test_tensors_that_require_nothing_get_nothing():
    x, c = leaf(1.0), md.tensor([2.0])
    y = x * c
    y.sum().backward()
    assert c.grad is None
    assert y.grad is None


X = leaf(1.0, 2.0)


def used():
    y = (X * X).sum()
    md.grad(y, X)
    return y


def half_used():
    """The other half of the graph has not been used."""
    trunk = X * X
    md.grad(trunk.sum(), X)
    return (trunk * 2).sum()


test_errors = errors_of(
    [
        (lambda: used().backward(), RuntimeError, "backward:", "retain_graph=True"),
        (lambda: half_used().backward(), RuntimeError, "backward:", "retain_graph=True"),
        (lambda: md.grad(used(), X), RuntimeError, "has been used", "retain_graph=True"),
        (lambda: used().retain_grad(), RuntimeError, "retain_grad: backward has already used"),
        (
            lambda: (X * 2).backward(),
            ValueError,
            "backward: a tensor of shape (2,) is not a scalar",
        ),
        (lambda: md.zeros(0, requires_grad=True).backward(), ValueError, "backward:", "(0,)"),
        (lambda: md.grad(X * 2, X), ValueError, "grad: a tensor of shape (2,) is not a scalar"),
        (
            lambda: (X * 2).backward(np.ones(3)),
            ValueError,
            "backward: the gradient has shape (3,)",
            "the tensor (2,)",
        ),
        (lambda: (X * 2).backward(1.0), ValueError, "backward: the gradient has shape ()"),
        (lambda: md.tensor(1.0).backward(), RuntimeError, "backward: the tensor does not require"),
        (
            lambda: X.detach().sum().backward(),
            RuntimeError,
            "backward: the tensor does not require",
        ),
        (lambda: (X > 1).sum().backward(), RuntimeError, "backward: the tensor does not require"),
        (lambda: md.grad(X.detach().sum(), X), RuntimeError, "grad: the tensor does not require"),
        (lambda: md.grad(X.sum(), md.tensor(1.0)), ValueError, "grad: an input does not require"),
        (lambda: md.grad([X.sum(), X.sum()], X, [1.0]), ValueError, "grad: 2 outputs but 1"),
        (lambda: md.grad(1.0, X), TypeError, "grad: outputs must be a tensor", "got 1.0"),
        (lambda: md.grad([X.sum(), None], X), TypeError, "grad: outputs must be", "NoneType"),
        (lambda: md.grad(X.sum(), [X.data]), TypeError, "grad: inputs must be", "ndarray"),
        (lambda: md.grad(X.sum(), X, [1.0, 2.0]), ValueError, "grad: 1 outputs but 2"),
    ]
)


def test_errors_leave_gradients_alone():
    for call, error in (
        (lambda: used().backward(), RuntimeError),
        (lambda: half_used().backward(), RuntimeError),
        (lambda: (X * 2).backward(), ValueError),
        (lambda: (X * 2).backward(np.ones(3)), ValueError),
    ):
        with pytest.raises(error):
            call()
        assert X.grad is None


def test_retain_graph():
    x = leaf(1.0, 2.0)
    y = (md.exp(x) * x).sum()
    y.backward(retain_graph=True)
    first = x.grad
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad, 3 * first, rtol=1e-6)
    with refuses(RuntimeError, "retain_graph"):
        y.backward()


def test_a_trunk_that_is_kept_for_two_heads():
    x = leaf(1.0, 2.0)
    trunk = x * x
    a, b = trunk.sum(), (trunk * 3).sum()
    a.backward(retain_graph=True)
    b.backward()
    assert x.grad.tolist() == [8, 16]
    with refuses(RuntimeError, "used"):
        a.backward()


def test_grad_of_leaves():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    dx = md.grad((x * y).sum(), x)
    assert isinstance(dx, np.ndarray)
    assert dx.tolist() == [3, 4]
    dx, dy = md.grad((x * y).sum(), [x, y])
    assert (dx.tolist(), dy.tolist()) == ([3, 4], [1, 2])
    assert isinstance(md.grad((x * y).sum(), (x,)), tuple)
    assert x.grad is None
    assert y.grad is None


def test_grad_inside_the_graph():
    x = leaf(1.0, 2.0)
    a = x * 2
    b = a * a
    c = b.sum()
    da, db, dc, dx = md.grad(c, [a, b, c, x])
    assert (da.tolist(), db.tolist(), dc.item(), dx.tolist()) == ([4, 8], [1, 1], 1, [8, 16])
    assert x.grad is a.grad is b.grad is c.grad is None


def test_grad_leaves_all_grads_alone():
    x = leaf(1.0, 2.0)
    x.grad = np.array([7, 7], np.float32)
    a = x * 2
    a.retain_grad()
    md.grad((a * a).sum(), [x, a])
    assert x.grad.tolist() == [7, 7]
    assert a.grad is None


def test_grad_of_several_outputs():
    x = leaf(1.0, 2.0)
    a, b = x * 2, (x * x).sum()
    assert md.grad([a, b], x, [np.array([1, 10]), 100.0]).tolist() == [202, 420]
    a, b = x * 2, (x * x).sum()
    assert md.grad((a, b), x, (np.array([1, 10]), None)).tolist() == [4, 24]
    a = x * x
    assert md.grad([a, a * 3], x, [np.ones(2), np.ones(2)]).tolist() == [8, 16]
    a = x * x
    assert md.grad([a, a], x, [np.ones(2), np.ones(2)]).tolist() == [4, 8]
    assert md.grad([x, x * 2], x, [np.ones(2), np.ones(2)]).tolist() == [3, 3]


def test_grad_of_several_outputs_of_one_function():
    x = md.tensor(np.arange(6.0), requires_grad=True)
    parts = md.split(x * x, 3)
    got = md.grad(parts, x, [np.full(2, 10.0**k) for k in range(3)])
    assert got.tolist() == [0, 2, 40, 60, 800, 1000]
    parts = md.split(x * x, 3)
    assert md.grad([parts[2], parts[0]], x, [np.ones(2)] * 2).tolist() == [0, 2, 0, 0, 8, 10]


def test_grad_of_what_does_not_depend_is_zero():
    x, y = leaf(1.0, 2.0), leaf(3.0)
    unused = y * 2
    dx, dy, du = md.grad((x * x).sum(), [x, y, unused])
    assert dx.tolist() == [2, 4]
    assert (dy.tolist(), du.tolist()) == ([0], [0])
    assert dy.dtype == np.float32


def test_grad_frees_and_keeps_the_graph():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    np.testing.assert_array_equal(md.grad(y, x, retain_graph=True), md.grad(y, x))
    with refuses(RuntimeError, "retain_graph"):
        md.grad(y, x)


def test_grads_are_not_shared():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    start = np.ones(2, np.float32)
    a = x + y
    z = a + y
    arrays = [*md.grad(z, [x, y, a, z], start), start]
    assert len({id(g) for g in arrays}) == 5
    assert not any(np.shares_memory(g, h) for g in arrays for h in arrays if g is not h)


def test_retain_grad():
    x = leaf(1.0, 2.0)
    a = x * 2
    b = a * a
    for t in (a, b, a, x):  # a second call changes nothing, and neither does one for a leaf
        t.retain_grad()
    y = b.sum()
    y.backward(retain_graph=True)
    assert (a.grad.tolist(), b.grad.tolist(), x.grad.tolist()) == ([4, 8], [1, 1], [8, 16])
    first = a.grad
    y.backward()
    assert a.grad.tolist() == [8, 16]
    assert first.tolist() == [4, 8]
    assert not np.shares_memory(a.grad, b.grad)


def test_retained_gradients_share_no_memory():
    """A sum passes the same array on to all of its operands."""
    x, start = leaf(1.0, 2.0), np.array([3, 4], np.float32)
    a = x * 1
    b = a + x
    c = b + a
    for t in (a, b, c):
        t.retain_grad()
    c.backward(start)
    arrays = [a.grad, b.grad, c.grad, x.grad, start]
    assert not any(np.shares_memory(g, h) for g in arrays for h in arrays if g is not h)
    assert len({id(g) for g in arrays}) == 5
    for g in arrays:
        g[...] = 0
    assert [t.data.tolist() for t in (x, a, b, c)] == [[1, 2], [1, 2], [2, 4], [3, 6]]


def test_retain_grad_of_one_part_of_a_split():
    x = md.tensor(uniform(6), requires_grad=True)
    a, b = md.split(x, 2)
    b.retain_grad()
    (a * 2 + b * 3).sum().backward()
    assert a.grad is None
    assert b.grad.tolist() == [3, 3, 3]


def test_a_retained_tensor_may_go():
    x = leaf(1.0, 2.0)
    a = x * 2
    a.retain_grad()
    y = a[:1].sum()
    del a
    y.backward()
    assert x.grad.tolist() == [2, 0]


def test_gradients_of_a_scalar_stay_arrays():
    p = md.tensor(1.0, requires_grad=True)
    for _ in range(3):
        (p * 2).backward()
    assert isinstance(p.grad, np.ndarray)
    assert p.grad == 6


def test_an_input_that_is_asked_for_twice_has_two_arrays():
    x = md.tensor([1.0, 2.0], requires_grad=True)
    one, other = md.grad((x * x).sum(), [x, x])
    np.testing.assert_array_equal(one, other)
    assert not np.shares_memory(one, other)


@pytest.mark.parametrize("start", (np.ones(2, complex), [None, md.ones(0)], np.array([None, None])))
def test_a_start_that_is_no_gradient(start):
    y = md.tensor([1.0, 2.0], requires_grad=True) * 1
    with refuses(TypeError, "backward: the gradient must be an array"):
        y.backward(start)
