"""These tests check convolution and its gradients: they are exact on whole numbers for every
geometry, and have the same bits on any number of threads.
"""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.support.kernel_convs import PADS, PAIRS, SAME, direct_cases, output_sizes
from tests.support.kernels import (
    FLOATS,
    bad_values_are_local,
    corners,
    eps,
    identical,
    kernels_of,
    line,
    many,
    reached,
    same_bits,
    spoil,
    values,
    whole,
)

native, twin = kernels_of("conv.direct")

NAMES = ("conv", "conv_input_grad", "conv_weight_grad")


def are_the_twins(*args, **options):
    for name, case in direct_cases(*args, **options).items():
        identical(getattr(native, name)(**case), getattr(twin, name)(**case))


def test_the_twin_is_the_definition():
    """The definition is y[n, i, j, o] = sum over k, l, c of x[n, i s + k d - p, j s + l d - p, c]
    w[k, l, c, o].
    """
    case = direct_cases(
        (2, 6, 7, 4), (3, 2), 6, groups=2, stride=(2, 1), padding=((2, 0), (1, 3)), dilation=(1, 2)
    )["conv"]
    x, w, y = case["x"], case["w"], twin.conv(**case)
    expected = np.zeros_like(y) + case["bias"]
    for n, i, j, o in np.ndindex(*y.shape):
        for k, m, c in np.ndindex(3, 2, 2):
            row, col = 2 * i + k - 2, j + 2 * m - 1
            if 0 <= row < 6 and 0 <= col < 7:
                expected[n, i, j, o] += x[n, row, col, o // 3 * 2 + c] * w[k, m, c, o]
    identical(y, expected)


def test_gradients_are_adjoint():
    """This means <conv(x, w), dy> = <x, input_grad> = <w, weight_grad>, exactly on whole
    numbers.
    """
    case = direct_cases(
        (3, 9, 11, 6),
        (3, 3),
        4,
        groups=2,
        stride=(2, 3),
        padding=((1, 2), (0, 1)),
        dilation=(2, 1),
        bias=False,
    )
    y, dx, dw = (getattr(native, name)(**case[name]) for name in NAMES)
    x, w, dy = case["conv"]["x"], case["conv"]["w"], case["conv_input_grad"]["dy"]
    assert np.vdot(y, dy) == np.vdot(x, dx) == np.vdot(w, dw) != 0


@many
@given(
    n=st.integers(0, 3),
    h=st.integers(1, 12),
    w=st.integers(1, 12),
    groups=st.integers(1, 3),
    channels=st.integers(1, 20),
    outputs=st.integers(1, 36),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=PAIRS,
    dilation=PAIRS,
    padding=PADS,
    dtype=st.sampled_from([np.float32, np.float64]),
    bias=st.booleans(),
)
def test_any_geometry(
    n, h, w, groups, channels, outputs, kernel, stride, dilation, padding, dtype, bias
):
    assume(min(output_sizes(h, w, kernel, stride, padding, dilation)) >= 1)
    are_the_twins(
        (n, h, w, groups * channels),
        kernel,
        groups * outputs,
        groups,
        stride,
        padding,
        dilation,
        dtype=dtype,
        bias=bias,
    )


far = st.sampled_from([1, 2, 3, 7, 20, 30])
wide = st.tuples(*[st.tuples(st.integers(0, 30), st.integers(0, 30))] * 2)


@many
@given(
    h=st.integers(0, 6),
    w=st.integers(0, 6),
    groups=st.integers(1, 2),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(far, far),
    dilation=st.tuples(far, far),
    padding=wide,
)
def test_taps_that_only_meet_padding_and_strides_beyond_the_image(
    h, w, groups, kernel, stride, dilation, padding
):
    assume(min(output_sizes(h, w, kernel, stride, padding, dilation)) >= 1)
    are_the_twins((2, h, w, groups * 2), kernel, groups * 3, groups, stride, padding, dilation)


def test_an_image_far_inside_its_padding():
    """Only the middle tap meets the image, so nothing of the padding's size is allocated."""
    x, w, far = whole(1, 4, 5, 2), whole(3, 3, 2, 3, seed=1), 2**31 - 1
    options = {"padding": ((far, far), (far, far)), "dilation": (far, far)}
    y = native.conv(x, w, **options)
    identical(y, x @ w[1, 1])
    identical(native.conv_input_grad(y, w, x.shape, **options), y @ w[1, 1].T)
    dw = native.conv_weight_grad(x, y, (3, 3), **options)
    identical(dw[1, 1].copy(), x.reshape(-1, 2).T @ y.reshape(-1, 3))
    assert np.count_nonzero(dw) == np.count_nonzero(dw[1, 1])


@FLOATS
def test_every_number_of_channels(dtype):
    for channels in range(1, 71):
        are_the_twins((1, 4, 5, channels), (3, 3), 71 - channels, padding=SAME, dtype=dtype)


@FLOATS
@pytest.mark.parametrize("stride", ((1, 1), (2, 2)))
def test_depthwise(stride, dtype):
    for channels in (1, 3, 16, 33, 70):
        for multiplier in (1, 2):
            are_the_twins(
                (2, 7, 6, channels),
                (3, 3),
                channels * multiplier,
                channels,
                stride,
                SAME,
                dtype=dtype,
            )


@FLOATS
@pytest.mark.parametrize(
    "geometry",
    (
        line(x_shape=(2, 150, 60, 16), kernel=(3, 3), outputs=20, padding=SAME),  # several bands
        line(x_shape=(1, 150, 60, 16), kernel=(3, 3), outputs=20),  # without a copy
        line(
            x_shape=(20, 40, 90, 7),
            kernel=(5, 3),
            outputs=33,
            padding=((2, 2), (1, 1)),
            stride=(2, 2),
        ),
        # A row is larger than a band.
        line(x_shape=(1, 5, 4000, 13), kernel=(3, 3), outputs=3, padding=SAME),
        # Chunks of several images.
        line(x_shape=(37, 3, 3, 200), kernel=(3, 3), outputs=130, padding=SAME),
        line(x_shape=(3, 4, 4, 350), kernel=(3, 3), outputs=700, padding=SAME),  # one chunk
        line(x_shape=(40, 1, 1, 300), kernel=(1, 1), outputs=100),
        line(
            x_shape=(2, 20, 20, 8),
            kernel=(7, 7),
            outputs=8,
            padding=((3, 3), (3, 3)),
            dilation=(3, 3),
        ),
        # The kernel is smaller than the stride.
        line(x_shape=(2, 20, 20, 8), kernel=(2, 2), outputs=8, stride=(5, 4)),
        line(
            x_shape=(2, 9, 9, 4),
            kernel=(3, 3),
            outputs=5,
            stride=(4, 6),
            dilation=(2, 4),
            padding=((9, 3), (3, 9)),
        ),
        line(x_shape=(1, 1, 1, 3), kernel=(3, 3), outputs=2, padding=((5, 6), (7, 1))),
        line(x_shape=(2, 0, 3, 2), kernel=(2, 1), outputs=3, padding=((2, 2), (0, 0))),
        line(x_shape=(2, 30, 30, 48), kernel=(3, 3), outputs=96, groups=3, padding=SAME),
    ),
    ids=lambda g: "x".join(map(str, g["x_shape"])),
)
def test_large_and_odd_geometries(geometry, dtype):
    are_the_twins(**geometry, dtype=dtype)


@FLOATS
@pytest.mark.parametrize("name", NAMES)
def test_rounding_errors(name, dtype):
    case = direct_cases((4, 20, 20, 30), (3, 3), 24, padding=SAME, make=values, dtype=dtype)[name]
    wide, size = {}, {}
    for key, value in case.items():
        real = isinstance(value, np.ndarray)
        wide[key] = value.astype(np.longdouble) if real else value
        size[key] = np.abs(value).astype(np.float64) if real else value
    error = np.abs(getattr(native, name)(**case) - getattr(twin, name)(**wide))
    assert (error <= 20 * eps(dtype) * getattr(twin, name)(**size)).all()
    assert error.max() <= 2 * eps(dtype) * getattr(twin, name)(**size).max()


@pytest.mark.parametrize("bad", (np.nan, np.inf))
def test_bad_values_stay_in_their_image_and_channel(bad):
    case = direct_cases((3, 8, 8, 5), (3, 3), 20, padding=SAME, make=values)["conv"]
    clean, spoiled = native.conv(**case), case["x"].copy()
    spoiled[1, 2, 2, 3] = bad
    got = native.conv(**{**case, "x": spoiled})
    hit = np.zeros(got.shape, bool)
    hit[1, 1:4, 1:4] = True
    assert not np.isfinite(got[hit]).any()
    np.testing.assert_array_equal(got[~hit], clean[~hit])
    spoiled = case["w"].copy()
    spoiled[1, 1, 0, 19] = bad
    got = native.conv(**{**case, "w": spoiled})
    assert not np.isfinite(got[..., 19]).any()
    np.testing.assert_array_equal(got[..., :19], clean[..., :19])


@FLOATS
@pytest.mark.parametrize(
    "geometry",
    (
        line(x_shape=(3, 9, 8, 3), kernel=(3, 3), outputs=32, padding=SAME),
        line(x_shape=(3, 9, 8, 16), kernel=(3, 3), outputs=35, padding=SAME, stride=(2, 2)),
        line(x_shape=(3, 9, 8, 40), kernel=(1, 1), outputs=16),
        line(
            x_shape=(3, 9, 8, 12),
            kernel=(3, 2),
            outputs=18,
            groups=3,
            padding=((0, 2), (1, 1)),
            dilation=(2, 1),
        ),
    ),
    ids=lambda g: "x".join(map(str, g["x_shape"])),
)
def test_bad_values_reach_what_reads_them(geometry, dtype):
    """Bad values of images and of gradients reach exactly the results that read them, also at the
    corners of arrays.

    A bad value in the weights, or in dy on its way to dw, may reach other results of that channel,
    because zeros of the padding are multiplied, too.
    """
    made = direct_cases(**geometry, make=values, dtype=dtype, bias=False)
    for name, argument in (("conv", "x"), ("conv_input_grad", "dy"), ("conv_weight_grad", "x")):
        for places in corners(made[name][argument]):
            bad_values_are_local(
                getattr(native, name),
                getattr(twin, name),
                spoil(made[name], argument, *places),
                argument,
            )
    for name, argument in (("conv", "w"), ("conv_input_grad", "w"), ("conv_weight_grad", "dy")):
        for places in corners(made[name][argument]):
            case = spoil(made[name], argument, *places)
            bad = ~np.isfinite(getattr(native, name)(**case))
            read = reached(getattr(twin, name), case, argument, lambda a: ~np.isfinite(a))
            assert bad[read].all()
            assert not bad[..., ~read.any(axis=(0, 1, 2))].any()


@FLOATS
@pytest.mark.parametrize("groups", (1, 2))
@pytest.mark.parametrize("zero", (0.0, -0.0))
def test_nan_times_zero_is_nan_also_where_a_factor_is_one_number(zero, groups, dtype):
    made = direct_cases((1, 1, 1, groups), (1, 1), groups, groups=groups, dtype=dtype, bias=False)
    for name, case in made.items():
        first, second = [argument for argument in ("x", "dy", "w") if argument in case]
        for bad, other in ((first, second), (second, first)):
            spoiled = {
                **case,
                bad: np.full_like(case[bad], np.nan),
                other: np.full_like(case[other], zero),
            }
            for module in (native, twin):
                assert np.isnan(getattr(module, name)(**spoiled)).all()


@FLOATS
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "geometry",
    (
        line(x_shape=(5, 30, 31, 17), kernel=(3, 3), outputs=35, padding=SAME),
        line(x_shape=(1, 61, 60, 16), kernel=(3, 3), outputs=20, stride=(2, 2), padding=SAME),
        line(x_shape=(33, 9, 9, 40), kernel=(3, 3), outputs=40, groups=4),
        line(x_shape=(9, 33, 33, 50), kernel=(3, 3), outputs=50, groups=50, padding=SAME),
        line(x_shape=(70, 3, 3, 64), kernel=(3, 3), outputs=64, padding=SAME),
        line(x_shape=(6, 17, 15, 128), kernel=(3, 3), outputs=160, stride=(2, 2), padding=SAME),
        line(x_shape=(4, 9, 11, 256), kernel=(1, 1), outputs=130, stride=(2, 2)),
        line(x_shape=(3, 7, 9, 144), kernel=(3, 3), outputs=272, padding=((0, 1), (2, 1))),
    ),
    ids=lambda g: "x".join(map(str, g["x_shape"])),
)
def test_any_number_of_threads_gives_the_same_bits(name, geometry, dtype):
    same_bits(getattr(native, name), direct_cases(**geometry, make=values, dtype=dtype)[name])
