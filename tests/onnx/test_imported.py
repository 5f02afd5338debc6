"""Imported operators are as minidl's own: they can be compiled, saved and exported again."""

import numpy as np
import pytest

import minidl as md
from tests.support.onnx_files import assert_close, draw, file_of, node, run

IMAGES = (3, 4, 7, 8)
ANY_BATCH = ("N", 4, 7, 8)


def number(value):
    return np.array(value, np.int64)


def sizes(*values):
    return [None, None, np.array(values, np.int64)]


def scales(*values):
    return [None, np.array(values, np.float32)]


# Operator, its attributes, its inputs but for the first, and its outputs if these are several.
NODES = {
    "Sin": ("Sin", {}, []), "Cos": ("Cos", {}, []),
    "TopK": ("TopK", {}, [number([3])], 2),
    "TopK of channels": ("TopK", {"axis": 1}, [number([2])], 2),
    "TopK, smallest": ("TopK", {"axis": 2, "largest": 0}, [number([3])], 2),
    "CumSum": ("CumSum", {}, [number(2)]),
    "CumSum, exclusive": ("CumSum", {"exclusive": 1}, [number(3)]),
    "CumSum, reverse": ("CumSum", {"reverse": 1}, [number(1)]),
    "CumSum, both": ("CumSum", {"exclusive": 1, "reverse": 1}, [number(-1)]),
    "MaxPool": ("MaxPool", {"kernel_shape": [3, 2], "dilations": [2, 3], "strides": [1, 2],
                            "pads": [1, 1, 0, 1]}, []),
    "MaxPool, ceil": ("MaxPool", {"kernel_shape": [2, 2], "dilations": [1, 2], "strides": [2, 3],
                                  "ceil_mode": 1}, []),
    "AveragePool": ("AveragePool", {"kernel_shape": [2, 3], "dilations": [3, 2],
                                    "pads": [1, 0, 1, 2]}, []),
    "AveragePool, counted": ("AveragePool", {"kernel_shape": [2, 3], "dilations": [2, 1],
                                             "strides": [2, 2], "pads": [1, 1, 0, 2],
                                             "ceil_mode": 1, "count_include_pad": 1}, []),
    "LpPool": ("LpPool", {"kernel_shape": [2, 3], "dilations": [2, 1], "p": 3}, []),
    "Resize by 2": ("Resize", {"coordinate_transformation_mode": "asymmetric",
                               "nearest_mode": "floor"}, scales(1, 1, 2, 2)),
    "Resize, linear": ("Resize", {"mode": "linear", "axes": [2, 3]}, sizes(9, 5)),
    "Resize, corners": ("Resize", {"mode": "linear", "coordinate_transformation_mode":
                                   "align_corners", "axes": [2, 3]}, sizes(13, 5)),
    "Resize, asymmetric": ("Resize", {"mode": "linear", "coordinate_transformation_mode":
                                      "asymmetric", "axes": [2, 3]}, sizes(10, 10)),
    "Resize, odd scales": ("Resize", {"mode": "linear"}, scales(1, 1, 1.3, 0.7)),
    "Resize, ceil": ("Resize", {"nearest_mode": "ceil", "axes": [2, 3]}, sizes(10, 5)),
    "Resize of channels": ("Resize", {}, scales(1, 1.5, 1, 2)),
}
# Which of minidl's operations compute a node: its own, unless the node takes other pixels.
RESIZED = {"Resize by 2": "Resize", "Resize, linear": "Resize", "Resize, corners": "Resample",
           "Resize, asymmetric": "Resample", "Resize, odd scales": "Resample",
           "Resize, ceil": "Resample", "Resize of channels": "Resample"}


def file_of_node(name, shape=ANY_BATCH, dtype=np.float32):
    operator, attributes, given, *count = NODES[name]
    names = [f"a{k}" if a is not None else "" for k, a in enumerate(given)]
    types = [dtype, np.int64][:(count or [1])[0]]
    outputs = [f"y{k}" for k in range(len(types))]
    return file_of([node(operator, ["x", *names], outputs, **attributes)], [("x", shape, dtype)],
                   [(y, None, t) for y, t in zip(outputs, types, strict=True)],
                   {n: a for n, a in zip(names, given, strict=True) if n}, 22)


def several(made):
    return made if isinstance(made, tuple) else (made,)


