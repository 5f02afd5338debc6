"""These tests check that imported operators are like minidl's own: they can be traced, compiled,
saved and exported again, with the same values, at the borders too.
"""

from functools import partial

import numpy as np
import pytest

import minidl as md
from tests.support.onnx_files import assert_close, draw, file_of, node, run

SHAPE = (3, 4, 7, 8)
ANY_BATCH = ("N", 4, 7, 8)
IMAGES = draw(2, 3, 7, 6)
ROWS = np.array([[3, 1, 3, -2, np.nan, 1, 0], [2, np.nan, 2, 2, -5, np.nan, 4]], np.float32)
COUNTS = np.arange(14, dtype=np.int32).reshape(2, 7) % 5 - 2


def ints(*values):
    return np.array(values, np.int64)


def floats(*values):
    return np.array(values, np.float32)


def number(value):
    return np.array(value, np.int64)


def sizes(*values):
    return [None, None, ints(*values)]


def scales(*values):
    return [None, np.array(values, np.float32)]


# In a larger image, the pixel at the place or before it is taken.
FLOORED = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
# Each entry has the operator, its attributes, its inputs after the first, and the number of its
# outputs if there are several.
NODES = {
    "Sin": ("Sin", {}, []),
    "Cos": ("Cos", {}, []),
    "TopK": ("TopK", {}, [number([3])], 2),
    "TopK of channels": ("TopK", {"axis": 1}, [number([2])], 2),
    "TopK, smallest": ("TopK", {"axis": 2, "largest": 0}, [number([3])], 2),
    "CumSum": ("CumSum", {}, [number(2)]),
    "CumSum, exclusive": ("CumSum", {"exclusive": 1}, [number(3)]),
    "CumSum, reverse": ("CumSum", {"reverse": 1}, [number(1)]),
    "CumSum, both": ("CumSum", {"exclusive": 1, "reverse": 1}, [number(-1)]),
    "MaxPool": (
        "MaxPool",
        {"kernel_shape": [3, 2], "dilations": [2, 3], "strides": [1, 2], "pads": [1, 1, 0, 1]},
        [],
    ),
    "MaxPool, ceil": (
        "MaxPool",
        {"kernel_shape": [2, 2], "dilations": [1, 2], "strides": [2, 3], "ceil_mode": 1},
        [],
    ),
    "AveragePool": (
        "AveragePool",
        {"kernel_shape": [2, 3], "dilations": [3, 2], "pads": [1, 0, 1, 2]},
        [],
    ),
    "AveragePool, counted": (
        "AveragePool",
        {
            "kernel_shape": [2, 3],
            "dilations": [2, 1],
            "strides": [2, 2],
            "pads": [1, 1, 0, 2],
            "ceil_mode": 1,
            "count_include_pad": 1,
        },
        [],
    ),
    "LpPool": ("LpPool", {"kernel_shape": [2, 3], "dilations": [2, 1], "p": 3}, []),
    "Resize by 2": ("Resize", FLOORED, scales(1, 1, 2, 2)),
    "Resize, linear": ("Resize", {"mode": "linear", "axes": [2, 3]}, sizes(9, 5)),
    "Resize, corners": (
        "Resize",
        {"mode": "linear", "coordinate_transformation_mode": "align_corners", "axes": [2, 3]},
        sizes(13, 5),
    ),
    "Resize, asymmetric": (
        "Resize",
        {"mode": "linear", "coordinate_transformation_mode": "asymmetric", "axes": [2, 3]},
        sizes(10, 10),
    ),
    "Resize, odd scales": ("Resize", {"mode": "linear"}, scales(1, 1, 1.3, 0.7)),
    "Resize, ceil": ("Resize", {"nearest_mode": "ceil", "axes": [2, 3]}, sizes(10, 5)),
    "Resize of channels": ("Resize", {}, scales(1, 1.5, 1, 2)),
}
# The operations of minidl that compute a node: the corresponding one, unless the node takes other
# pixels.
RESIZED = {
    "Resize by 2": "Resize",
    "Resize, linear": "Resize",
    "Resize, corners": "Resample",
    "Resize, asymmetric": "Resample",
    "Resize, odd scales": "Resample",
    "Resize, ceil": "Resample",
    "Resize of channels": "Resample",
}


