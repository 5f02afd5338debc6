"""These tests compare conv_transpose and its gradients with a sum by its definition, and check what
it refuses.
"""

import numpy as np

import minidl as md
from tests.support.cases import case, checks_of, errors_of
from tests.support.reference.conv import conv_transpose

test_values, test_gradients, test_threads = checks_of(
    [
        *(
            case(f"{name}", md.conv_transpose, conv_transpose, *shapes, **options)
            for name, shapes, options in (
                ("plain", [(2, 3, 4, 2), (3, 3, 2, 3)], {}),
                ("bias", [(2, 3, 4, 2), (2, 2, 2, 3), (3,)], {"stride": 2}),
                ("stride", [(2, 3, 4, 2), (3, 2, 2, 3)], {"stride": (2, 3)}),
                ("gaps", [(1, 3, 2, 2), (2, 2, 2, 3)], {"stride": 3}),
                ("padding", [(2, 4, 4, 2), (3, 3, 2, 3)], {"stride": 2, "padding": 1}),
                ("padding pair", [(1, 4, 4, 2), (3, 4, 2, 3)], {"padding": (1, 2)}),
                (
                    "padding, uneven",
                    [(2, 4, 3, 2), (3, 4, 2, 3), (3,)],
                    {"stride": (2, 1), "padding": ((2, 0), (0, 1))},
                ),
                (
                    "padding, uneven, all options",
                    [(1, 4, 3, 4), (2, 3, 2, 6)],
                    {
                        "stride": 2,
                        "padding": ((0, 3), (1, 0)),
                        "output_padding": (0, 1),
                        "groups": 2,
                        "dilation": (2, 1),
                    },
                ),
                (
                    "output_padding",
                    [(2, 3, 3, 2), (3, 3, 2, 3)],
                    {"stride": 2, "padding": 1, "output_padding": 1},
                ),
                (
                    "output_padding pair",
                    [(1, 3, 3, 2), (2, 3, 2, 3)],
                    {"stride": (3, 2), "output_padding": (2, 0)},
                ),
                (
                    "output_padding beyond the stride",
                    [(1, 3, 2, 2), (2, 2, 2, 3)],
                    {"dilation": 3, "output_padding": 2},
                ),
                ("dilation", [(1, 3, 4, 2), (3, 2, 2, 3)], {"dilation": (2, 3), "stride": 2}),
                ("groups", [(1, 3, 4, 6), (3, 3, 2, 9), (9,)], {"groups": 3, "stride": 2}),
                ("depthwise", [(1, 3, 4, 4), (3, 3, 1, 4)], {"groups": 4, "padding": 1}),
                ("1x1", [(2, 3, 4, 2), (1, 1, 2, 3)], {}),
                ("no images", [(0, 3, 4, 2), (3, 3, 2, 3)], {}),
            )
        ),
        case(
            "large",
            md.conv_transpose,
            conv_transpose,
            (1, 2, 2, 2),
            (2, 2, 2, 3),
            stride=2,
            large=[(4, 16, 16, 32), (2, 2, 32, 24)],
        ),
    ]
)

X, W = md.ones((1, 3, 3, 4)), md.ones((2, 2, 4, 6))
test_errors = errors_of(
    [
        (lambda: md.conv_transpose(X[0], W), ValueError, "conv_transpose", "(3, 3, 4)"),
        (lambda: md.conv_transpose(X, W[0]), ValueError, "weight", "(2, 4, 6)"),
        (lambda: md.conv_transpose(X[..., :3], W), ValueError, "3 channels", "expects 4"),
        (
            lambda: md.conv_transpose(X, md.ones((2, 2, 2, 5)), groups=2),
            ValueError,
            "5",
            "2 groups",
        ),
        (lambda: md.conv_transpose(X, W, groups=0), ValueError, "groups", "0"),
        (lambda: md.conv_transpose(X, W, md.ones(4)), ValueError, "bias", "(6,)", "(4,)"),
        (lambda: md.conv_transpose(X, W, stride=0), ValueError, "stride", "0"),
        (lambda: md.conv_transpose(X, W, padding="same"), TypeError, "padding", "same"),
        (
            lambda: md.conv_transpose(X, W, padding=((1, 0), (0, -1))),
            ValueError,
            "padding must be",
            "((top, bottom), (left, right))",
            "(0, -1)",
        ),
        (
            lambda: md.conv_transpose(X, W, padding=((4, 0), (0, 0))),
            ValueError,
            "padding",
            "output",
        ),
        (lambda: md.conv_transpose(X, W, output_padding=1), ValueError, "output_padding", "stride"),
        (lambda: md.conv_transpose(X, W, padding=3), ValueError, "padding", "output"),
        (lambda: md.conv_transpose(X, np.ones((2, 2, 4, 6))), TypeError, "float64", "float32"),
        (lambda: md.conv_transpose(md.ones((1, 0, 3, 4)), W), ValueError, "(1, 0, 3, 4)"),
    ]
)


def test_it_undoes_the_shapes_of_conv():
    for stride, padding, k, size in ((1, 0, 3, 9), (2, 1, 3, 9), (3, 2, 5, 13)):
        y = md.conv(
            md.ones((1, size, size, 2)), md.ones((k, k, 2, 3)), stride=stride, padding=padding
        )
        back = md.conv_transpose(y, md.ones((k, k, 3, 2)), stride=stride, padding=padding)
        assert back.shape == (1, size, size, 2)
