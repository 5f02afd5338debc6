"""What has come from a file is the operations of `md`: it can be traced, compiled and exported
again, and gives the same values in all of these ways."""

from functools import partial

import numpy as np
import pytest

import minidl as md
from tests.support.onnx_files import assert_close, draw, file_of, node, run

IMAGES = draw(2, 3, 7, 6)
ROWS = np.array([[3, 1, 3, -2, np.nan, 1, 0], [2, np.nan, 2, 2, -5, np.nan, 4]], np.float32)
COUNTS = np.arange(14, dtype=np.int32).reshape(2, 7) % 5 - 2


def ints(*values):
    return np.array(values, np.int64)


def floats(*values):
    return np.array(values, np.float32)


# The operator, its input, the arrays that it takes besides, its attributes, and the operation of md
# that computes it.
NODES = {
    "sine": ("Sin", IMAGES, (), {}, "Sin"),
    "cosine": ("Cos", IMAGES, (), {}, "Cos"),
    "the largest": ("TopK", ROWS, (ints(5),), {}, "TopK"),
    "the smallest": ("TopK", ROWS, (ints(6),), {"largest": 0}, "ArgSort"),
    "the largest of integers": ("TopK", COUNTS, (ints(7),), {}, "TopK"),
    "the largest channels": ("TopK", IMAGES, (ints(2),), {"axis": 1}, "TopK"),
    "sums": ("CumSum", IMAGES, (np.array(2),), {}, "CumSum"),
    "sums from the end": ("CumSum", IMAGES, (np.array(-1),), {"reverse": 1}, "CumSum"),
    "sums of what is before": ("CumSum", COUNTS, (np.array(1),), {"exclusive": 1}, "CumSum"),
    "sums of what is after": ("CumSum", IMAGES, (np.array(1),), {"exclusive": 1, "reverse": 1},
                              "CumSum"),
    "one of some": ("OneHot", COUNTS.astype(np.int64), (np.array(4), ints(1, 3)), {"axis": 1},
                    "Compare"),
    "nearest, twice as large": (
        "Resize", IMAGES, (None, floats(1, 1, 2, 3)),
        {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, "Resize"),
    "nearest": ("Resize", IMAGES, (None, None, ints(5, 9)), {"axes": [2, 3]}, "Resample"),
    "linear": ("Resize", IMAGES, (None, None, ints(4, 9)), {"axes": [2, 3], "mode": "linear"},
               "Resize"),
    "linear, sequences": ("Resize", draw(2, 3, 5), (None, floats(1, 1, 1.6)), {"mode": "linear"},
                          "Resize"),
    "linear, a scale that is no share": (
        "Resize", IMAGES, (None, floats(1, 1, 1.5, 1)), {"mode": "linear"}, "Resample"),
    "linear, corners aligned": (
        "Resize", IMAGES, (None, None, ints(11, 9)),
        {"axes": [2, 3], "mode": "linear", "coordinate_transformation_mode": "align_corners"},
        "Resample"),
    "nearest, of channels too": ("Resize", IMAGES, (None, None, ints(5, 9, 9)),
                                 {"axes": [1, 2, 3]}, "Resample"),
    "a max pool": ("MaxPool", IMAGES, (), {
        "kernel_shape": [3, 2], "dilations": [2, 3], "pads": [1, 0, 2, 1], "ceil_mode": 1,
        "strides": [2, 1]}, "MaxPool"),
    "an average pool": ("AveragePool", IMAGES, (), {
        "kernel_shape": [3, 2], "dilations": [2, 1], "pads": [1, 0, 2, 1], "strides": [2, 2],
        "count_include_pad": 1, "ceil_mode": 1}, "AvgPool"),
    "an average pool, padded as wide as its kernel": ("AveragePool", IMAGES, (), {
        "kernel_shape": [2, 2], "dilations": [3, 1], "strides": [3, 1], "pads": [1, 0, 1, 0],
        "count_include_pad": 1, "ceil_mode": 1}, "AvgPool"),
    "an average pool of the image": ("AveragePool", IMAGES, (), {
        "kernel_shape": [2, 2], "auto_pad": "SAME_LOWER"}, "AvgPool"),
    "a pool of norms": ("LpPool", IMAGES, (), {
        "kernel_shape": [3, 3], "pads": [1, 0, 1, 2], "p": 3}, "AvgPool"),
    "a convolution": ("Conv", IMAGES, (draw(4, 3, 2, 3),), {"pads": [1, 0, 2, 1]}, "Conv"),
    "a transposed convolution": ("ConvTranspose", IMAGES, (draw(3, 4, 3, 3),), {
        "strides": [2, 2], "pads": [1, 0, 0, 2]}, "ConvTranspose"),
}


def file_for(operator, x, arrays, attributes):
    names = [f"a{k}" if a is not None else "" for k, a in enumerate(arrays)]
    outputs = [("y", None, x.dtype)] + [("z", None, np.int64)] * (operator == "TopK")
    return file_of([node(operator, ["x", *names], [name for name, *_ in outputs], **attributes)],
                   [("x", ("N", *x.shape[1:]), x.dtype)], outputs,
                   {n: a for n, a in zip(names, arrays, strict=True) if a is not None}, 22)


def flat(made):
    return [np.asarray(y) for y in (made if isinstance(made, (tuple, list)) else (made,))]


@pytest.mark.parametrize("name", NODES)
def test_compiled_and_exported(name, tmp_path):
    operator, x, arrays, attributes, operation = NODES[name]
    content = file_for(operator, x, arrays, attributes)
    model = md.onnx.load(content, "NCHW")
    assert operation in [n.operation for n in md.trace(model, x)]
    md.onnx.export(model, tmp_path / "again.onnx", x)
    again = (tmp_path / "again.onnx").read_bytes()
    ways = (model, md.compile(model, x[:1]), md.onnx.load(again, "NCHW"), partial(run, again))
    for batch in (x, x[1:]):
        expected = run(content, batch)
        for way in ways:
            for y, z in zip(flat(way(batch)), expected, strict=True):
                np.testing.assert_array_equal(np.isnan(y), np.isnan(z))
                assert_close(np.nan_to_num(y), np.nan_to_num(z))


def test_any_order_of_the_largest_is_a_sorted_one():
    made = [md.onnx.load(file_for("TopK", COUNTS, (ints(4),), {"sorted": in_order}))(COUNTS)
            for in_order in (0, 1)]
    for any_order, in_order in zip(*made, strict=True):
        np.testing.assert_array_equal(any_order, in_order)
