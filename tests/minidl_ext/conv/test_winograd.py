"""These tests check Winograd convolution: its errors beside float64, borders, what bad values
reach, and that any number of threads gives the same bits.
"""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.support.kernels import (
    KINDS,
    LAYOUTS,
    RANKS,
    checks_out,
    close,
    identical,
    kernels_of,
    line,
    many,
    refuses,
    same_bits,
    values,
)

pool, _ = kernels_of("pool.")

native, twin = kernels_of("conv.winograd")
_, direct_twin = kernels_of("conv.direct")

NAMES = ("winograd_conv", "winograd_input_grad", "winograd_weight_grad")
SAME = ((1, 1), (1, 1))
BOUND = 1e-5  # promised by the documentation, relative to the largest value


def cases(n, h, w, channels, outputs, padding=SAME, make=values, dtype=np.float32):
    """Return the arguments of the three kernels for one geometry."""
    x = make(n, h, w, channels, dtype=dtype)
    weights = make(3, 3, channels, outputs, dtype=dtype, seed=1)
    oh, ow = h + sum(padding[0]) - 2, w + sum(padding[1]) - 2
    dy = make(n, oh, ow, outputs, dtype=dtype, seed=2)
    return {
        "winograd_conv": {"x": x, "w": weights, "padding": padding},
        "winograd_input_grad": {"dy": dy, "w": weights, "input_shape": x.shape, "padding": padding},
        "winograd_weight_grad": {"x": x, "dy": dy, "padding": padding},
    }


def exact(name, case):
    """Return the direct convolution in float64."""
    wide = {
        key: value.astype(np.float64) if isinstance(value, np.ndarray) else value
        for key, value in case.items()
    }
    if name == "winograd_weight_grad":
        wide["kernel_shape"] = (3, 3)
    name = name.replace("winograd_", "conv_").replace("conv_conv", "conv")
    return getattr(direct_twin, name)(**wide)


def is_accurate(*args, **options):
    for name, case in cases(*args, **options).items():
        got = getattr(native, name)(**case)
        assert got.dtype == np.float32 and got.flags.c_contiguous
        close(got, exact(name, case), BOUND)


@pytest.mark.parametrize("padding", (SAME, ((0, 2), (3, 1)), ((5, 0), (4, 6))))
@pytest.mark.parametrize("name", NAMES)
def test_the_twin_is_convolution(name, padding):
    case = cases(2, 7, 9, 4, 3, padding, dtype=np.float64)[name]
    close(getattr(twin, name)(**case), exact(name, case), 1e-13)


pads = st.tuples(*[st.tuples(st.integers(0, 5), st.integers(0, 5))] * 2)


@many
@given(
    n=st.integers(1, 4),
    h=st.integers(1, 13),
    w=st.integers(1, 13),
    channels=st.integers(2, 9),
    outputs=st.integers(2, 9),
    padding=pads,
)
def test_any_geometry(n, h, w, channels, outputs, padding):
    assume(h + sum(padding[0]) >= 3 and w + sum(padding[1]) >= 3)
    is_accurate(n, h, w, 8 * channels, 8 * outputs, padding)


@pytest.mark.parametrize(
    "geometry",
    (
        line(n=60, h=14, w=14, channels=32, outputs=64),
        line(n=9, h=32, w=32, channels=64, outputs=48),  # a weight gradient of several chunks
        line(n=5, h=8, w=8, channels=256, outputs=272),
        line(n=1, h=3, w=200, channels=16, outputs=16),
        line(n=300, h=4, w=4, channels=16, outputs=16),
        line(n=40, h=31, w=31, channels=24, outputs=64),
        line(n=40, h=9, w=9, channels=104, outputs=40),
        line(n=40, h=2, w=3, channels=256, outputs=24),
    ),
    ids=lambda g: "x".join(str(v) for v in g.values()),
)
def test_large_geometries(geometry):
    is_accurate(**geometry)


