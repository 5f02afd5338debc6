"""These tests check batch normalization of the rows that a mask counts: what the other rows hold
never matters.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.kernels import (
    FLOATS,
    KINDS,
    LAYOUTS,
    checks_out,
    eps,
    exact_stats,
    identical,
    kernels_of,
    many,
    refuses,
    same_bits,
    values,
)

norm, twin = kernels_of("norm.")

SHAPES = (
    (1, 1),
    (3, 5),
    (17, 16),
    (100, 33),
    (8193, 1),
    (33_000, 3),
    (4, 5, 6, 7),
    (40, 9000),
    (9000, 70),
)
DENSITIES = (0.0, 0.02, 0.5, 0.98, 1.0)
every_density = pytest.mark.parametrize("density", DENSITIES)


def mask_for(x, density, seed=0):
    """Return a mask whose rows count in runs of about three."""
    rows = x.size // x.shape[-1]
    draws = np.random.default_rng((seed, rows)).random(rows // 3 + 1).repeat(3)[:rows]
    return draws < density


def factors_for(channels, dtype, seed=0):
    mean, gamma, beta = (values(channels, dtype=np.float64, seed=seed + k) for k in range(3))
    return norm.batch_norm_factors(
        mean, 0.1 + mean**2, gamma.astype(dtype), beta.astype(dtype), 1e-5, dtype
    )


def spoiled(x, mask):
    """Return x with NaN in the rows that do not count."""
    x = x.copy()
    x.reshape(-1, x.shape[-1])[~mask] = np.nan
    return x


# ------------------------------------------------------------------------------- statistics


@FLOATS
@every_density
@pytest.mark.parametrize("shape", SHAPES)
def test_statistics_are_those_of_the_rows_that_count(shape, density, dtype):
    x = values(*shape, dtype=dtype) + dtype(3)
    mask = mask_for(x, density)
    mean, var, count = norm.masked_stats(spoiled(x, mask), mask)
    assert count == mask.sum()
    assert mean.dtype == var.dtype == np.float64
    if count == 0:
        expected = np.zeros(shape[-1]), np.ones(shape[-1])
    else:
        expected = exact_stats(x.reshape(-1, shape[-1])[mask])
    np.testing.assert_allclose(mean, expected[0], rtol=10 * eps(dtype))
    np.testing.assert_allclose(var, expected[1], rtol=50 * eps(dtype), atol=eps(dtype) ** 2)
    theirs = twin.masked_stats(spoiled(x, mask), mask)
    assert theirs[2] == count
    for ours, other in zip((mean, var), theirs[:2], strict=True):
        np.testing.assert_allclose(ours, other, rtol=50 * eps(dtype), atol=eps(dtype) ** 2)


@FLOATS
def test_digits_at_large_means(dtype):
    x = (values(5000, 6, dtype=np.float64) + 1e4).astype(dtype)
    mask = mask_for(x, 0.3)
    _, var, _ = norm.masked_stats(x, mask)
    np.testing.assert_allclose(var, exact_stats(x[mask])[1], rtol=1e-4)


@FLOATS
@pytest.mark.parametrize("shape", SHAPES)
def test_a_mask_of_all_rows_is_none(shape, dtype):
    """The bits are the same, so that a batch without padding costs nothing."""
    x, dy, residual = (values(*shape, dtype=dtype, seed=k) for k in range(3))
    mask, factors = np.ones(x.size // shape[-1], bool), factors_for(shape[-1], dtype)
    for ours, plain in zip(norm.masked_stats(x, mask), norm.batch_stats(x), strict=False):
        identical(ours, plain)
    for relu in (False, True):
        for other in (None, residual):
            identical(
                norm.masked_norm_apply(x, mask, factors, other, relu),
                norm.batch_norm_apply(x, factors, other, relu),
            )
            for training in (False, True):
                ours = norm.masked_norm_backward(dy, x, mask, factors, training, relu, other, True)
                plain = norm.batch_norm_backward(dy, x, factors, training, relu, other, True)
                for a, b in zip(ours[:3], plain[:3], strict=True):
                    identical(a, b)


# ----------------------------------------------------------------------- forward and backward


def agrees(dy, x, mask, factors, relu, residual, training, dy2):
    """Check that outputs and gradients agree with the twin, up to the rounding of the terms of
    sums.
    """
    identical(
        norm.masked_norm_apply(x, mask, factors, residual, relu),
        twin.masked_norm_apply(x, mask, factors, residual, relu),
    )
    options = {
        "training": training,
        "relu": relu,
        "residual": residual,
        "masked_out": True,
        "dy2": dy2,
    }
    got = norm.masked_norm_backward(dy, x, mask, factors, **options)
    expected = twin.masked_norm_backward(dy, x, mask, factors, **options)
    g, rows = (a.reshape(-1, x.shape[-1])[mask] for a in (expected[3], x))
    total = np.abs(g).sum(axis=0, dtype=np.float64)
    reach = 1 + np.abs((rows - factors[0]) * factors[3]).max(initial=0)
    sizes = np.abs(factors[1]) * np.abs(g).max(initial=0) * reach**2, total * reach, total
    for ours, theirs, size in zip(got[:3], expected[:3], sizes, strict=True):
        assert ours.dtype == x.dtype
        assert ours.shape == theirs.shape
        assert (np.abs(ours - theirs) <= 20 * eps(x.dtype) * size).all()
    identical(got[3], expected[3])
    assert not got[0].reshape(-1, x.shape[-1])[~mask].any()
    if dy2 is None:
        plain = norm.masked_norm_backward(dy, x, mask, factors, **{**options, "masked_out": False})
        assert plain[3] is None
        for ours, again in zip(got[:3], plain[:3], strict=True):
            identical(ours, again)


@many
@given(
    rows=st.integers(0, 40),
    channels=st.integers(1, 70),
    relu=st.booleans(),
    with_residual=st.booleans(),
    training=st.booleans(),
    two=st.booleans(),
    data=st.data(),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_any_mask_is_the_twin(rows, channels, relu, with_residual, training, two, data, dtype):
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)), bool)
    x, dy, residual, dy2 = (values(rows, channels, dtype=dtype, seed=k) for k in range(4))
    agrees(
        dy,
        spoiled(x, mask),
        mask,
        factors_for(channels, dtype),
        relu,
        residual if with_residual else None,
        training,
        dy2 if two else None,
    )


@FLOATS
@every_density
@pytest.mark.parametrize("relu", (True, False))
@pytest.mark.parametrize("shape", SHAPES[3:])
def test_several_blocks_are_the_twin(shape, relu, density, dtype):
    x, dy, residual = (values(*shape, dtype=dtype, seed=k) for k in range(3))
    mask, factors = mask_for(x, density), factors_for(shape[-1], dtype)
    for other in (None, residual):
        agrees(dy, spoiled(x, mask), mask, factors, relu, other, True, None)


@FLOATS
@pytest.mark.parametrize("relu", (False, True))
def test_what_the_rows_that_do_not_count_hold(relu, dtype):
    """In those rows neither x nor dy reaches anything but the residual's gradient."""
    x, dy = values(900, 37, dtype=dtype), values(900, 37, dtype=dtype, seed=1)
    mask, factors = mask_for(x, 0.6), factors_for(37, dtype)
    clean = norm.masked_norm_backward(dy, x, mask, factors, relu=relu)
    for bad in (np.nan, np.inf):
        wild = np.where(mask[:, None], x, dtype(bad)), np.where(mask[:, None], dy, dtype(bad))
        got = norm.masked_norm_backward(wild[1], wild[0], mask, factors, relu=relu)
        for a, b in zip(got[:3], clean[:3], strict=True):
            identical(a, b)
        y = norm.masked_norm_apply(wild[0], mask, factors, relu=relu)
        assert not y[~mask].any()
        identical(y[mask], norm.batch_norm_apply(x[mask], factors, relu=relu))


