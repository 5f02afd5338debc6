"""These tests check resize and adaptive_avg_pool: their formulas, gradients, which pixels affect
which, bad input.
"""

import numpy as np
import pytest

import minidl as md
from minidl.ops.resample import linear, nearest, windows
from tests.support.arrays import close, uniform
from tests.support.cases import case, checks_of, errors_of
from tests.support.marks import both_backends, both_floats
from tests.support.reference.resample import adaptive_avg_pool, matrix, resize

SIZES = [
    ((2, 5, 3), 5),
    ((2, 5, 3), 8),
    ((2, 5, 3), 2),
    ((2, 5, 3), (3,)),
    ((2, 1, 3), 4),
    ((3, 7, 1), 1),
    ((2, 4, 6, 3), 3),
    ((2, 4, 6, 3), (7, 5)),
    ((2, 3, 2, 1), (6, 4)),
    ((1, 5, 1, 4), (2, 3)),
    ((2, 4, 6, 3), (4, 6)),
    ((0, 4, 6, 3), (2, 9)),
    ((2, 4, 6, 0), (2, 9)),
]

test_values, test_gradients, test_threads = checks_of(
    [
        *(
            case(f"resize {mode} {shape} {size}", md.resize, resize, shape, size=size, mode=mode)
            for mode in ("nearest", "linear")
            for shape, size in SIZES
        ),
        case("resize, nearest by default", md.resize, resize, (2, 3, 4, 2), size=[6, 8]),
        *(
            case(
                f"adaptive_avg_pool {shape} {size}",
                md.adaptive_avg_pool,
                adaptive_avg_pool,
                shape,
                size=size,
            )
            for shape, size in SIZES
        ),
        *(
            case(
                f"large resize {mode}",
                lambda x, mode=mode: md.resize(x, (41, 50), mode),
                lambda x, mode=mode: resize(x, (41, 50), mode),
                (1, 3, 4, 2),
                large=[(3, 33, 40, 17)],
            )
            for mode in ("nearest", "linear")
        ),
        *(
            case(
                f"large adaptive_avg_pool {size}",
                lambda x, size=size: md.adaptive_avg_pool(x, size),
                lambda x, size=size: adaptive_avg_pool(x, size),
                (1, 6, 4, 2),
                large=[(3, 33, 40, 17)],
            )
            for size in (3, 2, 1)
        ),
    ]
)

IMAGES, SEQUENCES = md.ones((2, 4, 6, 3)), md.ones((2, 5, 3))
CALLS = [("resize", md.resize), ("adaptive_avg_pool", md.adaptive_avg_pool)]
test_errors = errors_of(
    [
        *(
            (lambda f=f: f(md.ones((4, 3)), 2), ValueError, name, "(N, H, W, C)", "(4, 3)")
            for name, f in CALLS
        ),
        *(
            (lambda f=f: f(md.ones((2, 0, 3)), 2), ValueError, name, "(2, 0, 3)")
            for name, f in CALLS
        ),
        *(
            (lambda f=f: f(np.ones((2, 4, 4, 3), np.uint8), 2), TypeError, name, "uint8", "/ 255")
            for name, f in CALLS
        ),
        *(
            (lambda f=f: f(IMAGES, 0), ValueError, name, "size must be", "pair", "got 0")
            for name, f in CALLS
        ),
        *(
            (lambda f=f: f(IMAGES, (2, -1)), ValueError, name, "size", "(2, -1)")
            for name, f in CALLS
        ),
        *(
            (lambda f=f: f(IMAGES, (2, 2, 2)), ValueError, name, "size", "(2, 2, 2)")
            for name, f in CALLS
        ),
        *(
            (lambda f=f: f(SEQUENCES, (2, 2)), ValueError, name, "an int >= 1", "(2, 2)")
            for name, f in CALLS
        ),
        *((lambda f=f: f(IMAGES, 2.0), TypeError, name, "size", "2.0") for name, f in CALLS),
        *((lambda f=f: f(IMAGES, None), TypeError, name, "size", "None") for name, f in CALLS),
        *((lambda f=f: f(IMAGES, "ab"), TypeError, name, "size", "'ab'") for name, f in CALLS),
        *((lambda f=f: f(IMAGES, 2**40), MemoryError, name) for name, f in CALLS),
        (
            lambda: md.resize(IMAGES, 2, "cubic"),
            ValueError,
            "resize",
            "mode",
            '"linear"',
            "'cubic'",
        ),
        (lambda: md.resize(IMAGES, 2, None), TypeError, "resize", "mode", "None"),
    ]
)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 8, 13, 30])
@pytest.mark.parametrize("table", [nearest, linear, windows])
def test_the_way_back_is_the_transposed_table(table, length):
    for size in range(1, 33):
        made = table(length, size)
        full = np.zeros((size, length))
        for i, (start, weights) in enumerate(zip(*made, strict=True)):
            full[i, start : start + len(weights)] = weights
        np.testing.assert_allclose(full, matrix(length, size, table.__name__), atol=1e-12)
        back = np.zeros((length, size))
        for i, (start, weights) in enumerate(zip(*made.transposed(length), strict=True)):
            assert 0 <= start <= size - len(weights)
            back[i, start : start + len(weights)] = weights
        np.testing.assert_array_equal(back, full.T)