# Each entry has the operator, its input, the other arrays that it takes, its attributes, and the
# operation of md that computes it.
OPERATIONS = {
    "sine": ("Sin", IMAGES, (), {}, "Sin"),
    "cosine": ("Cos", IMAGES, (), {}, "Cos"),
    "the largest": ("TopK", ROWS, (ints(5),), {}, "TopK"),
    "the smallest": ("TopK", ROWS, (ints(6),), {"largest": 0}, "ArgSort"),
    "the largest of integers": ("TopK", COUNTS, (ints(7),), {}, "TopK"),
    "the largest channels": ("TopK", IMAGES, (ints(2),), {"axis": 1}, "TopK"),
    "sums": ("CumSum", IMAGES, (np.array(2),), {}, "CumSum"),
    "sums from the end": ("CumSum", IMAGES, (np.array(-1),), {"reverse": 1}, "CumSum"),
    "sums of what is before": ("CumSum", COUNTS, (np.array(1),), {"exclusive": 1}, "CumSum"),
    "sums of what is after": (
        "CumSum",
        IMAGES,
        (np.array(1),),
        {"exclusive": 1, "reverse": 1},
        "CumSum",
    ),
    "one of some": (
        "OneHot",
        COUNTS.astype(np.int64),
        (np.array(4), ints(1, 3)),
        {"axis": 1},
        "Compare",
    ),
    "nearest, twice as large": ("Resize", IMAGES, (None, floats(1, 1, 2, 3)), FLOORED, "Resize"),
    "nearest": ("Resize", IMAGES, (None, None, ints(5, 9)), {"axes": [2, 3]}, "Resample"),
    "linear": (
        "Resize",
        IMAGES,
        (None, None, ints(4, 9)),
        {"axes": [2, 3], "mode": "linear"},
        "Resize",
    ),
    "linear, sequences": (
        "Resize",
        draw(2, 3, 5),
        (None, floats(1, 1, 1.6)),
        {"mode": "linear"},
        "Resize",
    ),
    "linear, a scale that is no share": (
        "Resize",
        IMAGES,
        (None, floats(1, 1, 1.5, 1)),
        {"mode": "linear"},
        "Resample",
    ),
    "linear, corners aligned": (
        "Resize",
        IMAGES,
        (None, None, ints(11, 9)),
        {"axes": [2, 3], "mode": "linear", "coordinate_transformation_mode": "align_corners"},
        "Resample",
    ),
    "nearest, of channels too": (
        "Resize",
        IMAGES,
        (None, None, ints(5, 9, 9)),
        {"axes": [1, 2, 3]},
        "Resample",
    ),
    "a max pool": (
        "MaxPool",
        IMAGES,
        (),
        {
            "kernel_shape": [3, 2],
            "dilations": [2, 3],
            "pads": [1, 0, 2, 1],
            "ceil_mode": 1,
            "strides": [2, 1],
        },
        "MaxPool",
    ),
    "an average pool": (
        "AveragePool",
        IMAGES,
        (),
        {
            "kernel_shape": [3, 2],
            "dilations": [2, 1],
            "pads": [1, 0, 2, 1],
            "strides": [2, 2],
            "count_include_pad": 1,
            "ceil_mode": 1,
        },
        "AvgPool",
    ),
    "an average pool, padded as wide as its kernel": (
        "AveragePool",
        IMAGES,
        (),
        {
            "kernel_shape": [2, 2],
            "dilations": [3, 1],
            "strides": [3, 1],
            "pads": [1, 0, 1, 0],
            "count_include_pad": 1,
            "ceil_mode": 1,
        },
        "AvgPool",
    ),
    "an average pool of the image": (
        "AveragePool",
        IMAGES,
        (),
        {"kernel_shape": [2, 2], "auto_pad": "SAME_LOWER"},
        "AvgPool",
    ),
    "a pool of norms": (
        "LpPool",
        IMAGES,
        (),
        {"kernel_shape": [3, 3], "pads": [1, 0, 1, 2], "p": 3},
        "AvgPool",
    ),
    "remainders": ("Mod", IMAGES, (floats(0.7),), {"fmod": 1}, "Computed"),
    "quotients of integers": ("Div", COUNTS, (np.array(2, np.int32),), {}, "Computed"),
    "a mean of integers": ("ReduceMean", COUNTS, (ints(1),), {}, "Computed"),
    "where the largest is": ("Hardmax", IMAGES, (), {"axis": 2}, "Computed"),
    "a convolution": ("Conv", IMAGES, (draw(4, 3, 2, 3),), {"pads": [1, 0, 2, 1]}, "Conv"),
    "a transposed convolution": (
        "ConvTranspose",
        IMAGES,
        (draw(3, 4, 3, 3),),
        {"strides": [2, 2], "pads": [1, 0, 0, 2]},
        "ConvTranspose",
    ),
}


