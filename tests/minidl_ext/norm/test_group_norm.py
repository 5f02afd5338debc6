"""These tests check the kernels of group normalization: digits, the twin, threads, bad input."""

import numpy as np
import pytest

from minidl.kernels.reference.norm import group_norm as twin
from minidl_ext.norm import group_norm as native
from tests.support.kernels import FLOATS, KINDS, LAYOUTS, close, eps, refuses, same_bits, values

SHAPES = (
    (1, 3, 1, 1),
    (2, 1, 8, 2),
    (3, 5, 6, 3),
    (2, 49, 16, 4),
    (3, 50, 17, 1),
    (2, 64, 32, 32),
    (4, 9, 70, 7),
    (1, 2000, 64, 8),
    (2, 700, 3, 3),
    (0, 4, 4, 2),
    (5, 1, 130, 1),
)


CENTRES = pytest.mark.parametrize("centre", (True, False), ids=("group", "rms"))


def case(n, positions, channels, groups, dtype, affine=True, centre=True):
    """Return keyword arguments of the forward."""
    return {
        "x": values(n, positions, channels, dtype=dtype),
        "gamma": values(channels, dtype=dtype, seed=1) if affine else None,
        "beta": values(channels, dtype=dtype, seed=2) if affine else None,
        "groups": groups,
        "eps": 1e-5,
        "centre": centre,
    }


def backward_case(*shape, dtype, affine=True, centre=True):
    forward = case(*shape, dtype, affine, centre)
    return {
        "dy": values(*forward["x"].shape, dtype=dtype, seed=3),
        "x": forward["x"],
        "gamma": forward["gamma"],
        "factors": twin.group_norm(**forward)[1],
        "groups": shape[3],
        "centre": centre,
    }


@FLOATS
@CENTRES
@pytest.mark.parametrize("affine", (True, False))
@pytest.mark.parametrize("shape", SHAPES)
def test_results_are_those_of_the_twin(shape, affine, centre, dtype):
    forward = case(*shape, dtype, affine, centre)
    y, factors = native.group_norm(**forward)
    expected, expected_factors = twin.group_norm(**forward)
    assert y.dtype == factors.dtype == dtype
    close(y, expected, 16 * eps(dtype))
    close(factors[:, :4], expected_factors[:, :4], 16 * eps(dtype))
    backward = backward_case(*shape, dtype=dtype, affine=affine, centre=centre)
    *gradients, sums = native.group_norm_backward(**backward)
    *expected_gradients, expected_sums = twin.group_norm_backward(**backward)
    for got, expected in zip(gradients, expected_gradients, strict=True):
        assert got.dtype == expected.dtype == dtype
        close(got, expected, 256 * eps(dtype))
    assert sums.dtype == expected_sums.dtype == np.float64
    close(sums, expected_sums, 256 * eps(dtype))


@FLOATS
def test_an_eps_of_each_group(dtype):
    forward = case(3, 20, 6, 3, dtype) | {"eps": np.array([0.0, 1e-3, 2.0])}
    y, factors = native.group_norm(**forward)
    expected, expected_factors = twin.group_norm(**forward)
    close(y, expected, 16 * eps(dtype))
    close(factors, expected_factors, 16 * eps(dtype))
    for k, of_one in enumerate(forward["eps"]):
        alone = native.group_norm(**forward | {"eps": of_one})[0]
        np.testing.assert_array_equal(y[..., 2 * k : 2 * k + 2], alone[..., 2 * k : 2 * k + 2])
    refuses(
        native.group_norm,
        forward,
        "eps",
        LAYOUTS
        | {"float32": lambda a: a.astype(np.float32), "longer": lambda a: np.append(a, a[:1])},
    )


@pytest.mark.parametrize("groups", (1, 4, 16))
@pytest.mark.parametrize("ratio", (1e2, 1e4))
def test_digits_at_large_means(ratio, groups):
    x = (values(3, 200, 16) + np.float32(ratio)).astype(np.float32)
    parts = x.astype(np.longdouble).reshape(3, 200, groups, -1)
    mean, var = parts.mean((1, 3), keepdims=True), parts.var(axis=(1, 3), keepdims=True)
    exact = ((parts - mean) / np.sqrt(var + 1e-5)).astype(np.float64).reshape(x.shape)
    close(native.group_norm(x, None, None, groups, 1e-5)[0], exact, 1e-6)


