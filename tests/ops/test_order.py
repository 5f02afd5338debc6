"""These tests check sort, argsort, topk and cumsum: NumPy's values, ties, NaN, dtypes, and where
gradients go.
"""

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import uniform
from tests.support.cases import case, checks_of, errors_of
from tests.support.marks import both_floats

SHAPES = [
    ((7,), -1),
    ((7,), 0),
    ((1,), 0),
    ((0,), 0),
    ((3, 5), -1),
    ((3, 5), 0),
    ((3, 0), 1),
    ((0, 4), 1),
    ((2, 4, 3), 1),
    ((2, 4, 3), None),
    ((), None),
]


def topk(x, k, axis=-1):
    """Return values and places of a full sort, with equal values in ascending order of places."""
    rows = np.moveaxis(x, axis, -1)
    order = np.zeros(rows.shape, int)
    for at in np.ndindex(rows.shape[:-1]):
        row = rows[at]
        order[at] = sorted(
            range(len(row)),
            key=lambda i, row=row: (
                not np.isnan(row[i]),
                0.0 if np.isnan(row[i]) else -float(row[i]),
                i,
            ),
        )
    order = np.moveaxis(order[..., :k], -1, axis)
    return np.take_along_axis(x, order, axis), order


TOPS = [
    ((6,), 2, -1),
    ((6,), 6, 0),
    ((6,), 0, 0),
    ((1,), 1, 0),
    ((3, 7), 1, 1),
    ((3, 7), 3, 1),
    ((5, 3), 4, 0),
    ((2, 6, 3), 2, 1),
    ((0, 4), 2, 1),
    ((3, 0), 0, 1),
    ((0,), 0, 0),
]

test_values, test_gradients, _ = checks_of(
    [
        *(
            case(f"{name} {shape} {axis}", ours, reference, shape, axis=axis)
            for name, ours, reference in (
                ("sort", md.sort, np.sort),
                ("cumsum", md.cumsum, np.cumsum),
            )
            for shape, axis in SHAPES
        ),
        *(
            case(f"argsort {shape} {axis}", md.argsort, np.argsort, shape, axis=axis, grad=False)
            for shape, axis in SHAPES
        ),
        *(
            case(
                f"topk values {shape} {k} {axis}",
                lambda x, k=k, axis=axis: md.topk(x, k, axis)[0],
                lambda x, k=k, axis=axis: topk(x, k, axis)[0],
                shape,
            )
            for shape, k, axis in TOPS
        ),
        *(
            case(f"topk {shape} {k} {axis}", md.topk, topk, shape, k, axis=axis, grad=False)
            for shape, k, axis in TOPS
        ),
    ]
)

X = md.ones((2, 3))
test_errors = errors_of(
    [
        *(
            (lambda f=f: f(X, axis=2), ValueError, f.__name__, "axis", "from -2 to 1", "got 2")
            for f in (md.sort, md.argsort, md.cumsum)
        ),
        *(
            (lambda f=f: f(X, axis=0.5), TypeError, f.__name__, "axis", "0.5")
            for f in (md.sort, md.argsort, md.cumsum)
        ),
        *(
            (lambda f=f: f(md.tensor(1.0)), ValueError, f.__name__, "axis", "no axes")
            for f in (md.sort, md.argsort, md.cumsum)
        ),
        *(
            (lambda f=f: f("abc"), TypeError, f.__name__, "str")
            for f in (md.sort, md.argsort, md.cumsum)
        ),
        (lambda: md.topk(X, 4), ValueError, "topk", "k must be an int from 0 to 3", "got 4"),
        (lambda: md.topk(X, 3, axis=0), ValueError, "topk", "k", "from 0 to 2", "got 3"),
        (lambda: md.topk(X, -1), ValueError, "topk", "k", "got -1"),
        (lambda: md.topk(X, 1.0), TypeError, "topk", "k", "got 1.0"),
        (lambda: md.topk(X, True), TypeError, "topk", "k", "got True"),
        (lambda: md.topk(X, 1, axis=2), ValueError, "topk", "axis", "got 2"),
        (lambda: md.topk(X, 1, axis=None), TypeError, "topk", "axis", "None"),
        (lambda: md.topk(md.tensor(1.0), 1), ValueError, "topk", "axis"),
        (lambda: md.topk(None, 1), TypeError, "topk", "NoneType"),
        (lambda: md.topk(X, 1, largest=False), TypeError, "topk()", "here: leave it out", "-x"),
        (lambda: md.sort(X, descending=True), TypeError, "sort()", "here: leave it out", "md.flip"),
        (lambda: md.cumsum(X, dim=0), TypeError, "cumsum()", "here: axis"),
    ]
)