def file_for(operator, arrays, attributes, shape, dtype, count=1):
    """Return a file of one node, whose first input is x of this shape, and whose other inputs are
    `arrays`.
    """
    names = [f"a{k}" if a is not None else "" for k, a in enumerate(arrays)]
    outputs = [(f"y{k}", None, t) for k, t in enumerate([dtype, np.int64][:count])]
    return file_of(
        [node(operator, ["x", *names], [name for name, *_ in outputs], **attributes)],
        [("x", shape, dtype)],
        outputs,
        {n: a for n, a in zip(names, arrays, strict=True) if n},
        22,
    )


def file_of_node(name, shape=ANY_BATCH, dtype=np.float32):
    operator, attributes, arrays, *count = NODES[name]
    return file_for(operator, arrays, attributes, shape, dtype, *count)


def flat(made):
    return [np.asarray(y) for y in (made if isinstance(made, (tuple, list)) else (made,))]


def _first(made):
    return made[0] if isinstance(made, tuple) else made


def check_all_ways(content, batches, folder):
    """Check that a file gives what ONNX Runtime does, imported, compiled, saved and exported."""
    model, x = md.onnx.load(content, "NCHW"), batches[0]
    md.compile(model, x).save(folder / "compiled.safetensors")
    md.onnx.export(model, folder / "again.onnx", x)
    again = (folder / "again.onnx").read_bytes()
    ways = (
        model,
        md.compile(model, x[:1]),
        md.Compiled.load(folder / "compiled.safetensors"),
        md.onnx.load(again, "NCHW"),
        partial(run, again),
    )
    for batch in batches:
        expected = run(content, batch)
        for way in ways:
            for y, z in zip(flat(way(batch)), expected, strict=True):
                np.testing.assert_array_equal(np.isnan(y), np.isnan(z))
                assert_close(np.nan_to_num(y), np.nan_to_num(z))


@pytest.mark.parametrize("name", NODES)
def test_a_node(name, tmp_path):
    check_all_ways(file_of_node(name), [draw(*SHAPE)], tmp_path)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_node_is_an_operation_of_the_library(name, tmp_path):
    operator, x, arrays, attributes, operation = OPERATIONS[name]
    content = file_for(
        operator, arrays, attributes, ("N", *x.shape[1:]), x.dtype, 1 + (operator == "TopK")
    )
    assert operation in [n.operation for n in md.trace(md.onnx.load(content, "NCHW"), x)]
    check_all_ways(content, [x, x[1:]], tmp_path)


