"""These tests check reductions over a middle axis: beside float64, over chunks and columns of every
width.
"""

import numpy as np
import pytest

from minidl.kernels.reference.reduce import reduce as twin
from minidl_ext.reduce import reduce as native
from tests.support.kernels import (
    FLOATS,
    KINDS,
    LAYOUTS,
    RANKS,
    checks_out,
    eps,
    identical,
    refuses,
    same_bits,
    values,
    whole,
)

NAMES = ("sum", "mean", "max", "min")
# Chunks hold 32768 values or 64 rows, vectors up to 8 columns, and 8 of them are side by side.
SHAPES = [
    (a, r, b) for a in (1, 3) for r in (1, 2, 63, 64, 65, 200) for b in (1, 2, 15, 16, 17, 70)
]
SHAPES += [
    (1, 32_767, 1),
    (1, 32_768, 1),
    (2, 32_769, 1),
    (1, 200_003, 1),
    (1, 5000, 33),
    (40_000, 2, 1),
    (1, 3, 40_000),
    (2, 500, 600),
    (1, 1100, 32),
]
SOME = [*SHAPES[::4], *SHAPES[-9:]]


@FLOATS
@pytest.mark.parametrize("name", NAMES)
def test_whole_numbers_are_exact(name, dtype):
    for shape in SHAPES:
        x = whole(*shape, dtype=dtype)
        identical(getattr(native, name)(x), getattr(twin, name)(x))


@FLOATS
def test_sums_against_float64(dtype):
    for shape in SHAPES:
        x = values(*shape, dtype=dtype)
        exact = np.sum(x, axis=1, dtype=np.longdouble)
        rounding = eps(dtype) * np.abs(exact)
        terms = 8 * eps(np.float64) * np.abs(x).sum(axis=1, dtype=np.float64)
        assert (np.abs(native.sum(x) - exact) <= rounding + terms).all(), shape


@pytest.mark.parametrize("shape", ((1, 3_000_000, 1), (1, 1_500_000, 2)))
def test_a_long_sum_loses_no_digits(shape):
    x = np.full(shape, 0.1, np.float32)
    exact = x.sum(axis=1, dtype=np.float64)
    np.testing.assert_allclose(native.sum(x), exact, rtol=1e-7)
    one_by_one = np.cumsum(x, axis=1)[:, -1]
    assert (np.abs(one_by_one - exact) > 5e-4 * exact).all()


