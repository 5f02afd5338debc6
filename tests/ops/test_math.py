"""These tests check elementwise operations: values, gradients, broadcasting, special values. Dtypes
are in test_dtypes, and `where` and `clip` in test_where_clip.
"""

import tracemalloc
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import mutually_broadcastable_shapes

import minidl as md
from tests.support.arrays import close, uniform
from tests.support.cases import case, checks_of, errors_of
from tests.support.errors import refuses
from tests.support.marks import both_backends, both_floats
from tests.support.reference.activation import sigmoid

MASK = np.array([[True, False, True, False], [False, False, True, True], [True] * 4])
INT = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]])
BOOL = INT % 2 == 0
LARGE = (3, 5, 70_001)  # several pieces of 16,384 elements, all of them incomplete


def relu(x):
    return np.where(x > 0, x, 0)


def with_number(f, number, side):
    """Return a function of two operands as one of x, where the other operand is a number."""
    return (lambda x: f(x, number)) if side == "right" else (lambda x: f(number, x))


UNARY = [
    ("exp", md.exp, np.exp, (-2, 2)),
    ("log", md.log, np.log, (0.1, 3)),
    ("sqrt", md.sqrt, np.sqrt, (0.1, 3)),
    ("abs", md.abs, np.abs, (-2, 2)),
    ("negative", md.negative, np.negative, (-2, 2)),
    ("tanh", md.tanh, np.tanh, (-3, 3)),
    ("sigmoid", md.sigmoid, sigmoid, (-6, 6)),
    ("relu", md.relu, relu, (-2, 2)),
]

BINARY = [
    ("add", md.add, np.add, (-2, 2)),
    ("subtract", md.subtract, np.subtract, (-2, 2)),
    ("multiply", md.multiply, np.multiply, (-2, 2)),
    ("divide", md.divide, np.divide, (0.5, 2)),
    ("power", md.power, np.power, (0.5, 2)),
    ("maximum", md.maximum, np.maximum, (-2, 2)),
    ("minimum", md.minimum, np.minimum, (-2, 2)),
]

# Equal shapes, scalars, rows and columns on either side, both sides repeated, and empty arrays.
PAIRS = [
    ((3, 4), (3, 4)),
    ((), ()),
    ((3, 4), ()),
    ((), (3, 4)),
    ((3, 4), (4,)),
    ((4,), (3, 4)),
    ((3, 4), (3, 1)),
    ((3, 1), (3, 4)),
    ((3, 1), (1, 4)),
    ((2, 1, 4), (3, 1)),
    ((1, 1, 4), (2, 3, 4)),
    ((5,), (1,)),
    ((1,), ()),
    ((0, 3), (3,)),
    ((2, 0), (1, 1)),
    ((1, 0), (3, 1)),
    ((2, 3, 4, 5), (4, 5)),
    ((2, 3, 4, 5), (2, 1, 1, 5)),
]

