"""These tests check embedding and one_hot."""

import numpy as np
import pytest

import minidl as md
from tests.support.cases import case, checks_of, errors_of
from tests.support.marks import both_backends

IDS = np.array([[0, 4, 2], [4, 4, 1]])
MANY = np.random.default_rng(0).integers(0, 50, 3000)

test_values, test_gradients, test_threads = checks_of(
    [
        *(
            case(
                f"embedding {ids.shape} {ids.dtype}",
                lambda w, ids=ids: md.embedding(ids, w),
                lambda w, ids=ids: w[ids],
                (5, 3),
            )
            for ids in (IDS, IDS.astype(np.uint8), IDS[0], np.array(3), np.zeros((0, 2), int))
        ),
        case("embedding of no features", lambda w: md.embedding(IDS, w), lambda w: w[IDS], (5, 0)),
        case(
            "large embedding",
            lambda w: md.embedding(IDS, w),
            lambda w: w[IDS],
            (5, 3),
            large=[(50, 70)],
        ),
    ]
)

W = md.ones((5, 3))
test_errors = errors_of(
    [
        (lambda: md.embedding([0, 5], W), ValueError, "embedding", "5", "0..4"),
        (lambda: md.embedding([-1], W), ValueError, "embedding", "-1", "0..4"),
        (lambda: md.embedding([0.5], W), TypeError, "embedding", "ids", "float32"),
        (lambda: md.embedding([True], W), TypeError, "embedding", "ids", "bool"),
        (lambda: md.embedding([0], md.ones(3)), ValueError, "weight", "(3,)"),
        (lambda: md.embedding([0], np.ones((2, 2), int)), TypeError, "weight", "int64"),
        (lambda: md.one_hot([3], 3), ValueError, "one_hot", "3", "0..2"),
        (lambda: md.one_hot([-1], 3), ValueError, "one_hot", "-1"),
        (lambda: md.one_hot([1.0], 3), TypeError, "indices", "float32"),
        (lambda: md.one_hot([1], 0), ValueError, "depth", "0"),
        (lambda: md.one_hot([1], 2.5), TypeError, "depth", "2.5"),
    ]
)


@pytest.mark.parametrize(
    "indices",
    [IDS, IDS[0], np.array(2), [1, 0], np.zeros((0, 3), int)],
    ids=["matrix", "row", "one", "list", "none"],
)
def test_one_hot(indices):
    y = md.one_hot(indices, 5)
    assert y.dtype == np.float32
    assert not y.requires_grad
    np.testing.assert_array_equal(y.data, np.eye(5)[np.asarray(indices)])


def test_the_ids_may_change_afterwards():
    ids = np.array([0, 1, 1])
    w = md.ones((3, 2))
    w.requires_grad = True
    y = md.embedding(ids, w)
    ids[:] = 2
    y.sum().backward()
    np.testing.assert_array_equal(w.grad, [[1, 1], [2, 2], [0, 0]])


@both_backends
def test_an_id_that_comes_a_million_times(backend):
    table = md.zeros((3, 2), requires_grad=True)
    ids = np.zeros(1_000_000, np.int64)
    ids[::1000] = 2
    with md.use_backend(backend):
        y = md.embedding(ids, table)
        dw = md.grad(y, table, np.full(y.shape, 0.1, np.float32))
    tenth = float(np.float32(0.1))
    np.testing.assert_allclose(dw, [[999_000 * tenth] * 2, [0, 0], [1000 * tenth] * 2], rtol=1e-6)


def test_no_gradient_goes_through_one_hot():
    x = md.tensor(np.zeros(0, np.float32), requires_grad=True)
    assert not md.one_hot(x, 3).requires_grad
