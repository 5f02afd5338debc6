"""These tests check that writing to the inputs of a pending normalization does not change it. A
leaf may be written at any time, a result never.
"""

import copy
import itertools

import numpy as np
import pytest

import minidl as md
from minidl.storage import RESULT
from tests.support.arrays import uniform
from tests.support.errors import read_only
from tests.support.marks import both_backends


class Keep(md.Function):
    """A user's operation that keeps its input."""

    def forward(self, x):
        Keep.array = x
        return x + 1


def assign(t):
    t.data = np.zeros(t.shape, t.dtype)


def zero(array):
    array[...] = 0


def use(t):
    Keep.apply(t)
    zero(Keep.array)


WRITES = {
    "data": lambda t: zero(t.data),
    "numpy": lambda t: zero(t.numpy()),
    "asarray": lambda t: zero(np.asarray(t)),
    "assigned": assign,
    "detach": lambda t: zero(t.detach().data),
    "Tensor": lambda t: zero(md.Tensor(t).data),
    "reshape": lambda t: zero(t.reshape(-1).data),
    "flatten": lambda t: zero(t.flatten().numpy()),
    "expand_dims": lambda t: zero(md.expand_dims(t, 0).data),
    "squeeze": lambda t: zero(md.squeeze(t).data),
    "a view of a view": lambda t: zero(t.reshape(-1).reshape(t.shape).detach().data),
    "memoryview": lambda t: zero(np.asarray(memoryview(t.data))),
    "a user's Function": use,
}

# These write to the result of an operation, or to what a user's function was given, also where t is
# a leaf.
OF_RESULTS = {
    "reshape",
    "flatten",
    "expand_dims",
    "squeeze",
    "a view of a view",
    "a user's Function",
}

# How a user may have got hold of the memory before the normalization.
BEFORE = {
    "data": lambda t: t.data,
    "numpy": lambda t: t.numpy()[1:],
    "detach": lambda t: t.detach(),
    "Tensor": lambda t: md.Tensor(t),
    "reshape": lambda t: t.reshape(-1),
    "a view of a view": lambda t: t.reshape(-1).reshape(t.shape),
    "a user's Function": lambda t: (Keep.apply(t), Keep.array)[1],
}

PENDING = {
    "bn": lambda bn, x, s: bn(x),
    "relu": lambda bn, x, s: md.relu(bn(x)),
    "residual": lambda bn, x, s: bn(x) + s,
    "residual left": lambda bn, x, s: s + bn(x),
    "residual and relu": lambda bn, x, s: md.relu(bn(x) + s),
    "two normalizations": lambda bn, x, s: bn(x) + bn(s),
    "two normalizations and relu": lambda bn, x, s: md.relu(bn(s) + bn(x)),
}


def train(x):
    return md.batch_norm(x, None, None, training=True)


def leaves(requires_grad=False):
    return [md.tensor(uniform(4, 5, 3, seed=k), requires_grad=requires_grad) for k in (0, 1)]


def computed(requires_grad=False):
    return [t * 1 for t in leaves(requires_grad)]


def gradients(y, tensors):
    return md.grad(y.sum(), tensors) if y.requires_grad else ()


def same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "made",
    [leaves, computed, lambda: leaves(True), lambda: computed(True)],
    ids=["leaves", "computed", "leaves with gradient", "computed with gradient"],
)
@pytest.mark.parametrize("program", PENDING)
@pytest.mark.parametrize("write", WRITES)
def test_writing_afterwards(write, program, made):
    """Values and gradients are those at the time of the call."""
    for k in (0, 1):
        tensors = made()
        y = PENDING[program](train, *tensors)
        expected = y.data, *gradients(y, tensors)
        tensors = made()
        y = PENDING[program](train, *tensors)
        if write in OF_RESULTS or (made()[k]._access == RESULT and write != "assigned"):
            with read_only():
                WRITES[write](tensors[k])
            np.testing.assert_array_equal(tensors[k].data, made()[k].data)
        else:
            WRITES[write](tensors[k])
            assert not tensors[k].data.any()
        same([y.data], expected[:1])
        same(gradients(y, tensors), expected[1:])


@pytest.mark.parametrize("program", PENDING)
@pytest.mark.parametrize("view", BEFORE)
def test_writing_afterwards_to_memory_taken_before(view, program):
    for k in (0, 1):
        expected = PENDING[program](train, *leaves()).data
        tensors = leaves()
        held = BEFORE[view](tensors[k])
        y = PENDING[program](train, *tensors)
        held = held.data if isinstance(held, md.Tensor) else held
        if view in OF_RESULTS:
            with read_only():
                held[...] = 0
        else:
            held[...] = 0
            assert tensors[k].data.sum() != leaves()[k].data.sum()
        np.testing.assert_array_equal(y.data, expected)


@pytest.mark.parametrize("when", ["before", "after"])
def test_writing_to_a_shallow_copy(when):
    """copy.copy shares the memory."""
    expected = train(leaves()[0]).data
    x = leaves()[0]
    held = copy.copy(x) if when == "before" else None
    y = train(x)
    zero((copy.copy(x) if held is None else held).data)
    assert not x.data.any()
    np.testing.assert_array_equal(y.data, expected)


@pytest.mark.parametrize("program", PENDING)
def test_a_leaf_that_wraps_a_users_array(program):
    arrays = [t.data.copy() for t in leaves()]
    expected = PENDING[program](train, *leaves()).data
    y = PENDING[program](train, *[md.Tensor(a) for a in arrays])
    for array in arrays:
        array[...] = 0
    np.testing.assert_array_equal(y.data, expected)


