"""These tests compare convolution and pooling of sequences with loops over their steps."""

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import uniform
from tests.support.cases import case, checks_of, errors_of
from tests.support.marks import both_backends
from tests.support.reference.conv import conv1d
from tests.support.reference.pool import avg_pool1d, max_pool1d

CONVOLUTIONS = [
    ("plain", (3, 4, 2), {}),
    ("one tap", (1, 4, 3), {}),
    ("all steps", (7, 4, 2), {}),
    ("stride", (3, 4, 2), {"stride": 2}),
    ("padding", (3, 4, 2), {"padding": 2}),
    ("padding before", (3, 4, 2), {"padding": (3, 0)}),
    ("padding after, stride", (2, 4, 2), {"padding": (0, 2), "stride": 3}),
    ("valid", (2, 4, 2), {"padding": "valid"}),
    ("same", (4, 4, 2), {"padding": "same"}),
    ("same, stride, dilation", (3, 4, 2), {"padding": "same", "stride": 2, "dilation": 2}),
    ("causal", (3, 4, 2), {"padding": "causal"}),
    ("causal, dilation", (3, 4, 2), {"padding": "causal", "dilation": 4}),
    ("causal, stride", (2, 4, 2), {"padding": "causal", "stride": 2}),
    ("groups", (3, 2, 4), {"groups": 2, "padding": (2, 1)}),
    ("depthwise", (3, 1, 4), {"groups": 4, "dilation": 2, "padding": "causal"}),
]
POOLS = [
    ("2", {"window": 2}),
    ("all", {"window": 7}),
    ("overlapping", {"window": 3, "stride": 2}),
    ("gaps", {"window": 2, "stride": 3}),
    ("padding", {"window": 3, "padding": 1}),
    ("padding before", {"window": 3, "stride": 1, "padding": (2, 0)}),
    ("same", {"window": 2, "stride": 1, "padding": "same"}),
    ("valid", {"window": 2, "padding": "valid"}),
    ("causal", {"window": 3, "stride": 1, "padding": "causal", "dilation": 3}),
    ("ceil", {"window": 2, "ceil_mode": True}),
    ("ceil, padding", {"window": 3, "stride": 2, "padding": (0, 2), "ceil_mode": True}),
    ("dilation", {"window": 3, "stride": 2, "dilation": 2, "padding": 1}),
]
UNCOUNTED = [
    (f"{title}, uncounted", {**options, "count_padding": False})
    for title, options in POOLS
    if "padding" in options
]

test_values, test_gradients, test_threads = checks_of(
    [
        *(
            case(name, md.conv1d, conv1d, (2, 7, 4), weight, (weight[2],), **options)
            for name, weight, options in CONVOLUTIONS
        ),
        case("no bias", md.conv1d, conv1d, (2, 5, 3), (2, 3, 5)),
        case("no sequences", md.conv1d, conv1d, (0, 5, 3), (2, 3, 5), (5,)),
        case("one step", md.conv1d, conv1d, (2, 1, 3), (4, 3, 2), padding="causal"),
        case(
            "large",
            md.conv1d,
            conv1d,
            (1, 5, 2),
            (2, 2, 3),
            (3,),
            padding="same",
            large=[(5, 400, 7), (5, 7, 19), (19,)],
        ),
        case(
            "large depthwise",
            md.conv1d,
            conv1d,
            (1, 5, 2),
            (2, 1, 2),
            padding="causal",
            groups=2,
            large=[(5, 400, 2), (5, 1, 2)],
        ),
        *(
            case(f"max {title}", md.max_pool1d, max_pool1d, (2, 7, 3), **options)
            for title, options in POOLS
        ),
        *(
            case(f"avg {title}", md.avg_pool1d, avg_pool1d, (2, 7, 3), **options)
            for title, options in POOLS + UNCOUNTED
        ),
        *(
            case(
                f"large {ours.__name__}",
                ours,
                reference,
                (1, 7, 2),
                window=3,
                stride=2,
                ceil_mode=True,
                large=[(5, 999, 33)],
            )
            for ours, reference in ((md.max_pool1d, max_pool1d), (md.avg_pool1d, avg_pool1d))
        ),
        *(
            case(f"{ours.__name__} of no sequences", ours, reference, (0, 7, 2), window=3)
            for ours, reference in ((md.max_pool1d, max_pool1d), (md.avg_pool1d, avg_pool1d))
        ),
    ]
)

X, W = md.zeros(2, 5, 4), md.zeros(3, 4, 6)

