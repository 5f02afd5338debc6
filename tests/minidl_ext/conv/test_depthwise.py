"""These tests check depthwise convolution: it is exact on whole numbers for every geometry, has the
same bits on any number of threads, and refuses bad arguments.
"""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.support.kernel_convs import (
    PADS,
    PAIRS,
    agree,
    depthwise_cases,
    output_sizes,
    whole_consumer,
    whole_factors,
)
from tests.support.kernels import (
    KINDS,
    LAYOUTS,
    RANKS,
    bad_values_are_local,
    checks_out,
    close,
    corners,
    identical,
    kernels_of,
    line,
    many,
    refuses,
    same_bits,
    spoil,
    values,
    whole,
)

native, twin = kernels_of("conv.depthwise")

NAMES = ("depthwise_conv", "depthwise_input_grad", "depthwise_weight_grad")


def cases(*shape, make=whole, **geometry):
    """Return the arguments of the three kernels for one geometry."""
    forward, backward = depthwise_cases(*shape, make=make, **geometry)
    x, weights, dy = (backward[name] for name in ("x", "w", "dy"))
    options = {name: forward[name] for name in ("stride", "padding", "dilation")}
    return {
        "depthwise_conv": forward,
        "depthwise_input_grad": {"dy": dy, "w": weights, "input_shape": x.shape, **options},
        "depthwise_weight_grad": {"x": x, "dy": dy, "kernel_shape": weights.shape[:2], **options},
    }


@many
@given(
    n=st.integers(0, 3),
    h=st.integers(1, 12),
    w=st.integers(1, 20),
    channels=st.integers(1, 3),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=PAIRS,
    dilation=PAIRS,
    padding=PADS,
)
def test_any_geometry(n, h, w, channels, kernel, stride, dilation, padding):
    assume(min(output_sizes(h, w, kernel, stride, padding, dilation)) >= 1)
    made = cases(
        n, h, w, 16 * channels, kernel=kernel, stride=stride, padding=padding, dilation=dilation
    )
    for name, case in made.items():
        identical(getattr(native, name)(**case), getattr(twin, name)(**case))


@many
@given(
    n=st.integers(0, 3),
    h=st.integers(1, 9),
    w=st.integers(1, 12),
    channels=st.integers(1, 3),
    kernel=PAIRS,
    stride=PAIRS,
    dilation=PAIRS,
    padding=PADS,
    norm=st.booleans(),
    relu=st.booleans(),
    consumer=st.booleans(),
    consumer_relu=st.booleans(),
    centre=st.booleans(),
)
def test_any_geometry_between_two_normalizations(
    n,
    h,
    w,
    channels,
    kernel,
    stride,
    dilation,
    padding,
    norm,
    relu,
    consumer,
    consumer_relu,
    centre,
):
    """What else holds between normalizations is in test_between_norms."""
    assume(min(output_sizes(h, w, kernel, stride, padding, dilation)) >= 1)
    made = depthwise_cases(n, h, w, 16 * channels, kernel, stride, padding, dilation)
    agree(
        "depthwise",
        made,
        whole_factors(16 * channels) if norm else None,
        relu,
        whole_consumer(made[1]["dy"], consumer_relu, centre) if consumer else None,
    )


@pytest.mark.parametrize(
    "geometry",
    (
        line(n=1, h=33, w=29, channels=272),
        line(n=70, h=6, w=5, channels=48),  # more images than chunks, also for the gradient
        line(n=150, h=5, w=4, channels=16, stride=(2, 2)),
    ),
    ids=lambda g: "x".join(str(v) for v in g.values()),
)
def test_chunks_of_images_between_two_normalizations(geometry):
    made = depthwise_cases(**geometry)
    agree(
        "depthwise", made, whole_factors(geometry["channels"]), True, whole_consumer(made[1]["dy"])
    )


@pytest.mark.parametrize(
    "geometry",
    (
        line(n=40, h=32, w=32, channels=32),
        line(n=3, h=17, w=16, channels=144, stride=(2, 2)),
        line(n=2, h=20, w=20, channels=16, kernel=(8, 8), padding=((4, 3), (3, 4))),
        line(n=2, h=20, w=20, channels=16, stride=(5, 4), padding=((0, 0), (0, 0))),
    ),
    ids=lambda g: "x".join(str(v) for v in g.values()),
)
def test_large_and_odd_geometries(geometry):
    for name, case in cases(**geometry).items():
        identical(getattr(native, name)(**case), getattr(twin, name)(**case))


