"""These tests check clip_grad_norm: the norm, what is scaled and how, and what is left alone."""

import itertools

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from tests.support.arrays import close
from tests.support.errors import refuses
from tests.support.marks import both_backends, both_floats
from tests.support.threads import threads

SHAPES = [(), (7,), (3, 3, 4, 5), (150, 130), (0, 4)]


def parameters(dtype=np.float32, size=1.0):
    rng = np.random.default_rng(0)
    params = [nn.Parameter(np.zeros(shape, dtype)) for shape in SHAPES]
    for p in params:
        p.grad = np.asarray(rng.normal(size=p.shape) * size, dtype)
    return params


def norm_of(params):
    return np.sqrt(sum(np.square(p.grad.astype(np.float64)).sum() for p in params))


@both_floats
@both_backends
@pytest.mark.parametrize("max_norm", [0.5, 100, 139])
def test_gradients_are_scaled_together(max_norm, dtype, backend):
    params = parameters(dtype)
    before, norm = [p.grad for p in params], norm_of(params)
    copies = [g.copy() for g in before]
    with md.use_backend(backend):
        found = optim.clip_grad_norm(params, max_norm)
    assert type(found) is float
    assert found == pytest.approx(norm, rel=1e-12)
    assert norm_of(params) == pytest.approx(max_norm, rel=1e-5)
    for p, old, copy in zip(params, before, copies, strict=True):
        assert isinstance(p.grad, np.ndarray) and p.grad.dtype == dtype
        assert p.grad is not old and not np.shares_memory(p.grad, old)
        np.testing.assert_array_equal(old, copy)
        close(p.grad, copy * (max_norm / (norm + 1e-6)))


@pytest.mark.parametrize("max_norm", [1000, np.inf, np.float32(500)])
def test_gradients_below_the_limit_stay_the_same_arrays(max_norm):
    params = parameters()
    before = [p.grad for p in params]
    assert optim.clip_grad_norm(params, max_norm) == pytest.approx(norm_of(params), rel=1e-12)
    assert all(p.grad is g for p, g in zip(params, before, strict=True))


def test_eps_is_added_to_the_norm():
    p = nn.Parameter(np.zeros(2))
    p.grad = np.array([3.0, 4.0])
    assert optim.clip_grad_norm(p, 5, eps=1) == 5
    np.testing.assert_array_equal(p.grad, np.array([3.0, 4.0]) * (5 / 6))
    assert optim.clip_grad_norm(p, 0) > 0
    np.testing.assert_array_equal(p.grad, np.zeros(2))


def test_the_norm_is_the_same_bits_on_any_number_of_threads():
    results = set()
    for n in (1, 2, 3, 4):
        with threads(n):
            params = parameters()
            results.add((optim.clip_grad_norm(params, 0.1), params[3].grad.tobytes()))
    assert len(results) == 1


@both_backends
def test_squares_beyond_float32(backend):
    params = parameters(size=1e30)
    with md.use_backend(backend):
        assert optim.clip_grad_norm(params, 1.0) == pytest.approx(1.4e32, rel=0.1)
    assert norm_of(params) == pytest.approx(1, rel=1e-5)


def test_parameters_without_gradient_are_skipped():
    p, q = nn.Parameter(np.ones(2)), nn.Parameter(np.ones(3))
    assert optim.clip_grad_norm([p, q], 1) == 0.0
    assert optim.clip_grad_norm([], 1) == 0.0
    q.grad = np.array([0.0, 2.0, 0.0])
    assert optim.clip_grad_norm((each for each in (p, q)), 1) == 2.0
    assert p.grad is None
    close(q.grad, [0.0, 1 / (1 + 5e-7), 0.0])


def test_a_parameter_given_twice_counts_once():
    p = nn.Parameter(np.ones(2))
    p.grad = np.array([0.0, 2.0])
    assert optim.clip_grad_norm([p, p], 1, eps=0) == 2.0
    np.testing.assert_array_equal(p.grad, [0.0, 1.0])