@FLOATS
def test_a_residual_passes_where_nothing_counts(dtype):
    """The result is relu(residual) and its gradient. NaN stays NaN, and its gradient is 0, as
    elsewhere.
    """
    x, mask, factors = np.full((4, 1), np.nan, dtype), np.zeros(4, bool), factors_for(1, dtype)
    residual, dy = np.array([[-1], [0], [2], [np.nan]], dtype), np.full((4, 1), 3, dtype)
    y = norm.masked_norm_apply(x, mask, factors, residual, relu=True)
    np.testing.assert_array_equal(y.ravel(), [0, 0, 2, np.nan])
    dx, dgamma, dbeta, masked = norm.masked_norm_backward(
        dy, x, mask, factors, relu=True, residual=residual, masked_out=True, dy2=dy
    )
    np.testing.assert_array_equal(masked.ravel(), [0, 0, 6, 0])
    assert not dx.any() and not dgamma.any() and not dbeta.any()


@FLOATS
@pytest.mark.parametrize("channels", (64, 66))  # with 66, rows are not aligned
def test_results_larger_than_caches(channels, dtype):
    """They are written by other instructions."""
    rows = 2**25 // (channels * np.dtype(dtype).itemsize) + 3
    x = np.resize(values(1001, channels, dtype=dtype), (rows, channels))
    dy, mask, factors = x[::-1].copy(), mask_for(x, 0.5), factors_for(channels, dtype)
    y = norm.masked_norm_apply(x, mask, factors)
    dx = norm.masked_norm_backward(dy, x, mask, factors, training=False)[0]
    assert not y[~mask].any() and not dx[~mask].any()
    identical(y[mask], norm.batch_norm_apply(x[mask], factors))
    identical(dx[mask], norm.batch_norm_input_grad(dy[mask], x[mask], factors))


