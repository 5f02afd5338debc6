"""These tests check the kernels of activations with options: beside the twin, over the whole range,
on threads, with bad input.
"""

import math

import numpy as np
import pytest

from minidl.kernels.reference.elementwise import activation as twin
from minidl_ext.elementwise import activation as native
from tests.support.curves import KERNELS, options_of
from tests.support.kernels import (
    FLOATS,
    KINDS,
    LAYOUTS,
    SIZES,
    checks_out,
    eps,
    refuses,
    same_bits,
    values,
)

LINES = [(name, options) for name in KERNELS for options in options_of(name)]
each = pytest.mark.parametrize(
    ("name", "options"), LINES, ids=[f"{name} {list(options.values())}" for name, options in LINES]
)


def case(name, options, shape, dtype):
    x = np.asarray(values(*shape, dtype=dtype) * dtype(3))
    dy = np.asarray(values(*shape, dtype=dtype, seed=1))
    return ({"dy": dy} if name.endswith("_backward") else {}) | {"x": x, **options}


@each
@FLOATS
def test_results_are_those_of_the_twin(name, options, dtype):
    for shape in (
        *((size,) for size in SIZES if size < 2000 or name.startswith("leaky")),
        (),
        (3, 1, 5, 2),
    ):
        arguments = case(name, options, shape, dtype)
        got, expected = getattr(native, name)(**arguments), getattr(twin, name)(**arguments)
        assert got.dtype == expected.dtype == dtype
        assert got.shape == shape
        # Terms of the gradient may cancel. The error is relative to these terms, which are at most
        # 10 here.
        np.testing.assert_allclose(got, expected, rtol=16 * eps(dtype), atol=64 * eps(dtype))


@pytest.mark.parametrize(
    ("name", "options", "function", "ulps"),
    (
        ("leaky_relu", {"slope": 0.25}, lambda x: x if x > 0 else x / 4, 0),
        ("elu", {"alpha": 1.0}, lambda x: x if x > 0 else math.expm1(x), 2),
        (
            "softplus",
            {"beta": 1.0, "threshold": math.inf},
            lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x))),
            3,
        ),
        ("silu", {}, lambda x: x / (1 + math.exp(-x)), 4),
        ("gelu", {"tanh": False}, lambda x: x * math.erfc(-x / math.sqrt(2)) / 2, 16),
    ),
)
def test_float32_over_the_range(name, options, function, ulps):
    x = np.concatenate(
        [
            np.linspace(-12, 12, 40_001),
            np.linspace(-1e-3, 1e-3, 2001),
            [0.0, -1.0, 1e-30, -1e-30, 80],
        ]
    ).astype(np.float32)
    exact = np.array([function(v) for v in x.tolist()])
    error = np.abs(getattr(native, name)(x, **options) - exact) / np.spacing(
        np.maximum(np.abs(exact), 1e-30).astype(np.float32)
    )
    assert (error <= ulps).all(), (x[error.argmax()], error.max())


@each
@FLOATS
def test_bad_values_stay_where_they_are(name, options, dtype):
    clean = case(name, options, (100,), dtype)
    x = clean["x"].copy()
    x[[0, 37, 99]] = np.nan, np.inf, -np.inf
    with np.errstate(all="ignore"):
        got, expected = (
            getattr(native, name)(**clean | {"x": x}),
            getattr(twin, name)(**clean | {"x": x}),
        )
    np.testing.assert_array_equal(
        np.delete(got, [0, 37, 99]), np.delete(getattr(native, name)(**clean), [0, 37, 99])
    )
    np.testing.assert_allclose(got[[0, 37, 99]], expected[[0, 37, 99]], atol=1e-30)


@each
@FLOATS
def test_any_number_of_threads_gives_the_same_bits(name, options, dtype):
    same_bits(getattr(native, name), case(name, options, (3, 20_011), dtype))


@pytest.mark.parametrize(("name", "options"), dict(LINES).items())
def test_out_is_filled_and_bad_arrays_are_refused(name, options):
    small = case(name, options, (5, 7), np.float32)
    kernel = getattr(native, name)
    backward = name.endswith("_backward")
    arrays = ("dy", "x") if backward else ("x",)
    checks_out(kernel, small, in_place=arrays)
    for argument in arrays:
        refuses(kernel, small, argument, LAYOUTS | KINDS)
    if backward:
        with pytest.raises(ValueError, match=rf"{name}: dy has shape \(5, 7\) but x"):
            kernel(**small | {"x": values(5, 8)})
        with pytest.raises(TypeError, match="dy is float32 but x is float64"):
            kernel(**small | {"x": values(5, 7, dtype=np.float64)})