@pytest.mark.parametrize("scale", (1e-15, 1e15))
@pytest.mark.parametrize("offset", (0.0, 100.0))
def test_scales_and_large_means(scale, offset):
    def make(*shape, dtype, seed=0):
        return ((values(*shape, seed=seed) + offset) * dtype(scale)).astype(dtype)

    is_accurate(3, 12, 12, 32, 32, make=make)


def test_no_images():
    for name, case in cases(0, 8, 8, 16, 32).items():
        got = getattr(native, name)(**case)
        assert got.shape == exact(name, case).shape
        assert not got.any()


@pytest.mark.parametrize("bad", (np.nan, np.inf))
def test_bad_values_reach_their_tiles_only(bad):
    case = cases(3, 12, 12, 16, 32)["winograd_conv"]
    clean, spoiled = native.winograd_conv(**case), case["x"].copy()
    spoiled[1, 5, 5, 3] = bad
    got = native.winograd_conv(**{**case, "x": spoiled})
    assert not np.isfinite(got[1, 4:7, 4:7]).any()
    hit = np.zeros(got.shape, bool)
    hit[1, 4:8, 4:8] = True  # the only tile of outputs that reads row 5 and column 5
    np.testing.assert_array_equal(got[~hit], clean[~hit])


def tiles_that_read(position, size, padding):
    """Return which of `size` outputs are in a tile of 4 whose 6 inputs include this one."""
    hit = np.zeros(size, bool)
    for first in range(0, size, 4):
        hit[first : first + 4] = first <= position + padding < first + 6
    return hit


@pytest.mark.parametrize("bad", (np.nan, np.inf))
@pytest.mark.parametrize("padding", (SAME, ((0, 2), (2, 1))))
@pytest.mark.parametrize("row, column", ((0, 0), (3, 4), (6, 9), (12, 10)))
def test_bad_values_at_borders_of_tiles_and_images(row, column, padding, bad):
    """In both passes they reach all outputs that depend on them, and no others than those in the
    same tile.
    """
    image, channel = 1, 3
    forward = cases(3, 13, 11, 16, 32, padding)["winograd_conv"]
    back = cases(3, 13, 11, 16, 32, padding)["winograd_input_grad"]
    for name, case, argument, before in (
        ("winograd_conv", forward, "x", [p[0] for p in padding]),
        ("winograd_input_grad", back, "dy", [2 - p[0] for p in padding]),
    ):
        spoiled = case[argument].copy()
        place = (min(row, spoiled.shape[1] - 1), min(column, spoiled.shape[2] - 1))
        spoiled[(image, *place, channel)] = bad
        clean = getattr(native, name)(**case)
        got = getattr(native, name)(**{**case, argument: spoiled})
        with np.errstate(invalid="ignore"):
            needed = ~np.isfinite(exact(name, {**case, argument: spoiled}))
        assert needed.any()
        assert not np.isfinite(got[needed]).any()
        hit = np.zeros(got.shape, bool)
        rows, columns = (
            tiles_that_read(*where) for where in zip(place, got.shape[1:3], before, strict=True)
        )
        hit[image] = np.outer(rows, columns)[..., None]
        np.testing.assert_array_equal(got[~hit], clean[~hit])


@pytest.mark.parametrize("bad", (np.nan, np.inf))
@pytest.mark.parametrize(
    ("name", "argument", "axis"),
    (
        ("winograd_conv", "w", 3),
        ("winograd_input_grad", "w", 2),
        ("winograd_weight_grad", "x", 3),
        ("winograd_weight_grad", "dy", 3),
    ),
)
def test_bad_values_stay_in_their_channel(name, argument, axis, bad):
    """A bad weight stays in its channel of the result, and a bad value of an array in its part of
    the gradient.
    """
    case = cases(2, 9, 10, 32, 48)[name]
    spoiled = case[argument].copy()
    place = [1, 1, 5, 5]
    place[axis] = 21
    spoiled[tuple(place)] = bad
    clean = getattr(native, name)(**case)
    got = getattr(native, name)(**{**case, argument: spoiled})
    where = 2 if (name, argument) == ("winograd_weight_grad", "x") else 3
    assert not np.isfinite(got.take(21, where)).all()
    np.testing.assert_array_equal(np.delete(got, 21, where), np.delete(clean, 21, where))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "geometry",
    (
        line(n=20, h=14, w=13, channels=32, outputs=64),
        line(n=128, h=8, w=8, channels=16, outputs=16),
        line(n=16, h=8, w=8, channels=128, outputs=256),
        line(n=9, h=15, w=17, channels=144, outputs=128),
        line(n=30, h=13, w=9, channels=40, outputs=24),
        line(n=30, h=13, w=9, channels=136, outputs=72),
        line(n=5, h=7, w=9, channels=256, outputs=272, padding=((0, 2), (3, 1))),
    ),
    ids=lambda g: "x".join(str(v) for v in g.values()),
)
def test_any_number_of_threads_gives_the_same_bits(name, geometry):
    same_bits(getattr(native, name), cases(**geometry)[name])


