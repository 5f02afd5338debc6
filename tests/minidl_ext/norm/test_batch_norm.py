"""These tests check batch normalization and its gradient: large means cost no digits, and the masks
are those of the forward pass.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.kernels import (
    FLOATS,
    KINDS,
    LAYOUTS,
    NORM_SHAPES,
    checks_out,
    close,
    eps,
    exact_stats,
    identical,
    kernels_of,
    many,
    refuses,
    same_bits,
    values,
)

native, twin = kernels_of("norm.")


def factors_for(x, seed=0, eps=1e-5):
    """Return factors of x's own statistics, with a gamma and a beta."""
    gamma = values(x.shape[-1], dtype=x.dtype, seed=seed) + x.dtype.type(0.1)
    beta = values(x.shape[-1], dtype=x.dtype, seed=seed + 1)
    return twin.batch_norm_factors(*exact_stats(x), gamma, beta, eps, x.dtype)


# ---------------------------------------------------------------------------------- forward


@FLOATS
@pytest.mark.parametrize("gamma", (True, False))
@pytest.mark.parametrize("beta", (True, False))
def test_factors(gamma, beta, dtype):
    for channels in (0, 1, 5, 70):
        mean, var = values(channels, dtype=np.float64), values(channels, dtype=np.float64) ** 2
        case = (
            mean,
            var,
            values(channels, dtype=dtype, seed=2) if gamma else None,
            values(channels, dtype=dtype, seed=3) if beta else None,
            1e-5,
        )
        for spelling in (dtype, np.dtype(dtype), np.dtype(dtype).name):
            got, expected = (
                native.batch_norm_factors(*case, spelling),
                twin.batch_norm_factors(*case, dtype),
            )
            assert got.dtype == expected.dtype
            np.testing.assert_allclose(got, expected, rtol=2 * eps(dtype), atol=eps(dtype) ** 2)


