"""These tests check operators in the forms of older opsets, beside ONNX Runtime or by hand;
gradients of operators that no operation of minidl corresponds to; and images in the caller's layout
through every operator of images.
"""

import numpy as np
import pytest

import minidl as md
from minidl.onnx.operators import OPERATORS
from minidl.onnx.operators.elementwise import PReLU
from minidl.onnx.operators.functions import FORMULAS, formula
from minidl.ops.resample import Resample
from tests.support import pages
from tests.support.onnx_files import assert_close, draw, file_of, node, operations, run

SHAPE = (2, 3, 5, 6)


def loaded(operator, opset, x, *arrays, outputs=1, layout="NCHW", **attributes):
    """Return the outputs of one node, whose other inputs are initializers. None leaves one out."""
    names = [f"a{k}" if a is not None else "" for k, a in enumerate(arrays)]
    content = file_of(
        [node(operator, ["x", *names], [f"y{k}" for k in range(outputs)], **attributes)],
        [("x", x.shape, x.dtype)],
        [(f"y{k}", None, _result(operator, x)) for k in range(outputs)],
        {n: a for n, a in zip(names, arrays, strict=True) if a is not None},
        opset,
    )
    made = md.onnx.load(content, layout)(x)
    return content, [y.data for y in (made if isinstance(made, tuple) else (made,))]


def _result(operator, x):
    return {"ArgMax": np.int64}.get(operator, x.dtype)


def ints(*values):
    return np.array(values, np.int64)


OLD = {
    "Add of a row": ("Add", 7, (draw(6),), {}),
    "Clip": ("Clip", 6, (), {"min": -0.5, "max": 0.5}),
    "Clip without limits": ("Clip", 7, (), {}),
    "Clip by inputs": ("Clip", 11, (None, np.array(0.5, np.float32)), {}),
    "Dropout 7": ("Dropout", 7, (), {"ratio": 0.5}),
    "Dropout 12": ("Dropout", 12, (np.array(0.5, np.float32),), {}),
    "Flatten": ("Flatten", 9, (), {"axis": 2}),
    "Pad 2": ("Pad", 7, (), {"pads": [0, 0, 1, 2, 0, 1, 0, 3], "mode": "reflect"}),
    "Pad 11": ("Pad", 11, (ints(0, 0, 1, 2, 0, -1, 0, 3), np.array(2, np.float32)), {}),
    "Pad 18": ("Pad", 18, (ints(1, 2), np.array(1, np.float32), ints(-1)), {}),
    "Reshape": ("Reshape", 7, (ints(0, -1, 5),), {}),
    "Slice 1": ("Slice", 7, (), {"starts": [1, -3], "ends": [3, 2**31], "axes": [1, 3]}),
    "Slice 10": ("Slice", 10, (ints(1, -1), ints(3, -100), ints(1, 3), ints(1, -2)), {}),
    "Softmax 1": ("Softmax", 7, (), {"axis": 2}),
    "LogSoftmax 11": ("LogSoftmax", 11, (), {}),
    "Squeeze": ("Squeeze", 11, (), {}),
    "Unsqueeze 1": ("Unsqueeze", 7, (), {"axes": [0, 3]}),
    "Unsqueeze 13": ("Unsqueeze", 13, (ints(-1, 1),), {}),
    "Split 2": ("Split", 7, (), {"axis": 3, "split": [2, 4]}),
    "Split, even": ("Split", 7, (), {"axis": 3}),
    "Split 13": ("Split", 13, (ints(1, 5),), {"axis": 3}),
    "Split 18": ("Split", 18, (), {"axis": 2, "num_outputs": 2}),
    "ReduceSum 1": ("ReduceSum", 7, (), {"axes": [1, 3], "keepdims": 0}),
    "ReduceSum 13": ("ReduceSum", 13, (ints(-1),), {}),
    "ReduceMax, all": ("ReduceMax", 7, (), {"keepdims": 0}),
    "ArgMax": ("ArgMax", 12, (), {"axis": 2, "select_last_index": 1}),
    "PRelu 7": ("PRelu", 7, (draw(3, 1, 1),), {}),
    "Pow 7": ("Pow", 7, (np.array(2, np.float32),), {}),
    "Pow of integers": ("Pow", 13, (np.array(3, np.int64),), {}),
    "Upsample 7": ("Upsample", 7, (), {"scales": [1.0, 1.0, 2.0, 3.0]}),
    "Upsample 9": ("Upsample", 9, (np.array([1, 1, 2, 1.5], np.float32),), {"mode": "linear"}),
    "Resize 10": ("Resize", 10, (np.array([1, 1, 0.6, 2], np.float32),), {}),
    "Resize 13": ("Resize", 13, (None, None, ints(2, 3, 9, 4)), {"mode": "linear"}),
    "InstanceNormalization": ("InstanceNormalization", 6, (draw(3), draw(3, seed=1)), {}),
    "BatchNormalization 9": (
        "BatchNormalization",
        9,
        (draw(3), draw(3, seed=1), draw(3, seed=2), draw(3) ** 2 + 1),
        {"epsilon": 1e-3},
    ),
    "LRN": ("LRN", 7, (), {"size": 3, "alpha": 0.1, "bias": 2.0}),
    "TopK": ("TopK", 11, (ints(2),), {"axis": 1, "largest": 0}),
    "CumSum": ("CumSum", 11, (np.array(2, np.int64),), {"exclusive": 1, "reverse": 1}),
    "DepthToSpace": ("SpaceToDepth", 7, (), {"blocksize": 1}),
    "Expand": ("Expand", 8, (ints(2, 2, 3, 1, 1),), {}),
    "Tile": ("Tile", 7, (ints(1, 2, 1, 3),), {}),
    "Gather": ("Gather", 7, (ints(-1, 0, 0),), {"axis": 1}),
    "Gather, one": ("Gather", 11, (np.array(-2, np.int64),), {"axis": 2}),
    "Gather, a table": ("Gather", 11, (np.array([[0, 1], [1, -1]]),), {"axis": 3}),
    "HardSigmoid": ("HardSigmoid", 6, (), {"alpha": 0.3}),
    "MatMul": ("MatMul", 7, (draw(6, 4),), {}),
}