def test_both_dtypes_and_any_memory_order():
    p, q = nn.Parameter(np.zeros((2, 3))), nn.Parameter(np.zeros((4, 4), np.float32))
    p.grad = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    q.grad = np.ones((4, 8), np.float32)[:, ::2]
    q.grad.flags.writeable = False
    norm = np.sqrt(55 + 16)
    assert optim.clip_grad_norm([p, q], 1, eps=0) == pytest.approx(norm, rel=1e-14)
    close(p.grad, np.arange(6.0).reshape(2, 3) / norm)
    close(q.grad, np.full((4, 4), 1 / norm))
    assert (p.grad.dtype, q.grad.dtype) == (np.float64, np.float32)


def test_clipping_between_backward_and_step():
    layer = nn.Dense(3, 2)
    layer(np.full((4, 3), 50, np.float32)).sum().backward()
    kept = layer.weight.grad
    copy = kept.copy()
    start = layer.weight.data.copy()
    norm = optim.clip_grad_norm(layer.parameters(), 1)
    optim.SGD(layer.parameters(), lr=0.5).step()
    close(layer.weight.data, start - 0.5 * copy / norm)
    np.testing.assert_array_equal(kept, copy)


@both_backends
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_norms_that_are_not_finite(bad, backend):
    params = parameters()
    params[1].grad[3] = bad
    before = [p.grad for p in params]
    with md.use_backend(backend):
        with refuses(ValueError, "clip_grad_norm", str(bad)):
            optim.clip_grad_norm(params, 1, error_if_nonfinite=True)
        assert all(p.grad is g for p, g in zip(params, before, strict=True))
        with np.errstate(invalid="ignore"):  # it multiplies 0 by infinity
            np.testing.assert_equal(optim.clip_grad_norm(params, 1), bad)
    assert np.isnan(params[1].grad[3])
    rest = np.delete(params[1].grad, 3)
    assert np.isnan(rest).all() if np.isnan(bad) else (rest == 0).all()


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda p: optim.clip_grad_norm([p], -1), ValueError, ["max_norm", "-1"]),
        (lambda p: optim.clip_grad_norm([p], np.nan), ValueError, ["max_norm", "nan"]),
        (lambda p: optim.clip_grad_norm([p], "1"), TypeError, ["max_norm", "'1'"]),
        (lambda p: optim.clip_grad_norm([p], None), TypeError, ["max_norm", "None"]),
        (lambda p: optim.clip_grad_norm([p], True), TypeError, ["max_norm", "True"]),
        (lambda p: optim.clip_grad_norm([p], 1, eps=-1), ValueError, ["eps", "-1"]),
        (lambda p: optim.clip_grad_norm([p.grad], 1), TypeError, ["params", "ndarray"]),
        (lambda p: optim.clip_grad_norm(np.ones((2, 2)), 1), TypeError, ["tensors", "ndarray"]),
        (lambda p: optim.clip_grad_norm(itertools.count(), 1), TypeError, ["tensors", "int"]),
        (lambda p: optim.clip_grad_norm([p, ("a", p)], 1), TypeError, ["params", "tuple"]),
    ],
)
def test_bad_arguments_are_refused(call, error, words):
    p = nn.Parameter(np.ones(2))
    gradient = p.grad = np.array([3.0, 4.0])
    with refuses(error, "clip_grad_norm", *words):
        call(p)
    assert p.grad is gradient


def test_a_layer_stands_for_its_parameters():
    layer, twin = nn.Dense(3, 2), nn.Dense(3, 2)
    for model in (layer, twin):
        model.weight.grad, model.bias.grad = np.ones((3, 2), np.float32), None
    assert optim.clip_grad_norm(layer, np.float32(1)) == optim.clip_grad_norm(twin.parameters(), 1)
    np.testing.assert_array_equal(layer.weight.grad, twin.weight.grad)
    assert np.linalg.norm(layer.weight.grad) < 1.001
