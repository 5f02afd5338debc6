"""These tests check the images at the borders of a file's graph, in the caller's layout, in that of
the file, or transposed. Nothing is transposed in between, and neither are shapes that a file
computes.
"""

import numpy as np
import onnx
import pytest

import minidl as md
from tests.support.onnx_files import assert_close, draw, file_of, node, operations, run


def conv_between(before=(), after=(), rank=4, output="y"):
    """Return a file of a convolution with nodes before it (from x to a) and after it (from b to
    y).
    """
    sizes = (5, 6)[: rank - 2]
    return file_of(
        [*before, node("Conv", ["a" if before else "x", "w"], ["b" if after else "y"]), *after],
        [("x", ("N", 3, *sizes))],
        [output],
        {"w": draw(4, 3, *(2, 3)[: rank - 2])},
    )


def check_layouts(content, x, given, taken):
    """Check x in the file's layout and transposed, and the output likewise."""
    expected = run(content, x)[0]
    assert_close(md.onnx.load(content, "NCHW")(x).data, expected)
    y = md.onnx.load(content)(np.ascontiguousarray(x.transpose(given))).data
    assert_close(y, expected.transpose(taken))


@pytest.mark.parametrize(
    ("before", "after", "rank", "taken"),
    [
        ((), (), 4, (0, 2, 3, 1)),
        ((), (), 3, (0, 2, 1)),
        (
            [node("Relu", ["x"], ["r"]), node("Identity", ["r"], ["a"])],
            [node("Sigmoid", ["b"], ["s"]), node("Mul", ["s", "b"], ["y"])],
            4,
            (0, 2, 3, 1),
        ),
        ((), [node("Transpose", ["b"], ["y"], perm=[0, 2, 3, 1])], 4, (0, 1, 2, 3)),
        ((), [node("Transpose", ["b"], ["y"], perm=[1, 0, 2, 3])], 4, (1, 2, 3, 0)),
        ((), [node("ArgMax", ["b"], ["y"], axis=1, keepdims=0)], 4, (0, 1, 2)),
        ((), [node("ReduceMean", ["b"], ["y"], axes=[2, 3])], 4, (0, 2, 3, 1)),
        ((), [node("Softmax", ["b"], ["y"], axis=1)], 4, (0, 2, 3, 1)),
    ],
)
def test_images_at_the_borders(before, after, rank, taken):
    x = draw(2, 3, *(5, 6)[: rank - 2])
    content = conv_between(
        before,
        after,
        rank,
        ("y", None, np.int64) if after and after[0].op_type == "ArgMax" else "y",
    )
    check_layouts(
        content if "axes" not in str(after) else at_opset(content, 13),
        x,
        (0, *range(2, rank), 1),
        taken,
    )


def at_opset(content, version):
    model = onnx.load_model_from_string(content)
    model.opset_import[0].version = version
    return model.SerializeToString()


def test_a_file_that_has_channels_last_keeps_them():
    content = file_of(
        [
            node("Transpose", ["x"], ["a"], perm=[0, 3, 1, 2]),
            node("Conv", ["a", "w"], ["b"]),
            node("Transpose", ["b"], ["y"], perm=[0, 2, 3, 1]),
        ],
        [("x", ("N", 5, 6, 3))],
        ["y"],
        {"w": draw(4, 3, 2, 2)},
    )
    x = draw(2, 5, 6, 3)
    model = md.onnx.load(content)
    assert_close(model(x).data, run(content, x)[0])
    assert operations(model, x) == {"Conv": 1}


def test_what_is_no_image_stays_as_it_is():
    """Sequences of vectors, for example, are transposed for a product of matrices."""
    content = file_of(
        [
            node("Transpose", ["x"], ["a"], perm=[0, 2, 1]),
            node("MatMul", ["x", "a"], ["y"]),
            node("Tanh", ["a"], ["z"]),
        ],
        [("x", ("N", 3, 4))],
        ["y", "z"],
    )
    x = draw(2, 3, 4)
    for ours, theirs in zip(md.onnx.load(content)(x), run(content, x), strict=True):
        assert_close(ours.data, theirs)


def test_shapes_that_are_computed():
    """Exporters write this for x.view(len(x), -1). None of it is in a trace, and nothing is
    transposed, since the weights after it are constants.
    """
    content = file_of(
        [
            node("Conv", ["x", "c.weight"], ["a"]),
            node("Shape", ["a"], ["s"]),
            node("Gather", ["s", "zero"], ["n"], axis=0),
            node("Unsqueeze", ["n", "axes"], ["m"]),
            node("Concat", ["m", "rest"], ["t"], axis=0),
            node("Reshape", ["a", "t"], ["r"]),
            node("MatMul", ["r", "w"], ["y"]),
        ],
        [("x", ("N", 3, 5, 6))],
        ["y"],
        {
            "c.weight": draw(4, 3, 2, 3),
            "w": draw(64, 5),
            "zero": np.array(0),
            "axes": np.array([0]),
            "rest": np.array([-1]),
        },
    )
    x = draw(2, 3, 5, 6)
    model = md.onnx.load(content)
    turned = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    assert_close(model(turned).data, run(content, x)[0])
    found = operations(model, turned)
    assert found["Conv"] == 1 and found["Linear"] == 1
    assert not {"Concatenate", "GetItem"} & found.keys()