@FLOATS
@pytest.mark.parametrize(
    ("shape", "mean"),
    (((2, 300, 16, 16), 0), ((2, 300, 16, 4), 3), ((3, 2000, 32, 32), 1e4), ((2, 1, 8, 8), 1)),
)
def test_without_centre_the_variance_is_the_mean_square(shape, mean, dtype):
    """The result is that of the formula in extended precision, and so is its gradient."""
    forward = case(*shape, dtype, centre=False)
    x = forward["x"] = (forward["x"] + dtype(mean)).astype(dtype)
    n, positions, channels, groups = shape
    parts = x.astype(np.longdouble).reshape(n, positions, groups, -1)
    rstd = 1 / np.sqrt((parts**2).mean((1, 3), keepdims=True) + 1e-5)
    xhat = (parts * rstd).reshape(x.shape)
    y, factors = native.group_norm(**forward)
    close(y, xhat * forward["gamma"] + forward["beta"], 8 * eps(dtype))
    assert not factors[:, [0, 4]].any()  # the two parts of the mean
    np.testing.assert_array_equal(factors[:, 2], np.broadcast_to(forward["beta"], (n, channels)))
    dy = values(*x.shape, dtype=dtype, seed=3)
    g = dy.astype(np.longdouble) * forward["gamma"]
    product = (g * xhat).reshape(parts.shape).mean((1, 3), keepdims=True)
    exact = rstd * (g.reshape(parts.shape) - xhat.reshape(parts.shape) * product)
    got = native.group_norm_backward(dy, x, forward["gamma"], factors, groups, False)
    if positions > 1:  # of a single value, dx cancels
        close(got[0], exact.reshape(x.shape), 64 * eps(dtype))
    close(got[1], (dy * xhat).sum((0, 1)), 64 * eps(dtype))
    close(got[2], dy.astype(np.longdouble).sum((0, 1)), 64 * eps(dtype))


@FLOATS
@CENTRES
def test_bad_values_stay_in_their_group(centre, dtype):
    clean = case(3, 20, 16, 4, dtype, centre=centre)
    x = clean["x"].copy()
    x[1, 7, 5] = np.nan  # in image 1, channels 4 to 7
    y, factors = native.group_norm(**clean | {"x": x})
    hit = np.zeros(x.shape, bool)
    hit[1, :, 4:8] = True
    np.testing.assert_array_equal(np.isnan(y), hit)
    np.testing.assert_array_equal(y[~hit], native.group_norm(**clean)[0][~hit])
    dx, *_ = native.group_norm_backward(
        values(3, 20, 16, dtype=dtype), x, clean["gamma"], factors, 4, centre
    )
    np.testing.assert_array_equal(np.isnan(dx), hit)


@FLOATS
@CENTRES
@pytest.mark.parametrize("groups", (1, 8, 32))
def test_any_number_of_threads_gives_the_same_bits(groups, centre, dtype):
    same_bits(native.group_norm, case(7, 300, 32, groups, dtype, centre=centre))
    same_bits(
        native.group_norm_backward, backward_case(7, 300, 32, groups, dtype=dtype, centre=centre)
    )


def test_bad_arrays_are_refused():
    forward = case(2, 5, 6, 3, np.float32)
    backward = backward_case(2, 5, 6, 3, dtype=np.float32)
    for name in ("x", "gamma", "beta"):
        refuses(native.group_norm, forward, name, LAYOUTS | KINDS)
    for name in ("dy", "x", "gamma", "factors"):
        refuses(native.group_norm_backward, backward, name, LAYOUTS | KINDS)
    refuses(native.group_norm, forward, "gamma", {"longer": lambda a: np.append(a, a[:1])})
    refuses(native.group_norm_backward, backward, "factors", {"fewer": lambda a: a[:1].copy()})
    for groups in (0, -1, 4):
        with pytest.raises(ValueError, match=f"group_norm: x .* groups={groups}"):
            native.group_norm(**forward | {"groups": groups})
    with pytest.raises(ValueError, match="group_norm: images of x"):
        native.group_norm(values(2, 0, 4), None, None, 2, 1e-5)


def test_eps_is_a_real_number():
    with pytest.raises(TypeError):
        native.group_norm(values(1, 2, 4), None, None, 2, 1j)