CONVS = {
    "uneven pads": ("Conv", {"pads": [0, 1, 2, 0]}),
    "stride": ("Conv", {"strides": [2, 1]}),
    "valid": ("Conv", {"auto_pad": "VALID"}),
    "same, upper": ("Conv", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same, lower": ("Conv", {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "dilations": ("Conv", {"dilations": [2, 1], "pads": [2, 0, 1, 1]}),
    "groups": ("Conv", {"group": 2}),
    "transposed": ("ConvTranspose", {}),
    "transposed, stride": ("ConvTranspose", {"strides": [2, 3]}),
    "transposed, groups": ("ConvTranspose", {"group": 2, "pads": [1, 0, 1, 0]}),
    "transposed, uneven": ("ConvTranspose", {"pads": [1, 0, 0, 2], "strides": [2, 2]}),
    "transposed, output_padding": ("ConvTranspose", {"strides": [3, 2], "output_padding": [1, 1]}),
    "transposed, output_shape": ("ConvTranspose", {"strides": [2, 2], "output_shape": [9, 14]}),
    "transposed, larger": ("ConvTranspose", {"strides": [2, 2], "output_shape": [12, 16]}),
    "transposed, same": ("ConvTranspose", {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "transposed, same lower": ("ConvTranspose", {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    "transposed, dilations": ("ConvTranspose", {"dilations": [2, 1], "strides": [1, 2]}),
}

POOLS = {
    "max": ("MaxPool", 8, {}),
    "max, uneven": ("MaxPool", 8, {"pads": [0, 1, 2, 0]}),
    "max, ceil": ("MaxPool", 10, {"ceil_mode": 1, "strides": [2, 2]}),
    "max, ceil and pads": (
        "MaxPool",
        10,
        {"ceil_mode": 1, "strides": [2, 2], "pads": [1, 1, 1, 1]},
    ),
    "max, dilations": ("MaxPool", 10, {"dilations": [2, 1], "strides": [1, 2]}),
    "max, same": ("MaxPool", 8, {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "mean": ("AveragePool", 7, {"strides": [2, 1]}),
    "mean, pads": ("AveragePool", 7, {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "mean, counted": ("AveragePool", 7, {"pads": [1, 0, 1, 1], "count_include_pad": 1}),
    "mean, ceil": ("AveragePool", 10, {"ceil_mode": 1, "strides": [2, 2]}),
    "mean, same": ("AveragePool", 7, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "mean, dilations": ("AveragePool", 19, {"dilations": [2, 2]}),
}


def compare(content, ours, x):
    for y, expected in zip(ours, run(content, x), strict=True):
        assert_close(y, expected)


@pytest.mark.parametrize("name", OLD)
def test_an_older_form(name):
    operator, opset, arrays, attributes = OLD[name]
    x = draw(*SHAPE)
    if name == "Squeeze":
        x = draw(2, 1, 3, 1)
    if name == "Pow of integers":
        x = np.arange(6, dtype=np.int32).reshape(2, 3)
    outputs = 2 if operator in ("Split", "TopK") else 1
    if operator == "TopK":
        content = file_of(
            [node("TopK", ["x", "k"], ["y", "z"], **attributes)],
            [("x", x.shape)],
            ["y", ("z", None, np.int64)],
            {"k": arrays[0]},
            opset,
        )
        compare(content, [y.data for y in md.onnx.load(content, "NCHW")(x)], x)
        return
    compare(*loaded(operator, opset, x, *arrays, outputs=outputs, **attributes), x)


def of_rank(attributes, rank):
    """Return attributes for the two axes of images, or only the last one for sequences."""
    return {
        key: value[1::2] if isinstance(value, list) and rank == 3 else value
        for key, value in attributes.items()
    }


def weights(operator, groups, sizes=(3, 3)):
    return draw(*((6, 4 // groups) if operator == "Conv" else (4, 6 // groups)), *sizes)


@pytest.mark.parametrize("rank", [3, 4])
@pytest.mark.parametrize("name", CONVS)
def test_a_convolution(name, rank):
    """It becomes a layer, or has weights that are an input."""
    operator, attributes = CONVS[name]
    attributes = of_rank(attributes, rank)
    sizes = (7, 8)[: rank - 2]
    x, w = draw(2, 4, *sizes), weights(operator, attributes.get("group", 1), (3, 3)[: rank - 2])
    bias = draw(6)
    content, made = loaded(operator, 11, x, w, bias, kernel_shape=[3] * (rank - 2), **attributes)
    compare(content, made, x)
    content = file_of(
        [node(operator, ["x", "w", "b"], ["y"], **attributes)],
        [("x", x.shape), ("w", w.shape), ("b", bias.shape)],
        ["y"],
        (),
        11,
    )
    assert_close(md.onnx.load(content, "NCHW")(x, w, bias).data, run(content, x, w, bias)[0])


@pytest.mark.parametrize("rank", [3, 4])
@pytest.mark.parametrize("name", POOLS)
def test_a_pool(name, rank):
    operator, opset, attributes = POOLS[name]
    attributes = of_rank(attributes, rank)
    x = draw(2, 4, *(7, 8)[: rank - 2])
    compare(*loaded(operator, opset, x, kernel_shape=[3, 2][4 - rank :], **attributes), x)


def test_limits_that_are_computed_or_cast():
    """As PyTorch writes a ReLU6: a constant in the dtype of x is a constant. Neither kind of limit
    is taken out of a trace, so that the model can be compiled."""
    x = draw(*SHAPE)
    content = file_of(
        [
            node("ReduceMin", ["w"], ["low"], keepdims=0),
            node("Mul", ["x", "w"], ["a"]),
            node("Clip", ["a", "low"], ["b"]),
            node("CastLike", ["six", "x"], ["high"]),
            node("Clip", ["b", "", "high"], ["y"]),
        ],
        [("x", ("N", *SHAPE[1:]))],
        ["y"],
        {"w": draw(3, 1, 1), "six": np.array(0.5)},
    )
    model = md.onnx.load(content, "NCHW")
    made = operations(model, x)
    assert made["Clip"] == 2 and not made["Compare"] and not made["Cast"]
    for way in (model, md.compile(model, x)):
        compare(content, [np.asarray(way(x))], x)


def test_a_group_normalization_with_a_factor_for_each_group():
    """The form of opsets 18 to 20, which ONNX's checker refuses and runtimes compute."""
    x, scale, shift = draw(2, 6, 4, 5), draw(3), draw(3, seed=1)
    given = (x, scale, shift)
    content, made = loaded("GroupNormalization", 18, *given, num_groups=3, epsilon=1e-2)
    compare(content, made, x)
    with pytest.raises(ValueError, match="num_groups"):
        loaded("GroupNormalization", 18, *given)
    with pytest.raises(ValueError, match="no valid ONNX model"):
        loaded("GroupNormalization", 18, x, scale, num_groups=3)


# ----------------------------------------------------------------------------------- opset 6 alone


def test_operands_that_broadcast_from_an_axis():
    x, b = draw(*SHAPE), draw(3)
    for operator, expected in (("Add", x + b[:, None, None]), ("Mul", x * b[:, None, None])):
        _, made = loaded(operator, 6, x, b, broadcast=1, axis=1)
        assert_close(made[0], expected)
    assert_close(loaded("Sub", 6, x, draw(6), broadcast=1)[1][0], x - draw(6))


def test_a_slope_of_each_channel():
    x, slope = draw(*SHAPE), draw(3)
    expected = np.where(x < 0, x * slope[:, None, None], x)
    assert_close(loaded("PRelu", 6, x, slope)[1][0], expected)


def test_normalization_in_test_mode():
    x, arrays = draw(*SHAPE), (draw(3), draw(3, seed=1), draw(3, seed=2), draw(3) ** 2 + 1)
    _, made = loaded("BatchNormalization", 6, x, *arrays, is_test=1)
    gamma, beta, mean, var = (a[:, None, None] for a in arrays)
    assert_close(made[0], (gamma * (x - mean) / np.sqrt(var + 1e-5) + beta).astype(np.float32))


# ------------------------------------------------------------------------------------- gradients


def away(*shape):
    """Return a leaf of numbers that are below 1 and not near 0."""
    x = draw(*shape, dtype=np.float64)
    return md.tensor(np.sign(x) * (0.1 + 0.8 * np.abs(x) / (1 + np.abs(x))), requires_grad=True)


@pytest.mark.parametrize("name", FORMULAS)
def test_the_slope_of_a_function(name):
    shift = 2 if name == "Acosh" else 0
    md.gradcheck(lambda t: formula(name, t + shift), away(4, 3))


def test_the_gradients_of_prelu():
    md.gradcheck(PReLU.apply, [away(4, 3, 2), away(3, 1)])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("places", [[0, 0, 2, 3, 3, 3], [0, 0.25, 1.5, 3], [2], [0.5, 4]])
def test_the_gradient_of_places_along_an_axis(places, axis):
    shape = [2, 3, 2]
    shape[axis] = 5
    md.gradcheck(lambda t: Resample.apply(t, places=np.array(places), axis=axis), away(*shape))


def test_erf_is_exact():
    import math

    x = np.array([-np.inf, -9, -1, -1e-4, 0, 1e-4, 0.5, 3, 30, np.inf, np.nan])
    expected = [math.erf(v) for v in x]
    np.testing.assert_allclose(formula("Erf", md.tensor(x)).data, expected, 1e-11, 1e-15)


def test_the_guide_lists_what_there_is():
    text = (pages.ROOT / "docs" / "guide-onnx.md").read_text(encoding="utf-8")
    listed = pages.table_cells(text, 1)
    assert sorted(listed) == sorted(OPERATORS)


# ------------------------------------------------------------------------------ channels at the end


@pytest.mark.parametrize(
    "operator",
    [
        ("Split", {"axis": 1, "num_outputs": 2}),
        ("Concat", {"axis": 1}),
        ("Softmax", {"axis": 1}),
        ("Slice", {}),
        ("Pad", {}),
        ("LpNormalization", {"axis": 1}),
        ("Resize", {}),
        ("Squeeze", {}),
        ("Add", {}),
        ("Reshape", {}),
        ("Gather", {"axis": 1}),
        ("Unsqueeze", {}),
        ("Flatten", {"axis": 2}),
        ("ReduceMean", {"keepdims": 0}),
        ("ArgMax", {"axis": 1}),
        ("Where", {}),
        ("MatMul", {}),
        ("Expand", {}),
        ("DepthToSpace", {"blocksize": 2}),
        ("Transpose", {"perm": [1, 3, 0, 2]}),
        ("CumSum", {}),
        ("TopK", {"axis": 1}),
        ("LayerNormalization", {}),
        ("MeanVarianceNormalization", {}),
        ("PRelu", {}),
    ],
    ids=lambda o: o[0],
)
def test_after_a_convolution(operator):
    """Each operator means the file's axes, whatever the layout in which an image is held."""
    name, attributes = operator
    more = {
        "Slice": [ints(1), ints(3), ints(1)],
        "Pad": [ints(0, 1, 0, 2, 0, 0, 1, 0)],
        "Resize": [None, np.array([1, 2, 1, 2], np.float32)],
        "Squeeze": [ints(3)],
        "Add": [draw(4, 1, 1)],
        "Reshape": [ints(0, 2, -1)],
        "Gather": [ints(2, 0)],
        "Unsqueeze": [ints(1, 4)],
        "ReduceMean": [ints(1, 3)],
        "MatMul": [draw(1, 3)],
        "Expand": [ints(2, 4, 5, 2)],
        "CumSum": [np.array(1)],
        "TopK": [ints(2)],
        "LayerNormalization": [draw(1)],
        "PRelu": [draw(4, 1, 1)],
    }
    names = [f"a{k}" for k in range(len(more.get(name, ())))]
    arrays = {n: a for n, a in zip(names, more.get(name, ()), strict=True) if a is not None}
    inputs = ["c", *(n if n in arrays else "" for n in names)]
    inputs = {"Concat": ["c", "c"], "Where": ["m", "c", "k"]}.get(name, inputs)
    first = [node("Conv", ["x", "w"], ["c"])]
    if name == "Where":
        first.append(node("Less", ["c", "k"], ["m"]))
        arrays["k"] = draw(1, 4, 1, 1)
    outputs = ["y", "z"] if name in ("Split", "TopK") else ["y"]
    integers = {"ArgMax": ["y"], "TopK": ["z"]}.get(name, [])
    content = file_of(
        [*first, node(name, inputs, outputs, **attributes)],
        [("x", (2, 3, 5, 2))],
        [(o, None, np.int64 if o in integers else np.float32) for o in outputs],
        {"w": draw(4, 3, 1, 2), **arrays},
    )
    x = draw(2, 3, 5, 2)
    made = md.onnx.load(content, "NCHW")(x)
    compare(content, [y.data for y in (made if isinstance(made, tuple) else (made,))], x)