def test_bytes_other_than_one_count():
    x = values(5, 3)
    mask = np.array([0, 1, 2, 255, 0], np.uint8).view(bool)
    expected = exact_stats(x[1:4])
    mean, var, count = norm.masked_stats(x, mask)
    assert count == 3
    np.testing.assert_allclose((mean, var), expected, rtol=1e-5)
    y = norm.masked_norm_apply(x, mask, factors_for(3, np.float32))
    assert y[1:4].all() and not y[0].any() and not y[4].any()


@pytest.mark.parametrize("kernels", (norm, twin), ids=("native", "twin"))
def test_no_rows_and_no_channels(kernels):
    none = np.zeros(0, bool)
    for shape in ((0, 3), (3, 0), (2, 0, 4), (0,)):
        x, factors = np.ones(shape, np.float32), np.ones((5, shape[-1]), np.float32)
        mean, var, count = kernels.masked_stats(x, none)
        assert mean.shape == var.shape == (shape[-1],) and count == 0
        identical(kernels.masked_norm_apply(x, none, factors, x, relu=True), x)
        dx, dgamma, dbeta, g = kernels.masked_norm_backward(
            x, x, none, factors, True, True, x, True
        )
        assert (dx.shape, dgamma.shape, dbeta.shape, g.shape) == (
            shape,
            shape[-1:],
            shape[-1:],
            shape,
        )
        assert not dgamma.any() and not dbeta.any()


# ---------------------------------------------------------------- threads, out, bad arguments


@FLOATS
@pytest.mark.parametrize("density", (0.02, 0.7, 1.0))
@pytest.mark.parametrize("shape", ((70_001, 1), (9001, 33), (7, 31, 30, 16), (20, 5000)))
def test_any_number_of_threads_gives_the_same_bits(shape, density, dtype):
    x, dy, residual = (values(*shape, dtype=dtype, seed=k) for k in range(3))
    mask, factors = mask_for(x, density), factors_for(shape[-1], dtype)
    same_bits(lambda **case: norm.masked_stats(**case)[:2], {"x": x, "mask": mask})
    common = {"x": x, "mask": mask, "factors": factors}
    for relu in (False, True):
        same_bits(norm.masked_norm_apply, {**common, "residual": residual, "relu": relu})
        for options in ({}, {"training": False}, {"residual": residual, "masked_out": True}):
            same_bits(norm.masked_norm_backward, {**common, "dy": dy, "relu": relu, **options})