@pytest.mark.parametrize(
    ("operator", "arrays"), [("Erf", ()), ("Floor", ()), ("PRelu", (np.float32([0.25]),))]
)
def test_a_function_of_onnx_alone_is_compiled_and_saved(operator, arrays, tmp_path):
    content, x = file_for(operator, arrays, {}, ANY_BATCH, np.float32), draw(*SHAPE)
    md.compile(md.onnx.load(content, "NCHW"), x).save(tmp_path / "compiled.safetensors")
    (expected,) = run(content, x)
    assert_close(md.Compiled.load(tmp_path / "compiled.safetensors")(x), expected)


def test_any_order_of_the_largest_is_a_sorted_one():
    made = [
        md.onnx.load(file_for("TopK", (ints(4),), {"sorted": in_order}, ("N", 7), COUNTS.dtype, 2))(
            COUNTS
        )
        for in_order in (0, 1)
    ]
    for any_order, in_order in zip(*made, strict=True):
        np.testing.assert_array_equal(any_order, in_order)


@pytest.mark.parametrize("name", RESIZED)
def test_a_resize_is_the_librarys_where_both_take_the_same_pixels(name):
    graph = md.trace(md.onnx.load(file_of_node(name)), draw(3, 7, 8, 4))
    assert {n.operation for n in graph} - {"Transpose"} == {RESIZED[name]}


def test_unknown_sizes_of_images_are_refused_by_an_export(tmp_path):
    """If a batch itself is resized, the source pixels differ with the batch size."""
    content = file_of(
        [node("Resize", ["x", "", "s"], ["y"])],
        [("x", ("N", 3))],
        ["y"],
        {"s": np.array([2, 1], np.float32)},
    )
    model, x = md.onnx.load(content), draw(2, 3)
    assert_close(model(x).data, run(content, x)[0])
    with pytest.raises(NotImplementedError, match=r"Resample of .* depends on the size"):
        md.onnx.export(model, tmp_path / "again.onnx", x)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8, np.int64])
@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("in_order", [0, 1])
def test_topk_orders_equals_by_place_and_takes_nan_as_the_largest(dtype, largest, in_order):
    """NumPy's stable order gives the expected places. With sorted=0 any order is right."""
    x = np.random.default_rng(0).integers(0, 5, (20, 9)).astype(dtype)
    if dtype == np.float32:
        x[::2, 3:5], x[:, 6] = np.nan, -np.inf
    else:
        x[::2, 1], x[::3, 2:4] = np.iinfo(dtype).min, np.iinfo(dtype).max
    content = file_of(
        [node("TopK", ["x", "k"], ["y", "z"], largest=largest, sorted=in_order)],
        [("x", x.shape, dtype)],
        [("y", None, dtype), ("z", None, np.int64)],
        {"k": number([5])},
    )
    values, places = md.onnx.load(content)(x)
    order = np.argsort(x, -1, kind="stable")
    if largest:  # in descending order, equal values in the order of their places
        order = 8 - np.argsort(x[:, ::-1], -1, kind="stable")[:, ::-1]
    np.testing.assert_array_equal(places.data, order[:, :5])
    np.testing.assert_array_equal(values.data, np.take_along_axis(x, order[:, :5], -1))


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float64])
@pytest.mark.parametrize("name", ["CumSum, exclusive", "CumSum, reverse", "CumSum, both"])
def test_cumsum_keeps_the_dtype_and_what_is_infinite(dtype, name, tmp_path):
    """No sum is computed as a difference, so that inf is only in the sums from its place on."""
    x = np.random.default_rng(0).integers(-9, 9, SHAPE).astype(dtype)
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


@pytest.mark.parametrize(
    "name",
    ["TopK", "TopK, smallest", "CumSum, both", "Resize, corners", "Resize of channels", "LpPool"],
)
def test_gradients(name):
    content = file_of_node(name, (1, 4, 7, 8), np.float64)
    model = md.onnx.load(content, "NCHW")
    x = np.random.default_rng(0).permutation(224).reshape(1, 4, 7, 8) / 20 + 0.1
    md.gradcheck(lambda t: _first(model(t)), md.tensor(x, requires_grad=True))