@pytest.mark.parametrize("program", PENDING)
def test_an_array_as_residual(program):
    x, array = leaves()[0], leaves()[1].data
    expected = PENDING[program](train, *leaves()).data
    if program.startswith("two"):
        array = md.Tensor(array)
    y = PENDING[program](train, x, array)
    np.asarray(array)[...] = 0
    np.testing.assert_array_equal(y.data, expected)


def test_reading_the_input_before_makes_it_compute_at_once(monkeypatch):
    """A user who has the array may write to it at any time."""
    x = leaves()[0]
    x.data  # noqa: B018
    applied = []
    real = md.kernels.batch_norm_apply
    monkeypatch.setattr(
        md.kernels, "batch_norm_apply", lambda *a, **k: applied.append(1) or real(*a, **k)
    )
    train(x)
    assert applied == [1]


@both_backends
def test_parameters_and_running_statistics_are_taken_at_the_call(backend):
    x, s = leaves()
    gamma, beta = md.ones(3), md.zeros(3)
    mean, var = uniform(3, seed=2), uniform(3, seed=3, low=1, high=2)
    for training in (True, False):
        for finish in (lambda p: p, md.relu, lambda p: p + s, lambda p: md.relu(s + p)):
            with md.use_backend(backend):
                expected = finish(
                    md.batch_norm(x, gamma, beta, mean.copy(), var.copy(), training)
                ).data
                kept = [t.copy() for t in (gamma.data, beta.data, mean, var)]
                y = finish(md.batch_norm(x, gamma, beta, mean, var, training))
                for t in (gamma.data, beta.data, mean, var):
                    t[...] = 7
                np.testing.assert_array_equal(y.data, expected)
            gamma.data, beta.data = kept[:2]
            mean, var = kept[2:]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("finish", [lambda y: y, md.relu], ids=["sum", "relu"])
def test_two_pending_normalizations_and_a_write_to_one_of_them(which, finish):
    expected = finish(train(leaves()[0]) + train(leaves()[1])).data
    pending = [train(t) for t in leaves()]
    y = finish(pending[0] + pending[1])
    with read_only():
        zero(pending[which].data)
    np.testing.assert_array_equal(pending[which].data, train(leaves()[which]).data)
    np.testing.assert_array_equal(y.data, expected)


def test_a_pending_normalization_added_to_itself_and_a_write_to_it():
    expected = (train(leaves()[0]) + train(leaves()[0])).data
    p = train(leaves()[0])
    y = p + p
    with read_only():
        zero(p.data)
    np.testing.assert_array_equal(y.data, expected)


def test_results_do_not_share_memory():
    """Writing to a result is refused, and changes no other result."""
    x, s = leaves()
    p = train(x)
    q, r = p + s, md.relu(p)
    t = md.relu(q)
    expected = [v.data.copy() for v in (p, q, r, t)]
    p = train(x)
    q, r = p + s, md.relu(p)
    t = md.relu(q)
    for tensor, value in zip((t, r, q, p), expected[::-1], strict=True):
        np.testing.assert_array_equal(tensor.data, value)
        with read_only():
            zero(tensor.data)
    assert not any(
        np.shares_memory(one.data, other.data)
        for one, other in itertools.combinations((p, q, r, t), 2)
    )


@pytest.mark.parametrize("write", ["data", "assigned", "detach", "memoryview"])
def test_gradients_after_writing_to_leaves(write):
    """An optimizer of another library, for example, writes to leaves between forward and
    backward.
    """
    x, s = leaves(True)
    expected = md.grad(md.relu(train(x) + s).sum(), [x, s])
    y = md.relu(train(x) + s)
    WRITES[write](x)
    WRITES[write](s)
    assert not x.data.any()
    assert not s.data.any()
    same(md.grad(y.sum(), [x, s]), expected)


def two_normalizations(kind, settle):
    """Return (first, second): in evaluation mode, a normalization of a pending normalization."""
    layers = [md.nn.BatchNorm(16), md.nn.BatchNorm(16)]
    for k, bn in enumerate(layers):
        bn.running_mean[:], bn.running_var[:] = uniform(16, seed=k), 1 + uniform(16, seed=k + 5)
        settle(bn)
    x = md.tensor(uniform(2, 3, 3, 16), requires_grad=True) * 2
    first = layers[0](x)
    if kind == "relu between":
        first = md.relu(first)
    second = layers[1](first)
    if kind == "residual":
        second = md.relu(second + md.relu(first))
    return first, second


@pytest.mark.parametrize(
    "settle", [md.nn.BatchNorm.eval, md.nn.BatchNorm.freeze_stats], ids=["eval", "frozen"]
)
@pytest.mark.parametrize("kind", ["plain", "relu between", "residual"])
@pytest.mark.parametrize("write", [name for name in WRITES if name != "assigned"])
def test_a_normalization_of_a_normalization(write, kind, settle):
    expected = two_normalizations(kind, settle)[1].numpy()
    first, second = two_normalizations(kind, settle)
    with read_only():
        WRITES[write](first)
    np.testing.assert_array_equal(second.numpy(), expected)
    np.testing.assert_array_equal(first.numpy(), two_normalizations(kind, settle)[0].numpy())


def test_a_leaf_that_many_normalizations_read():
    """Some of these normalizations no longer exist, and some do."""
    x = md.tensor(uniform(8, 16), requires_grad=True)
    bn = md.nn.BatchNorm(16)
    for _ in range(300):
        bn(x)
    kept = [bn(x) for _ in range(3)]
    expected = bn(md.tensor(uniform(8, 16))).data
    x.data[...] = 0
    for y in kept:
        np.testing.assert_array_equal(y.data, expected)
    assert not x.data.any()
