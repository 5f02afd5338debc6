"""These tests check the kernels of layer and root-mean-square normalization: digits, the twin,
threads, bad input.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl.kernels.reference.norm import layer_norm as twin
from minidl_ext.norm import layer_norm as native
from tests.support.kernels import (
    FLOATS,
    KINDS,
    LAYOUTS,
    close,
    eps,
    many,
    refuses,
    same_bits,
    values,
)

SHAPES = (
    (1, 1),
    (1, 7),
    (3, 16),
    (5, 17),
    (33, 64),
    (40, 70),
    (7, 1000),
    (2, 5000),
    (0, 5),
    (700, 3),
)


def case(rows, columns, dtype, affine=True, centre=True):
    """Return keyword arguments of the forward."""
    return {
        "x": values(rows, columns, dtype=dtype),
        "gamma": values(columns, dtype=dtype, seed=1) if affine else None,
        "beta": values(columns, dtype=dtype, seed=2) if affine else None,
        "eps": 1e-5,
        "centre": centre,
    }


def backward_case(rows, columns, dtype, affine=True, centre=True):
    forward = case(rows, columns, dtype, affine, centre)
    _, mean, rstd = twin.layer_norm(**forward)
    return {
        "dy": values(rows, columns, dtype=dtype, seed=3),
        "x": forward["x"],
        "gamma": forward["gamma"],
        "mean": mean,
        "rstd": rstd,
        "centre": centre,
    }


@FLOATS
@pytest.mark.parametrize("centre", (True, False), ids=("layer", "rms"))
@pytest.mark.parametrize("affine", (True, False))
@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_results_are_those_of_the_twin(rows, columns, affine, centre, dtype):
    forward = case(rows, columns, dtype, affine, centre)
    for got, expected in zip(native.layer_norm(**forward), twin.layer_norm(**forward), strict=True):
        assert got.dtype == expected.dtype
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=16 * eps(dtype), atol=16 * eps(dtype))
    backward = backward_case(rows, columns, dtype, affine, centre)
    if columns > 2:  # of one or two values, dx cancels
        for got, expected in zip(
            native.layer_norm_backward(**backward),
            twin.layer_norm_backward(**backward),
            strict=True,
        ):
            assert got.dtype == expected.dtype == dtype
            close(got, expected, 64 * eps(dtype))


@many
@given(
    rows=st.integers(0, 40),
    columns=st.integers(3, 150),
    affine=st.booleans(),
    centre=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_any_shape_gives_the_results_of_the_twin(rows, columns, affine, centre, dtype):
    backward = backward_case(rows, columns, dtype, affine, centre)
    for got, expected in zip(
        native.layer_norm_backward(**backward), twin.layer_norm_backward(**backward), strict=True
    ):
        close(got, expected, 256 * eps(dtype))


@pytest.mark.parametrize("ratio", (1e2, 1e4))
def test_digits_at_large_means(ratio):
    x = (values(20, 300) + np.float32(ratio)).astype(np.float32)
    exact = x.astype(np.longdouble)
    exact = (exact - exact.mean(1, keepdims=True)) / np.sqrt(exact.var(1, keepdims=True) + 1e-5)
    close(native.layer_norm(x, None, None, 1e-5)[0], exact.astype(np.float64), 1e-6)


@FLOATS
@pytest.mark.parametrize("bad", (np.nan, np.inf, -np.inf))
def test_bad_values_stay_in_their_row(bad, dtype):
    clean = case(6, 40, dtype)
    x = clean["x"].copy()
    x[2, 33] = bad
    with np.errstate(all="ignore"):
        y, mean, rstd = native.layer_norm(**clean | {"x": x})
        gradients = native.layer_norm_backward(
            values(6, 40, dtype=dtype), x, clean["gamma"], mean, rstd
        )
    assert np.isnan(y[2]).any()
    rest = [0, 1, 3, 4, 5]
    np.testing.assert_array_equal(y[rest], native.layer_norm(**clean)[0][rest])
    assert np.isfinite(gradients[0][rest]).all()


@FLOATS
@pytest.mark.parametrize("centre", (True, False), ids=("layer", "rms"))
def test_any_number_of_threads_gives_the_same_bits(centre, dtype):
    same_bits(native.layer_norm, case(501, 130, dtype, centre=centre))
    same_bits(native.layer_norm_backward, backward_case(501, 130, dtype, centre=centre))


def test_bad_arrays_are_refused():
    forward, backward = case(4, 6, np.float32), backward_case(4, 6, np.float32)
    for name in ("x", "gamma", "beta"):
        refuses(native.layer_norm, forward, name, LAYOUTS | KINDS)
    for name in ("dy", "x", "gamma"):
        refuses(native.layer_norm_backward, backward, name, LAYOUTS | KINDS)
    for name in ("mean", "rstd"):
        refuses(
            native.layer_norm_backward,
            backward,
            name,
            LAYOUTS
            | {"float32": lambda a: a.astype(np.float32), "longer": lambda a: np.append(a, a[:1])},
        )
    refuses(native.layer_norm, forward, "gamma", {"longer": lambda a: np.append(a, a[:1])})
    refuses(native.layer_norm_backward, backward, "dy", {"more rows": lambda a: np.vstack([a, a])})
    with pytest.raises(ValueError, match="layer_norm: rows of x"):
        native.layer_norm(values(3, 0), None, None, 1e-5)


def test_a_variance_beyond_the_range_is_infinite():
    """It is not NaN: the row becomes beta, as the formula says."""
    x, beta = values(2, 12, dtype=np.float64), values(12, dtype=np.float64)
    x[0, 3] = -np.finfo(np.float64).max
    y, _, rstd = native.layer_norm(x, None, beta, 1e-5)
    assert rstd[0] == 0 and np.array_equal(y[0], beta)
    assert np.isfinite(y).all()