TIES = np.array([[2, 1, 2, 0, 1, 2], [1, 1, 1, 1, 1, 1], [0, 3, 3, 1, 3, 0]])


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_, np.float16]
)
@pytest.mark.parametrize("k", [0, 1, 2, 3, 4, 6])
def test_equal_values_keep_their_order(k, dtype):
    x = TIES.astype(dtype)
    values, places = md.topk(x, k)
    expected_values, expected_places = topk(x, k)
    assert values.dtype == dtype
    assert places.dtype == np.int64
    np.testing.assert_array_equal(values, expected_values)
    np.testing.assert_array_equal(places, expected_places)
    np.testing.assert_array_equal(md.argsort(x), np.argsort(x, kind="stable"))
    assert md.sort(x).dtype == dtype


@both_floats
def test_nan_is_the_largest(dtype):
    x = np.array([[1, np.nan, np.inf, np.nan], [np.nan, 3, -np.inf, 2], [1, 2, 3, 4]], dtype)
    np.testing.assert_array_equal(md.sort(x), np.sort(x))
    np.testing.assert_array_equal(md.argsort(x), [[0, 2, 1, 3], [2, 3, 1, 0], [0, 1, 2, 3]])
    for k in range(5):
        for got, expected in zip(md.topk(x, k), topk(x, k), strict=True):
            np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(md.topk(x, 1)[0].data[:, 0], md.max(x, 1))
    leaf = md.tensor(x, requires_grad=True)
    dy = uniform(3, 4, dtype=dtype)
    md.sort(leaf).backward(dy)
    np.testing.assert_array_equal(
        leaf.grad, np.take_along_axis(dy, np.argsort(np.argsort(x, kind="stable")), 1)
    )


def test_many_values():
    """Most values of a row are not candidates, and there are ties at the border."""
    x = np.random.default_rng(0).integers(0, 40, (5, 2000)).astype(np.float32)
    for k in (1, 7, 60, 1999):
        values, places = md.topk(x, k)
        expected = np.argsort(-x, axis=1, kind="stable")[:, :k]
        np.testing.assert_array_equal(places, expected)
        np.testing.assert_array_equal(values, np.take_along_axis(x, expected, 1))


def test_each_of_equal_values_has_its_own_gradient():
    x = md.tensor(np.float32([2, 1, 2, 1]), requires_grad=True)
    md.sort(x).backward(np.float32([1, 2, 3, 4]))
    np.testing.assert_array_equal(x.grad, [3, 1, 4, 2])
    x.grad = None
    md.topk(x, 3)[0].backward(np.float32([1, 2, 3]))
    np.testing.assert_array_equal(x.grad, [1, 3, 2, 0])


def test_the_values_are_the_same_with_and_without_a_gradient():
    x = uniform(4, 300)
    np.testing.assert_array_equal(md.sort(x), md.sort(md.tensor(x, requires_grad=True)))


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.int32, np.int64, np.uint8, np.uint64])
def test_sums_of_integers_have_numpys_dtype(dtype):
    x = np.array([[1, 0, 1], [1, 1, 1]]).astype(dtype)
    for axis in (0, 1, None):
        got, expected = md.cumsum(x, axis), np.cumsum(x, axis)
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)


def test_long_sums_of_float32_keep_their_digits():
    x = uniform(300_000, low=0, high=1)
    exact = np.cumsum(x, dtype=np.float64)
    assert (np.abs(md.cumsum(x).data - exact) / exact).max() < 1e-7
    top = np.float32([3e38, 3e38, -3e38])
    np.testing.assert_array_equal(md.cumsum(top).data, np.float32([3e38, np.inf, 3e38]))


def test_a_result_is_new():
    """NumPy's method of this name sorts in place."""
    x = md.tensor([2.0, 1.0])
    y = x.sort()
    np.testing.assert_array_equal(x.data, [2, 1])
    np.testing.assert_array_equal(y.data, [1, 2])


def test_numpys_functions_have_numpys_default_axis():
    x = md.tensor(uniform(2, 3), requires_grad=True)
    assert np.cumsum(x).shape == (6,)
    assert np.cumsum(x, 0).shape == (2, 3)
    assert np.sort(x).shape == (2, 3)
    assert np.sort(x, axis=None).shape == (6,)
    assert all(y.requires_grad for y in (np.cumsum(x), np.sort(x, 0)))
