"""These tests compare pooling with a loop over windows."""

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import close, uniform
from tests.support.cases import case, checks_of, errors_of
from tests.support.marks import both_backends, both_floats
from tests.support.reference.pool import avg_pool, max_pool

GEOMETRIES = [
    ("2x2", {"window": 2}),
    ("2x3", {"window": (2, 3)}),
    ("1x1", {"window": 1}),
    ("all", {"window": (6, 7)}),
    ("window 3 stride 2", {"window": 3, "stride": 2}),
    ("window 3 stride 1", {"window": 3, "stride": 1}),
    ("window 2 stride 3", {"window": 2, "stride": 3}),
    ("stride pair", {"window": 2, "stride": (1, 3)}),
    ("padding", {"window": 2, "padding": 1}),
    ("padding pair", {"window": (2, 3), "padding": (0, 1)}),
    ("resnet's", {"window": 3, "stride": 2, "padding": 1}),
    ("same", {"window": 3, "stride": 1, "padding": 1}),
    ("all at once", {"window": (4, 3), "stride": (3, 1), "padding": (2, 1)}),
    ("large window", {"window": (5, 6), "stride": 1, "padding": (2, 3)}),
]
WIDER = [
    ("padding on two sides", {"window": 2, "stride": 1, "padding": ((1, 0), (0, 1))}),
    ("padding on four sides", {"window": (3, 4), "padding": ((0, 2), (3, 1))}),
    ("windows side by side, padding after", {"window": 2, "padding": ((0, 0), (0, 1))}),
    ("padding same", {"window": 2, "stride": 1, "padding": "same"}),
    ("padding same, stride", {"window": (3, 2), "stride": (2, 3), "padding": "same"}),
    ("padding same, gaps", {"window": 1, "stride": 3, "padding": "same"}),
    ("padding valid", {"window": 3, "padding": "valid"}),
    ("ceil", {"window": 2, "ceil_mode": True}),
    ("ceil, overlapping", {"window": 3, "stride": 2, "ceil_mode": True}),
    ("ceil, padding", {"window": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    (
        "ceil, a window that would begin in the padding",
        {"window": 2, "stride": 3, "padding": (0, 1), "ceil_mode": True},
    ),
    ("ceil, window beyond the image", {"window": (7, 9), "stride": (2, 3), "ceil_mode": True}),
    (
        "ceil, uneven",
        {"window": (3, 4), "stride": 2, "padding": ((1, 2), (0, 3)), "ceil_mode": True},
    ),
    ("dilation", {"window": 2, "stride": 1, "dilation": 2}),
    ("dilation pair", {"window": (2, 3), "stride": (1, 2), "dilation": (3, 2)}),
    (
        "dilation, padding, ceil",
        {
            "window": (2, 3),
            "stride": (2, 3),
            "padding": (1, 2),
            "dilation": (3, 2),
            "ceil_mode": True,
        },
    ),
    ("dilation same", {"window": 3, "stride": 2, "dilation": (2, 1), "padding": "same"}),
]
UNCOUNTED = [
    (f"{title}, uncounted", {**options, "count_padding": False})
    for title, options in (GEOMETRIES[10], *WIDER[:2], WIDER[4], *WIDER[9:13], WIDER[15])
]
FUNCTIONS = (("max", md.max_pool, max_pool), ("avg", md.avg_pool, avg_pool))
LARGE = (
    "2x2",
    "resnet's",
    "all at once",
    "ceil, padding",
    "dilation, padding, ceil",
    "ceil, uneven, uncounted",
)
ALL = [
    (
        f"{name} {title}",
        ours,
        reference,
        (2, 6, 7, 3) if (title, options) in GEOMETRIES else (1, 6, 7, 2),
        options,
    )
    for name, ours, reference in FUNCTIONS
    for title, options in GEOMETRIES + WIDER + (UNCOUNTED if name == "avg" else [])
]

test_values, test_gradients, test_threads = checks_of(
    [
        *(
            case(name, ours, reference, shape, **options)
            for name, ours, reference, shape, options in ALL
        ),
        *(
            case(f"{name} {shape}", ours, reference, shape, window=2)
            for name, ours, reference in FUNCTIONS
            for shape in ((1, 2, 2, 1), (0, 4, 4, 3), (3, 2, 5, 17), (1, 4, 4, 0))
        ),
        *(
            case(f"large {name}", ours, reference, (1, 6, 7, 2), large=[(5, 21, 22, 33)], **options)
            for name, ours, reference, _, options in ALL
            if name[4:] in LARGE
        ),
        *(
            case(
                f"global {shape}",
                md.global_avg_pool,
                lambda x: x.mean(axis=tuple(range(1, x.ndim - 1))),
                shape,
                large=large,
            )
            for shape, large in (
                ((2, 3, 4, 5), [(7, 29, 31, 17)]),
                ((2, 6, 3), [(9, 2000, 5)]),
                ((2, 2, 2, 2, 3), None),
                ((1, 1, 1, 1), None),
                ((0, 3, 3, 2), None),
            )
        ),
    ]
)

X = md.zeros(2, 4, 5, 3)

test_errors = errors_of(
    [
        *(
            row
            for name, f in (("max_pool", md.max_pool), ("avg_pool", md.avg_pool))
            for row in (
                (
                    lambda f=f: f(md.zeros(4, 5, 3), 2),
                    ValueError,
                    f"{name}: x must be images (N, H, W, C)",
                    "(4, 5, 3)",
                ),
                (lambda f=f: f(X, 0), ValueError, f"{name}: window must be", ">= 1", "got 0"),
                (lambda f=f: f(X, (2, 2, 2)), ValueError, f"{name}: window must be", "(2, 2, 2)"),
                (lambda f=f: f(X, 1.5), TypeError, f"{name}: window must be", "1.5"),
                (lambda f=f: f(X, 2, stride=0), ValueError, f"{name}: stride must be", "got 0"),
                (lambda f=f: f(X, 2, padding=-1), ValueError, f"{name}: padding must be", "got -1"),
                (
                    lambda f=f: f(X, 3, padding=2),
                    ValueError,
                    f"{name}: padding (2, 2) is more than half",
                    "window (3, 3)",
                ),
                (
                    lambda f=f: f(X, 3, padding=(2, 0)),
                    ValueError,
                    f"{name}: padding (2, 0) is more than",
                ),
                (
                    lambda f=f: f(X, 3, padding=(0, 2)),
                    ValueError,
                    f"{name}: padding (0, 2) is more than",
                ),
                (
                    lambda f=f: f(X, 3, padding=((3, 0), (0, 0))),
                    ValueError,
                    f"{name}: padding ((3, 0), (0, 0)) is not less than window (3, 3)",
                ),
                (
                    lambda f=f: f(X, 3, padding=((0, 0), (0, 3))),
                    ValueError,
                    f"{name}: padding",
                    "not less",
                ),
                (
                    lambda f=f: f(X, 1, padding=((1, 0), (0, 0))),
                    ValueError,
                    f"{name}: padding",
                    "not less",
                ),
                (
                    lambda f=f: f(X, 2, padding=((1, 0), 1)),
                    TypeError,
                    f"{name}: padding must be",
                    "((top, bottom), (left, right))",
                    "got ((1, 0), 1)",
                ),
                (
                    lambda f=f: f(X, 2, padding=((1, 0), (1, 0), (1, 0))),
                    TypeError,
                    f"{name}: padding must be",
                ),
                (
                    lambda f=f: f(X, 2, padding=((1, 0, 1), (1, 0, 1))),
                    ValueError,
                    f"{name}: padding must be",
                    "((1, 0, 1), (1, 0, 1))",
                ),
                (
                    lambda f=f: f(X, 2, padding=((1, -1), (1, 0))),
                    ValueError,
                    f"{name}: padding must be",
                    ">= 0",
                    "got (1, -1)",
                ),
                (
                    lambda f=f: f(X, 2, padding="full"),
                    ValueError,
                    f"{name}: padding must be",
                    '"same" or "valid"',
                    "'full'",
                ),
                (lambda f=f: f(X, 2, padding="causal"), ValueError, f"{name}: padding must be"),
                (
                    lambda f=f: f(X, 2, ceil_mode=2),
                    TypeError,
                    f"{name}: ceil_mode must be True or False",
                ),
                (lambda f=f: f(X, 2, dilation=0), ValueError, f"{name}: dilation must be", "got 0"),
                (lambda f=f: f(X, 2, dilation=1.5), TypeError, f"{name}: dilation must be", "1.5"),
                (
                    lambda f=f: f(X, 2, dilation=4),
                    ValueError,
                    f"{name}: window (2, 2) with dilation (4, 4) is larger than the padded images",
                ),
                (
                    lambda f=f: f(X, 3, padding=3, dilation=2),
                    ValueError,
                    f"{name}: padding (3, 3) is more than half of "
                    "window (3, 3) with dilation (2, 2)",
                ),
                (
                    lambda f=f: f(md.zeros(1, 1, 1, 3), 2, 2, 1, True, 2),
                    ValueError,
                    f"{name}: ",
                    "a window (2, 2) holds nothing of the images (1, 1, 1, 3)",
                ),
                (
                    lambda f=f: f(md.zeros(1, 1, 4, 3), (3, 1), (2, 1), 0, True),
                    ValueError,
                    f"{name}: window (3, 1) is larger",
                ),
                (lambda f=f: f(X, (5, 1)), ValueError, f"{name}: window (5, 1) is larger"),
                (lambda f=f: f(X, (1, 6)), ValueError, f"{name}: window (1, 6) is larger"),
                (
                    lambda f=f: f(X, 6),
                    ValueError,
                    f"{name}: window (6, 6) is larger",
                    "(2, 4, 5, 3)",
                ),
                (
                    lambda f=f: f(X.astype(np.int64), 2),
                    TypeError,
                    f"{name}: x must be float32",
                    "int64",
                ),
                (lambda f=f: f("text", 2), TypeError, f"{name}: x must be a tensor", "str"),
            )
        ),
        (
            lambda: md.avg_pool(X, 2, count_padding="no"),
            TypeError,
            "avg_pool: count_padding must be True or False",
            "'no'",
        ),
        (
            lambda: md.global_avg_pool(md.zeros(2, 3)),
            ValueError,
            "global_avg_pool: x must be (N, ...",
            "(2, 3)",
        ),
        (
            lambda: md.global_avg_pool(md.zeros(2, 0, 3, 4)),
            ValueError,
            "global_avg_pool: x must be",
            "(2, 0, 3, 4)",
        ),
        (
            lambda: md.global_avg_pool(md.tensor([[[1]]])),
            TypeError,
            "global_avg_pool: x must be float",
        ),
    ]
)


@both_backends
@both_floats
def test_the_first_of_equal_values_gets_the_gradient(dtype, backend):
    x = md.tensor(np.ones((1, 4, 4, 2), dtype), requires_grad=True)
    with md.use_backend(backend):
        md.max_pool(x, 2).sum().backward()
    expected = np.zeros((4, 4), dtype)
    expected[::2, ::2] = 1
    np.testing.assert_array_equal(x.grad, np.repeat(expected[None, ..., None], 2, -1))


@both_backends
def test_overlapping_windows_add_their_gradients(backend):
    x = md.tensor(np.zeros((1, 3, 3, 1), np.float32), requires_grad=True)
    x.data[0, 1, 1] = 1
    with md.use_backend(backend):
        md.max_pool(x, 2, stride=1).sum().backward()
    expected = np.zeros((3, 3))
    expected[1, 1] = 4
    np.testing.assert_array_equal(x.grad[0, ..., 0], expected)


@both_backends
@pytest.mark.parametrize("window, stride, padding", [(2, 2, 0), (3, 2, 1), (3, 1, 1)])
def test_padding_never_wins_and_nan_does(window, stride, padding, backend):
    x = uniform(2, 6, 6, 3, low=-9, high=-5)
    x[0, 2, 3, 1] = np.nan
    with md.use_backend(backend):
        y = md.max_pool(md.tensor(x), window, stride, padding).data
    np.testing.assert_array_equal(y, max_pool(x, window, stride, padding))
    assert np.isnan(y).any()
    assert y[1].max() < 0


@both_backends
def test_images_of_minus_infinity(backend):
    x = md.tensor(np.full((1, 4, 4, 1), -np.inf, np.float32), requires_grad=True)
    with md.use_backend(backend):
        y = md.max_pool(x, 3, 1, 1)
        y.sum().backward()
    assert np.isneginf(y.data).all()
    assert x.grad.sum() == 16


@both_backends
def test_a_window_of_more_than_256_places(backend):
    """The positions do not fit into a byte."""
    x = md.tensor(uniform(1, 20, 20, 2), requires_grad=True)
    with md.use_backend(backend):
        y = md.max_pool(x, 20)
        y.sum().backward()
    best = x.data.max(axis=(1, 2), keepdims=True)
    np.testing.assert_array_equal(y.data, best)
    np.testing.assert_array_equal(x.grad, x.data == best)


@both_backends
def test_means_of_the_largest_values(backend):
    x = md.full((1, 2, 3, 20), 3e38)
    with md.use_backend(backend):
        assert (md.avg_pool(x, 2, 1).data == np.float32(3e38)).all()
        assert (md.global_avg_pool(x).data == np.float32(3e38)).all()


def test_the_gradient_of_a_leaf_is_an_array():
    """This includes adjacent windows, whose gradient may be read before it is computed."""
    x = md.tensor(uniform(2, 5, 4, 3), requires_grad=True)
    y = md.max_pool(x, 2)
    y.backward(uniform(*y.shape, seed=1), retain_graph=True)
    assert type(x.grad) is np.ndarray
    np.testing.assert_array_equal(md.grad(y, x, uniform(*y.shape, seed=1)), x.grad)


@both_backends
def test_windows_beyond_the_image_never_win_and_do_not_count(backend):
    """With one column too many, the last windows of ceil_mode hold one column, as if it stood
    alone.
    """
    x = uniform(2, 4, 5, 3, low=-9, high=-5)
    with md.use_backend(backend):
        top, mean = md.max_pool(x, 2, ceil_mode=True), md.avg_pool(x, 2, ceil_mode=True)
        np.testing.assert_array_equal(top.data[:, :, :2], md.max_pool(x[:, :, :4], 2).data)
        np.testing.assert_array_equal(top.data[:, :, 2:], md.max_pool(x[:, :, 4:], (2, 1)).data)
        np.testing.assert_array_equal(mean.data[:, :, :2], md.avg_pool(x[:, :, :4], 2).data)
        close(mean.data[:, :, 2:], md.avg_pool(x[:, :, 4:], (2, 1)).data)


@pytest.mark.parametrize("size", range(1, 8))
@pytest.mark.parametrize(
    "window, stride, dilation",
    [(3, 1, 1), (2, 1, 1), (3, 2, 1), (2, 3, 1), (3, 1, 2), (5, 2, 1), (1, 2, 1)],
)
@pytest.mark.parametrize("ceil_mode", (False, True))
def test_same_padding_gives_the_size_divided_by_the_stride(
    size, window, stride, dilation, ceil_mode
):
    """It is that of `conv`, and ceil_mode does not change it."""
    x = uniform(1, size + 4, size + 3, 2)
    options = {"stride": stride, "padding": "same", "dilation": dilation}
    expected = md.conv(x, uniform(window, window, 2, 2), **options).shape
    for f in (md.max_pool, md.avg_pool):
        assert f(x, window, ceil_mode=ceil_mode, **options).shape == expected


def test_numpys_numbers_and_lists_are_sizes():
    x = uniform(1, 6, 6, 2)
    expected = md.max_pool(x, (2, 3), 1, ((1, 0), (0, 2)), True, (2, 1))
    for padding in ([[1, 0], [0, 2]], np.array([[1, 0], [0, 2]]), ((np.int8(1), 0), [0, 2])):
        y = md.max_pool(x, [2, np.uint8(3)], np.int64(1), padding, np.True_, np.array([2, 1]))
        np.testing.assert_array_equal(y.data, expected.data)