@FLOATS
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", ((2, 100, 1), (2, 100, 20), (1, 70_000, 1), (1, 9000, 17)))
@pytest.mark.parametrize("bad", (np.nan, np.inf, -np.inf))
def test_bad_values_stay_in_their_column(name, shape, bad, dtype):
    x = whole(*shape, dtype=dtype)
    for row in (0, shape[1] // 2, shape[1] - 1):
        spoiled = x.copy()
        spoiled[-1, row, -1] = bad
        identical(getattr(native, name)(spoiled), getattr(twin, name)(spoiled))
    spoiled[0, 1, 0] = np.inf
    spoiled[0, 2, 0] = -np.inf
    with np.errstate(invalid="ignore"):
        identical(getattr(native, name)(spoiled), getattr(twin, name)(spoiled))


@pytest.mark.parametrize("shape", ((0, 3, 2), (3, 0, 2), (3, 2, 0), (0, 0, 0)))
def test_empty_arrays(shape):
    x = np.ones(shape, np.float32)
    for name in ("sum", "mean"):
        identical(getattr(native, name)(x), getattr(twin, name)(x))
    for got, expected in zip(native.moments(x), twin.moments(x), strict=True):
        identical(got, expected)
    factor = np.ones((shape[0], shape[2]))
    identical(native.deviations(x, factor, factor), twin.deviations(x, factor, factor))
    if shape[1]:
        identical(native.max(x), twin.max(x))
        identical(native.min(x), twin.min(x))


@pytest.mark.parametrize("shape", ((3, 0, 2), (0, 0, 0)))
@pytest.mark.parametrize("name", ("max", "min"))
def test_nothing_to_reduce(name, shape):
    with pytest.raises(ValueError, match=f"{name}: nothing to reduce in shape") as caught:
        getattr(native, name)(np.ones(shape, np.float32))
    assert str(shape) in str(caught.value)


@FLOATS
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", ((1, 300_001, 1), (1, 9001, 37), (300, 201, 3), (5, 20_000, 1)))
def test_any_number_of_threads_gives_the_same_bits(name, shape, dtype):
    same_bits(getattr(native, name), {"x": values(*shape, dtype=dtype)})


@pytest.mark.parametrize("name", NAMES)
def test_out_is_filled_and_bad_arrays_are_refused(name):
    kernel, case = getattr(native, name), {"x": values(4, 5, 6)}
    checks_out(kernel, case)
    refuses(kernel, case, "x", LAYOUTS | KINDS | RANKS)


# ------------------------------------------------------------------------------- deviations


@FLOATS
@pytest.mark.parametrize(
    ("mean", "scale"), ((0, 1), (1e3, 1), (1e6, 1), (0, 1e-30), (0, 1e30), (3e36, 1e36))
)
def test_moments_against_extended_precision(mean, scale, dtype):
    for shape in SOME:
        x = (mean + scale * values(*shape, dtype=np.float64)).astype(dtype)
        exact = x.astype(np.longdouble)
        expected = exact.mean(axis=1)
        squares = ((exact - expected[:, None]) ** 2).sum(axis=1)
        got, m2 = native.moments(x)
        assert got.dtype == m2.dtype == np.float64
        rounding = 4 * eps(dtype) * scale + 2 * eps(np.float64) * mean
        assert (np.abs(got - expected) <= rounding).all(), shape
        few = 16 * eps(dtype) + 1e-10
        assert (np.abs(m2 - squares) <= few * squares + rounding**2).all(), shape
        for ours, twins in zip((got, m2), twin.moments(x), strict=True):
            np.testing.assert_allclose(ours, twins, rtol=few, atol=scale * 1e-7)


@FLOATS
@pytest.mark.parametrize("value", (0.1, 1 / 3, 1e6, 3e38, 1e-40, 0.0))
def test_equal_values_have_no_deviations(value, dtype):
    for shape in SOME:
        x = np.full(shape, value, dtype)
        for kernels in (native, twin):
            mean, m2 = kernels.moments(x)
            assert (mean == x[:, 0]).all(), shape
            assert not m2.any(), shape


@FLOATS
def test_deviations_are_the_twin_s(dtype):
    for shape in SHAPES:
        x = values(*shape, dtype=dtype)
        mean, factor = (values(shape[0], shape[2], dtype=np.float64, seed=k) for k in (1, 2))
        identical(native.deviations(x, mean, factor), twin.deviations(x, mean, factor))
    tiny = native.deviations(
        np.full((1, 2, 1), 1e-30, dtype), np.zeros((1, 1)), np.full((1, 1), 1e60)
    )
    np.testing.assert_allclose(tiny, np.full((1, 2, 1), 1e30), rtol=1e-6)


@FLOATS
@pytest.mark.parametrize("shape", ((1, 300_001, 1), (1, 9001, 37), (300, 201, 3), (5, 20_000, 1)))
def test_any_number_of_threads_gives_the_same_bits_of_moments(shape, dtype):
    x = values(*shape, dtype=dtype)
    same_bits(native.moments, {"x": x})
    ones = np.ones((shape[0], shape[2]))
    same_bits(native.deviations, {"x": x, "mean": ones, "factor": ones})


def test_bad_arrays_for_deviations():
    case = {"x": values(4, 5, 6), "mean": np.ones((4, 6)), "factor": np.ones((4, 6))}
    refuses(native.moments, {"x": case["x"]}, "x", LAYOUTS | KINDS | RANKS)
    refuses(native.deviations, case, "x", LAYOUTS | KINDS | RANKS)
    for name in ("mean", "factor"):
        refuses(
            native.deviations,
            case,
            name,
            LAYOUTS
            | RANKS
            | {"float32": lambda a: a.astype(np.float32), "more": lambda a: np.ones((5, 6))},
        )
