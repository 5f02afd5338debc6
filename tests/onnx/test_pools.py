"""These tests check pools with every combination of their options: what the standard's text says,
window by window, and what ONNX Runtime computes.

ONNX Runtime departs from the standard in two ways, for which the text alone counts:
auto_pad="SAME_..." ignores dilations there, and "VALID" adds a last window with ceil_mode=1.
"""

import itertools
import math

import numpy as np
import pytest

import minidl as md
from tests.support.onnx_files import assert_close, draw, file_of, node, run

X = draw(2, 3, 7, 8)
KERNEL = (3, 2)
PADS = ([0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 2, 0])
AUTO = ("SAME_UPPER", "SAME_LOWER", "VALID")
STRIDES, DILATIONS = ([1, 1], [2, 2], [3, 2]), ([1, 1], [2, 1], [2, 3])
PADDINGS = [{"pads": pads} for pads in PADS] + [{"auto_pad": word} for word in AUTO]
OPTIONS = [
    {"strides": strides, "dilations": dilations, "ceil_mode": ceil, **padding}
    for strides, dilations, ceil, padding in itertools.product(STRIDES, DILATIONS, (0, 1), PADDINGS)
]


def axis_of(n, kernel, stride, dilation, ceil, word, pads):
    """Return (the start of each window, the padding before and after) along an axis, as the
    standard says.
    """
    extent = dilation * (kernel - 1) + 1
    if word == "VALID":
        count, pads = math.ceil((n - extent + 1) / stride), (0, 0)
    elif word is not None:
        count = math.ceil(n / stride)
        total = max(0, (count - 1) * stride + extent - n)
        pads = (total // 2, total - total // 2)
        pads = pads if word == "SAME_UPPER" else pads[::-1]
    else:
        count = (math.ceil if ceil else math.floor)((n + sum(pads) - extent) / stride) + 1
        # A window that begins in the padding after the image.
        if (count - 1) * stride >= n + pads[0]:
            count -= 1
    return [k * stride - pads[0] for k in range(count)], pads


def expected(x, mean, options, counted=0):
    """Return the pool of images (N, C, H, W), one window after the other."""
    sizes, word = x.shape[2:], options.get("auto_pad")
    given = options.get("pads", [0, 0, 0, 0])
    axes = [
        axis_of(
            n,
            KERNEL[k],
            options["strides"][k],
            options["dilations"][k],
            options["ceil_mode"],
            word,
            (given[k], given[k + 2]),
        )
        for k, n in enumerate(sizes)
    ]
    y = np.empty((*x.shape[:2], *(len(firsts) for firsts, _ in axes)), x.dtype)
    for places in np.ndindex(y.shape[2:]):
        taken, padded = [], 1
        for (firsts, pads), place, kernel, dilation, n in zip(
            axes, places, KERNEL, options["dilations"], sizes, strict=True
        ):
            window = firsts[place] + dilation * np.arange(kernel)
            taken.append(window[(window >= 0) & (window < n)])
            padded *= ((window >= -pads[0]) & (window < n + pads[1])).sum()
        values = x[:, :, taken[0][:, None], taken[1]].astype(np.float64)
        if mean:
            y[:, :, *places] = values.sum((2, 3)) / (padded if counted else values[0, 0].size)
        else:
            y[:, :, *places] = values.max((2, 3))
    return y


def as_runtime(options):
    """Return whether ONNX Runtime does what the standard says for these options."""
    word = options.get("auto_pad", "")
    return not (
        (word.startswith("SAME") and max(options["dilations"]) > 1)
        or (word == "VALID" and options["ceil_mode"])
    )


@pytest.mark.parametrize("strides", STRIDES, ids=str)
@pytest.mark.parametrize(
    "operator, counted", [("MaxPool", None), ("AveragePool", 0), ("AveragePool", 1)]
)
def test_all_options(operator, counted, strides):
    more = {} if counted is None else {"count_include_pad": counted}
    for options in OPTIONS:
        if options["strides"] != strides:
            continue
        content = file_of(
            [node(operator, ["x"], ["y"], kernel_shape=KERNEL, **options, **more)],
            [("x", X.shape)],
            ["y"],
            (),
            22,
        )
        made = md.onnx.load(content, "NCHW")(X).data
        assert_close(made, expected(X, operator == "AveragePool", options, counted))
        assert_close(
            md.onnx.load(content)(X.transpose(0, 2, 3, 1)).data.transpose(0, 3, 1, 2), made
        )
        if as_runtime(options):
            assert_close(made, run(content, X)[0])


@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool", "LpPool"])
def test_of_sequences(operator):
    """A pool along one axis is that along two, with a kernel of 1 along the other."""
    x = draw(2, 3, 9)
    for ceil, pads, stride, dilation in itertools.product((0, 1), ((0, 0), (1, 0)), (1, 2), (1, 2)):
        files = [
            file_of(
                [
                    node(
                        operator,
                        ["x"],
                        ["y"],
                        ceil_mode=ceil,
                        kernel_shape=[*one, 3],
                        strides=[*one, stride],
                        dilations=[*one, dilation],
                        pads=[*none, pads[0], *none, pads[1]],
                    )
                ],
                [("x", shape)],
                ["y"],
                (),
                22,
            )
            for one, none, shape in (((), (), x.shape), ((1,), (0,), (2, 3, 1, 9)))
        ]
        row = md.onnx.load(files[0], "NCHW")(x).data
        assert_close(row[:, :, None], md.onnx.load(files[1], "NCHW")(x[:, :, None]).data)
        if operator != "LpPool":
            assert_close(row, run(files[0], x)[0])


@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    "options",
    [
        {"strides": [2, 2], "dilations": [1, 1], "ceil_mode": 1, "pads": [0, 1, 2, 0]},
        {"strides": [1, 2], "dilations": [2, 3], "ceil_mode": 0, "auto_pad": "SAME_LOWER"},
    ],
)
def test_gradients(operator, options):
    content = file_of(
        [node(operator, ["x"], ["y"], kernel_shape=KERNEL, **options)],
        [("x", (1, 2, 7, 8), np.float64)],
        [("y", None, np.float64)],
        (),
        22,
    )
    model = md.onnx.load(content, "NCHW")
    x = np.random.default_rng(0).permutation(112).reshape(1, 2, 7, 8) / 10
    md.gradcheck(model, md.tensor(x, requires_grad=True))
