"""Reductions over a middle axis: against float64, over chunks and columns of every width."""

import numpy as np
import pytest

from minidl.kernels.reference import reduce as twin
from minidl_ext import reduce as native
from tests.minidl_ext.common import (
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

NAMES = ("sum", "max", "min")
# chunks hold 32768 values, runs 64 rows, vectors up to 16 columns
SHAPES = [(a, r, b) for a in (1, 3) for r in (1, 2, 63, 64, 65, 200)
          for b in (1, 2, 15, 16, 17, 70)]
SHAPES += [(1, 32_767, 1), (1, 32_768, 1), (2, 32_769, 1), (1, 200_003, 1), (1, 5000, 33),
           (40_000, 2, 1), (1, 3, 40_000), (2, 500, 600), (1, 1100, 32)]


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
        error = np.abs(native.sum(x) - exact)
        assert (error <= 8 * eps(dtype) * np.abs(x).sum(axis=1, dtype=np.float64)).all(), shape


@pytest.mark.parametrize("shape", ((1, 3_000_000, 1), (1, 1_500_000, 2)))
def test_a_long_sum_loses_no_digits(shape):
    x = np.full(shape, 0.1, np.float32)
    exact = x.sum(axis=1, dtype=np.float64)
    np.testing.assert_allclose(native.sum(x), exact, rtol=2e-6)
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
    identical(native.sum(x), twin.sum(x))
    if shape[1]:
        identical(native.max(x), twin.max(x))
        identical(native.min(x), twin.min(x))


@pytest.mark.parametrize("name", ("max", "min"))
def test_nothing_to_reduce(name):
    with pytest.raises(ValueError, match=rf"{name}: nothing to reduce in shape \(3, 0, 2\)"):
        getattr(native, name)(np.ones((3, 0, 2), np.float32))


@FLOATS
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", ((1, 300_001, 1), (1, 9001, 37), (300, 201, 3), (5, 20_000, 1)))
def test_threads_do_not_matter(name, shape, dtype):
    same_bits(getattr(native, name), {"x": values(*shape, dtype=dtype)})


@pytest.mark.parametrize("name", NAMES)
def test_out_and_bad_arrays(name):
    kernel, case = getattr(native, name), {"x": values(4, 5, 6)}
    checks_out(kernel, case)
    refuses(kernel, case, "x", LAYOUTS | KINDS | RANKS)
