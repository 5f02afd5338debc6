"""These tests check which algorithm a convolution takes, and that each algorithm gives the same
result and gradients.
"""

import numpy as np
import pytest

import minidl as md
from minidl.ops.conv import Conv
from tests.support.arrays import uniform
from tests.support.errors import refuses


def algorithm(x_shape, w_shape, dtype=np.float32, **options):
    x = md.tensor(uniform(*x_shape, dtype=dtype), requires_grad=True)
    y = md.conv(x, uniform(*w_shape, dtype=dtype), **options)
    assert isinstance(y._node, Conv)
    return y._node.algorithm


@pytest.fixture
def high_precision():
    md.set_precision("high")
    yield
    md.set_precision("default")


@pytest.mark.parametrize(
    ("expected", "x_shape", "w_shape", "options"),
    (
        ("winograd", (2, 8, 8, 16), (3, 3, 16, 32), {"padding": 1}),
        ("winograd", (2, 4, 9, 48), (3, 3, 48, 16), {}),
        ("winograd", (2, 2, 9, 24), (3, 3, 24, 40), {"padding": 1}),
        ("winograd", (2, 8, 8, 16), (3, 3, 16, 32), {"padding": ((2, 0), (0, 1))}),
        ("depthwise", (2, 8, 8, 16), (3, 3, 1, 16), {"groups": 16, "padding": ((2, 0), (0, 1))}),
        ("direct", (2, 1, 9, 16), (3, 3, 16, 16), {"padding": 1}),
        ("direct", (2, 9, 9, 8), (3, 3, 8, 16), {"padding": 1}),
        ("direct", (2, 8, 8, 15), (3, 3, 15, 32), {"padding": 1}),
        ("direct", (2, 8, 8, 16), (3, 3, 16, 20), {"padding": 1}),
        ("direct", (2, 8, 8, 16), (3, 3, 16, 32), {"stride": 2}),
        ("direct", (2, 8, 8, 16), (3, 3, 16, 32), {"dilation": 2}),
        ("direct", (2, 8, 8, 32), (3, 3, 16, 32), {"groups": 2}),
        ("direct", (2, 8, 8, 16), (5, 5, 16, 32), {}),
        ("depthwise", (2, 8, 8, 16), (3, 3, 1, 16), {"groups": 16, "stride": 2}),
        ("depthwise", (2, 8, 8, 48), (5, 2, 1, 48), {"groups": 48, "dilation": 2, "padding": 3}),
        ("direct", (2, 8, 8, 16), (3, 3, 1, 32), {"groups": 16}),  # two kernels for each channel
        ("direct", (2, 8, 8, 20), (3, 3, 1, 20), {"groups": 20}),
        ("direct", (2, 12, 12, 16), (9, 9, 1, 16), {"groups": 16}),
    ),
)
def test_the_algorithm_follows_from_the_shapes(expected, x_shape, w_shape, options):
    assert algorithm(x_shape, w_shape, **options) == expected
    assert algorithm(x_shape, w_shape, np.float64, **options) == "direct"


def test_high_precision_is_direct(high_precision):
    assert algorithm((2, 8, 8, 16), (3, 3, 16, 32)) == "direct"
    # The direct algorithm is possible, too.
    assert algorithm((2, 8, 8, 16), (3, 3, 1, 16), groups=16) == "depthwise"


def test_high_precision_keeps_bad_values_local(high_precision):
    x = uniform(1, 12, 12, 16)
    x[0, 5, 5, 3] = np.nan
    y = md.conv(x, uniform(3, 3, 16, 16), padding=1).data
    hit = np.zeros(y.shape, bool)
    hit[0, 4:7, 4:7] = True
    np.testing.assert_array_equal(np.isnan(y), hit)


@pytest.mark.parametrize("spoiled", ("x", "dy"))
def test_high_precision_keeps_bad_values_where_numpy_has_them(spoiled, high_precision):
    """This is checked forward and in both gradients, for a NaN at a corner and an infinity at a
    corner of two tiles.
    """
    arrays = {
        "x": uniform(2, 12, 11, 16),
        "w": uniform(3, 3, 16, 32, seed=1),
        "dy": uniform(2, 12, 11, 32, seed=2),
    }
    arrays[spoiled][0, 0, 0, 3], arrays[spoiled][1, 4, 7, 5] = np.nan, np.inf

    def run(backend):
        inputs = [md.tensor(arrays[name], requires_grad=True) for name in ("x", "w")]
        with np.errstate(invalid="ignore"), md.use_backend(backend):
            y = md.conv(*inputs, padding=1)
            return [y.data, *md.grad(y, inputs, arrays["dy"])]

    found = 0
    for got, expected in zip(run("native"), run("numpy"), strict=True):
        np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
        np.testing.assert_array_equal(np.isinf(got), np.isinf(expected))
        found += not np.isfinite(expected).all()
    assert found == 2  # y and dw, or dx and dw


def test_a_gradient_goes_the_way_of_its_forward():
    x = md.tensor(uniform(1, 8, 8, 16), requires_grad=True)
    w = md.tensor(uniform(3, 3, 16, 16), requires_grad=True)
    y = md.conv(x, w)
    first = md.grad(y, [x, w], np.ones_like(y.data), retain_graph=True)
    md.set_precision("high")
    try:
        again = md.grad(y, [x, w], np.ones_like(y.data))
    finally:
        md.set_precision("default")
    assert [g.tobytes() for g in first] == [g.tobytes() for g in again]


@pytest.mark.parametrize("backend", ("native", "numpy"))
@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options"),
    (
        ((2, 9, 8, 16), (3, 3, 16, 32), {"padding": 1}),
        ((2, 9, 8, 32), (3, 3, 1, 32), {"padding": 1, "groups": 32, "stride": (2, 1)}),
        *(
            ((2, 9, 8, 16), (3, 3, 16, 32), {"padding": padding})  # Winograd
            for padding in (((2, 0), (0, 1)), ((0, 5), (4, 0)), ((3, 3), (0, 7)))
        ),
        *(
            ((2, 9, 8, 32), (3, 3, 1, 32), {"padding": padding, "groups": 32, "stride": (2, 1)})
            for padding in (((2, 0), (0, 1)), ((0, 5), (4, 0)))
        ),  # depthwise
        ((2, 9, 8, 16), (1, 1, 16, 32), {"padding": ((1, 0), (0, 2))}),
    ),
)
def test_values_and_gradients_are_those_of_float64(backend, x_shape, w_shape, options):
    def run(dtype):
        tensors = [
            md.tensor(uniform(*shape, dtype=np.float64).astype(dtype), requires_grad=True)
            for shape in (x_shape, w_shape, w_shape[-1:])
        ]
        y = md.conv(*tensors, **options)
        weights = np.cos(np.arange(y.size)).reshape(y.shape).astype(dtype)
        return [y.data, *md.grad(y, tensors, weights)]

    with md.use_backend(backend):
        got, expected = run(np.float32), run(np.float64)
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == np.float32
        assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


@pytest.mark.parametrize("precision", ("fast", None, 32))
def test_a_precision_that_does_not_exist(precision):
    with refuses(ValueError if precision == "fast" else TypeError, "precision"):
        md.set_precision(precision)
