"""These tests check the reductions sum, mean, var, std, max, min, argmax and argmin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, valid_tuple_axes

import minidl as md
from tests.support.arrays import close, uniform
from tests.support.cases import case, checks_of, errors_of
from tests.support.marks import both_backends, both_floats

INT = np.array([[3, 1, 2], [-4, 5, 0]])
BOOL = INT > 0
LARGE = (3, 101, 1009)

FLOAT_REDUCTIONS = [
    ("sum", md.sum, np.sum),
    ("mean", md.mean, np.mean),
    ("var", md.var, np.var),
    ("std", md.std, np.std),
    ("max", md.max, np.max),
    ("min", md.min, np.min),
]
AXES = [None, 0, 1, -1, -3, (0, 1), (0, 2), (2, 0), (-1, 1), (0, 1, 2)]

test_values, test_gradients, test_threads = checks_of(
    [
        *(
            case(
                f"{name} axis={axis} keepdims={keep}",
                ours,
                reference,
                (3, 4, 2),
                axis=axis,
                keepdims=keep,
            )
            for name, ours, reference in FLOAT_REDUCTIONS
            for axis in AXES
            for keep in (False, True)
        ),
        *(
            case(f"{name} large axis={axis}", ours, reference, (3, 4, 2), axis=axis, large=[LARGE])
            for name, ours, reference in FLOAT_REDUCTIONS
            for axis in (0, 1, 2, (0, 1), (0, 2), None)
        ),
        *(
            case(f"{name} of {shape} axis={axis}", ours, reference, shape, axis=axis)
            for name, ours, reference in FLOAT_REDUCTIONS
            for shape, axis in (
                ((4,), 0),
                ((4,), None),
                ((1, 5), 1),
                ((2, 1, 3), 2),
                ((0, 3), 1),
                ((3, 0, 2), 0),
                ((3, 0, 2), -1),
                ((2, 2, 2, 2, 2), (0, 2, 4)),
            )
        ),
        *(
            case(f"{name} of a scalar", ours, reference, ())
            for name, ours, reference in FLOAT_REDUCTIONS
            if name in ("sum", "mean", "max", "min")
        ),
        *(
            case(f"{name} over no axes", ours, reference, (2, 3), axis=())
            for name, ours, reference in FLOAT_REDUCTIONS
            if name in ("sum", "mean", "max", "min")
        ),
        *(
            case(f"{name} of nothing {shape} {axis}", ours, reference, shape, axis=axis)
            for name, ours, reference in FLOAT_REDUCTIONS[:3]
            for shape, axis in (
                ((0,), None),
                ((0, 3), 0),
                ((0, 3), None),
                ((2, 0, 3), 1),
                ((2, 0, 3), (0, 1)),
                ((2, 0, 3), (0, 2)),
            )
        ),
        *(
            case(f"{name} ddof={ddof}", ours, reference, (3, 4), axis=axis, ddof=ddof)
            for name, ours, reference in FLOAT_REDUCTIONS[2:4]
            for ddof in (0, 1, 2, 0.5)
            for axis in (1,)
        ),
        case(
            "var, everything at once",
            md.var,
            np.var,
            (2, 3, 4),
            axis=(0, -1),
            ddof=1.5,
            keepdims=True,
        ),
        case(
            "std, everything at once",
            md.std,
            np.std,
            (2, 3, 4),
            axis=(0, -1),
            ddof=1.5,
            keepdims=True,
        ),
        *(
            case(
                f"integers: {name} axis={axis}",
                ours,
                reference,
                INT,
                axis=axis,
                keepdims=keep,
                grad=False,
            )
            for name, ours, reference in FLOAT_REDUCTIONS
            for axis, keep in ((None, False), (1, True))
        ),
        *(
            case(f"bools: {name}", ours, reference, BOOL, axis=0, grad=False)
            for name, ours, reference in FLOAT_REDUCTIONS
        ),
        *(
            case(
                f"{name} axis={axis} keepdims={keep}",
                ours,
                reference,
                (3, 4, 2),
                axis=axis,
                keepdims=keep,
                grad=False,
            )
            for name, ours, reference in (
                ("argmax", md.argmax, np.argmax),
                ("argmin", md.argmin, np.argmin),
            )
            for axis in (None, 0, 1, -1)
            for keep in (False, True)
        ),
        *(
            case(f"integers: {name}", ours, reference, INT, axis=1, grad=False)
            for name, ours, reference in (
                ("argmax", md.argmax, np.argmax),
                ("argmin", md.argmin, np.argmin),
            )
        ),
    ]
)

test_errors = errors_of(
    [
        *(
            (
                lambda f=f: f(md.zeros(2, 3), axis=2),
                ValueError,
                f"{name}: axis must be",
                "from -2 to 1",
                "got 2",
            )
            for name, f, _ in FLOAT_REDUCTIONS
        ),
        *(
            (
                lambda f=f: f(md.zeros(2, 3), axis=(0, -2)),
                ValueError,
                f"{name}: axis must be",
                "different axes",
            )
            for name, f, _ in FLOAT_REDUCTIONS
        ),
        *(
            (
                lambda f=f: f(md.zeros(2, 3), axis=1.5),
                TypeError,
                f"{name}: axis must be an int",
                "1.5",
            )
            for name, f, _ in FLOAT_REDUCTIONS
        ),
        *(
            (lambda f=f: f("text"), TypeError, f"{name}: x must be a tensor", "str")
            for name, f, _ in FLOAT_REDUCTIONS
        ),
        *(
            (lambda f=f: f(np.zeros(3, np.float16)), TypeError, f"{name}: x must be", "float16")
            for name, f, _ in FLOAT_REDUCTIONS
        ),
        (
            lambda: md.argmax(md.zeros(2, 3), (0, 1)),
            TypeError,
            "argmax: axis must be an int",
            "(0, 1)",
        ),
        (
            lambda: md.argmax(md.zeros(2, 3), 2),
            ValueError,
            "argmax: axis must be an int from",
            "got 2",
        ),
        (lambda: md.argmin(md.zeros(0)), ValueError, "argmin: no values to compare", "(0,)"),
        (lambda: md.argmin(md.zeros(2, 3), 0.5), TypeError, "argmin: axis must be an int", "0.5"),
        (lambda: md.max(md.zeros(0, 3)), ValueError, "max: no values to reduce", "(0, 3)", "None"),
        (lambda: md.min(md.zeros(2, 0), axis=1), ValueError, "min: no values", "(2, 0)", "axis 1"),
        (lambda: md.argmax("text"), TypeError, "argmax: x must be a tensor"),
        (lambda: md.argmin("text"), TypeError, "argmin: x must be a tensor"),
        (lambda: md.argmax(md.zeros(2), axis=1), ValueError, "axis must be", "-1 to 0"),
        (lambda: md.argmin(md.zeros(2), axis=1), ValueError, "axis must be", "-1 to 0"),
        (lambda: md.argmax(md.zeros(0)), ValueError, "no values to compare"),
    ]
)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_any_axes_of_any_shape(data):
    shape = data.draw(array_shapes(min_dims=1, max_dims=5, min_side=1, max_side=5))
    axes = data.draw(valid_tuple_axes(len(shape)))
    x = uniform(*shape, dtype=np.float64)
    for _, ours, reference in FLOAT_REDUCTIONS:
        close(ours(md.tensor(x), axis=axes).data, reference(x, axis=axes))


@both_backends
@pytest.mark.parametrize(
    "ours, values, expected",
    [
        (md.max, [1.0, 3.0, 3.0, 2.0], [0, 0.5, 0.5, 0]),
        (md.min, [1.0, 1.0, 1.0, 2.0], [1 / 3, 1 / 3, 1 / 3, 0]),
        (md.max, [np.inf, 0.0], [1, 0]),
    ],
)
def test_equal_winners_share_the_gradient(ours, values, expected, backend):
    x = md.tensor(values, requires_grad=True)
    with md.use_backend(backend):
        ours(x).backward()
    np.testing.assert_allclose(x.grad, expected, rtol=1e-6)


@both_backends
def test_nan_wins(backend):
    x = uniform(5, 4, 6)
    x[2, 1, 3] = x[4, 3, 5] = np.nan
    with md.use_backend(backend):
        for ours, reference in ((md.max, np.max), (md.min, np.min), (md.sum, np.sum)):
            for axis in (None, 0, 1, 2, (0, 2)):
                expected = np.isnan(reference(x, axis=axis))
                found = np.isnan(ours(md.tensor(x), axis=axis).data)
                np.testing.assert_array_equal(found, expected)
        for ours, reference in ((md.argmax, np.argmax), (md.argmin, np.argmin)):
            np.testing.assert_array_equal(ours(md.tensor(x), axis=0).data, reference(x, axis=0))


@both_backends
def test_infinities(backend):
    x = np.array([[np.inf, 1.0], [-np.inf, 2.0], [np.inf, np.inf]], np.float32)
    with md.use_backend(backend), np.errstate(invalid="ignore"):
        for ours, reference in ((md.max, np.max), (md.min, np.min), (md.sum, np.sum)):
            np.testing.assert_array_equal(ours(md.tensor(x), axis=1).data, reference(x, axis=1))


def test_the_first_of_equal_places():
    x = md.tensor([[2.0, 1.0, 2.0, 1.0]])
    assert md.argmax(x, axis=1).data.tolist() == [0]
    assert md.argmin(x).item() == 1
    assert md.argmax(x).dtype == np.int64


def test_long_sums_keep_their_digits():
    """Single precision alone would be off by 1e-3 and more."""
    x = uniform(2_000_003, low=0, high=1)
    exact = x.astype(np.float64)
    assert md.sum(md.tensor(x)).item() == pytest.approx(exact.sum(), rel=1e-7)
    assert md.mean(md.tensor(x)).item() == pytest.approx(exact.mean(), rel=2e-7)
    tall = uniform(100_003, 5, low=0, high=1)
    np.testing.assert_allclose(
        md.sum(md.tensor(tall), axis=0).data, tall.astype(np.float64).sum(axis=0), rtol=2e-7
    )


def test_variance_far_from_zero():
    x = uniform(64, 1000) + np.float32(1000)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(md.var(md.tensor(x), axis=1).data, exact.var(axis=1), rtol=1e-4)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("ours, reference", [(md.var, np.var), (md.std, np.std)])
@pytest.mark.parametrize(
    "values, ddof", [([1.0], 1), ([1.0], 2), ([1.0, 2.0], 2), ([3.0, 3.0], 2), ([1.0, 2.0, 4.0], 5)]
)
def test_no_degrees_of_freedom_left(ours, reference, values, ddof):
    expected = reference(np.array(values), ddof=ddof)
    np.testing.assert_array_equal(ours(md.tensor(values), ddof=ddof).data, np.float32(expected))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", [np.int8, np.float32])
def test_a_ddof_beyond_integers(dtype):
    x = md.tensor(np.array([1, 3], dtype))
    assert md.var(x, ddof=2**63).item() == md.std(x, ddof=2**63).item() == np.inf


def test_a_constant_has_no_deviation():
    x = md.tensor(np.full((3, 5), 0.1), requires_grad=True)
    md.var(x, axis=1).sum().backward()
    np.testing.assert_allclose(x.grad, 0, atol=1e-15)
    assert md.std(md.tensor(np.full(7, 0.1, np.float32))).item() == pytest.approx(0, abs=1e-7)


@both_backends
@both_floats
def test_the_gradient_of_std_where_all_values_are_equal_is_0(dtype, backend):
    x = md.tensor(np.array([[2, 2, 2], [1, 2, 3]], dtype), requires_grad=True)
    with md.use_backend(backend):
        y = md.std(x, axis=1)
        g = md.grad(y, x, np.ones(2, dtype))
    np.testing.assert_allclose(y.data, np.std(x.data, axis=1), rtol=1e-6)
    np.testing.assert_array_equal(g[0], 0)
    np.testing.assert_allclose(g[1], np.array([-1, 0, 1]) / 3 / np.sqrt(2 / 3), rtol=1e-6)