test_values, test_gradients, test_threads = checks_of(
    [
        *(
            case(f"{name} {shape}", ours, reference, shape, between=between)
            for name, ours, reference, between in UNARY
            for shape in ((), (1,), (7,), (0, 3), (3, 4), (2, 3, 2, 5))
        ),
        *(
            case(f"{name} large", ours, reference, (3, 4), between=between, large=[LARGE])
            for name, ours, reference, between in UNARY
        ),
        *(
            case(f"{name} {a} {b}", ours, reference, a, b, between=between)
            for name, ours, reference, between in BINARY
            for a, b in PAIRS
        ),
        *(
            case(
                f"{name} large {b}",
                ours,
                reference,
                (3, 4),
                (4,),
                between=between,
                large=[LARGE, b],
            )
            for name, ours, reference, between in BINARY
            for b in (LARGE, LARGE[1:], (5, 1))
        ),
        *(
            case(
                f"{name} with the number {number!r} {side}",
                with_number(ours, number, side),
                with_number(reference, number, side),
                (3, 4),
                between=between,
            )
            for name, ours, reference, between in BINARY
            for number in (2, 1.5, True)
            for side in ("left", "right")
        ),
        # If one tensor is both operands, its two gradients add up.
        case("x + x", lambda x: x + x, lambda x: x + x, (3, 4)),
        case("x - x", lambda x: x - x, lambda x: x - x, (3, 4)),
        case("x * x", lambda x: x * x, lambda x: x * x, (3, 4)),
        case("x / x", lambda x: x / x, lambda x: x / x, (3, 4), between=(0.5, 2)),
        case("x ** x", lambda x: x**x, lambda x: x**x, (3, 4), between=(0.5, 2)),
        case("maximum(x, x)", lambda x: md.maximum(x, x), lambda x: x, (3, 4)),
        case("minimum(x, x)", lambda x: md.minimum(x, x), lambda x: x, (3, 4)),
        case("where(c, x, x)", lambda x: md.where(MASK, x, x), lambda x: x, (3, 4)),
        case("x * x * x + x", lambda x: x * x * x + x, lambda x: x**3 + x, (3, 4)),
        *(
            case(f"x ** {p}", lambda x, p=p: x**p, lambda x, p=p: x**p, (3, 4), between=between)
            for p, between in (
                (0, (-2, 2)),
                (1, (-2, 2)),
                (2, (-2, 2)),
                (3, (-2, 2)),
                (-1, (0.5, 2)),
                (-2, (0.5, 2)),
                (0.5, (0.5, 2)),
                (1.5, (0.5, 2)),
                (2.0, (-2, 2)),
            )
        ),
        case("-x", lambda x: -x, lambda x: -x, (3, 4)),
        case("+x", lambda x: +x, lambda x: +x, (3, 4)),
        case("abs(x)", lambda x: abs(x), abs, (3, 4)),
        case("integers: add", md.add, np.add, INT, INT, grad=False),
        case("integers: multiply by 3", md.multiply, np.multiply, INT, 3, grad=False),
        case("integers: divide", md.divide, np.divide, INT, INT[0], grad=False),
        case("integers: power", md.power, np.power, INT, 2, grad=False),
        case("integers: negative", md.negative, np.negative, INT, grad=False),
        case("integers: abs", md.abs, np.abs, -INT, grad=False),
        case("integers: maximum", md.maximum, np.maximum, INT, 6, grad=False),
        case("bools: add", md.add, np.add, BOOL, BOOL, grad=False),
        case("bools: multiply", md.multiply, np.multiply, BOOL, INT, grad=False),
    ]
)

test_errors = errors_of(
    [
        *(
            (
                lambda f=f: f(md.tensor([1, 2])),
                TypeError,
                f"{name}: x must be float32 or float64",
                "int64",
                "astype",
            )
            for name, f, _, _ in UNARY
            if name not in ("abs", "negative")
        ),
        *(
            (lambda f=f: f("text"), TypeError, f"{name}: x must be a tensor or an array", "str")
            for name, f, _, _ in UNARY
        ),
        *(
            (
                lambda f=f: f(md.zeros(2, 3), md.zeros(2)),
                ValueError,
                f"{name}: shapes (2, 3) and (2,)",
            )
            for name, f, _, _ in BINARY
        ),
        *(
            (
                lambda f=f: f(md.zeros(2), "text"),
                TypeError,
                f"{name}: operand must be a tensor",
                "str",
            )
            for name, f, _, _ in BINARY
        ),
        *(
            (lambda f=f: f(md.zeros(2), None), TypeError, f"{name}: operand must be", "NoneType")
            for name, f, _, _ in BINARY
        ),
        (lambda: md.zeros(2) * 1j, TypeError, "multiply: complex"),
        (lambda: md.zeros(2) * np.complex64(1j), TypeError, "multiply: complex numbers are not"),
        (lambda: md.zeros(2) * np.array([1j, 1j]), TypeError, "complex128"),
        (lambda: md.zeros(2) < "text", TypeError, "less: operand must be a tensor or an array"),
        (lambda: md.zeros(2) < md.zeros(3), ValueError, "less: shapes (2,) and (3,)"),
        (lambda: md.astype("text", np.float32), TypeError, "astype: x must be a tensor"),
    ]
)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4, min_side=0))
def test_broadcasting_is_numpys(shapes):
    (a, b), shape = shapes.input_shapes, shapes.result_shape
    x = md.tensor(uniform(*a, dtype=np.float64), requires_grad=True)
    y = md.tensor(uniform(*b, dtype=np.float64, seed=1), requires_grad=True)
    z = x * y
    np.testing.assert_array_equal(z.data, x.data * y.data)
    dx, dy = md.grad(z, [x, y], np.ones(shape))
    # The product is linear: the gradient of an operand times the operand adds up to the result.
    for t, g in ((x, dx), (y, dy)):
        assert g.shape == t.shape
        np.testing.assert_allclose((g * t.data).sum(), z.data.sum(), atol=1e-12)


SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-40, 200.0, -200.0, 87.5, -87.5]
)


@both_backends
@both_floats
@pytest.mark.parametrize(
    "name, ours, reference", [row[:3] for row in UNARY], ids=[row[0] for row in UNARY]
)
def test_special_values(name, ours, reference, dtype, backend):
    x = SPECIAL.astype(dtype)
    with np.errstate(all="ignore"), md.use_backend(backend):
        expected = np.where(np.isnan(x), np.nan, reference(x)).astype(dtype)
        np.testing.assert_allclose(
            ours(md.tensor(x)).data,
            expected,
            rtol=1e-5 if dtype == np.float32 else 1e-12,
            atol=1e-44,
        )


@both_backends
@both_floats
@pytest.mark.parametrize(
    "name, ours, reference", [row[:3] for row in BINARY], ids=[row[0] for row in BINARY]
)
def test_special_pairs(name, ours, reference, dtype, backend):
    a, b = (g.astype(dtype).reshape(-1) for g in np.meshgrid(SPECIAL, SPECIAL))
    with np.errstate(all="ignore"), md.use_backend(backend):
        np.testing.assert_allclose(
            ours(md.tensor(a), md.tensor(b)).data,
            reference(a, b),
            rtol=1e-5 if dtype == np.float32 else 1e-12,
            atol=1e-44,
        )


@both_backends
@pytest.mark.parametrize(
    "f, at, slope",
    [
        (md.relu, [0.0, -0.0, 1e-30, -1e-30], [0, 0, 1, 0]),
        (md.abs, [0.0, 2.0, -2.0], [0, 1, -1]),
        (lambda x: md.maximum(x, 1.0), [1.0, 2.0, 0.0], [0.5, 1, 0]),
        (lambda x: md.minimum(x, 1.0), [1.0, 2.0, 0.0], [0.5, 0, 1]),
        (lambda x: md.clip(x, 0.0, 1.0), [0.0, 1.0, 0.5, -1e-9, 1.5], [1, 1, 1, 0, 0]),
        (lambda x: x**0, [0.0, 3.0, -3.0], [0, 0, 0]),
        (lambda x: x**2, [0.0, 3.0, -3.0], [0, 6, -6]),
        (lambda x: x**1, [0.0, 3.0], [1, 1]),
        (lambda x: 0.0**x, [1.0, 2.0], [0, 0]),
        (md.sigmoid, [1000.0, -1000.0], [0, 0]),
        (md.tanh, [1000.0, -1000.0], [0, 0]),
        (lambda x: md.where(x > 0, md.log(x), x), [2.0], [0.5]),
    ],
)
def test_gradients_where_differences_fail(f, at, slope, backend):
    x = md.tensor(at, requires_grad=True)
    with np.errstate(all="ignore"), md.use_backend(backend):
        f(x).sum().backward()
    np.testing.assert_array_equal(x.grad, np.array(slope, np.float32))


@both_backends
def test_a_nan_stays_where_it_is(backend):
    x = md.tensor([1.0, np.nan, -1.0], requires_grad=True)
    with md.use_backend(backend):
        for f in (
            md.relu,
            md.tanh,
            md.sigmoid,
            md.exp,
            lambda x: md.maximum(x, 0.0),
            lambda x: md.minimum(0.0, x),
            lambda x: md.clip(x, -0.5, 0.5),
        ):
            assert np.isnan(f(x).data).tolist() == [False, True, False]


