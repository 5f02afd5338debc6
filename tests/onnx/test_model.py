"""These tests check the model of a file: its parts, what it says about wrong batches, and how it is
saved.
"""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.onnx_files import draw, file_of, node


def test_parts_by_number(tmp_path):
    """They are named by digits, like those of a Sequential."""
    md.onnx.export(
        nn.Sequential(nn.Dense(4, 3), nn.ReLU(), nn.Dense(3, 2)), tmp_path / "f.onnx", draw(2, 4)
    )
    model = md.onnx.load(tmp_path / "f.onnx")
    assert model[0] is model["0"] and model[np.int64(2)] is model["2"]
    model[2] = nn.Dense(3, 7)
    assert model(draw(5, 4)).shape == (5, 7)
    with pytest.raises(KeyError, match="no part '1'"):
        model[1]
    with pytest.raises(TypeError, match=r"the name of a part must be a string.*slice"):
        model[:1]


def test_a_file_that_fixes_the_batch_says_so():
    model = md.onnx.load(file_of([node("Relu", ["x"], ["y"])], [("x", (1, 3))], ["y"]))
    with pytest.raises(
        ValueError,
        match=r"must have shape \(1, 3\), got \(4, 3\): the file fixes "
        r"the first axis to 1; .* dynamic_axes=\{'x': ",
    ):
        model(draw(4, 3))
    with pytest.raises(ValueError, match=r"got \(1, 4\)$"):
        model(draw(1, 4))


def test_a_file_that_asks_for_bytes_gets_them(tmp_path):
    """They are no images to divide by 255, in whichever way the model is called."""
    content = file_of(
        [node("DequantizeLinear", ["x", "s"], ["y"])],
        [("x", ("N", 3), np.uint8)],
        ["y"],
        {"s": np.array(0.5, np.float32)},
    )
    model, x = md.onnx.load(content), np.arange(6, dtype=np.uint8).reshape(2, 3)
    md.onnx.export(model, tmp_path / "again.onnx", x)
    ways = (model, model.predict, md.compile(model, x), md.onnx.load(tmp_path / "again.onnx"))
    for way in ways:
        np.testing.assert_array_equal(way(x), x * np.float32(0.5))
