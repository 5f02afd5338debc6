"""These tests check elementwise kernels: beside NumPy, over the whole float32 range, with
broadcasting, in place.
"""

import numpy as np
import pytest

from minidl.kernels.reference.elementwise import arithmetic as twin
from minidl_ext.elementwise import arithmetic as native
from tests.support.kernels import (
    FLOATS,
    KINDS,
    LAYOUTS,
    SIZES,
    checks_out,
    eps,
    identical,
    refuses,
    same_bits,
    values,
)

EXACT = ("absolute", "negative", "relu", "sqrt")
UNARY = ("exp", "log", "tanh", "sigmoid", *EXACT)
BACKWARD = ("relu_backward",)
BINARY = ("add", "subtract", "multiply", "divide", "maximum", "minimum", "power")
WITH_INTEGERS = ("absolute", "negative", *BINARY)  # these leave other dtypes to NumPy

SHAPES = (  # pairs of shapes that the native loops compute
    ((5,), (5,)),
    ((), ()),
    ((0,), (0,)),
    ((3, 0), (3, 0)),
    ((4, 7, 9), (9,)),
    ((9,), (4, 7, 9)),
    ((4, 7, 9), (7, 9)),
    ((4, 7, 9), (1, 9)),
    ((1, 9), (9,)),
    ((9,), (1, 9)),
    ((1, 1), (6, 5)),
    ((6, 5), ()),
    ((), (6, 5)),
    ((6, 5), (1,)),
    ((0, 3), (3,)),
    ((2, 0), (1,)),
    ((300, 70), (70,)),
    ((40_000,), (1,)),
    ((3, 20_000), (20_000,)),
)
OTHER_SHAPES = (  # pairs of shapes that NumPy computes
    ((4, 7, 9), (7, 1)),
    ((4, 7, 9), (4, 1, 1)),
    ((4, 1), (1, 5)),
    ((2, 3), (1, 1, 3)),
    ((1, 0), (5, 0)),
)


def inputs(name, shape, dtype, seed=0):
    x = values(*shape, dtype=dtype, seed=seed) * dtype(3)
    return np.abs(x) + dtype(0.01) if name in ("log", "sqrt", "power") else x


def agrees(name, got, expected, dtype):
    if name in ("exp", "log", "tanh", "sigmoid", "power"):  # the error of NumPy and ours
        assert got.dtype == expected.dtype
        np.testing.assert_allclose(got, expected, rtol=4 * eps(dtype), atol=0)
    else:
        identical(got, np.asarray(expected))


@FLOATS
@pytest.mark.parametrize("name", UNARY)
def test_results_of_one_operand_are_those_of_the_twin(name, dtype):
    for size in SIZES:
        x = inputs(name, (size,), dtype)
        agrees(name, getattr(native, name)(x), getattr(twin, name)(x), dtype)
    x = inputs(name, (3, 1, 5, 2), dtype)
    agrees(name, getattr(native, name)(x), getattr(twin, name)(x), dtype)


@FLOATS
@pytest.mark.parametrize("name", BACKWARD)
def test_gradients_are_those_of_the_twin(name, dtype):
    for size in SIZES:
        dy, y = values(size, dtype=dtype), values(size, dtype=dtype, seed=1)
        identical(getattr(native, name)(dy, y), getattr(twin, name)(dy, y))


@FLOATS
@pytest.mark.parametrize("name", BINARY)
def test_results_of_two_operands_are_those_of_the_twin(name, dtype):
    for size in SIZES:
        a, b = inputs(name, (size,), dtype), inputs(name, (size,), dtype, 1)
        agrees(name, getattr(native, name)(a, b), getattr(twin, name)(a, b), dtype)


@FLOATS
@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize(("shape_a", "shape_b"), SHAPES + OTHER_SHAPES)
def test_broadcasting_is_numpys(name, shape_a, shape_b, dtype):
    a, b = inputs(name, shape_a, dtype), inputs(name, shape_b, dtype, 1)
    expected = np.asarray(getattr(twin, name)(a, b))
    agrees(name, np.asarray(getattr(native, name)(a, b)), expected, dtype)
    out = np.empty_like(expected)
    assert getattr(native, name)(a, b, out=out) is out
    agrees(name, out, expected, dtype)


