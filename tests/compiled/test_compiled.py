"""These tests use compiled models as users do: calls, threads, copies, errors."""

import copy
import pickle

import numpy as np
import pytest

import minidl as md
from minidl import models, nn, optim
from tests.support.compiled_models import (
    assert_equal,
    check,
    conv,
    draw,
    evaluated,
    leaves,
    module,
    settled,
    steps,
)
from tests.support.errors import refuses
from tests.support.kernels import misaligned, strided, swapped
from tests.support.marks import small_batches
from tests.support.processes import printed
from tests.support.threads import in_threads, threads

X = draw(3, 8)
MODEL = settled(nn.Sequential(nn.Dense(8, 5), nn.BatchNorm(5), nn.ReLU()))


# ------------------------------------------------------------------------ what comes in and out


def test_structures_come_back_as_they_are():
    def forward(x, y, a, b):
        z = md.relu(a(x))
        return {"z": z, "both": [z + b(y), (z, y)], "x": x}

    compiled = check(module(forward, nn.Dense(8, 5), nn.Dense(3, 5)), X, draw(3, 3))
    assert repr(compiled) == "Compiled((N, 8), (N, 3); 3 steps of plans, 0 calls)"


def test_results_belong_to_the_caller():
    """They can be written to, and neither inputs nor later results change."""
    model = lambda x: (x, x.reshape(-1, 2, 4), x[:, ::2], md.relu(x), md.exp(x))  # noqa: E731
    compiled = md.compile(model, X)
    x = X.copy()
    expected = [y.copy() for y in compiled(x)]
    for y in compiled(x):
        assert isinstance(y, np.ndarray)
        y[...] = 7
    np.testing.assert_array_equal(x, X)
    for y, value in zip(compiled(x), expected, strict=True):
        np.testing.assert_array_equal(y, value)


def test_inputs_of_any_kind():
    compiled, expected = md.compile(MODEL, X), evaluated(MODEL, X)
    layouts = (strided, misaligned, swapped)
    for x in (md.tensor(X), X.tolist(), np.asfortranarray(X), *[f(X) for f in layouts]):
        assert_equal(compiled(x), expected)
    read_only = X.copy()
    read_only.flags.writeable = False
    assert_equal(compiled(read_only), expected)
    np.testing.assert_array_equal(X, draw(3, 8))


def test_integers_and_doubles():
    tokens = np.arange(12).reshape(2, 6) % 7
    compiled = check(nn.Sequential(nn.Embedding(7, 8), nn.Dense(8, 3), nn.ReLU()), tokens)
    assert steps(compiled) == ["call Embedding", "conv 1x1, relu"]
    with pytest.raises(ValueError, match="embedding"):
        compiled(tokens + 7)
    model = settled(nn.Sequential(nn.Dense(8, 5), nn.BatchNorm(5))).astype(np.float64)
    compiled = md.compile(model, X.astype(np.float64))
    np.testing.assert_allclose(
        compiled(X.astype(np.float64)), evaluated(model, X.astype(np.float64)), rtol=1e-14
    )
    assert all(step.startswith("call") for step in compiled.steps)


def test_wrong_inputs_are_refused():
    compiled = md.compile(lambda x, y: x + y[:, :8], X, draw(3, 9))
    with refuses(TypeError, "Compiled: 2 inputs are needed, got 1"):
        compiled(X)
    with refuses(TypeError, "Compiled: input 0 must be float32, got float64"):
        compiled(X.astype(np.float64), draw(3, 9))
    with refuses(TypeError, "Compiled: input 1 must be float32, got int64"):
        compiled(X, np.ones((3, 9), int))
    for x, y in ((X[0], draw(3, 9)), (X[:2], draw(3, 9)), (X, draw(3, 8)), (draw(3, 8, 1), X)):
        with refuses(ValueError, "Compiled: input", "must have shape (N, "):
            compiled(x, y)
    for wrong in ("x", object(), {"x": X}):
        with pytest.raises((TypeError, ValueError)):
            compiled(wrong, X)
    with refuses(TypeError, "memory: batch must be an int"):
        compiled.memory("x")
    with refuses(ValueError, "memory: batch must be an int >= 1"):
        compiled.memory(0)


def test_the_numpy_backend():
    compiled = md.compile(MODEL, X)
    with md.use_backend("numpy"):
        assert_equal(compiled(X), evaluated(MODEL, X))
        assert_equal(md.compile(MODEL, X)(X), evaluated(MODEL, X))


# ------------------------------------------------------------------------------- what stays


@small_batches
def test_what_becomes_of_the_model_does_not_matter():
    model = copy.deepcopy(MODEL)
    compiled = md.compile(model, X)
    expected = compiled(X)
    for parameter in model.parameters():
        parameter.data = parameter.data * 2 + 1
    model.train()(md.tensor(X))
    np.testing.assert_array_equal(compiled(X), expected)
    assert np.abs(evaluated(model, X) - expected).max() > 0.1


def test_functions_of_users():
    class Twice(md.Function):
        def forward(self, x, power=1):
            return x * 2**power

        def backward(self, dy):
            return dy

    model = module(lambda x, d: md.relu(Twice.apply(d(x), power=3)), nn.Dense(8, 5))
    compiled = check(model, X)
    assert steps(compiled) == ["conv 1x1", "call Twice", "map, relu"]


def test_copies_and_pickles():
    model = settled(
        nn.Sequential(conv(3, 16), nn.BatchNorm(16), nn.MaxPool(2), md.exp, conv(16, 8))
    )
    x = draw(4, 8, 9, 3)
    compiled = md.compile(model, x)
    expected = compiled(x)
    for twin in (
        copy.copy(compiled),
        copy.deepcopy(compiled),
        pickle.loads(pickle.dumps(compiled)),
    ):
        np.testing.assert_array_equal(twin(x), expected)
        assert twin.steps == compiled.steps


# --------------------------------------------------------------------------------- threads


@small_batches
def test_many_threads_call_while_another_trains():
    model = settled(models.create("mnist-cnn"))
    x = draw(6, 28, 28, 1)
    compiled = md.compile(model, x)
    expected = {size: compiled(x[:size]) for size in range(1, 7)}
    optimizer = optim.SGD(model.parameters(), lr=0.01)

    def work(k):
        if k == 0:
            for _ in range(3):
                optimizer.zero_grad()
                md.cross_entropy(model(md.tensor(x)), np.arange(6)).backward()
                optimizer.step()
        for size in (*range(1, 7), 4, 2, k + 1):
            np.testing.assert_array_equal(compiled(x[:size]), expected[size])

    with threads(2):
        assert in_threads(4, work) == []


def test_a_call_inside_of_modes():
    """The call records no graph, and the thread's modes stay as they are."""
    compiled = md.compile(nn.Sequential(nn.Dense(8, 4), md.exp), X)
    with md.no_grad():
        compiled(X)
    x = md.tensor(X, requires_grad=True)
    assert isinstance(compiled(x), np.ndarray)
    y = (x * 2).sum()
    y.backward()
    assert x.grad is not None


def test_compile_is_loaded_when_it_is_asked_for():
    assert printed("""
        import sys
        import minidl as md
        print("minidl.compiled" in sys.modules, "compile" in dir(md) or "compile" in md.__all__)
        md.compile
        print("minidl.compiled" in sys.modules, md.Compiled.__module__)
        """) == ["False", "True", "True", "minidl.compiled.compiled"]


def test_leaves_are_the_arrays_of_a_structure():
    assert len(leaves({"x": [X, (X, X)]})) == 3
