"""These tests check that normalization, ReLU and a 2x2 max-pool in one pass give what they give one
after the other.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.kernel_convs import factors_for
from tests.support.kernels import (
    KINDS,
    LAYOUTS,
    RANKS,
    close,
    identical,
    kernels_of,
    many,
    refuses,
    same_bits,
    values,
)

norm, twin = kernels_of("norm.")
pool, _ = kernels_of("pool.")

WINDOW = {"window": (2, 2), "stride": (2, 2)}


def disjoint(x, factors, relu):
    """Compute the forward pass by one kernel after the other, and return the output and the
    argmax.
    """
    return pool.max_pool(norm.batch_norm_apply(x, factors, relu=relu), **WINDOW)


def apart_backward(dy, x, factors, training, relu):
    _, argmax = disjoint(x, factors, relu)
    g = pool.max_pool_backward(dy, argmax, x.shape, **WINDOW)
    return norm.batch_norm_backward(g, x, factors, training, relu=relu)[:3]


@many
@given(
    images=st.integers(1, 4),
    height=st.integers(2, 9),
    width=st.integers(2, 9),
    blocks=st.integers(1, 5),
    relu=st.booleans(),
    training=st.booleans(),
    few_values=st.booleans(),
)
def test_any_shape_gives_the_results_of_one_after_the_other(
    images, height, width, blocks, relu, training, few_values
):
    x = values(images, height, width, 16 * blocks)
    if few_values:  # so that windows have equal values
        x = np.round(x)
    factors = factors_for(x)
    y = norm.batch_norm_pool(x, factors, relu)
    identical(y, disjoint(x, factors, relu)[0])
    close(y, twin.batch_norm_pool(x, factors, relu), 1e-6)
    dy = values(*y.shape, seed=1)
    got = norm.batch_norm_pool_backward(dy, x, factors, training, relu)
    for one, two in zip(got, apart_backward(dy, x, factors, training, relu), strict=True):
        close(one, two, 2e-5)
    expected = twin.batch_norm_pool_backward(dy, x, factors, training, relu)
    for one, two in zip(got, expected, strict=True):
        close(one, two, 2e-5)


def test_sums_keep_their_digits_in_long_rows():
    """The values of dy are all positive, so that rounding errors would add up in a float32 sum."""
    x, dy = values(1, 2, 200_001, 16), np.abs(values(1, 1, 100_000, 16, seed=1))
    factors = np.ones((5, 16), np.float32) * np.float32([[0], [1], [0], [1], [0]])
    _, dgamma, dbeta = norm.batch_norm_pool_backward(dy, x, factors)
    np.testing.assert_allclose(dbeta, dy.sum(axis=(0, 1, 2), dtype=np.float64), rtol=2e-7)
    top = x[0, :, :-1].reshape(2, -1, 2, 16).max(axis=(0, 2))
    exact = (dy[0, 0].astype(np.float64) * top).sum(axis=0)
    np.testing.assert_allclose(dgamma, exact, rtol=5e-7)


@pytest.mark.parametrize("relu", (False, True))
@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("bad", (np.nan, np.inf, -np.inf))
def test_bad_values_win_as_in_max_pool(bad, place, relu):
    """With given statistics dx depends on x only by which value is the largest, so it stays
    finite.
    """
    x = values(2, 5, 7, 32)
    factors = factors_for(x)
    x[1, 2 + place // 2, 4 + place % 2, 20] = bad
    y = norm.batch_norm_pool(x, factors, relu)
    identical(y, disjoint(x, factors, relu)[0])
    dy = values(*y.shape, seed=1)
    got = norm.batch_norm_pool_backward(dy, x, factors, False, relu)
    expected = apart_backward(dy, x, factors, False, relu)
    identical(got[0], expected[0])
    close(got[2], expected[2], 1e-6)


@pytest.mark.parametrize("shape", ((3, 8, 8, 16), (70, 6, 5, 32), (130, 2, 3, 144)))
def test_any_number_of_threads_gives_the_same_bits(shape):
    x = values(*shape)
    case = {"x": x, "factors": factors_for(x), "relu": True}
    same_bits(norm.batch_norm_pool, case)
    dy = values(shape[0], shape[1] // 2, shape[2] // 2, shape[3], seed=1)
    same_bits(norm.batch_norm_pool_backward, {**case, "dy": dy})


def test_no_images():
    x, factors = np.empty((0, 4, 4, 16), np.float32), np.ones((5, 16), np.float32)
    assert norm.batch_norm_pool(x, factors).shape == (0, 2, 2, 16)
    dx, dgamma, dbeta = norm.batch_norm_pool_backward(
        np.empty((0, 2, 2, 16), np.float32), x, factors, False
    )
    assert dx.shape == x.shape
    identical(dgamma, np.zeros(16, np.float32))
    identical(dbeta, np.zeros(16, np.float32))


def test_bad_arguments_are_refused():
    x = values(2, 4, 4, 16)
    case = {"x": x, "factors": factors_for(x)}
    for argument in case:
        refuses(norm.batch_norm_pool, case, argument, LAYOUTS | KINDS | RANKS)
    case["dy"] = values(2, 2, 2, 16, seed=1)
    for argument in case:
        refuses(norm.batch_norm_pool_backward, case, argument, LAYOUTS | KINDS | RANKS)
    with pytest.raises(ValueError, match="channels"):
        norm.batch_norm_pool(values(2, 4, 4, 20), np.ones((5, 20), np.float32))
    with pytest.raises(ValueError, match="at least 2 x 2"):
        norm.batch_norm_pool(values(2, 4, 1, 16), case["factors"])
    with pytest.raises(ValueError, match="factors"):
        norm.batch_norm_pool(x, np.ones((5, 32), np.float32))
