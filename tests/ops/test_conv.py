"""These tests compare convolution with a loop over output positions."""

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import close, uniform
from tests.support.cases import case, checks_of, errors_of
from tests.support.marks import both_backends, both_floats
from tests.support.reference.conv import conv

IMAGES = (2, 5, 6, 4)

OPTIONS = [
    ("3x3", (3, 3, 4, 2), {}),
    ("1x1", (1, 1, 4, 3), {}),
    ("2x3", (2, 3, 4, 2), {}),
    ("of the whole image", (5, 6, 4, 2), {}),
    ("padding", (3, 3, 4, 2), {"padding": 1}),
    ("padding, pair", (3, 3, 4, 2), {"padding": (0, 2)}),
    ("padding beyond the kernel", (1, 2, 4, 2), {"padding": 3}),
    ("padding, uneven", (3, 3, 4, 2), {"padding": ((1, 0), (0, 2))}),
    ("padding, uneven, stride", (2, 3, 4, 2), {"padding": ((0, 3), (2, 0)), "stride": (2, 3)}),
    (
        "padding, uneven, dilation, groups",
        (2, 2, 2, 4),
        {"padding": ((4, 0), (1, 2)), "dilation": (4, 2), "groups": 2},
    ),
    ("valid", (3, 3, 4, 2), {"padding": "valid"}),
    ("same", (3, 3, 4, 2), {"padding": "same"}),
    ("same, even kernel", (2, 4, 4, 2), {"padding": "same"}),
    ("same, stride", (3, 3, 4, 2), {"padding": "same", "stride": 2}),
    ("same, stride beyond the kernel", (1, 2, 4, 2), {"padding": "same", "stride": 3}),
    ("same, dilation", (3, 2, 4, 2), {"padding": "same", "dilation": (2, 3)}),
    ("stride", (3, 3, 4, 2), {"stride": 2}),
    ("stride, pair", (2, 2, 4, 2), {"stride": (1, 3)}),
    ("stride, pixels left over", (2, 2, 4, 2), {"stride": (2, 4)}),
    ("stride 2, padding 1", (3, 3, 4, 2), {"stride": 2, "padding": 1}),
    ("1x1, stride", (1, 1, 4, 2), {"stride": 2}),
    ("dilation", (2, 2, 4, 2), {"dilation": 2}),
    ("dilation, pair", (3, 2, 4, 2), {"dilation": (2, 4)}),
    ("groups", (3, 3, 2, 4), {"groups": 2}),
    ("depthwise", (3, 3, 1, 4), {"groups": 4}),
    ("depthwise, two each", (3, 3, 1, 8), {"groups": 4}),
    (
        "all at once",
        (2, 3, 2, 6),
        {"stride": (2, 1), "padding": (1, 2), "dilation": (2, 1), "groups": 2},
    ),
]

# These inputs are large enough to be shared among threads: images of 20 x 23, and the weights named
# here.
LARGE = [
    ("3x3", (3, 3, 7, 19), {"padding": 1}),
    ("stride", (3, 3, 7, 19), {"stride": 2}),
    ("1x1", (1, 1, 7, 40), {}),
    ("channels of 16", (3, 3, 16, 32), {"padding": 1}),
    ("uneven", (3, 3, 7, 19), {"padding": ((2, 0), (0, 1)), "stride": 2}),
    ("uneven, channels of 16", (3, 3, 16, 32), {"padding": ((2, 0), (0, 1))}),
    ("dilation", (3, 3, 7, 5), {"dilation": 2}),
    ("groups", (3, 3, 8, 10), {"groups": 2}),
]