@FLOATS
@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("period", (1, 3, 10, 512, 513, 1000, 1025))
def test_a_short_operand_is_all_its_repetitions(name, period, dtype):
    """The rows may fill one repeated row, several, or pieces that end within one."""
    for rows in (1, 2, 7, 16_390 // period + 1):
        a, b = inputs(name, (rows, period), dtype), inputs(name, (period,), dtype, 1)
        repeated = np.tile(b, (rows, 1))
        identical(getattr(native, name)(a, b), getattr(native, name)(a, repeated))
        identical(getattr(native, name)(b, a), getattr(native, name)(repeated, a))


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("number", (2, 3, 0, 1, -1, True, 0.5, 0.1, -0.0, 1e-45, np.inf, np.nan))
def test_a_number_as_operand(name, number):
    x = np.concatenate([inputs(name, (3000,), np.float32), np.float32([0, 1])])
    with np.errstate(all="ignore"):
        for a, b in ((x, number), (number, x)):
            got, expected = getattr(native, name)(a, b), getattr(twin, name)(a, b)
            assert got.dtype == expected.dtype == np.float32
            np.testing.assert_allclose(got, expected, rtol=4e-7 if name == "power" else 0)


@pytest.mark.parametrize("name", ("multiply", "divide", "add", "subtract"))
def test_the_sign_of_a_number_that_is_zero(name):
    x = np.float32([1, -1, 0, -0.0])
    with np.errstate(all="ignore"):
        for a, b in ((x, -0.0), (-0.0, x), (x, 0.0), (0.0, x)):
            got, expected = getattr(native, name)(a, b), getattr(twin, name)(a, b)
            np.testing.assert_array_equal(got, expected)
            np.testing.assert_array_equal(np.signbit(got), np.signbit(expected))


@pytest.mark.parametrize("name", WITH_INTEGERS)
def test_other_dtypes_are_numpys(name):
    i, f = np.arange(1, 7), values(6)
    operands = [(i,), (i.astype(np.int8),), (f.astype(np.float16),)]
    if name in BINARY:
        operands = [
            (i, i),
            (i, 2),
            (i, 2.0),
            (2, i),
            (i, f),
            (f, i),
            (f, f.astype(np.float64)),
            (f, np.float64(2)),
            (np.float32(2), f),
            ([1, 2], f[:2]),
            (i > 3, 2),
        ]
        if name == "subtract":
            operands.pop()  # NumPy refuses bool - int8
    with np.errstate(all="ignore"):
        for args in operands:
            got, expected = getattr(native, name)(*args), getattr(twin, name)(*args)
            assert got.dtype == expected.dtype, args
            np.testing.assert_array_equal(got, expected)


# --------------------------------------------------------------------------------- numerics


def float32_sample():
    """Return a million bit patterns over all of float32, more of them where functions are curved,
    without NaN.
    """
    x = np.arange(0, 2**32, 4099, dtype=np.uint64).astype(np.uint32).view(np.float32)
    spots = [-104, -103.97, -87.33, -88.72, 0, 0.3125, 0.625, 9, 17, 44, 88, 88.72284, 89]
    near = [np.float32(s) + np.linspace(-0.1, 0.1, 4001, dtype=np.float32) for s in spots]
    limits = np.float32(
        [0, -0.0, 1e-45, -1e-45, 1.17549435e-38, 3.4028235e38, -3.4028235e38, np.inf, -np.inf]
    )
    x = np.concatenate([x, *near, *(-n for n in near), limits])
    return x[~np.isnan(x)]


@pytest.mark.parametrize(
    ("name", "function", "ulps"),
    (
        ("exp", np.exp, 1.5),
        ("tanh", np.tanh, 2),
        ("sigmoid", lambda x: np.exp(-np.logaddexp(0, -x)), 4),
        ("log", np.log, 1),
        ("sqrt", np.sqrt, 0.5),
    ),
)
def test_float32_over_the_whole_range(name, function, ulps):
    x = float32_sample()
    x = x[x >= 0] if name in ("log", "sqrt") else x
    with np.errstate(all="ignore"):
        exact = function(x.astype(np.float64))
        rounded = exact.astype(np.float32)
    got = getattr(native, name)(x)
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(got[~finite], rounded[~finite])
    assert np.isfinite(got[finite]).all()
    if name in ("tanh", "sqrt"):
        # The sign of -0 counts, too.
        np.testing.assert_array_equal(np.signbit(got), np.signbit(rounded))
    error = np.abs(got[finite] - exact[finite]) / np.spacing(np.abs(rounded[finite]))
    assert error.max() <= ulps, (x[finite][error.argmax()], error.max())


@FLOATS
@pytest.mark.parametrize("name", (*UNARY, *BACKWARD, *BINARY))
@pytest.mark.parametrize("bad", (np.nan, np.inf, -np.inf))
def test_bad_values_stay_where_they_are(name, bad, dtype):
    one = inputs("power", (500,), dtype)
    spoiled = one.copy()
    spoiled[[0, 37, 499]] = bad
    kernel, twin_kernel = getattr(native, name), getattr(twin, name)
    with np.errstate(all="ignore"):
        clean = kernel(one) if name in UNARY else kernel(one, one)
        for args in ((spoiled,),) if name in UNARY else ((spoiled, one), (one, spoiled)):
            got = kernel(*args)
            np.testing.assert_array_equal(got[1:37], clean[1:37])
            np.testing.assert_array_equal(got[38:499], clean[38:499])
            np.testing.assert_array_equal(got[[0, 37, 499]], twin_kernel(*args)[[0, 37, 499]])


# ---------------------------------------------------------------- threads, out, bad arguments


def case(name, dtype=np.float32, shape=(3, 20_011)):
    if name in UNARY:
        return {"x": inputs(name, shape, dtype)}
    names = ("dy", "y") if name in BACKWARD else ("a", "b")
    return {key: inputs(name, shape, dtype, seed) for seed, key in enumerate(names)}


@FLOATS
@pytest.mark.parametrize("name", (*UNARY, *BACKWARD, *BINARY))
def test_any_number_of_threads_gives_the_same_bits(name, dtype):
    same_bits(getattr(native, name), case(name, dtype))
    if name in BINARY:
        same_bits(getattr(native, name), {"a": inputs(name, (7, 10_007), dtype), "b": 1.5})


@pytest.mark.parametrize("name", (*UNARY, *BACKWARD, *BINARY))
def test_out(name):
    small = case(name, shape=(5, 7))
    checks_out(getattr(native, name), small, in_place=tuple(small))


@pytest.mark.parametrize("name", BINARY)
def test_out_may_not_be_the_repeated_operand(name):
    a, room = inputs(name, (6, 5), np.float32), np.ones((6, 5), np.float32)
    with pytest.raises(ValueError, match=f"{name}: out overlaps b"):
        getattr(native, name)(a, room[0], out=room)


@pytest.mark.parametrize("name", (*UNARY, *BACKWARD, *BINARY))
def test_bad_arrays_are_refused(name):
    kinds = LAYOUTS if name in WITH_INTEGERS else LAYOUTS | KINDS
    small = case(name, shape=(5, 7))
    for argument in small:
        refuses(getattr(native, name), small, argument, kinds)


@pytest.mark.parametrize("name", BACKWARD)
def test_gradients_must_fit(name):
    kernel, dy = getattr(native, name), values(6)
    with pytest.raises(ValueError, match=rf"{name}: dy has shape \(6,\) but y \(7,\)"):
        kernel(dy, values(7))
    with pytest.raises(TypeError, match=f"{name}: dy is float32 but y is float64"):
        kernel(dy, values(6, dtype=np.float64))


@pytest.mark.parametrize("name", BINARY)
def test_shapes_that_do_not_broadcast(name):
    with pytest.raises(ValueError, match="broadcast"):
        getattr(native, name)(values(3, 4), values(3, 5))
