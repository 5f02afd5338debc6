"""These tests check the initializers: mean, variance, shape of the distribution, and the seed."""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.nn import init

# Each shape has its fan-in and fan-out.
SHAPES = {(300, 200): (300, 200), (3, 3, 40, 60): (360, 540)}

# Each name has the variance as a function of fan-in and fan-out.
VARIANCES = {
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "xavier": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["normal", "uniform"])
@pytest.mark.parametrize("name", VARIANCES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moments(name, kind, shape, dtype):
    md.manual_seed(3)
    w = getattr(init, f"{name}_{kind}")(shape, dtype=dtype)
    assert w.shape == shape and w.dtype == dtype and w.flags.c_contiguous
    variance = VARIANCES[name](*SHAPES[shape])
    std = np.sqrt(variance)
    assert abs(w.mean()) < 4 * std / np.sqrt(w.size)
    np.testing.assert_allclose(w.var(), variance, rtol=0.03)
    largest = np.abs(w).max() / std
    if kind == "uniform":
        assert 0.99 * np.sqrt(3) < largest <= np.sqrt(3) * (1 + 1e-6)
    else:
        assert largest > 3.5
        assert abs((np.abs(w) < std).mean() - 0.6827) < 0.01


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_uniform(dtype):
    md.manual_seed(3)
    w = init.uniform((200, 300), 0.5, dtype)
    assert w.shape == (200, 300) and w.dtype == dtype
    assert abs(w.mean()) < 4 * 0.5 / np.sqrt(3 * w.size)
    np.testing.assert_allclose(w.var(), 0.25 / 3, rtol=0.03)
    assert 0.499 < np.abs(w).max() <= 0.5 * (1 + 1e-6)
    assert 0.99 < np.abs(init.uniform((500,))).max() <= 1


def test_default_dtype_and_fans():
    assert init.he_normal((2, 3)).dtype == np.float32
    assert init.fans((5, 7)) == (5, 7)
    assert init.fans((3, 3, 4, 8)) == (36, 72)
    assert init.fans((3, 3, 4, 8), groups=2) == (36, 36)


@pytest.mark.parametrize(
    "shape, gain", [((6, 4), 1.0), ((4, 6), 1.0), ((3, 3, 2, 5), 2.0), ((5, 5), 0.5)]
)
def test_orthogonal(shape, gain):
    w = init.orthogonal(shape, np.float64, gain)
    assert w.shape == shape and w.dtype == np.float64
    flat = w.reshape(-1, shape[-1])
    product = flat.T @ flat if flat.shape[0] >= flat.shape[1] else flat @ flat.T
    np.testing.assert_allclose(product, gain**2 * np.eye(len(product)), atol=1e-12)


def test_orthogonal_needs_two_axes():
    with pytest.raises(ValueError, match=r"orthogonal.*\(3,\)"):
        init.orthogonal((3,))


def test_constant():
    np.testing.assert_array_equal(init.constant((2, 3)), np.zeros((2, 3), np.float32))
    w = init.constant((4,), 2.5, np.float64)
    assert w.dtype == np.float64 and (w == 2.5).all()


def test_the_seed_decides():
    def draw():
        layer = nn.Conv(3, 5, 3)
        return layer.weight.data.tobytes(), init.orthogonal((3, 3)).tobytes()

    md.manual_seed(7)
    first = draw()
    other = draw()
    md.manual_seed(7)
    assert draw() == first
    assert other[0] != first[0] and other[1] != first[1]
    md.manual_seed(8)
    assert draw()[0] != first[0]


@pytest.mark.parametrize("seed", [-1, 1.5, None, True, "1"])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ValueError if seed == -1 else TypeError, match="manual_seed"):
        md.manual_seed(seed)