test_values, test_gradients, test_threads = checks_of(
    [
        *(
            case(name, md.conv, conv, IMAGES, weight, **options)
            for name, weight, options in OPTIONS
        ),
        *(
            case(f"{name}, bias", md.conv, conv, IMAGES, weight, (weight[3],), **options)
            for name, weight, options in (
                OPTIONS[0],
                OPTIONS[7],
                OPTIONS[10],
                OPTIONS[-2],
                OPTIONS[-1],
            )
        ),
        case("one image of one pixel", md.conv, conv, (1, 1, 1, 1), (1, 1, 1, 1), (1,)),
        case("one channel", md.conv, conv, (2, 4, 4, 1), (3, 3, 1, 5), padding=1),
        case("no images", md.conv, conv, (0, 5, 5, 2), (3, 3, 2, 3), (3,), padding=1),
        case("x is a row", md.conv, conv, (2, 1, 9, 2), (1, 3, 2, 2)),
        *(
            case(
                f"large {name}",
                md.conv,
                conv,
                (1, 5, 5, 2),
                (2, 2, 2 // groups, 2),
                (2,),
                large=[(5, 20, 23, weight[2] * groups), weight, (weight[3],)],
                **options,
            )
            for name, weight, options in LARGE
            for groups in [options.get("groups", 1)]
        ),
        case(
            "large depthwise",
            md.conv,
            conv,
            (1, 3, 3, 24),
            (2, 2, 1, 24),
            (24,),
            padding="same",
            groups=24,
            large=[(5, 20, 23, 24), (3, 3, 1, 24), (24,)],
        ),
    ]
)

X, W = md.zeros(2, 5, 5, 4), md.zeros(3, 3, 4, 6)

test_errors = errors_of(
    [
        (
            lambda: md.conv(md.zeros(5, 5, 4), W),
            ValueError,
            "conv: x must be images (N, H, W, C)",
            "(5, 5, 4)",
        ),
        (
            lambda: md.conv(X, md.zeros(3, 3, 4)),
            ValueError,
            "conv: weight must be (KH, KW",
            "(3, 3, 4)",
        ),
        (
            lambda: md.conv(X, md.zeros(3, 0, 4, 6)),
            ValueError,
            "conv: weight has an empty axis",
            "(3, 0, 4, 6)",
        ),
        (
            lambda: md.conv(md.zeros(2, 5, 5, 3), W),
            ValueError,
            "conv: x has 3 channels",
            "(3, 3, 4, 6)",
            "groups=1",
            "expects 4",
        ),
        (
            lambda: md.conv(X, W, groups=2),
            ValueError,
            "conv: x has 4 channels",
            "groups=2",
            "expects 8",
        ),
        (
            lambda: md.conv(X, md.zeros(3, 3, 1, 6), groups=4),
            ValueError,
            "conv: 6 output channels do not divide into 4 groups",
        ),
        (lambda: md.conv(X, W, groups=0), ValueError, "conv: groups must be an int >= 1", "0"),
        (lambda: md.conv(X, W, groups=True), TypeError, "conv: groups must be an int", "True"),
        (lambda: md.conv(X, W, groups=1.0), TypeError, "conv: groups must be an int", "1.0"),
        (lambda: md.conv(X, W, md.zeros(4)), ValueError, "conv: bias must have shape (6,)", "(4,)"),
        (lambda: md.conv(X, W, stride=0), ValueError, "conv: stride must be", ">= 1", "got 0"),
        (lambda: md.conv(X, W, stride=(1, 2, 3)), ValueError, "conv: stride must be", "(1, 2, 3)"),
        (lambda: md.conv(X, W, stride=1.5), TypeError, "conv: stride must be", "1.5"),
        (lambda: md.conv(X, W, dilation=(1, 0)), ValueError, "conv: dilation must be", "(1, 0)"),
        (lambda: md.conv(X, W, padding=-1), ValueError, "conv: padding must be", ">= 0", "-1"),
        (
            lambda: md.conv(X, W, padding="full"),
            ValueError,
            "conv: padding must be",
            '"same"',
            "'full'",
        ),
        (lambda: md.conv(X, W, padding="causal"), ValueError, "conv: padding must be", "'causal'"),
        (
            lambda: md.conv(X, W, padding=((1, 0), (0, -2))),
            ValueError,
            "conv: padding must be",
            ">= 0",
            "((top, bottom), (left, right))",
            "got (0, -2)",
        ),
        (
            lambda: md.conv(X, W, padding=((1, 0), 2)),
            TypeError,
            "conv: padding must be",
            "((1, 0), 2)",
        ),
        (
            lambda: md.conv(X, W, padding=((1, 0, 2), (1, 0, 2))),
            ValueError,
            "conv: padding must be",
            "((1, 0, 2), (1, 0, 2))",
        ),
        (
            lambda: md.conv(X, W, padding=((1, 0), (0, 1.5))),
            TypeError,
            "conv: padding must be",
            "1.5",
        ),
        (
            lambda: md.conv(md.zeros(2, 1, 5, 4), W, padding=((1, 0), (9, 9))),
            ValueError,
            "conv: the height of x (2, 1, 5, 4) with padding (1, 0)",
            "kernel's 3",
        ),
        (
            lambda: md.conv(md.zeros(2, 2, 5, 4), W),
            ValueError,
            "conv: the height of x (2, 2, 5, 4)",
            "kernel's 3",
        ),
        (
            lambda: md.conv(md.zeros(2, 5, 4, 4), W, dilation=(1, 3), padding=(0, 1)),
            ValueError,
            "conv: the width of x (2, 5, 4, 4)",
            "padding (1, 1)",
            "kernel's 7",
        ),
        (lambda: md.conv(md.zeros(2, 0, 5, 4), W), ValueError, "conv: the height"),
        (
            lambda: md.conv(X, md.zeros(3, 3, 4, 6, dtype=np.float64)),
            TypeError,
            "conv: mixed dtypes",
            "x float32",
            "weight float64",
        ),
        (lambda: md.conv(X, W, np.zeros(6)), TypeError, "conv: mixed dtypes", "bias float64"),
        (lambda: md.conv(X.astype(np.int64), W), TypeError, "conv: x must be float32 or float64"),
        (lambda: md.conv(X, "text"), TypeError, "conv: weight must be a tensor", "str"),
    ]
)


@both_backends
@both_floats
@pytest.mark.parametrize("size", range(1, 8))
@pytest.mark.parametrize(
    "kernel, stride, dilation",
    [(3, 1, 1), (2, 1, 1), (3, 2, 1), (2, 3, 1), (3, 1, 2), (5, 2, 1), (1, 2, 1)],
)
def test_same_padding_gives_the_size_divided_by_the_stride(
    size, kernel, stride, dilation, dtype, backend
):
    x, w = uniform(1, size, size + 1, 2, dtype=dtype), uniform(kernel, kernel, 2, 1, dtype=dtype)
    options = {"stride": stride, "dilation": dilation, "padding": "same"}
    with md.use_backend(backend):
        y = md.conv(md.tensor(x), md.tensor(w), **options)
    assert y.shape == (1, -(-size // stride), -(-(size + 1) // stride), 1)
    close(y.data, conv(x.astype(float), w.astype(float), **options))


@both_backends
@pytest.mark.parametrize("ci, co", [(1, 1), (3, 16), (16, 16), (17, 33), (32, 64), (5, 31)])
def test_any_number_of_channels(ci, co, backend):
    """The numbers are close to the widths of vectors and of blocks of output channels."""
    x = md.tensor(uniform(2, 6, 7, ci), requires_grad=True)
    w = md.tensor(uniform(3, 3, ci, co, seed=1), requires_grad=True)
    dy = uniform(2, 6, 7, co, seed=2)
    exact = [md.tensor(t.data.astype(np.float64), requires_grad=True) for t in (x, w)]
    with md.use_backend(backend):
        y = md.conv(x, w, padding=1)
        dx, dw = md.grad(y, [x, w], dy)
    with md.use_backend("numpy"):
        exact_y = md.conv(*exact, padding=1)
        exact_dx, exact_dw = md.grad(exact_y, exact, dy)
    for value, expected in ((y.data, exact_y.data), (dx, exact_dx), (dw, exact_dw)):
        close(value, expected)


@both_backends
def test_nan_spreads_to_the_windows_that_hold_it_only(backend):
    x = np.zeros((1, 7, 7, 2), np.float32)
    x[0, 3, 3, 0] = np.nan
    with md.use_backend(backend):
        y = md.conv(md.tensor(x), md.ones(3, 3, 2, 4), padding=1).data
    expected = np.zeros((7, 7), bool)
    expected[2:5, 2:5] = True
    np.testing.assert_array_equal(np.isnan(y[0]), np.repeat(expected[..., None], 4, -1))


def test_no_gradient_for_images_that_need_none(monkeypatch):
    def never(*arguments):
        raise AssertionError("nobody asked for it")

    monkeypatch.setattr(md.kernels, "conv_input_grad", never)
    w, b = (md.tensor(uniform(*s), requires_grad=True) for s in ((3, 3, 4, 6), (6,)))
    md.conv(uniform(2, 5, 5, 4), w, b).sum().backward()
    assert w.grad.shape == (3, 3, 4, 6)
    assert b.grad.tolist() == [18] * 6