@pytest.mark.parametrize("name", NODES)
def test_a_node(name, tmp_path):
    content, x = file_of_node(name), draw(*IMAGES)
    model = md.onnx.load(content, "NCHW")
    expected = run(content, x)
    for y, theirs in zip(several(model(x)), expected, strict=True):
        assert_close(y.data, theirs)
    md.compile(model, x).save(tmp_path / "compiled.safetensors")
    for y, theirs in zip(several(md.Compiled.load(tmp_path / "compiled.safetensors")(x)), expected,
                         strict=True):
        assert_close(y, theirs)
    md.onnx.export(model, tmp_path / "again.onnx", x)
    again = (tmp_path / "again.onnx").read_bytes()
    for y, theirs in zip(run(again, x), expected, strict=True):
        assert_close(y, theirs)
    for y, theirs in zip(several(md.onnx.load(again, "NCHW")(x)), expected, strict=True):
        assert_close(y.data, theirs)


@pytest.mark.parametrize("name", RESIZED)
def test_a_resize_is_the_librarys_where_both_take_the_same_pixels(name):
    graph = md.trace(md.onnx.load(file_of_node(name)), draw(3, 7, 8, 4))
    assert {n.operation for n in graph} - {"Transpose"} == {RESIZED[name]}


def test_sizes_of_images_that_nobody_knows_are_refused_by_an_export(tmp_path):
    """A batch that is resized itself: its places differ from batch to batch."""
    content = file_of([node("Resize", ["x", "", "s"], ["y"])], [("x", ("N", 3))], ["y"],
                      {"s": np.array([2, 1], np.float32)})
    model, x = md.onnx.load(content), draw(2, 3)
    assert_close(model(x).data, run(content, x)[0])
    with pytest.raises(NotImplementedError, match=r"Resample of .* depends on the size"):
        md.onnx.export(model, tmp_path / "again.onnx", x)


# --------------------------------------------------------------------------- values at the borders

@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8, np.int64])
@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("in_order", [0, 1])
def test_topk_orders_equals_by_place_and_takes_nan_as_the_largest(dtype, largest, in_order):
    """NumPy's stable order of all values says which they are; any order is right for sorted=0."""
    x = np.random.default_rng(0).integers(0, 5, (20, 9)).astype(dtype)
    if dtype == np.float32:
        x[::2, 3:5], x[:, 6] = np.nan, -np.inf
    else:
        x[::2, 1], x[::3, 2:4] = np.iinfo(dtype).min, np.iinfo(dtype).max
    content = file_of([node("TopK", ["x", "k"], ["y", "z"], largest=largest, sorted=in_order)],
                      [("x", x.shape, dtype)], [("y", None, dtype), ("z", None, np.int64)],
                      {"k": number([5])})
    values, places = md.onnx.load(content)(x)
    order = np.argsort(x, -1, kind="stable")
    if largest:     # descending, equal values in the order of their places
        order = 8 - np.argsort(x[:, ::-1], -1, kind="stable")[:, ::-1]
    np.testing.assert_array_equal(places.data, order[:, :5])
    np.testing.assert_array_equal(values.data, np.take_along_axis(x, order[:, :5], -1))


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float64])
@pytest.mark.parametrize("name", ["CumSum, exclusive", "CumSum, reverse", "CumSum, both"])
def test_cumsum_keeps_the_dtype_and_what_is_infinite(dtype, name, tmp_path):
    """No sum is taken apart again: inf is in the sums from its place on alone."""
    x = np.random.default_rng(0).integers(-9, 9, IMAGES).astype(dtype)
    if dtype == np.float64:
        x[..., 3] = np.inf
    content = file_of_node(name, dtype=dtype)
    model, expected = md.onnx.load(content, "NCHW"), run(content, x)[0]
    np.testing.assert_array_equal(model(x).data, expected)
    md.onnx.export(model, tmp_path / "again.onnx", x)
    np.testing.assert_array_equal(run((tmp_path / "again.onnx").read_bytes(), x)[0], expected)


def test_a_cumsum_of_nothing():
    content = file_of_node("CumSum, exclusive", (3, 4, 7, 0))
    assert md.onnx.load(content, "NCHW")(np.zeros((3, 4, 7, 0), np.float32)).shape == (3, 4, 7, 0)


@pytest.mark.parametrize("name", ["TopK", "TopK, smallest", "CumSum, both", "Resize, corners",
                                  "Resize of channels", "LpPool"])
def test_gradients(name):
    content = file_of_node(name, (1, 4, 7, 8), np.float64)
    model = md.onnx.load(content, "NCHW")
    x = np.random.default_rng(0).permutation(224).reshape(1, 4, 7, 8) / 20 + 0.1
    md.gradcheck(lambda t: several(model(t))[0], md.tensor(x, requires_grad=True))