@many
@given(
    n=st.integers(0, 4),
    h=st.integers(2, 13),
    w=st.integers(2, 13),
    channels=st.integers(2, 5),
    outputs=st.integers(2, 5),
    padding=pads,
    ended=st.booleans(),
)
def test_a_max_pool_epilogue(n, h, w, channels, outputs, padding, ended):
    """The pool is computed in the same pass, to the same bits."""
    assume(h + sum(padding[0]) >= 4 and w + sum(padding[1]) >= 4)
    case = cases(n, h, w, 8 * channels, 8 * outputs, padding)["winograd_conv"]
    if ended:
        case |= {"bias": values(8 * outputs, seed=5), "relu_out": True}
    y, argmax = native.winograd_conv_pool(**case)
    expected, winners = pool.max_pool(native.winograd_conv(**case), (2, 2), (2, 2))
    identical(y, expected)
    identical(argmax, winners)
    close(y, twin.winograd_conv_pool(**case)[0], 2e-5)


def test_a_max_pool_epilogue_on_any_number_of_threads():
    case = cases(20, 14, 13, 32, 64)["winograd_conv"]
    same_bits(native.winograd_conv_pool, case)
    with pytest.raises(ValueError, match="window of 2 x 2"):
        native.winograd_conv_pool(
            np.ones((2, 1, 9, 16), np.float32), np.ones((3, 3, 16, 16), np.float32), SAME
        )


@many
@given(
    n=st.integers(1, 4),
    h=st.integers(2, 13),
    w=st.integers(2, 13),
    channels=st.integers(2, 5),
    outputs=st.integers(2, 5),
    padding=pads,
)
def test_a_gradient_through_a_max_pool(n, h, w, channels, outputs, padding):
    """The gradient is read through the pool, to the same bits."""
    assume(h + sum(padding[0]) >= 4 and w + sum(padding[1]) >= 4)
    case = cases(n, h, w, 8 * channels, 8 * outputs, padding)["winograd_input_grad"]
    x, full = values(n, h, w, 8 * channels, seed=3), case.pop("dy")
    window = {"window": (2, 2), "stride": (2, 2)}
    y, argmax = pool.max_pool(full, **window)
    dy = values(*y.shape, seed=4)
    spread = pool.max_pool_backward(dy, argmax, full.shape, **window)
    dx = native.winograd_input_grad(dy, **case, argmax=argmax)
    identical(dx, native.winograd_input_grad(spread, **case))
    close(dx, twin.winograd_input_grad(dy, **case, argmax=argmax), 2e-5)
    dw = native.winograd_weight_grad(x, dy, padding, argmax)
    identical(dw, native.winograd_weight_grad(x, spread, padding))
    close(dw, twin.winograd_weight_grad(x, dy, padding, argmax), 5e-5)
    for bad in (argmax[1:], argmax.astype(np.int32), argmax[..., 1:].copy()):
        with pytest.raises((TypeError, ValueError), match="argmax"):
            native.winograd_weight_grad(x, dy, padding, bad)


