"""These tests check the epilogue of convolutions, which is applied before their outputs leave the
cache: bias, residual, ReLU.
"""

import itertools

import numpy as np
import pytest

from tests.support.kernels import kernels_of, values

native, twin = kernels_of("conv.")

SAME = ((1, 1), (1, 1))
THREADS = (1, 2, 3)
ENDINGS = list(itertools.product((False, True), repeat=3))


def direct(x, w, **options):
    return native.conv(x, w, padding=SAME, **options)


def strided(x, w, **options):
    return native.conv(x, w, stride=(2, 2), padding=SAME, groups=2, **options)


def winograd_conv(x, w, **options):
    return native.winograd_conv(x, w, SAME, **options)


def transformed(x, w, **options):
    return native.winograd_conv(x, w, SAME, transformed=native.winograd_weights(w), **options)


def depthwise_conv(x, w, **options):
    return native.depthwise_conv(x, w, padding=SAME, **options)


CASES = {
    "direct": (direct, (3, 7, 6, 5), (3, 3, 5, 9), (np.float32, np.float64)),
    "direct, strided, grouped": (strided, (3, 9, 8, 6), (3, 3, 3, 10), (np.float32, np.float64)),
    "winograd": (winograd_conv, (5, 9, 11, 16), (3, 3, 16, 48), (np.float32,)),
    "winograd, transformed": (transformed, (2, 5, 4, 32), (3, 3, 32, 16), (np.float32,)),
    "depthwise": (depthwise_conv, (3, 7, 5, 32), (3, 3, 1, 32), (np.float32,)),
}


@pytest.mark.parametrize("with_bias, with_residual, relu_out", ENDINGS)
@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_as_one_after_the_other(name, with_bias, with_residual, relu_out):
    run, x_shape, w_shape, dtypes = CASES[name]
    for dtype, threads in itertools.product(dtypes, THREADS):
        x, w = values(*x_shape, dtype=dtype), values(*w_shape, dtype=dtype, seed=1)
        plain = run(x, w, threads=threads)
        bias = values(w_shape[3], dtype=dtype, seed=2) if with_bias else None
        residual = values(*plain.shape, dtype=dtype, seed=3) if with_residual else None
        expected = plain + (0 if bias is None else bias)
        if residual is not None:
            expected = expected + residual
        if relu_out:
            expected = np.maximum(expected, 0)
        got = run(x, w, bias=bias, residual=residual, relu_out=relu_out, threads=threads)
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == dtype and (not relu_out or (got == 0).any())


@pytest.mark.parametrize("name", CASES)
def test_nan_passes_the_relu(name):
    run, x_shape, w_shape, _ = CASES[name]
    x, w = values(*x_shape), values(*w_shape, seed=1)
    bias = np.zeros(w_shape[3], np.float32)
    bias[1] = np.nan
    got = run(x, w, bias=bias, relu_out=True)
    assert np.isnan(got[..., 1]).all() and np.isfinite(np.delete(got, 1, -1)).all()


@pytest.mark.parametrize("name", CASES)
def test_bad_arguments_are_refused(name):
    run, x_shape, w_shape, _ = CASES[name]
    x, w = values(*x_shape), values(*w_shape, seed=1)
    y = run(x, w)
    co = w_shape[3]
    for options, error in (
        ({"bias": np.zeros(co + 1, np.float32)}, ValueError),
        ({"bias": np.zeros(co)}, TypeError),
        ({"bias": np.zeros(2 * co, np.float32)[::2]}, ValueError),
        ({"residual": np.zeros((*y.shape[:3], co + 1), np.float32)}, ValueError),
        ({"residual": np.zeros(y.shape)}, TypeError),
        ({"residual": np.zeros(co, np.float32)}, ValueError),
        ({"residual": y, "out": y}, ValueError),
        ({"bias": y.reshape(-1)[:co], "out": y}, ValueError),
    ):
        with pytest.raises(error, match=r"bias|residual"):
            run(x, w, **options)


def test_transformed_weights_of_another_size_are_refused():
    x, w = values(1, 4, 4, 16), values(3, 3, 16, 16)
    for wrong in (native.winograd_weights(values(3, 3, 32, 16)), np.zeros(10, np.float32)):
        with pytest.raises(ValueError, match="transformed"):
            native.winograd_conv(x, w, SAME, transformed=wrong)
    with pytest.raises(TypeError, match="transformed"):
        native.winograd_conv(x, w, SAME, transformed=native.winograd_weights(w).astype(float))
    with pytest.raises(ValueError, match="w"):
        native.winograd_weights(values(3, 3, 16, 5))


def test_depthwise_between_normalizations_has_no_epilogue():
    x, w = values(1, 4, 4, 16), values(3, 3, 1, 16)
    for options in ({"bias": np.zeros(16, np.float32)}, {"relu_out": True}, {"residual": x}):
        with pytest.raises(ValueError, match="without factors and stats"):
            native.depthwise_conv(x, w, padding=SAME, stats=True, **options)


def test_the_twin_takes_its_own_transformed_weights():
    x, w = values(1, 5, 5, 16), values(3, 3, 16, 16, seed=1)
    u = twin.winograd_weights(w)
    np.testing.assert_array_equal(
        twin.winograd_conv(x, w, SAME, transformed=u), twin.winograd_conv(x, w, SAME)
    )
