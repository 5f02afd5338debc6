"""These tests check that means and variances keep their digits: far from zero, where sums or
squares leave the range, and where all values are equal.
"""

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import uniform
from tests.support.marks import both_backends, both_floats

STATISTICS = {"mean": (md.mean, np.mean), "var": (md.var, np.var), "std": (md.std, np.std)}


@both_backends
@pytest.mark.parametrize(
    "shape, axis",
    (
        ((7,), None),
        ((50, 6), 0),
        ((6, 50), 1),
        ((5, 4, 6), 1),
        ((5, 4, 6), (0, 2)),
        ((40, 40, 3), (0, 1)),
    ),
)
@pytest.mark.parametrize(
    "mean, scale", ((0, 1e-30), (0, 1e-18), (0, 1e30), (2e37, 1e37), (1e6, 1), (1e6, 0.1))
)
@pytest.mark.parametrize("name", STATISTICS)
def test_float32_statistics_are_those_of_float64(name, mean, scale, shape, axis, backend):
    ours, reference = STATISTICS[name]
    x = (mean + scale * uniform(*shape, dtype=np.float64)).astype(np.float32)
    wide = x.astype(np.float64)
    with md.use_backend(backend), np.errstate(over="ignore"):
        tensor = md.tensor(x, requires_grad=True)
        y = ours(tensor, axis)
        dx = md.grad(y.sum(), tensor)
        exact = reference(wide, axis).astype(np.float32)
    np.testing.assert_allclose(y.data, exact, rtol=2e-6)
    count = wide.size / y.size
    deviation = wide - wide.mean(axis, keepdims=True)
    spread = wide.std(axis, keepdims=True)
    slope = {
        "mean": np.ones_like(wide),
        "var": 2 * deviation,
        "std": deviation / np.where(spread == 0, 1, spread),
    }[name] / count
    np.testing.assert_allclose(dx, slope, rtol=0, atol=1e-6 * np.abs(slope).max())


@both_backends
@both_floats
def test_means_that_only_their_sum_would_leave_the_range_of(dtype, backend):
    top = dtype(np.finfo(dtype).max * 0.9)
    with md.use_backend(backend):
        for values, mean in (([top] * 3, top), ([top, top, -top, -top], 0), ([-top] * 9, -top)):
            x = md.tensor(np.array(values, dtype))
            assert md.mean(x).item() == pytest.approx(float(mean))
        assert md.var(md.tensor(np.array([top] * 3))).item() == 0


@both_backends
def test_float64_whose_squares_leave_its_range(backend):
    x = np.array(
        [
            [1e200, 3e200, 5e200],
            [1e-200, 3e-200, 5e-200],
            [1, 3, 5],
            [0, 0, 0],
            [7e-300, 7e-300, 7e-300],
        ]
    )
    with md.use_backend(backend), np.errstate(all="ignore"):
        tensor = md.Tensor(x, requires_grad=True)
        y = md.std(tensor, axis=1)
        dx = md.grad(y.sum(), tensor)
        var = md.var(tensor, axis=1).data
    unit = np.std([1, 3, 5])
    np.testing.assert_allclose(y.data, unit * np.array([1e200, 1e-200, 1, 0, 0]), rtol=1e-14)
    np.testing.assert_allclose(dx[:3], np.tile([-2, 0, 2], (3, 1)) / (3 * unit), rtol=1e-14)
    assert not dx[3:].any()
    np.testing.assert_array_equal(var, [np.inf, 0, unit * unit, 0, 0])


@both_backends
@both_floats
def test_equal_values_vary_by_nothing(dtype, backend):
    """Their variance is 0 even if their sum is rounded. The mean of neighbouring numbers is between
    them.
    """
    rng = np.random.default_rng(0)
    with md.use_backend(backend):
        for n in (3, 7, 100, 40_001):
            x = md.Tensor(np.full(n, rng.random() * 10, dtype), requires_grad=True)
            for f in (md.var, md.std):
                y = f(x)
                assert y.item() == 0
                assert not md.grad(y, x).any()
            assert abs(md.mean(x).item() - x.data[0]) <= (0 if dtype == np.float32 else 1e-14)
            low = dtype(1e6)
            mixed = np.where(rng.random(n) < 0.5, low, np.nextafter(low, dtype(np.inf)))
            assert low <= md.mean(md.tensor(mixed)).item() <= mixed.max()