@many
@given(
    rows=st.integers(0, 40),
    channels=st.integers(1, 70),
    relu=st.booleans(),
    with_residual=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_any_shape_gives_the_results_of_the_twin(rows, channels, relu, with_residual, dtype):
    x = values(rows, channels, dtype=dtype)
    factors = factors_for(x) if rows else np.ones((5, channels), dtype)
    residual = values(rows, channels, dtype=dtype, seed=3) if with_residual else None
    y = native.batch_norm_apply(x, factors, residual, relu)
    identical(y, twin.batch_norm_apply(x, factors, residual, relu))
    dy = values(rows, channels, dtype=dtype, seed=4)
    agrees_backward(dy, x, factors, relu=relu, residual=residual, training=rows > 0)


@FLOATS
@pytest.mark.parametrize("counts", (True, False))
def test_running_statistics_are_the_twins(dtype, counts):
    mean, var = native.batch_stats(values(50, 37, dtype=dtype, seed=1))
    results = []
    for kernel in (native.running_update, twin.running_update):
        running = values(37, dtype=dtype), np.abs(values(37, dtype=dtype, seed=2))
        batches = np.array(3) if counts else None
        assert kernel(*running, batches, mean, var, 0.1, 50 / 49) is None
        assert batches is None or batches == 4
        results.append(running)
    for one, other in zip(*results, strict=True):
        identical(one, other)


@pytest.mark.parametrize(
    "place, value",
    [
        (0, np.zeros(4, np.float32)),
        (1, np.zeros(4)),
        (0, np.zeros((3, 1))),
        (1, np.zeros(6)[::2]),
        (2, np.zeros((), np.int32)),
        (2, np.zeros(1, np.int64)),
        (3, np.zeros(3, np.float32)),
        (4, np.zeros(4)),
        (0, None),
        (2, 3),
    ],
)
def test_running_statistics_that_do_not_fit_are_left_alone(place, value):
    args = [np.ones(3), np.ones(3), np.array(0), np.zeros(3), np.zeros(3), 0.5, 1.0]
    args[place] = value
    before = [np.copy(a) for a in args]
    with pytest.raises((TypeError, ValueError)):
        native.running_update(*args)
    frozen = np.ones(3)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        native.running_update(np.ones(3), frozen, None, np.zeros(3), np.zeros(3), 0.5, 1.0)
    for a, b in zip(args, before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kernel", (native.running_update, twin.running_update))
@pytest.mark.parametrize(
    ("one", "other"), ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (1, 3), (1, 4), (2, 3), (2, 4))
)
def test_running_statistics_share_no_memory(kernel, one, other):
    names = "running_mean", "running_var", "num_batches", "mean", "var"
    for shift in (0, 1):
        args = [np.ones(3), np.ones(3), np.array(1), np.ones(3), np.ones(3)]
        memory = np.ones(4)
        args[one] = memory[shift : shift + 3]
        args[other] = memory[:3]
        for k in (one, other):
            if k == 2:
                args[k] = memory.view(np.int64)[1:2].reshape(())
        before = [a.copy() for a in args]
        with pytest.raises(ValueError, match=r"running_update: .* overlaps .* in memory") as info:
            kernel(*args, 0.5, 1.0)
        assert names[one] in str(info.value)
        assert names[other] in str(info.value)
        for a, b in zip(args, before, strict=True):
            np.testing.assert_array_equal(a, b)
    batch = np.ones(3)  # it is only read
    kernel(np.zeros(3), np.zeros(3), None, batch, batch, 0.5, 1.0)


@FLOATS
@pytest.mark.parametrize("ratio", (0, 1e2, 1e4, 1e6))
def test_digits_at_large_means(ratio, dtype):
    """With a mean in two parts, y is right to 1e-6 of a standard deviation whatever the mean."""
    x = (values(3000, 20, dtype=np.float64) + ratio).astype(dtype)
    mean, var = native.batch_stats(x)
    factors = native.batch_norm_factors(mean, var, None, None, 0.0, dtype)
    exact_mean, exact_var = exact_stats(x)
    exact = (x.astype(np.longdouble) - exact_mean) / np.sqrt(exact_var)
    error = np.abs(native.batch_norm_apply(x, factors) - exact).max()
    assert error <= (1e-6 if dtype == np.float32 else 1e-9)
    if dtype == np.float32 and ratio == 1e4:
        scale = (1 / np.sqrt(exact_var)).astype(dtype)
        folded = x * scale - (exact_mean * scale).astype(dtype)
        assert np.abs(folded - exact).max() > 1e-4  # the error that A x + B would have


@FLOATS
@pytest.mark.parametrize("bad", (np.nan, np.inf, -np.inf))
@pytest.mark.parametrize("position", (0, 4321, 8999))
def test_bad_values_stay_in_their_channel(position, bad, dtype):
    x, dy = values(9000, 20, dtype=dtype), values(9000, 20, dtype=dtype, seed=1)
    factors = factors_for(x)
    clean = (*native.batch_stats(x), *native.batch_norm_backward(dy, x, factors)[:3])
    spoiled = x.copy()
    spoiled[position, 7] = bad
    got = (*native.batch_stats(spoiled), *native.batch_norm_backward(dy, spoiled, factors)[:3])
    for before, after in zip(clean, got, strict=True):
        np.testing.assert_array_equal(np.delete(after, 7, -1), np.delete(before, 7, -1))
    assert np.isnan(got[1][7])
    assert not np.isfinite(got[0][7])
    assert not np.isfinite(got[3][7])
    for relu in (False, True):
        before = native.batch_norm_apply(x, factors, relu=relu)
        after = native.batch_norm_apply(spoiled, factors, relu=relu)
        assert np.isnan(after[position, 7]) == np.isnan(bad)
        after[position, 7] = before[position, 7]
        identical(after, before)


@FLOATS
@pytest.mark.parametrize("bad", (np.nan, np.inf))
@pytest.mark.parametrize("training", (True, False))
@pytest.mark.parametrize("relu", (True, False))
def test_bad_gradients_stay_in_their_channel(relu, training, bad, dtype):
    """In training they reach all of their channel, otherwise only the value that they belong to."""
    x, dy = values(900, 37, dtype=dtype), values(900, 37, dtype=dtype, seed=1)
    factors = factors_for(x)
    row = int(np.argmax(twin.batch_norm_apply(x, factors)[:, 36]))  # a ReLU lets it pass
    spoiled = dy.copy()
    spoiled[row, 36] = bad
    options = {"training": training, "relu": relu, "masked_out": True}
    clean = native.batch_norm_backward(dy, x, factors, **options)
    got = native.batch_norm_backward(spoiled, x, factors, **options)
    for before, after in zip(clean, got, strict=True):
        np.testing.assert_array_equal(after[..., :36], before[..., :36])
    dx, dgamma, dbeta, masked = got
    assert not np.isfinite([dgamma[36], dbeta[36], masked[row, 36], dx[row, 36]]).any()
    if training:
        assert not np.isfinite(dx[:, 36]).any()
    else:
        identical(np.delete(dx, row, axis=0), np.delete(clean[0], row, axis=0))


# --------------------------------------------------------------------------------- backward


def agrees_backward(dy, x, factors, **options):
    """Check that results are the twin's up to the rounding of terms of sums, which may cancel."""
    got = native.batch_norm_backward(dy, x, factors, **options, masked_out=True)
    expected = twin.batch_norm_backward(dy, x, factors, **options, masked_out=True)
    total = np.abs(dy).reshape(-1, x.shape[-1]).sum(axis=0, dtype=np.float64)
    reach = 1 + np.abs((x - factors[0]) * factors[3]).max(initial=0)
    sizes = np.abs(factors[1]) * np.abs(dy).max(initial=0) * reach**2, total * reach, total
    for ours, theirs, size in zip(got[:3], expected[:3], sizes, strict=True):
        assert ours.dtype == x.dtype
        assert ours.shape == theirs.shape
        assert (np.abs(ours - theirs) <= 20 * eps(x.dtype) * size).all()
    identical(got[3], expected[3])
    plain = native.batch_norm_backward(dy, x, factors, **options)
    assert plain[3] is None
    for ours, again in zip(got[:3], plain[:3], strict=True):
        identical(ours, again)


@FLOATS
@pytest.mark.parametrize("shape", NORM_SHAPES[2:])
@pytest.mark.parametrize("training", (True, False))
@pytest.mark.parametrize("relu", (True, False))
def test_gradients_are_those_of_the_twin(shape, training, relu, dtype):
    x, dy = values(*shape, dtype=dtype), values(*shape, dtype=dtype, seed=1)
    agrees_backward(dy, x, factors_for(x), training=training, relu=relu)


@FLOATS
@pytest.mark.parametrize("ratio", (0, 1e4))
def test_backward_against_the_formula(ratio, dtype):
    """The formula uses extended precision. Sums and dx keep their digits at large means."""
    x = (values(4000, 9, dtype=np.float64) + ratio).astype(dtype)
    dy = values(4000, 9, dtype=dtype, seed=1)
    factors = factors_for(x, eps=0)
    dx, dgamma, dbeta, _ = native.batch_norm_backward(dy, x, factors)
    mean, var = exact_stats(x)
    xhat = (x.astype(np.longdouble) - mean) / np.sqrt(var)
    scale, m = factors[1].astype(np.longdouble), len(x)
    expected_gamma, expected_beta = (dy * xhat).sum(axis=0), dy.sum(axis=0, dtype=np.longdouble)
    close(dgamma, expected_gamma, 50 * eps(dtype))
    close(dbeta, expected_beta, 50 * eps(dtype))
    close(dx, scale * (dy - expected_beta / m - xhat * expected_gamma / m), 1e-6)


@FLOATS
@pytest.mark.parametrize("shape", ((50, 7), (4000, 33), (20, 12, 12, 70)))
def test_the_mask_is_the_forwards(shape, dtype):
    """dy has whole numbers, so that sums are exact, and one element more or less would show. Values
    are close to the kink, where a mask that is computed differently would flip.
    """
    x = (values(*shape, dtype=np.float64) * 1e-6 + 3).astype(dtype)
    factors = twin.batch_norm_factors(*exact_stats(x), None, None, 1e-5, dtype)
    residual = (values(*shape, dtype=np.float64, seed=2) * 1e-7).astype(dtype)
    dy = np.random.default_rng(0).integers(1, 4, shape).astype(dtype)
    for other in (None, residual):
        y = native.batch_norm_apply(x, factors, other, relu=True)
        dx, _, dbeta, masked = native.batch_norm_backward(dy, x, factors, False, True, other, True)
        expected = np.where(y > 0, dy, dtype(0))
        assert 0.2 < (y > 0).mean() < 0.8
        identical(masked, expected)
        identical(dbeta, expected.reshape(-1, shape[-1]).sum(axis=0))
        identical(dx, factors[1] * expected)
        identical(native.batch_norm_backward(dy, x, factors, False, True, other)[0], dx)


@FLOATS
@pytest.mark.parametrize("relu", (True, False))
@pytest.mark.parametrize("channels", (64, 66))  # with 66, rows are not aligned
def test_results_larger_than_caches(channels, relu, dtype):
    """They are written by other instructions."""
    rows = 2**25 // (channels * np.dtype(dtype).itemsize) + 3
    x = np.resize(values(1001, channels, dtype=dtype), (rows, channels))
    dy, residual = x[::-1].copy(), np.roll(x, 5, axis=0)
    factors, centre = factors_for(x[:1001]), values(2, channels, dtype=dtype, seed=5)
    assert x.nbytes > 2**25 > x[: rows // 2].nbytes
    aside = np.empty(x.size + 1, dtype)[1:].reshape(x.shape)
    halves = (slice(0, rows // 2), slice(rows // 2, rows))
    for other in (None, residual):

        def part(a, half):
            return None if a is None else a[half]

        y = np.concatenate(
            [native.batch_norm_apply(x[h], factors, part(other, h), relu) for h in halves]
        )
        identical(native.batch_norm_apply(x, factors, other, relu), y)
        identical(native.batch_norm_apply(x, factors, other, relu, out=aside), y)
        for c in (centre, None):
            dx = np.concatenate(
                [
                    native.batch_norm_input_grad(dy[h], x[h], factors, relu, part(other, h), c)
                    for h in halves
                ]
            )
            identical(native.batch_norm_input_grad(dy, x, factors, relu, other, c), dx)


@pytest.mark.parametrize("kernels", (native, twin), ids=("native", "twin"))
def test_no_channels(kernels):
    x, factors = np.ones((3, 0), np.float32), np.ones((5, 0), np.float32)
    identical(kernels.batch_norm_apply(x, factors, relu=True), x)
    dx, dgamma, dbeta, _ = kernels.batch_norm_backward(x, x, factors, relu=True)
    assert (dx.shape, dgamma.shape, dbeta.shape) == ((3, 0), (0,), (0,))
    sums, masked = kernels.batch_norm_sums(x, x, factors, relu=True, masked_out=True)
    assert sums.shape == (2, 0) and masked.shape == (3, 0)


def test_unmasked_dy_is_passed_through():
    x, dy = values(6, 3), values(6, 3, seed=1)
    identical(native.batch_norm_backward(dy, x, factors_for(x), masked_out=True)[3], dy)


# ---------------------------------------------------------------- threads, out, bad arguments


@FLOATS
@pytest.mark.parametrize(
    "shape",
    ((70_001, 1), (9001, 33), (7, 31, 30, 16), (20, 5000), (6, 9, 11, 128), (11, 7, 7, 272)),
)
def test_any_number_of_threads_gives_the_same_bits(shape, dtype):
    x, dy, residual = (values(*shape, dtype=dtype, seed=seed) for seed in range(3))
    factors = factors_for(x)
    for relu in (False, True):
        same_bits(
            native.batch_norm_apply,
            {"x": x, "factors": factors, "residual": residual, "relu": relu},
        )
        for options in ({}, {"training": False}, {"residual": residual, "masked_out": True}):
            same_bits(
                native.batch_norm_backward,
                {"dy": dy, "x": x, "factors": factors, "relu": relu, **options},
            )


def test_out_is_filled_and_bad_arrays_are_refused():
    x, dy = values(6, 7), values(6, 7, seed=1)
    kinds = LAYOUTS | KINDS
    case = {"x": x, "factors": factors_for(x), "residual": dy}
    checks_out(native.batch_norm_apply, case)
    wrong = {
        "float64": lambda a: a.astype(np.float64),
        "longer": lambda a: np.append(a, a[:1], 0),
        "wider": lambda a: np.append(a, a[:, :1], 1),
    }
    for name in ("x", "factors", "residual"):
        refuses(native.batch_norm_apply, case, name, kinds)
    for name in ("factors", "residual"):
        refuses(native.batch_norm_apply, case, name, wrong)
    case = {"dy": dy, "x": x, "factors": factors_for(x), "relu": True, "residual": dy}
    for name in ("dy", "x", "factors", "residual"):
        refuses(native.batch_norm_backward, case, name, kinds)
    for name in ("dy", "factors", "residual"):
        refuses(native.batch_norm_backward, case, name, wrong)


def test_bad_arguments_of_the_factors_are_refused():
    mean, gamma = values(4, dtype=np.float64), values(4)
    case = {
        "mean": mean,
        "var": mean**2,
        "gamma": gamma,
        "beta": gamma,
        "eps": 1e-5,
        "dtype": np.float32,
    }
    native.batch_norm_factors(**case)
    kinds = {
        "axis more": lambda a: a[None],
        "other float": lambda a: a.astype(np.float32 if a.dtype == np.float64 else np.float64),
    }
    for name in ("mean", "var", "gamma", "beta"):
        refuses(native.batch_norm_factors, case, name, LAYOUTS | KINDS | kinds)
    for name in ("var", "gamma", "beta"):
        refuses(native.batch_norm_factors, case, name, {"longer": lambda a: np.append(a, a[:1])})
    for dtype in (np.float16, np.int32, "nonsense"):
        with pytest.raises((TypeError, ValueError)):
            native.batch_norm_factors(**{**case, "gamma": None, "beta": None, "dtype": dtype})


def test_a_scalar_has_no_channels():
    with pytest.raises(ValueError, match="batch_norm_apply: x needs a channel axis"):
        native.batch_norm_apply(np.array(1.0), np.ones((5, 1)))