def test_one_operand_that_needs_no_gradient():
    a, b = md.tensor([1.0, 2.0], requires_grad=True), md.tensor([3.0, 4.0])
    for _, f, _, _ in BINARY:
        a.grad = None
        f(a, b).sum().backward()
        grad = a.grad
        assert b.grad is None
        swapped = md.grad(f(b, a).sum(), a)
        close(grad, md.grad(f(a, md.tensor(b, requires_grad=True)).sum(), a))
        close(swapped, md.grad(f(md.tensor(b, requires_grad=True), a).sum(), a))


@pytest.mark.parametrize("number", [Fraction(1, 2), Decimal("0.5")], ids=repr)
def test_numbers_of_other_kinds_are_refused_or_weak(number):
    """A result never holds objects."""
    try:
        y = md.tensor([1.0, 2.0]) * number
    except TypeError:
        return
    assert y.dtype == np.float32
    assert y.data.tolist() == [0.5, 1.0]


def test_astype():
    x = md.tensor([1.5, -2.5, 0.0], requires_grad=True)
    assert x.astype(np.float32) is x
    y = x.astype(np.float64)
    assert y.dtype == np.float64
    (y * md.tensor(np.array([1.0, 2.0, 3.0]))).sum().backward()
    assert x.grad.dtype == np.float32
    assert x.grad.tolist() == [1, 2, 3]
    for dtype, expected in (
        (np.int64, [1, -2, 0]),
        (bool, [True, True, False]),
        ("int8", [1, -2, 0]),
    ):
        z = x.astype(dtype)
        assert (z.dtype, z.requires_grad, z.data.tolist()) == (np.dtype(dtype), False, expected)
    with refuses(TypeError, "complex"):
        x.astype(np.complex64)


def test_the_gradient_of_the_exponent_of_0():
    for base, exponent, expected in ((0.0, 0.0, 0.0), (0.0, 2.0, 0.0), (2.0, 3.0, 8 * np.log(2))):
        e = md.tensor(exponent, requires_grad=True)
        (md.tensor(base) ** e).backward()
        np.testing.assert_allclose(e.grad, expected, rtol=1e-6)


@both_backends
def test_what_wins_gets_the_gradient_also_where_it_is_nan(backend):
    nan = np.nan
    with md.use_backend(backend):
        for f in (md.maximum, md.minimum):
            a = md.tensor([nan, 1.0, nan, 2.0], requires_grad=True)
            b = md.tensor([1.0, nan, nan, 2.0], requires_grad=True)
            f(a, b).sum().backward()
            np.testing.assert_array_equal(a.grad, [1, 0, 0.5, 0.5])
            np.testing.assert_array_equal(b.grad, [0, 1, 0.5, 0.5])


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.int64, np.float32])
@pytest.mark.parametrize(
    "f", [md.power, md.multiply, md.divide, md.maximum, md.remainder, md.subtract]
)
def test_gradients_of_broadcast_operands_take_few_arrays_of_the_results_size(f, dtype):
    a = md.tensor(
        (np.arange(2000) % 2).astype(dtype).reshape(-1, 1, 1), requires_grad=dtype == np.float32
    )
    b = md.tensor(uniform(20, 12, low=1.0, high=2.0), requires_grad=True)
    with md.use_backend("numpy"):  # it counts all of its arrays
        y = f(a, b)
        total = y.sum()
        tracemalloc.start()
        try:
            total.backward()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 2 * y.data.nbytes


@both_backends
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.bool_])
def test_gradients_of_powers_of_bytes_are_as_exact_as_of_floats(dtype, backend):
    whole = np.array([3, 1, 0, 1], np.uint8).astype(dtype)
    x = np.array([1.5, 0.5, 2.0, 3.0], np.float32)
    with md.use_backend(backend):
        for f in (lambda given, t: given**t, lambda given, t: t**given):
            t, same = (md.tensor(x, requires_grad=True) for _ in range(2))
            f(md.tensor(whole), t).sum().backward()
            f(md.tensor(whole.astype(np.float32)), same).sum().backward()
            np.testing.assert_allclose(t.grad, same.grad, rtol=1e-6)