test_errors = errors_of(
    [
        (
            lambda: md.conv1d(md.zeros(2, 1, 5, 4), W),
            ValueError,
            "conv1d: x must be sequences (N, T, C)",
            "(2, 1, 5, 4)",
        ),
        (
            lambda: md.conv1d(X, md.zeros(1, 3, 4, 6)),
            ValueError,
            "conv1d: weight must be (K, C_in / groups, C_out)",
            "(1, 3, 4, 6)",
        ),
        (lambda: md.conv1d(X, md.zeros(0, 4, 6)), ValueError, "conv1d: weight has an empty axis"),
        (
            lambda: md.conv1d(X, W, groups=2),
            ValueError,
            "conv1d: x has 4 channels",
            "(3, 4, 6)",
            "expects 8",
        ),
        (lambda: md.conv1d(X, W, md.zeros(4)), ValueError, "conv1d: bias must have shape (6,)"),
        (lambda: md.conv1d(X, W, stride=0), ValueError, "conv1d: stride must be an int", "got 0"),
        (
            lambda: md.conv1d(X, W, stride=(1, 1)),
            TypeError,
            "conv1d: stride must be an int",
            "(1, 1)",
        ),
        (
            lambda: md.conv1d(X, W, dilation=2**31),
            ValueError,
            "conv1d: dilation must be an int from",
        ),
        (lambda: md.conv1d(X, W, padding=-1), ValueError, "conv1d: padding must be", "got -1"),
        (
            lambda: md.conv1d(X, W, padding=(1, 0, 1)),
            ValueError,
            "conv1d: padding must be",
            "(before, after)",
            "(1, 0, 1)",
        ),
        (lambda: md.conv1d(X, W, padding=((1, 0), (0, 1))), TypeError, "conv1d: padding must be"),
        (
            lambda: md.conv1d(X, W, padding="full"),
            ValueError,
            "conv1d: padding must be",
            '"same", "valid" or "causal"',
            "'full'",
        ),
        (
            lambda: md.conv1d(md.zeros(2, 2, 4), W, dilation=2, padding=(1, 1)),
            ValueError,
            "conv1d: the length of x (2, 2, 4) with padding (1, 1) is smaller than the kernel's 5",
        ),
        (lambda: md.conv1d(X, W.astype(np.float64)), TypeError, "conv1d: mixed dtypes"),
        (lambda: md.conv1d("text", W), TypeError, "conv1d: x must be a tensor", "str"),
        *(
            row
            for name, f in (("max_pool1d", md.max_pool1d), ("avg_pool1d", md.avg_pool1d))
            for row in (
                (
                    lambda f=f: f(md.zeros(2, 5, 5, 4), 2),
                    ValueError,
                    f"{name}: x must be sequences (N, T, C)",
                    "(2, 5, 5, 4)",
                ),
                (
                    lambda f=f: f(md.zeros(2, 0, 4), 1),
                    ValueError,
                    f"{name}: sequences must have steps",
                ),
                (lambda f=f: f(X, 0), ValueError, f"{name}: window must be an int", "got 0"),
                (lambda f=f: f(X, (2,)), TypeError, f"{name}: window must be an int", "(2,)"),
                (lambda f=f: f(X, 2, 0), ValueError, f"{name}: stride must be an int", "got 0"),
                (
                    lambda f=f: f(X, 2, dilation=1.5),
                    TypeError,
                    f"{name}: dilation must be an int",
                    "1.5",
                ),
                (
                    lambda f=f: f(X, 3, padding=2),
                    ValueError,
                    f"{name}: padding 2 is more than half of window 3",
                ),
                (
                    lambda f=f: f(X, 3, padding=(0, 3)),
                    ValueError,
                    f"{name}: padding (0, 3) is not less than window 3",
                ),
                (
                    lambda f=f: f(X, 3, padding="full"),
                    ValueError,
                    f"{name}: padding must be",
                    '"causal"',
                ),
                (
                    lambda f=f: f(X, 3, dilation=3),
                    ValueError,
                    f"{name}: window 3 with dilation 3 is larger than the padded "
                    "sequences of (2, 5, 4)",
                ),
                (
                    lambda f=f: f(md.zeros(2, 1, 4), 2, 1, "same", dilation=2),
                    ValueError,
                    f"{name}: ",
                    "holds nothing of the images",
                ),
                (
                    lambda f=f: f(X, 3, ceil_mode="up"),
                    TypeError,
                    f"{name}: ceil_mode must be True or",
                ),
                (
                    lambda f=f: f(X.astype(np.int64), 2),
                    TypeError,
                    f"{name}: x must be float32",
                    "int64",
                ),
            )
        ),
        (
            lambda: md.avg_pool1d(X, 2, count_padding="no"),
            TypeError,
            "avg_pool1d: count_padding must be True or False",
        ),
    ]
)


@both_backends
@pytest.mark.parametrize("padding, dilation", [("causal", 1), ("causal", 3), ((2, 0), 1)])
def test_causal_outputs_depend_on_no_later_step(padding, dilation, backend):
    x, w = uniform(2, 9, 4), uniform(3, 4, 5, seed=1)
    later = x.copy()
    later[:, 5:] += 1
    with md.use_backend(backend):
        for f in (
            lambda x: md.conv1d(x, w, padding=padding, dilation=dilation),
            lambda x: md.avg_pool1d(x, 3, 1, padding, dilation=dilation),
            lambda x: md.max_pool1d(x, 3, 1, padding, dilation=dilation),
        ):
            one, other = f(x).data, f(later).data
            assert one.shape[1] == 9
            np.testing.assert_array_equal(one[:, :5], other[:, :5])
            assert (one[:, 5] != other[:, 5]).any()


def test_images_one_row_high_are_the_same():
    """Results and gradients have the same bits."""
    x, w = [md.tensor(a, requires_grad=True) for a in (uniform(2, 9, 4), uniform(3, 4, 5, seed=1))]
    one = md.max_pool1d(md.conv1d(x, w, padding=(2, 1), stride=2), 2, 1)
    other = md.max_pool(
        md.conv(
            x.reshape(2, 1, 9, 4), w.reshape(1, 3, 4, 5), stride=(1, 2), padding=((0, 0), (2, 1))
        ),
        (1, 2),
        1,
    )
    np.testing.assert_array_equal(one.data, other.data[:, 0])
    dy = uniform(*one.shape, seed=2)
    for a, b in zip(md.grad(one, [x, w], dy), md.grad(other, [x, w], dy[:, None]), strict=True):
        np.testing.assert_array_equal(a, b)
