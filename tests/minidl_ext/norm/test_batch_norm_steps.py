"""These tests check the steps of a normalization's backward separately: sums, what follows from
them, and dx.

batch_norm_backward, which is these steps one after the other, is tested in test_batch_norm.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.kernel_convs import factors_for, whole_factors
from tests.support.kernels import (
    FLOATS,
    KINDS,
    LAYOUTS,
    NORM_SHAPES,
    checks_out,
    eps,
    identical,
    kernels_of,
    many,
    refuses,
    same_bits,
    values,
    whole,
)

native, twin = kernels_of("norm.")


def whole_case(*shape, dtype=np.float32, residual=False, relu=True):
    """Return arguments for which sums and dx are exact."""
    return {
        "dy": whole(*shape, dtype=dtype),
        "x": whole(*shape, dtype=dtype, seed=1),
        "factors": whole_factors(shape[-1]).astype(dtype),
        "relu": relu,
        "residual": whole(*shape, dtype=dtype, seed=2) if residual else None,
    }


def agree(case, centre):
    for masked_out in (False, True):
        sums, masked = native.batch_norm_sums(**case, masked_out=masked_out)
        expected, expected_masked = twin.batch_norm_sums(**case, masked_out=masked_out)
        identical(sums, expected)
        if masked_out:
            identical(masked, expected_masked)
        else:
            assert masked is expected_masked is None
    for slope_and_offset in (centre, None):
        identical(
            native.batch_norm_input_grad(**case, centre=slope_and_offset),
            twin.batch_norm_input_grad(**case, centre=slope_and_offset),
        )


@many
@given(
    rows=st.integers(0, 40),
    channels=st.integers(1, 70),
    relu=st.booleans(),
    residual=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_any_shape_gives_the_results_of_the_twin(rows, channels, relu, residual, dtype):
    agree(
        whole_case(rows, channels, dtype=dtype, residual=residual, relu=relu),
        whole(2, channels, dtype=dtype, seed=3),
    )


@FLOATS
@pytest.mark.parametrize("shape", NORM_SHAPES[4:])
def test_blocks_and_chunks(shape, dtype):
    agree(whole_case(*shape, dtype=dtype, residual=True), whole(2, shape[-1], dtype=dtype, seed=3))


@FLOATS
@pytest.mark.parametrize("count", (1, 7, 100_000))
def test_what_follows_from_the_sums(count, dtype):
    for channels in (0, 1, 5, 70):
        sums = values(2, channels, dtype=np.float64) * count
        factors = values(5, channels, dtype=dtype)
        factors[4] *= dtype(1e-7)
        for got, expected in zip(
            native.batch_norm_finish(sums, factors, count),
            twin.batch_norm_finish(sums, factors, count),
            strict=True,
        ):
            assert got.dtype == dtype
            assert got.shape == expected.shape
            np.testing.assert_allclose(got, expected, rtol=4 * eps(dtype))


@FLOATS
@pytest.mark.parametrize("training", (True, False))
@pytest.mark.parametrize("relu", (True, False))
@pytest.mark.parametrize("shape", ((3, 5), (9000, 33), (7, 9, 8, 32)))
def test_batch_norm_backward_is_the_steps(shape, relu, training, dtype):
    x, dy, residual = (values(*shape, dtype=dtype, seed=seed) for seed in range(3))
    factors = factors_for(x)
    for other in (None, residual):
        sums, masked = native.batch_norm_sums(dy, x, factors, relu, other, masked_out=True)
        dgamma, dbeta, centre = native.batch_norm_finish(sums, factors, x.size // shape[-1])
        dx = native.batch_norm_input_grad(dy, x, factors, relu, other, centre if training else None)
        whole_pass = native.batch_norm_backward(dy, x, factors, training, relu, other, True)
        for got, expected in zip((dx, dgamma, dbeta, masked), whole_pass, strict=True):
            identical(got, expected)


@FLOATS
@pytest.mark.parametrize("argument", ("dy", "x"))
@pytest.mark.parametrize("bad", (np.nan, np.inf))
def test_bad_values_stay_in_their_channel(bad, argument, dtype):
    case = whole_case(900, 37, dtype=dtype)
    case["factors"][:3, 36] = 0, 1, 30  # a ReLU lets the row pass
    clean = native.batch_norm_sums(**case)[0], native.batch_norm_input_grad(**case)
    case[argument][123, 36] = bad
    sums, dx = native.batch_norm_sums(**case)[0], native.batch_norm_input_grad(**case)
    with np.errstate(invalid="ignore"):
        identical(sums, twin.batch_norm_sums(**case)[0])
        identical(dx, twin.batch_norm_input_grad(**case))
    identical(np.delete(sums, 36, 1), np.delete(clean[0], 36, 1))
    identical(np.delete(dx, 36, 1), np.delete(clean[1], 36, 1))
    assert not np.isfinite(sums[1, 36]) or (argument == "x" and np.isnan(bad))
    assert (argument == "dy") == (not np.isfinite(dx[123, 36]))


def test_bad_sums_stay_in_their_channel():
    sums, factors = values(2, 9, dtype=np.float64), values(5, 9)
    clean = native.batch_norm_finish(sums, factors, 10)
    sums[0, 4] = np.nan
    for before, after in zip(clean, native.batch_norm_finish(sums, factors, 10), strict=True):
        identical(np.delete(after, 4, -1), np.delete(before, 4, -1))
        assert np.isnan(after[..., 4]).any()


@FLOATS
@pytest.mark.parametrize("shape", ((70_001, 1), (9001, 33), (7, 31, 30, 16), (11, 7, 7, 272)))
def test_any_number_of_threads_gives_the_same_bits(shape, dtype):
    x, dy, residual = (values(*shape, dtype=dtype, seed=seed) for seed in range(3))
    case = {"dy": dy, "x": x, "factors": factors_for(x), "relu": True, "residual": residual}
    same_bits(native.batch_norm_sums, {**case, "masked_out": True})
    same_bits(native.batch_norm_input_grad, {**case, "centre": values(2, shape[-1], dtype=dtype)})


WRONG = {"longer": lambda a: np.append(a, a[:1], 0), "wider": lambda a: np.append(a, a[:, :1], 1)}
OTHER_FLOAT = {"float64": lambda a: a.astype(np.float64)}


def test_bad_arrays_are_refused():
    x, dy = values(6, 7), values(6, 7, seed=1)
    case = {"dy": dy, "x": x, "factors": factors_for(x), "relu": True, "residual": dy}
    centred = {**case, "centre": values(2, 7)}
    for kernel, arguments in (
        (native.batch_norm_sums, case),
        (native.batch_norm_input_grad, centred),
    ):
        refuses(kernel, arguments, "x", LAYOUTS | KINDS)
        for name in set(arguments) - {"x", "relu"}:
            refuses(kernel, arguments, name, LAYOUTS | KINDS | WRONG | OTHER_FLOAT)
    case = {"sums": values(2, 7, dtype=np.float64), "factors": factors_for(x), "count": 6}
    other = {"sums": {"float32": lambda a: a.astype(np.float32)}, "factors": {}}
    for name, kinds in other.items():
        refuses(native.batch_norm_finish, case, name, LAYOUTS | KINDS | WRONG | kinds)


@pytest.mark.parametrize("kernel", (native.batch_norm_sums, native.batch_norm_input_grad))
def test_a_scalar_has_no_channels(kernel):
    with pytest.raises(ValueError, match=f"{kernel.__name__}: x needs a channel axis"):
        kernel(np.array(1.0), np.array(1.0), np.ones((5, 1)))


@FLOATS
@pytest.mark.parametrize("relu", (True, False))
@pytest.mark.parametrize("residual", (True, False))
@pytest.mark.parametrize("shape", ((1, 1), (37, 5), (900, 70), (33_000, 3)))
def test_dy_in_two_parts(shape, residual, relu, dtype):
    """They are added while they are read, and the masked sum is written to an output."""
    case = whole_case(*shape, dtype=dtype, residual=residual, relu=relu)
    dy2 = whole(*shape, dtype=dtype, seed=5)
    added = {**case, "dy": case["dy"] + dy2, "masked_out": True}
    sums, masked = native.batch_norm_sums(**case, masked_out=True, dy2=dy2)
    expected, expected_masked = native.batch_norm_sums(**added)
    identical(sums, expected)
    identical(masked, expected_masked)
    for one, two in zip(
        native.batch_norm_backward(**case, masked_out=True, dy2=dy2),
        native.batch_norm_backward(**added),
        strict=True,
    ):
        identical(one, two)
    same_bits(native.batch_norm_sums, {**case, "masked_out": True, "dy2": dy2})


def test_what_a_second_part_has_to_be():
    case = {**whole_case(37, 5), "masked_out": True, "dy2": whole(37, 5)}
    for kernel in (native.batch_norm_sums, native.batch_norm_backward):
        refuses(kernel, case, "dy2", LAYOUTS | KINDS)
    with pytest.raises(ValueError, match="dy2 needs masked_out"):
        native.batch_norm_sums(**whole_case(4, 3), dy2=whole(4, 3))


@FLOATS
@pytest.mark.parametrize("relu", (True, False))
def test_arrays_to_fill(relu, dtype):
    """dx and the masked gradient are written to the given arrays, and returned."""
    x, dy, residual, dy2 = (values(50, 7, dtype=dtype, seed=k) for k in range(4))
    factors, centre = whole_factors(7).astype(dtype), values(2, 7, dtype=dtype, seed=5)
    for module in (native, twin):
        for two in (None, dy2):
            expected = module.batch_norm_backward(dy, x, factors, True, relu, residual, True, two)
            dx, g, again = (np.full_like(x, 7) for _ in range(3))
            got = module.batch_norm_backward(dy, x, factors, True, relu, residual, g, two, dx)
            assert got[0] is dx and got[3] is g
            for a, b in zip(got, expected, strict=True):
                identical(a, b)
            sums, masked = module.batch_norm_sums(dy, x, factors, relu, residual, again, two)
            assert masked is again
            identical(masked, expected[3])
            identical(sums, module.batch_norm_sums(dy, x, factors, relu, residual, True, two)[0])
        for c in (centre, None):
            out = np.full_like(x, 7)
            assert module.batch_norm_input_grad(dy, x, factors, relu, residual, c, out) is out
            identical(out, module.batch_norm_input_grad(dy, x, factors, relu, residual, c))


def test_bad_arrays_to_fill_are_refused():
    x, dy, residual, dy2 = (values(6, 7, seed=k) for k in range(4))
    factors = whole_factors(7)
    checks_out(
        native.batch_norm_input_grad,
        {
            "dy": dy,
            "x": x,
            "factors": factors,
            "relu": True,
            "residual": residual,
            "centre": factors[:2].copy(),
        },
    )
    case = {"dy": dy, "x": x, "factors": factors, "relu": True, "residual": residual, "dy2": dy2}
    locked = x.copy()
    locked.flags.writeable = False
    for bad in (
        x[1:].copy(),
        x.astype(np.float64),
        np.asfortranarray(x),
        x.tolist(),
        locked,
        1,
        dy,
        x,
        residual,
        dy2,
    ):
        for kernel in (native.batch_norm_sums, native.batch_norm_backward):
            with pytest.raises((TypeError, ValueError), match=f"{kernel.__name__}: masked_out"):
                kernel(**case, masked_out=bad)
        with pytest.raises((TypeError, ValueError), match="batch_norm_backward: out"):
            native.batch_norm_backward(**case, masked_out=True, out=bad)
    with pytest.raises(ValueError, match="out overlaps"):
        native.batch_norm_backward(**case, masked_out=locked.copy(), out=x)
    g = np.empty_like(x)
    with pytest.raises(ValueError, match="batch_norm_backward: out overlaps masked_out"):
        native.batch_norm_backward(**case, masked_out=g, out=g)


@pytest.mark.parametrize("scale", [1e-35, 1e-25, 1e-20, 1e-19, 1e19, 1e20, 1e25, 1e35])
def test_gradients_of_tiny_and_huge_values(scale):
    """rstd times rstd would leave the range of float32, but the gradient itself does not."""
    z, dy = values(256, 8, dtype=np.float64), values(256, 8, seed=1)
    x = (z * scale).astype(np.float32)
    mean, var = native.batch_stats(x)
    factors = native.batch_norm_factors(mean, var, None, None, 0.0, np.float32)
    dx, dgamma, *_ = native.batch_norm_backward(dy, x, factors)
    exact = x.astype(np.float64) / scale
    xhat = (exact - exact.mean(axis=0)) / exact.std(axis=0)
    g = dy.astype(np.float64)
    expected = (g - g.mean(axis=0) - xhat * (g * xhat).mean(axis=0)) / exact.std(axis=0) / scale
    assert np.abs(dx - expected).max() <= 1e-6 * np.abs(expected).max()
    np.testing.assert_allclose(dgamma, (g * xhat).sum(axis=0), rtol=1e-4, atol=1e-4)
