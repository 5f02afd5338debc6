"""These tests check x[index]: basic, boolean and integer-array indexing, and places that are
indexed twice.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, basic_indices, integer_array_indices

import minidl as md
from tests.support.arrays import uniform
from tests.support.cases import case, checks_of, errors_of
from tests.support.errors import read_only

ROWS = np.array([2, 0, 2])
COLUMNS = np.array([[1, -1, 1]])
MASK = np.arange(12).reshape(3, 4) % 3 == 0

INDICES = {
    "int": 1,
    "negative int": -1,
    "NumPy int": np.int64(2),
    "two ints": (1, 2),
    "all ints": (1, 2, 0),
    "slice": slice(1, 3),
    "all": slice(None),
    "step": slice(None, None, 2),
    "backwards": slice(None, None, -1),
    "beyond": slice(1, 100),
    "nothing": slice(2, 2),
    "slices": (slice(0, 2), slice(1, None)),
    "ellipsis": ...,
    "ellipsis and int": (..., 0),
    "new axis": None,
    "new axes": (None, slice(None), None),
    "int and new axis": (0, None),
    "empty tuple": (),
    "True": True,
    "False": False,
    "list": [0, 2],
    "list, repeated": [1, 1, 0],
    "empty list": [],
    "lists": ([0, 1], [2, 3]),
    "array": ROWS,
    "array, negative": np.array([-1, 0, -1]),
    "0-d array": np.array(1),
    "2-d array": np.array([[0, 1], [1, 2]]),
    "two arrays": (ROWS, np.array([3, 1, 3])),
    "arrays that broadcast": (ROWS[:, None], COLUMNS),
    "array and slice": (ROWS, slice(1, 3)),
    "slice and array": (slice(1, 3), ROWS),
    "array and int": (ROWS, 1),
    "arrays apart": (ROWS, slice(None), np.array([0, 1, 0])),
    "array and new axis": (ROWS, None),
    "array and ellipsis": (..., ROWS % 2),
    "small dtype": ROWS.astype(np.uint8),
    "mask": MASK,
    "mask of rows": np.array([True, False, True]),
    "mask of nothing": np.zeros(3, bool),
    "mask as a list": [True, False, True],
    "mask of columns": (slice(None), np.array([True, False, False, True])),
    "mask and int": (MASK, 1),
    "two masks": (np.array([True, False, True]), np.array([True, False, False, True])),
}

test_values, test_gradients, _ = checks_of(
    [
        *(
            case(name, lambda x, i=index: x[i], lambda x, i=index: x[i], (3, 4, 2))
            for name, index in INDICES.items()
        ),
        case("of one axis, int", lambda x: x[1], lambda x: x[1], (3,)),
        case(
            "of one axis, twice and more",
            lambda x: x[[0, 0, 0, 2]],
            lambda x: x[[0, 0, 0, 2]],
            (3,),
        ),
        case("of a scalar", lambda x: x[()], lambda x: x[()], ()),
        case("of a scalar, new axis", lambda x: x[None], lambda x: x[None], ()),
        case("of nothing", lambda x: x[:, 1:], lambda x: x[:, 1:], (0, 3)),
        case("of nothing, array", lambda x: x[:, [0, 0]], lambda x: x[:, [0, 0]], (0, 3)),
        case(
            "integers",
            lambda x: x[1:, ::2],
            lambda x: x[1:, ::2],
            np.arange(12).reshape(3, 4),
            grad=False,
        ),
        case("bools", lambda x: x[MASK], lambda x: x[MASK], MASK, grad=False),
    ]
)

X = md.zeros(2, 3)

test_errors = errors_of(
    [
        (lambda: X[2], IndexError, "2", "size 2"),
        (lambda: X[0, 0, 0], IndexError, "3"),
        (lambda: X[[0, 5]], IndexError, "5"),
        (lambda: X[np.ones(3, bool)], IndexError, "3"),
        (lambda: X[1.0], IndexError, "indices"),
        (lambda: X["text"], IndexError, "indices"),
    ]
)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_any_index(data):
    """Values are NumPy's, and a gradient is weighted by how often each place was taken."""
    shape = data.draw(array_shapes(min_dims=1, max_dims=4, max_side=4))
    index = data.draw(
        st.one_of(
            basic_indices(shape, allow_newaxis=True, allow_ellipsis=True),
            integer_array_indices(shape),
        )
    )
    x = md.tensor(uniform(*shape, dtype=np.float64), requires_grad=True)
    y = x[index]
    expected = x.data[index]
    np.testing.assert_array_equal(y.data, expected)
    weights = uniform(*np.shape(expected), dtype=np.float64, seed=1)
    dx = md.grad(y, x, weights)
    places = np.arange(x.size).reshape(shape)[index]
    np.testing.assert_allclose(
        dx.reshape(-1), np.bincount(np.ravel(places), weights.ravel(), x.size), atol=1e-12
    )


@pytest.mark.parametrize(
    "index, plain",
    [
        (md.tensor([2, 0]), [2, 0]),
        (md.tensor(1), 1),
        ((slice(None), md.tensor([1, 1])), (slice(None), [1, 1])),
        ((md.tensor([0, 1]), md.tensor([1, 1])), ([0, 1], [1, 1])),
        (md.tensor([True, False, True]), [True, False, True]),
    ],
)
def test_tensors_as_indices(index, plain):
    x = md.tensor(uniform(3, 4), requires_grad=True)
    np.testing.assert_array_equal(x[index].data, x.data[plain])
    np.testing.assert_array_equal(md.grad(x[index].sum(), x), md.grad(x[plain].sum(), x))


def test_a_comparison_as_index():
    x = md.tensor([1.0, -2.0, 3.0], requires_grad=True)
    y = x[x > 0]
    assert y.data.tolist() == [1, 3]
    (y * y).sum().backward()
    assert x.grad.tolist() == [2, 0, 6]


def test_the_result_is_a_copy():
    x = md.tensor(uniform(3, 4))
    before = x.data.copy()
    for part in (x[1], x[1:]):
        with read_only():
            part.data[...] = 7
        assert not np.shares_memory(part.data, x.data)
    np.testing.assert_array_equal(x.data, before)
    taken = x[1:]
    x.data[...] = 7
    np.testing.assert_array_equal(taken.data, before[1:])


def test_no_assignment_by_index():
    x = md.tensor([1.0, 2.0])
    with pytest.raises(TypeError, match=r"not assigned by index.*\.data"):
        x[0] = 3.0
    x.data[0] = 3.0
    assert x.data.tolist() == [3, 2]
