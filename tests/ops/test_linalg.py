"""These tests check matrix products of vectors, matrices and stacks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import mutually_broadcastable_shapes

import minidl as md
from tests.support.arrays import close, uniform
from tests.support.cases import case, checks_of, errors_of
from tests.support.errors import refuses
from tests.support.marks import both_backends

SHAPES = [
    ((2, 3), (3, 4)),
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 4)),
    ((1, 1), (1, 1)),
    ((5, 1), (1, 4)),
    ((1, 7), (7, 1)),
    ((2, 3, 4), (4, 5)),
    ((3, 4), (2, 4, 5)),
    ((2, 3, 4), (2, 4, 5)),
    ((2, 3, 4), (4,)),
    ((4,), (2, 4, 5)),
    ((1, 3, 4), (2, 4, 5)),
    ((2, 3, 4), (1, 4, 5)),
    ((2, 1, 3, 4), (3, 4, 2)),
    ((2, 2, 3, 4), (4, 2)),
    ((2, 1, 2, 3), (1, 3, 3, 2)),
    ((17, 19), (19, 33)),
    # There is nothing to multiply, or nothing to add up.
    ((0, 3), (3, 4)),
    ((2, 3), (3, 0)),
    ((2, 0), (0, 4)),
    ((0,), (0,)),
    ((0, 2, 3), (3, 4)),
    ((0, 2, 3), (0, 3, 4)),
    ((2, 0, 3), (3, 4)),
    ((2, 3, 0), (0, 4)),
    ((0, 3), (3,)),
]

EIGHTHS = np.arange(6).reshape(2, 3) / 8

test_values, test_gradients, test_threads = checks_of(
    [
        *(case(f"{a} @ {b}", md.matmul, np.matmul, a, b) for a, b in SHAPES),
        case("large matrices", md.matmul, np.matmul, (2, 3), (3, 4), large=[(257, 130), (130, 67)]),
        case("tall", md.matmul, np.matmul, (9, 3), (3, 2), large=[(70_000, 5), (5, 3)]),
        case("long sums", md.matmul, np.matmul, (2, 9), (9, 2), large=[(7, 30_001), (30_001, 5)]),
        case(
            "large stacks",
            md.matmul,
            np.matmul,
            (2, 2, 3),
            (2, 3, 4),
            large=[(5, 61, 70), (5, 70, 33)],
        ),
        case(
            "large matrix and vector",
            md.matmul,
            np.matmul,
            (2, 3),
            (3,),
            large=[(501, 300), (300,)],
        ),
        case("x @ x", lambda x: x @ x, lambda x: x @ x, (3, 3)),
        case("x @ x.T", lambda x: x @ x.T, lambda x: x @ x.T, (2, 3)),
        case("x.T @ x", lambda x: x.T @ x, lambda x: x.T @ x, (2, 3)),
        case("(x @ y) @ x", lambda x, y: x @ y @ x, lambda x, y: x @ y @ x, (2, 3), (3, 2)),
        case(
            "array @ tensor", lambda x: EIGHTHS.astype(x.dtype) @ x, lambda x: EIGHTHS @ x, (3, 4)
        ),
        case(
            "tensor @ array", lambda x: x @ EIGHTHS.astype(x.dtype), lambda x: x @ EIGHTHS, (4, 2)
        ),
    ]
)

A = md.zeros(2, 3)

test_errors = errors_of(
    [
        (
            lambda: A @ A,
            ValueError,
            "matmul: the last axis of a (2, 3) does not match b (2, 3)",
            "3 against 2",
        ),
        (lambda: A @ md.zeros(2), ValueError, "matmul: the last axis of a (2, 3)", "b (2,)"),
        (lambda: md.zeros(2) @ md.zeros(3, 4), ValueError, "matmul:", "2 against 3"),
        (
            lambda: md.zeros(2, 2, 3) @ md.zeros(3, 3, 4),
            ValueError,
            "matmul: the stacks of a (2, 2, 3)",
            "(3, 3, 4)",
        ),
        (
            lambda: A @ md.tensor(1.0),
            ValueError,
            "matmul: needs at least one axis",
            "(2, 3) and ()",
        ),
        (lambda: A @ 2.0, ValueError, "matmul: needs at least one axis"),
        (
            lambda: A @ md.zeros(3, 4, dtype=np.float64),
            TypeError,
            "matmul: mixed dtypes",
            "a float32",
            "b float64",
            "astype",
        ),
        (lambda: A @ np.zeros((3, 4)), TypeError, "matmul: mixed dtypes"),
        (lambda: A @ md.tensor([1, 2, 3]), TypeError, "matmul: needs float32 or float64", "int64"),
        (lambda: A @ None, TypeError, "matmul: b must be a tensor or an array", "NoneType"),
        (lambda: md.matmul("text", A), TypeError, "matmul: a must be a tensor or an array", "str"),
    ]
)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, max_side=4, min_side=0)
)
def test_any_stacks(shapes):
    a, b = shapes.input_shapes
    x, y = uniform(*a, dtype=np.float64), uniform(*b, dtype=np.float64, seed=1)
    close(md.matmul(md.tensor(x), md.tensor(y)).data, x @ y)


@both_backends
def test_gradients_of_products_of_any_size(backend):
    """dA = dY B^T and dB = A^T dY are checked around the sizes at which kernels change their
    algorithm.
    """
    for m, k, n in ((1, 1, 1), (13, 7, 5), (12, 64, 32), (31, 65, 33), (100, 3, 129)):
        a = md.tensor(uniform(m, k), requires_grad=True)
        b = md.tensor(uniform(k, n, seed=1), requires_grad=True)
        dy = uniform(m, n, seed=2)
        with md.use_backend(backend):
            da, db = md.grad(a @ b, [a, b], dy)
        close(da, dy.astype(np.float64) @ b.data.T.astype(np.float64))
        close(db, a.data.T.astype(np.float64) @ dy.astype(np.float64))


@both_backends
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_in_any_memory_order(order, backend):
    a = np.array(uniform(4, 6), order=order)
    b = np.array(uniform(12, 5, seed=1), order=order)[::2]
    with md.use_backend(backend):
        close((md.Tensor(a) @ b).data, a @ b)
        close((a @ md.Tensor(b)).data, a @ b)


def test_nan_and_infinity_reach_only_their_row():
    a = uniform(3, 4)
    a[1, 2] = np.nan
    y = (md.tensor(a) @ md.ones(4, 5)).data
    assert np.isnan(y).all(axis=1).tolist() == [False, True, False]
    assert not np.isnan(y[[0, 2]]).any()


def test_only_the_gradients_asked_for(monkeypatch):
    calls = []
    real = md.kernels.matmul
    monkeypatch.setattr(md.kernels, "matmul", lambda *a, **k: calls.append(k) or real(*a, **k))
    x = md.tensor(uniform(3, 3), requires_grad=True)
    (md.tensor(uniform(2, 3)) @ x).sum().backward()
    assert calls == [{}, {"transpose_a": True}]


def test_refused_products_leave_no_graph():
    x = md.tensor(uniform(2, 3), requires_grad=True)
    with refuses(ValueError, "matmul"):
        x @ x
    (x @ x.T).sum().backward()
    assert x.grad is not None