@pytest.mark.parametrize("name", NAMES)
def test_rounding_errors(name):
    case = cases(8, 20, 20, 32, make=values)[name]
    wide = {
        key: value.astype(np.longdouble) if isinstance(value, np.ndarray) else value
        for key, value in case.items()
    }
    close(getattr(native, name)(**case), getattr(twin, name)(**wide), 2e-6)


def test_bad_values_stay_in_their_channel():
    case = cases(2, 8, 8, 32, make=values)["depthwise_conv"]
    clean, spoiled = native.depthwise_conv(**case), case["x"].copy()
    spoiled[1, 2, 2, 3] = np.nan
    got = native.depthwise_conv(**{**case, "x": spoiled})
    hit = np.zeros(got.shape, bool)
    hit[1, 1:4, 1:4, 3] = True
    assert np.isnan(got[hit]).all()
    np.testing.assert_array_equal(got[~hit], clean[~hit])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stride", ((1, 1), (2, 2)))
def test_bad_values_reach_what_reads_them(name, stride):
    made = cases(3, 9, 8, 32, stride=stride, make=values)[name]
    for argument in {"x", "w", "dy"} & set(made):
        for places in corners(made[argument]):
            bad_values_are_local(
                getattr(native, name), getattr(twin, name), spoil(made, argument, *places), argument
            )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "geometry",
    (
        line(n=70, h=15, w=14, channels=48),
        line(n=70, h=15, w=14, channels=48, stride=(2, 2)),
        line(n=9, h=15, w=17, channels=144, stride=(2, 1)),
        line(n=5, h=7, w=9, channels=272, kernel=(5, 5), padding=((3, 1), (2, 4))),
        line(n=5, h=11, w=9, channels=128, dilation=(2, 2)),
    ),
    ids=lambda g: "x".join(str(v) for v in g.values()),
)
def test_any_number_of_threads_gives_the_same_bits(name, geometry):
    same_bits(getattr(native, name), cases(**geometry, make=values)[name])


CHANNELS = {
    "channels": lambda a: np.ascontiguousarray(a[..., 1:]),
    "float64": lambda a: a.astype(np.float64),
}


@pytest.mark.parametrize("name", NAMES)
def test_out_is_filled_and_bad_arrays_are_refused(name):
    case = cases(2, 6, 7, 16)[name]
    checks_out(getattr(native, name), case)
    for argument in ("x", "w", "dy"):
        if argument in case:
            refuses(getattr(native, name), case, argument, LAYOUTS | KINDS | RANKS | CHANNELS)


def test_out_of_a_normalized_input():
    case = cases(2, 6, 7, 16)["depthwise_conv"]
    checks_out(native.depthwise_conv, {**case, "factors": whole_factors(16), "relu": True})


@pytest.mark.parametrize(
    ("name", "change"),
    (
        ("depthwise_conv", {"w": np.ones((3, 3, 1, 32), np.float32)}),
        ("depthwise_conv", {"w": np.ones((3, 3, 2, 16), np.float32)}),
        ("depthwise_conv", {"w": np.ones((9, 9, 1, 16), np.float32), "padding": ((9, 9), (9, 9))}),
        ("depthwise_conv", {"w": np.ones((0, 3, 1, 16), np.float32)}),
        ("depthwise_conv", {"stride": (0, 1)}),
        ("depthwise_conv", {"dilation": (1, 2**62)}),
        ("depthwise_conv", {"padding": ((-1, 1), (0, 0))}),
        ("depthwise_conv", {"padding": 1}),
        ("depthwise_input_grad", {"input_shape": (2, 8, 7, 16)}),
        ("depthwise_input_grad", {"input_shape": (2, 6, 7)}),
        ("depthwise_weight_grad", {"kernel_shape": (3, 4)}),
        ("depthwise_weight_grad", {"kernel_shape": 3}),
        ("depthwise_weight_grad", {"dy": np.ones((1, 6, 7, 16), np.float32)}),
    ),
)
def test_shapes_that_do_not_fit_are_refused(name, change):
    case = cases(2, 6, 7, 16)[name]
    getattr(native, name)(**case)
    with pytest.raises((TypeError, ValueError, OverflowError)):
        getattr(native, name)(**{**case, **change})