@pytest.mark.parametrize("place", (4, 128, 255))
def test_places_outside_of_their_windows_are_refused(place):
    """No forward gives such positions, for which there is no gradient, or only a neighbour's."""
    x, w = values(1, 8, 8, 16), values(3, 3, 16, 16)
    dy, argmax = values(1, 4, 4, 16), np.full((1, 4, 4, 16), 3, np.uint8)
    calls = [
        lambda k: k.winograd_input_grad(dy, w, x.shape, SAME, argmax),
        lambda k: k.winograd_weight_grad(x, dy, SAME, argmax),
    ]
    for call in calls:
        close(call(native), call(twin), 5e-5)
    for at in (0, 100, -1):
        argmax[...] = 3
        argmax.ravel()[at] = place
        for call in calls:
            for kernels in (native, twin):
                with pytest.raises(ValueError, match="argmax has places outside"):
                    call(kernels)


# ------------------------------------------------------------------------------ bad arguments

CHANNELS = {
    "channels": lambda a: np.ascontiguousarray(a[..., 1:]),
    "float64": lambda a: a.astype(np.float64),
    "no channels": lambda a: a[..., :0].copy(),
}


@pytest.mark.parametrize("name", NAMES)
def test_out_is_filled_and_bad_arrays_are_refused(name):
    case = cases(2, 6, 7, 16, 32)[name]
    checks_out(getattr(native, name), case)
    for argument in ("x", "w", "dy"):
        if argument in case:
            refuses(getattr(native, name), case, argument, LAYOUTS | KINDS | RANKS | CHANNELS)


@pytest.mark.parametrize("name", NAMES[1:])
def test_out_with_a_max_pool_epilogue(name):
    case = cases(2, 6, 6, 16, 32)[name]
    case["dy"] = values(2, 3, 3, 32)
    checks_out(getattr(native, name), {**case, "argmax": np.ones((2, 3, 3, 32), np.uint8)})


def test_out_and_transformed_weights():
    case = cases(2, 6, 7, 16, 32)["winograd_conv"]
    case["transformed"] = native.winograd_weights(case["w"])
    checks_out(native.winograd_conv, case)
    refuses(native.winograd_conv, case, "transformed", LAYOUTS | KINDS)
    for images in (case["x"], case["x"][:0].copy()):
        with pytest.raises(ValueError, match="winograd_conv: transformed must have shape"):
            native.winograd_conv(images, case["w"], transformed=case["transformed"][1:].copy())
        with pytest.raises(TypeError, match="winograd_conv: transformed must be"):
            native.winograd_conv(images, case["w"], transformed="no")


@pytest.mark.parametrize(
    ("name", "change"),
    (
        ("winograd_conv", {"w": np.ones((3, 3, 32, 32), np.float32)}),
        ("winograd_conv", {"w": np.ones((3, 2, 16, 32), np.float32)}),
        ("winograd_conv", {"w": np.ones((3, 3, 8, 32), np.float32)}),
        ("winograd_conv", {"w": np.ones((3, 3, 16, 8), np.float32)}),
        ("winograd_conv", {"w": np.ones((3, 3, 16, 20), np.float32)}),
        (
            "winograd_conv",
            {"x": np.ones((2, 6, 7, 8), np.float32), "w": np.ones((3, 3, 8, 32), np.float32)},
        ),
        ("winograd_conv", {"padding": ((-1, 3), (1, 1))}),
        ("winograd_conv", {"padding": 1}),
        ("winograd_conv", {"padding": ((2**62, 1), (1, 1))}),
        ("winograd_conv", {"x": np.ones((2, 0, 7, 16), np.float32)}),
        ("winograd_input_grad", {"input_shape": (2, 7, 7, 16)}),
        ("winograd_input_grad", {"input_shape": (2, 6, 7)}),
        ("winograd_input_grad", {"input_shape": None}),
        ("winograd_weight_grad", {"dy": np.ones((1, 6, 7, 32), np.float32)}),
        ("winograd_weight_grad", {"padding": ((0, 0), (1, 1))}),
    ),
)
def test_shapes_that_do_not_fit_are_refused(name, change):
    case = cases(2, 6, 7, 16, 32)[name]
    getattr(native, name)(**case)
    with pytest.raises((TypeError, ValueError, OverflowError)):
        getattr(native, name)(**{**case, **change})