@both_backends
@both_floats
def test_pixels_reach_what_they_are_part_of_and_nothing_else(backend, dtype):
    """This includes NaN and infinity, forward and backward."""
    for f, name in (
        (lambda t: md.resize(t, (7, 9)), "nearest"),
        (lambda t: md.resize(t, (2, 4)), "nearest"),
        (lambda t: md.resize(t, (7, 9), "linear"), "linear"),
        (lambda t: md.resize(t, (3, 4), "linear"), "linear"),
        (lambda t: md.adaptive_avg_pool(t, (3, 5)), "windows"),
    ):
        x = md.tensor(uniform(2, 4, 6, 3, dtype=dtype), requires_grad=True)
        clean = f(x).data
        rows, columns = (matrix(n, s, name) for n, s in zip((4, 6), clean.shape[1:3], strict=True))
        x.data[1, 2, 3, 0] = np.nan
        hit = np.zeros(clean.shape, bool)
        hit[1, ..., 0] = np.outer(rows[:, 2], columns[:, 3]) != 0
        with md.use_backend(backend):
            y = f(x)
        np.testing.assert_array_equal(np.isnan(y.data), hit)
        close(y.data[~hit], clean[~hit])
        dy = np.ones(y.shape, dtype)
        dy[0, 1, 2, 1] = np.inf
        with md.use_backend(backend):
            y.backward(dy)
        hit = np.zeros(x.shape, bool)
        hit[0, ..., 1] = np.outer(rows[1], columns[2]) != 0
        np.testing.assert_array_equal(np.isinf(x.grad), hit)


def test_whole_factors_repeat_and_the_mean_stays():
    x = uniform(2, 3, 4, 5)
    np.testing.assert_array_equal(md.resize(x, (6, 12)).data, x.repeat(2, 1).repeat(3, 2))
    for size in ((1, 1), (5, 7), (2, 8)):
        np.testing.assert_allclose(md.resize(np.ones_like(x), size, "linear").data, 1, rtol=1e-6)
        np.testing.assert_allclose(md.adaptive_avg_pool(np.ones_like(x), size).data, 1, rtol=1e-6)
    close(md.adaptive_avg_pool(x, 1).data[:, 0, 0], md.global_avg_pool(x).data)


def test_windows_that_divide_are_a_pool_s():
    x = uniform(2, 6, 8, 5)
    np.testing.assert_array_equal(md.adaptive_avg_pool(x, (3, 2)), md.avg_pool(x, (2, 4)))
    graph = md.trace(lambda x: md.adaptive_avg_pool(x, (3, 2)), x)
    assert [node.function.__name__ for node in graph.nodes] == ["AvgPool"]


def test_on_a_border_the_later_pixel_is_nearest():
    """The centre of a pixel of the result can lie between two pixels of x."""
    x = np.arange(8, dtype=np.float32).reshape(1, 8, 1)
    np.testing.assert_array_equal(md.resize(x, 4).data[0, :, 0], [1, 3, 5, 7])
    np.testing.assert_array_equal(md.resize(x, 4, "linear").data[0, :, 0], [0.5, 2.5, 4.5, 6.5])
