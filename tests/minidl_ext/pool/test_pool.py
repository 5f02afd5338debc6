"""These tests check pooling: beside the twin for every geometry, with ties, NaN and padding. Bad
positions are refused.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.kernels import (
    FLOATS,
    KINDS,
    LAYOUTS,
    RANKS,
    close,
    eps,
    identical,
    kernels_of,
    line,
    many,
    refuses,
    same_bits,
    values,
    whole,
)

native, twin = kernels_of("pool.")

NAMES = ("max_pool", "max_pool_backward", "avg_pool", "avg_pool_backward")
NONE, ONE = ((0, 0), (0, 0)), ((1, 1), (1, 1))  # paddings


def cases(
    x_shape,
    window,
    stride=None,
    padding=NONE,
    dilation=(1, 1),
    counted=None,
    make=values,
    dtype=np.float32,
):
    """Return the arguments of the four kernels for one geometry."""
    stride = stride or window
    n, h, w, c = x_shape
    oh, ow = [
        (size + sum(p) - d * (k - 1) - 1) // s + 1
        for size, p, d, k, s in zip((h, w), padding, dilation, window, stride, strict=True)
    ]
    options = {"window": window, "stride": stride, "padding": padding, "dilation": dilation}
    x, dy = make(*x_shape, dtype=dtype), make(n, oh, ow, c, dtype=dtype, seed=1)
    argmax = twin.max_pool(x, **options)[1]
    mean = {**options, "counted": counted}
    return {
        "max_pool": {"x": x, **options},
        "max_pool_backward": {"dy": dy, "argmax": argmax, "input_shape": x_shape, **options},
        "avg_pool": {"x": x, **mean},
        "avg_pool_backward": {"dy": dy, "input_shape": x_shape, **mean},
    }


def test_the_twins_are_the_definition():
    """The definition looks at each value in a list of the values of a window."""
    x, window, stride, dilation = values(2, 5, 4, 3), (2, 3), (2, 1), (2, 1)
    padding, counted = ((1, 2), (2, 1)), ((1, 0), (0, 1))
    options = {"window": window, "stride": stride, "padding": padding, "dilation": dilation}
    (y, argmax), mean = twin.max_pool(x, **options), twin.avg_pool(x, counted=counted, **options)
    assert y.shape == mean.shape == (2, 3, 5, 3)
    dy = values(*y.shape, seed=1)
    max_grad, avg_grad = np.zeros_like(x), np.zeros_like(x)
    for n, i, j, c in np.ndindex(*y.shape):
        taps = [(k, m, 2 * i - 1 + 2 * k, j - 2 + m) for k in range(2) for m in range(3)]
        inside = [(k, m, r, q) for k, m, r, q in taps if 0 <= r < 5 and 0 <= q < 4]
        counts = sum(-1 <= r < 5 and 0 <= q < 5 for _, _, r, q in taps)
        k, m, r, q = max(inside, key=lambda tap: x[n, tap[2], tap[3], c])
        assert (y[n, i, j, c], argmax[n, i, j, c]) == (x[n, r, q, c], 3 * k + m)
        max_grad[n, r, q, c] += dy[n, i, j, c]
        close(mean[n, i, j, c], sum(x[n, r, q, c] for _, _, r, q in inside) / counts, 1e-6)
        for _, _, r, q in inside:
            avg_grad[n, r, q, c] += dy[n, i, j, c] / counts
    close(twin.max_pool_backward(dy, argmax, x.shape, **options), max_grad, 1e-6)
    close(twin.avg_pool_backward(dy, x.shape, counted=counted, **options), avg_grad, 1e-6)


def are_the_twins(*args, **options):
    for name, case in cases(*args, **options).items():
        got, expected = getattr(native, name)(**case), getattr(twin, name)(**case)
        if name == "max_pool":
            identical(got[0], expected[0])
            identical(got[1], expected[1])
        elif name == "max_pool_backward" and options.get("make") is whole:
            identical(got, expected)
        else:
            assert got.dtype == expected.dtype
            close(got, expected, 8 * eps(expected.dtype))


pair = st.tuples(st.integers(1, 4), st.integers(1, 4))
sizes = st.integers(1, 12)
sides = st.tuples(st.integers(0, 4), st.integers(0, 4))
around = st.tuples(sides, sides)
window_of = st.tuples(st.integers(1, 5), st.integers(1, 5))


@many
@given(
    n=st.integers(0, 3),
    h=sizes,
    w=sizes,
    c=st.integers(0, 35),
    window=window_of,
    stride=pair,
    padding=around,
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    counted=st.none() | around,
    dtype=st.sampled_from([np.float32, np.float64]),
    make=st.sampled_from([values, whole]),
)
def test_any_geometry(n, h, w, c, window, stride, padding, dilation, counted, dtype, make):
    """The values are the same, or both refuse the case, where a window would hold padding alone."""
    for step in (stride, window):
        options = step, padding, dilation, counted
        try:
            made = cases((n, h, w, c), window, *options, dtype=dtype)
        except ValueError:
            x = values(n, h, w, c, dtype=dtype)
            for kernel in (native.max_pool, native.avg_pool):
                with pytest.raises(ValueError, match=r"nothing of the images|the padded im"):
                    kernel(x, window, step, padding, dilation)
            continue
        assert made["avg_pool"]["dilation"] == dilation
        are_the_twins((n, h, w, c), window, *options, make=make, dtype=dtype)


@pytest.mark.parametrize("name", ("max_pool", "avg_pool"))
@pytest.mark.parametrize(
    "size, taps, stride, sides, dilation",
    (
        (4, 2, 1, (2, 0), 1),
        (4, 2, 1, (0, 2), 1),  # padding as large as the window
        (1, 2, 1, (1, 1), 2),
        (2, 2, 2, (3, 1), 3),  # a window skips the whole image
    ),
)
def test_windows_of_padding_alone_are_refused(name, size, taps, stride, sides, dilation):
    for axis in (0, 1):
        shape = (1, size, 5, 2) if axis == 0 else (1, 5, size, 2)
        ones, none = [1, 1], [(0, 0), (0, 0)]
        window, steps, padding, disjoint = list(ones), list(ones), list(none), list(ones)
        window[axis], steps[axis], padding[axis], disjoint[axis] = taps, stride, sides, dilation
        options = tuple(window), tuple(steps), tuple(padding), tuple(disjoint)
        for module in (native, twin):
            with pytest.raises(ValueError, match=f"{name}: .*holds nothing of the images"):
                getattr(module, name)(values(*shape), *options)


def test_a_window_may_begin_before_an_image_smaller_than_its_dilation():
    """A causal pool of a sequence that has just begun does so."""
    options = {"window": (1, 2), "stride": (1, 1), "padding": ((0, 0), (3, 0)), "dilation": (1, 3)}
    x = values(2, 1, 2, 5)
    identical(native.max_pool(x, **options)[0], x)
    are_the_twins((2, 1, 2, 5), **options, counted=NONE)


@FLOATS
@pytest.mark.parametrize(
    ("x_shape", "window", "stride", "padding"),
    (
        ((3, 28, 28, 32), (2, 2), (2, 2), NONE),
        ((3, 29, 27, 33), (2, 2), (2, 2), NONE),
        # Windows side by side, some of which are beyond the image.
        ((2, 29, 27, 33), (2, 2), (2, 2), ((0, 1), (0, 1))),
        ((2, 30, 30, 64), (3, 3), (2, 2), ONE),
        ((2, 24, 24, 3), (7, 5), (3, 4), ((3, 3), (2, 2))),
        ((1, 17, 17, 9), (16, 16), (1, 1), ((8, 8), (8, 8))),  # 256 positions fit into uint8
        ((1, 18, 17, 9), (17, 16), (1, 1), ((8, 8), (8, 8))),  # 272 positions need int32
        ((1, 18, 17, 9), (17, 16), (1, 1), ((16, 3), (0, 15))),
        ((2, 40, 40, 2), (20, 20), (20, 20), NONE),
        ((1, 1, 1, 1), (1, 1), (1, 1), NONE),
    ),
    ids=str,
)
def test_large_geometries(x_shape, window, stride, padding, dtype):
    for make in (values, whole):
        are_the_twins(x_shape, window, stride, padding, make=make, dtype=dtype)


def test_every_number_of_channels():
    for c in range(1, 71):
        are_the_twins((1, 6, 7, c), (2, 3), make=whole)
        are_the_twins((1, 6, 7, c), (3, 3), (2, 2), ONE, make=whole)
        are_the_twins((1, 6, 7, c), (2, 2), (2, 2), ((0, 1), (1, 0)), (2, 3), NONE, make=whole)


@FLOATS
@pytest.mark.parametrize("c", (1, 5, 40))
def test_nan_wins_and_ties_go_to_the_first(c, dtype):
    for options in ({"window": (2, 2)}, {"window": (3, 3), "stride": (2, 2), "padding": ONE}):
        case = cases((2, 8, 8, c), **options, make=whole, dtype=dtype)["max_pool"]
        case["x"][0, 2, 2, 0] = case["x"][0, 3, 2, 0] = case["x"][1, 7, 7, c - 1] = np.nan
        case["x"][1, 0, 0] = np.inf
        for got, expected in zip(native.max_pool(**case), twin.max_pool(**case), strict=True):
            identical(got, expected)
    case = {"x": np.zeros((1, 4, 4, c), dtype), "window": (2, 2), "stride": (2, 2)}
    assert not native.max_pool(**case)[1].any()


@FLOATS
@pytest.mark.parametrize("fill", (-np.inf, -1e30))
def test_padding_never_wins(fill, dtype):
    """It does not win even where all values are as low as can be, since the gradient must be inside
    of the image.
    """
    x = np.full((1, 4, 4, 3), fill, dtype)
    options = {"window": (3, 3), "stride": (3, 3), "padding": ONE}
    y, argmax = native.max_pool(x, **options)
    identical(y, np.full((1, 2, 2, 3), fill, dtype))
    dx = native.max_pool_backward(np.ones_like(y), argmax, x.shape, **options)
    assert dx.sum() == y.size
    identical(argmax, twin.max_pool(x, **options)[1])


@pytest.mark.parametrize("name", NAMES[:2])
def test_images_without_rows(name):
    """A window that holds nothing but padding has no largest value."""
    case = cases((1, 2, 4, 2), (2, 2), (1, 1), ONE)[name]
    case |= (
        {"x": np.ones((1, 0, 4, 2), np.float32)}
        if "x" in case
        else {
            "input_shape": (1, 0, 4, 2),
            "dy": np.ones((1, 1, 5, 2), np.float32),
            "argmax": np.zeros((1, 1, 5, 2), np.uint8),
        }
    )
    with pytest.raises(ValueError, match=name):
        getattr(native, name)(**case)


@FLOATS
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "geometry",
    (
        line(x_shape=(7, 28, 28, 33), window=(2, 2)),
        line(x_shape=(5, 41, 40, 9), window=(3, 3), stride=(2, 2), padding=ONE),
        line(
            x_shape=(5, 41, 40, 9),
            window=(3, 2),
            padding=((2, 1), (0, 1)),
            dilation=(2, 3),
            counted=((1, 0), (0, 0)),
        ),
        line(x_shape=(3, 50, 50, 8), window=(20, 20), stride=(3, 3)),
    ),
    ids=lambda g: str(g["window"]),
)
def test_any_number_of_threads_gives_the_same_bits(name, geometry, dtype):
    same_bits(getattr(native, name), cases(**geometry, dtype=dtype)[name])


# ------------------------------------------------------------------------------ bad arguments


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("window", ((2, 2), (17, 17)))
def test_bad_arrays_are_refused(name, window):
    case = cases((2, 34, 34, 3), window)[name]
    for argument in {"x", "dy"} & set(case):
        refuses(getattr(native, name), case, argument, LAYOUTS | KINDS | RANKS)
    if name == "max_pool_backward":
        kinds = {k: v for k, v in KINDS.items() if k != "int32" or window == (2, 2)}
        kinds["int64"] = lambda a: a.astype(np.int64)
        kinds["cut"] = lambda a: a[:, 1:].copy()
        refuses(native.max_pool_backward, case, "argmax", LAYOUTS | kinds | RANKS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options",
    (
        {"window": (0, 2)},
        {"window": (2, -1)},
        {"window": (9, 2)},
        {"window": 2},
        {"window": (2,)},
        {"window": (2, 2, 2)},
        {"window": (2.5, 2)},
        {"window": None},
        {"stride": (0, 2)},
        {"stride": (2, -2)},
        {"stride": None},
        {"padding": ((-1, 0), (0, 0))},
        {"padding": ((2, 0), (0, 0))},
        {"padding": ((0, 3), (0, 0))},
        {"padding": ((0, 0), (0, 2))},
        {"padding": 1},
        {"padding": (1, 1)},
        {"padding": ((0, 0),) * 3},
        {"padding": ((0,), (0, 0))},
        {"window": (2**62, 2**62)},
        {"dilation": (0, 1)},
        {"dilation": (1, -1)},
        {"dilation": 2},
        {"dilation": (8, 1)},
        {"dilation": (1, 2**62)},
        {"dilation": None},
        {"counted": 1},
        {"counted": (1, 1)},
        {"counted": ((0, -1), (0, 0))},
        {"counted": ((0, 2**40), (0, 0))},
    ),
    ids=str,
)
def test_bad_options_are_refused(name, options):
    case = cases((2, 8, 8, 3), (2, 2))[name]
    if "counted" in options and name.startswith("max"):
        options = {"dilation": ()}  # this kernel has no such argument
    with pytest.raises((TypeError, ValueError)):
        getattr(native, name)(**{**case, **options})


@pytest.mark.parametrize("name", ("max_pool_backward", "avg_pool_backward"))
def test_gradients_must_fit(name):
    case = cases((2, 8, 8, 3), (2, 2))[name]
    shapes = (2, 8, 8), (2, 10, 8, 3), (2, 8, 8, -3), (2, 8, 8, 3.5), None
    for change in (
        {"dy": values(2, 4, 5, 3)},
        {"dy": values(1, 4, 4, 3)},
        *({"input_shape": shape} for shape in shapes),
    ):
        with pytest.raises((TypeError, ValueError)):
            getattr(native, name)(**{**case, **change})


@pytest.mark.parametrize("kernels", (native, twin), ids=("native", "twin"))
@pytest.mark.parametrize("place", (*range(10), 255))
@pytest.mark.parametrize("position", (0, -1))
def test_places_outside_are_refused(place, position, kernels):
    """A position in an overlapping window becomes an address, so it must be inside of window and
    image.
    """
    case = cases((1, 5, 5, 1), (3, 3), (2, 2), ONE)["max_pool_backward"]
    argmax = np.full((1, 3, 3, 1), 4, np.uint8)  # the centres, which are inside everywhere
    kernels.max_pool_backward(**{**case, "argmax": argmax})
    argmax.ravel()[position] = place
    # The first window reaches over the top left corner, and the last one over the bottom right one.
    outside = {0, 1, 2, 3, 6} if position == 0 else {2, 5, 6, 7, 8}
    if place < 9 and place not in outside:
        kernels.max_pool_backward(**{**case, "argmax": argmax})
    else:
        with pytest.raises(ValueError, match="max_pool_backward: argmax has places outside"):
            kernels.max_pool_backward(**{**case, "argmax": argmax})


@pytest.mark.parametrize("kernels", (native, twin), ids=("native", "twin"))
def test_places_outside_are_refused_with_dilation(kernels):
    """The same numbers as above would be inside if the taps were adjacent."""
    options = {"window": (2, 2), "stride": (1, 1), "padding": ((2, 0), (0, 2)), "dilation": (2, 2)}
    case = cases((1, 3, 3, 1), **options)["max_pool_backward"]
    inside = kernels.max_pool_backward(**case)
    assert inside.shape == (1, 3, 3, 1)
    for place in (0, 1):  # in the first window, in the rows before the image
        case["argmax"][0, 0, 0, 0] = place
        with pytest.raises(ValueError, match="max_pool_backward: argmax has places outside"):
            kernels.max_pool_backward(**case)


@pytest.mark.parametrize("kernels", (native, twin), ids=("native", "twin"))
@pytest.mark.parametrize("place", (-1, -(2**31), 2**31 - 1, 289))
def test_wide_places_outside_are_refused(place, kernels):
    case = cases((1, 20, 20, 1), (17, 17), (1, 1))["max_pool_backward"]
    case["argmax"][0, 1, 1, 0] = place
    with pytest.raises(ValueError, match="max_pool_backward: argmax has places outside"):
        kernels.max_pool_backward(**case)
