"""These tests check that a normalization and its activation in one pass have the same bits as one
after the other.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl_ext.elementwise import activation
from minidl_ext.elementwise import arithmetic as elementwise
from tests.support.curves import ACTIVATIONS, options_of
from tests.support.kernel_convs import factors_for
from tests.support.kernels import (
    KINDS,
    LAYOUTS,
    RANKS,
    checks_out,
    close,
    identical,
    kernels_of,
    many,
    refuses,
    same_bits,
    values,
)

norm, twin = kernels_of("norm.")

CURVES = [(name, *options.values()) for name in ACTIVATIONS for options in options_of(name)]
each = pytest.mark.parametrize("curve", CURVES, ids=lambda c: " ".join(map(str, c)))


def disjoint(x, factors, curve):
    """Compute the forward pass by one kernel after the other."""
    name, *options = curve
    kernel = getattr(elementwise if name in ("sigmoid", "tanh") else activation, name)
    return kernel(norm.batch_norm_apply(x, factors), *options)


def apart_backward(dy, x, factors, curve, training):
    name, *options = curve
    g = getattr(activation, f"{name}_backward")(dy, norm.batch_norm_apply(x, factors), *options)
    return norm.batch_norm_backward(g, x, factors, training)[:3]


@many
@given(
    rows=st.integers(0, 60),
    channels=st.integers(1, 70),
    dtype=st.sampled_from("fd"),
    curve=st.sampled_from(CURVES),
    training=st.booleans(),
)
def test_any_shape_has_the_bits_of_one_after_the_other(rows, channels, dtype, curve, training):
    x, dy = values(rows, channels, dtype=dtype), values(rows, channels, dtype=dtype, seed=1)
    factors = np.ones((5, channels), dtype) if rows == 0 else factors_for(x).astype(dtype)
    y = norm.batch_norm_activation(x, factors, curve)
    identical(y, disjoint(x, factors, curve))
    close(y, twin.batch_norm_activation(x, factors, curve), 1e-6)
    if rows == 0 and training:
        return
    got = norm.batch_norm_activation_backward(dy, x, factors, curve, training)
    expected = twin.batch_norm_activation_backward(dy, x, factors, curve, training)
    for one, two, three in zip(
        got, apart_backward(dy, x, factors, curve, training), expected, strict=True
    ):
        identical(one, two)
        if not (training and rows == 2):  # dx of two values is what rounding leaves of 0
            close(one, three, 2e-5)


@each
@pytest.mark.parametrize("shape", ((3000, 64), (40, 9, 9, 256), (20_000, 24), (2, 5000)))
def test_large_shapes_have_the_bits_of_one_after_the_other(shape, curve):
    x, dy = values(*shape), values(*shape, seed=1)
    factors = factors_for(x)
    identical(norm.batch_norm_activation(x, factors, curve), disjoint(x, factors, curve))
    for one, two in zip(
        norm.batch_norm_activation_backward(dy, x, factors, curve),
        apart_backward(dy, x, factors, curve, True),
        strict=True,
    ):
        identical(one, two)


@each
@pytest.mark.parametrize("bad", (np.nan, np.inf, -np.inf))
def test_bad_values_stay_where_they_are(bad, curve):
    x = values(300, 32)
    factors, spoiled = factors_for(x), x.copy()
    spoiled[7, 20] = bad
    got = norm.batch_norm_activation(spoiled, factors, curve)
    identical(got, disjoint(spoiled, factors, curve))
    keep = np.ones(x.shape, bool)
    keep[7, 20] = False
    identical(got[keep], norm.batch_norm_activation(x, factors, curve)[keep])


@pytest.mark.parametrize("shape", ((300, 24), (40, 9, 9, 256), (20_000, 16)))
def test_any_number_of_threads_gives_the_same_bits(shape):
    x = values(*shape)
    case = {"x": x, "factors": factors_for(x), "activation": ("gelu", False)}
    same_bits(norm.batch_norm_activation, case)
    same_bits(norm.batch_norm_activation_backward, {**case, "dy": values(*shape, seed=1)})


# ------------------------------------------------------------------------------ bad arguments


def test_out_is_filled_and_bad_arrays_are_refused():
    x = values(9, 24)
    case = {"x": x, "factors": factors_for(x), "activation": ("silu",)}
    checks_out(norm.batch_norm_activation, case)
    refuses(norm.batch_norm_activation, case, "x", LAYOUTS | KINDS)
    refuses(norm.batch_norm_activation, case, "factors", LAYOUTS | KINDS | RANKS)
    back = {"dy": x, **case}
    for name in ("dy", "x"):
        refuses(norm.batch_norm_activation_backward, back, name, LAYOUTS | KINDS)


@pytest.mark.parametrize(
    "wrong", ("gelu", None, (), ("relu",), ("gelu",), ("silu", 1.0), ("softplus", 1.0)), ids=str
)
def test_an_activation_that_is_none(wrong):
    x = values(9, 24)
    with pytest.raises(ValueError, match="batch_norm_activation"):
        norm.batch_norm_activation(x, factors_for(x), wrong)