@FLOATS
@pytest.mark.parametrize("relu", (True, False))
def test_arrays_to_fill(relu, dtype):
    """dx and the masked gradient are written to the given arrays, and returned."""
    x, dy, residual, dy2 = (values(50, 7, dtype=dtype, seed=k) for k in range(4))
    mask, factors = mask_for(x, 0.6), factors_for(7, dtype)
    for module in (norm, twin):
        for two in (None, dy2):
            case = (dy, x, mask, factors, True, relu, residual)
            expected = module.masked_norm_backward(*case, True, two)
            dx, g = np.full_like(x, 7), np.full_like(x, 7)
            got = module.masked_norm_backward(*case, g, two, dx)
            assert got[0] is dx and got[3] is g
            for a, b in zip(got, expected, strict=True):
                identical(a, b)


def test_arrays_to_fill_share_no_memory():
    x, dy, residual, dy2 = (values(50, 7, seed=k) for k in range(4))
    case = {
        "dy": dy,
        "x": x,
        "mask": mask_for(x, 0.6),
        "factors": factors_for(7, np.float32),
        "relu": True,
        "residual": residual,
        "dy2": dy2,
        "masked_out": np.empty_like(x),
    }
    for name in ("dy", "x", "residual", "dy2", "masked_out"):
        with pytest.raises(ValueError, match=f"masked_norm_backward: out overlaps {name}"):
            norm.masked_norm_backward(**case, out=case[name])
        if name != "masked_out":
            with pytest.raises(
                ValueError, match=f"masked_norm_backward: masked_out overlaps {name}"
            ):
                norm.masked_norm_backward(**{**case, "masked_out": case[name]})


def test_out_is_filled_and_bad_arrays_are_refused():
    x, dy, dy2 = (values(6, 7, seed=k) for k in range(3))
    mask = np.array([1, 0, 1, 1, 0, 0], bool)
    case = {"x": x, "mask": mask, "factors": factors_for(7, np.float32), "residual": dy2}
    masks = {
        "strided": lambda m: np.repeat(m, 2)[::2],
        "list": lambda m: m.tolist(),
        "uint8": lambda m: m.view(np.uint8),
        "float": lambda m: m.astype(np.float32),
        "number": lambda m: True,
        "object": lambda m: m.astype(object),
        "axis more": lambda m: m[:, None],
        "shorter": lambda m: m[1:],
        "longer": lambda m: np.append(m, True),
    }
    wrong = {
        "float64": lambda a: a.astype(np.float64),
        "longer": lambda a: np.append(a, a[:1], 0),
        "wider": lambda a: np.append(a, a[:, :1], 1),
    }
    checks_out(norm.masked_norm_apply, case)
    refuses(norm.masked_stats, {"x": x, "mask": mask}, "x", LAYOUTS | KINDS)
    backward = {**case, "dy": dy, "relu": True, "masked_out": True, "dy2": dy2}
    for kernel, arguments, names in (
        (norm.masked_norm_apply, case, ("factors", "residual")),
        (norm.masked_norm_backward, backward, ("dy", "factors", "residual", "dy2")),
    ):
        for name in ("x", *names):
            refuses(kernel, arguments, name, LAYOUTS | KINDS)
        for name in names:
            refuses(kernel, arguments, name, wrong)
    for kernel, arguments in (
        (norm.masked_stats, {"x": x, "mask": mask}),
        (norm.masked_norm_apply, case),
        (norm.masked_norm_backward, backward),
    ):
        refuses(kernel, arguments, "mask", masks)
    with pytest.raises(ValueError, match="masked_norm_backward: dy2 needs masked_out"):
        norm.masked_norm_backward(**{**backward, "masked_out": False})
    with pytest.raises(ValueError, match="masked_stats: x needs a channel axis"):
        norm.masked_stats(np.array(1.0), mask)


def test_huge_means_of_float64_have_a_variance():
    x = np.full((8, 3), 1e200)
    mask = np.array([False, True] * 4)
    mean, var, count = norm.masked_stats(x, mask)
    assert (mean == 1e200).all() and (var == 0).all() and count == 4
