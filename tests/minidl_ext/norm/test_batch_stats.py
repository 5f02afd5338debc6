"""These tests check batch statistics: they keep their digits for any mean and scale, however blocks
and chunks divide the rows.
"""

import numpy as np
import pytest

from tests.support.kernels import (
    FLOATS,
    KINDS,
    LAYOUTS,
    NORM_SHAPES,
    eps,
    exact_stats,
    kernels_of,
    refuses,
    same_bits,
    values,
)

native, _ = kernels_of("norm.")


@FLOATS
@pytest.mark.parametrize("shape", NORM_SHAPES)
def test_statistics(shape, dtype):
    x = values(*shape, dtype=dtype)
    mean, var = native.batch_stats(x)
    exact_mean, exact_var = exact_stats(x)
    assert mean.dtype == var.dtype == np.float64
    assert mean.shape == var.shape == shape[-1:]
    np.testing.assert_allclose(mean, exact_mean, rtol=0, atol=20 * eps(dtype))
    np.testing.assert_allclose(var, exact_var, rtol=50 * eps(dtype))


@FLOATS
@pytest.mark.parametrize("scale", (1, 1e20, 1e-20, 3e-22, 1e-30))
@pytest.mark.parametrize("ratio", (1, 1e2, 1e3, 1e4))
@pytest.mark.parametrize("shape", ((50, 3), (5000, 17), (300_000, 1), (64, 20, 20, 32)))
def test_statistics_at_large_means(shape, ratio, scale, dtype):
    """With |mean| / std up to 1e4, at any scale, the relative error of the variance is at most
    1e-4.
    """
    x = ((values(*shape, dtype=np.float64) + ratio) * scale).astype(dtype)
    mean, var = native.batch_stats(x)
    exact_mean, exact_var = exact_stats(x)
    np.testing.assert_allclose(mean, exact_mean, rtol=1e-7)
    np.testing.assert_allclose(var, exact_var, rtol=1e-4)
    if dtype == np.float32 and ratio >= 1e3 and scale == 1:
        rows = x.reshape(-1, shape[-1])
        naive = (rows * rows).mean(axis=0) - rows.mean(axis=0) ** 2
        assert (np.abs(naive - exact_var) > 1e-2 * exact_var).any()


@FLOATS
@pytest.mark.parametrize("value", (0, 1, 0.1, -1234.567, 1e-30, 1e20, 3e38))
@pytest.mark.parametrize("shape", ((1, 3), (7, 3), (70_001, 3), (600, 150)))
def test_constant_channels_have_no_variance(shape, value, dtype):
    mean, var = native.batch_stats(np.full(shape, value, dtype))
    np.testing.assert_allclose(mean, np.full(shape[-1], dtype(value), np.float64), rtol=1e-15)
    np.testing.assert_array_equal(var, 0)


@pytest.mark.parametrize("size", (1e-25, 1e-40))
def test_values_whose_squares_are_0_are_not_constant(size):
    """They follow a first block of zeros, whose mean shifts the values, and add up to 0."""
    x = np.zeros((1000, 16), np.float32)
    x[800::2] = size
    x[801::2] = -size
    mean, var = native.batch_stats(x)
    exact_mean, exact_var = exact_stats(x)
    assert (var > 0).all()
    np.testing.assert_allclose(mean, exact_mean, atol=1e-15 * size)
    np.testing.assert_allclose(var, exact_var, rtol=1e-6)


def test_statistics_at_the_ends_of_float32():
    x = np.float32([3e38, 3e38, 3e38, 3e38, -3e38, -3e38, -3e38, -3e38, 1e-45, 0])
    for part in (x, x[:4], x[-2:], x[2:6]):
        mean, var = native.batch_stats(part[:, None].copy())
        exact_mean, exact_var = exact_stats(part[:, None])
        np.testing.assert_allclose(mean, exact_mean, rtol=1e-7, atol=1e-15 * part.max())
        np.testing.assert_allclose(var, exact_var, rtol=1e-6, atol=0)


@FLOATS
@pytest.mark.parametrize("shape", ((70_001, 1), (9001, 33), (7, 31, 30, 16), (20, 5000)))
def test_any_number_of_threads_gives_the_same_bits(shape, dtype):
    same_bits(native.batch_stats, {"x": values(*shape, dtype=dtype)})


def test_bad_arrays_are_refused():
    refuses(native.batch_stats, {"x": values(6, 7)}, "x", LAYOUTS | KINDS)


@pytest.mark.parametrize("shape", ((0, 3), (3, 0), (0,), (2, 0, 4)))
def test_no_values_no_statistics(shape):
    with pytest.raises(ValueError, match="batch_stats: no values"):
        native.batch_stats(np.ones(shape, np.float32))


def test_a_scalar_has_no_channels():
    with pytest.raises(ValueError, match="batch_stats: x needs a channel axis"):
        native.batch_stats(np.array(1.0))


@pytest.mark.parametrize("rows", (3, 5000))
def test_a_variance_beyond_the_range_is_infinite(rows):
    x = values(rows, 2, dtype=np.float64)
    x[1, 0] = -np.finfo(np.float64).max
    _, var = native.batch_stats(x)
    assert var[0] == np.inf and np.isfinite(var[1])


@pytest.mark.parametrize("channels", (1, 2, 3))
def test_many_equal_rows_of_few_channels(channels):
    """Their rounding errors all have the same sign, so sums in float must be short."""
    x = np.full((41_000, channels), 0.1, np.float32)
    x[::2] = -0.2
    _, var = native.batch_stats(x)
    np.testing.assert_allclose(var, exact_stats(x)[1], rtol=1e-6)
    factors = np.ones((5, channels), np.float32) * [[0], [1], [0], [1], [0]]
    dbeta = native.batch_norm_backward(np.full_like(x, 0.1), x, factors.astype(np.float32))[2]
    np.testing.assert_allclose(dbeta, 41_000 * np.float64(np.float32(0.1)), rtol=2e-6)
