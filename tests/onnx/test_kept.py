"""Imported models that are saved, and built again from their graph."""

import base64
import sys

import numpy as np
import onnx
import pytest

import minidl as md
from minidl import models, nn
from minidl.onnx import kept
from tests.support.errors import refuses


def networks():
    """Models with parts of different kinds, and inputs of theirs."""
    rng = np.random.default_rng(0)
    image = rng.random((2, 8, 8, 3), np.float32)
    yield (
        nn.Sequential(
            nn.Conv(3, 4, 3, bias=False), nn.BatchNorm(4), nn.ReLU(), nn.Flatten(), nn.Dense(144, 3)
        ),
        image,
    )
    yield nn.Sequential(nn.Dense(5, 4), nn.LayerNorm(4)), rng.random((3, 5), np.float32)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("number", [0, 1])
def test_saved_and_loaded(tmp_path, number, layout):
    """The weights, changed after the import, are arrays of the file and not in its graph."""
    made, x = list(networks())[number]
    path = str(tmp_path / "model.onnx")
    md.onnx.export(made, path, x, layout)
    model = md.onnx.load(path, layout)
    x = x.transpose(0, 3, 1, 2) if layout == "NCHW" and x.ndim == 4 else x
    for parameter in model.parameters():
        parameter.data = np.random.default_rng(1).random(parameter.shape, np.float32)
    models.save(tmp_path / "model.safetensors", model)
    loaded = models.load(tmp_path / "model.safetensors").model
    assert list(loaded.state_dict()) == list(model.state_dict())
    assert np.array_equal(loaded.predict(x), model.predict(x))
    proto = onnx.load_model_from_string(base64.b64decode(kept.options(model)["graph"]))
    empty = [t.name for t in proto.graph.initializer if not t.raw_data and not t.float_data]
    assert set(empty) == set(model.state_dict()) & {t.name for t in proto.graph.initializer}
    assert empty


def test_doubles(tmp_path):
    made = nn.Sequential(nn.Dense(4, 3)).astype(np.float64)
    md.onnx.export(made, tmp_path / "model.onnx", np.zeros((1, 4)))
    models.save(tmp_path / "model.safetensors", md.onnx.load(tmp_path / "model.onnx"))
    loaded = models.load(tmp_path / "model.safetensors").model
    x = np.random.default_rng(0).random((3, 4))
    assert loaded.predict(x).dtype == np.float64
    assert np.array_equal(loaded.predict(x), made.predict(x))


def test_a_model_with_another_part_is_refused(tmp_path):
    md.onnx.export(nn.Sequential(nn.Dense(4, 3)), tmp_path / "model.onnx", md.zeros(1, 4))
    model = md.onnx.load(tmp_path / "model.onnx")
    model["0"] = nn.Dense(4, 2)
    with refuses(ValueError, "0.weight is (4, 3) in that and (4, 2)", "md.onnx.export"):
        models.save(tmp_path / "model.safetensors", model)


def test_a_part_of_a_model_is_refused(tmp_path):
    made = nn.Sequential(nn.Sequential(nn.Dense(4, 3), nn.ReLU()), nn.Dense(3, 2))
    md.onnx.export(made, tmp_path / "model.onnx", md.zeros(1, 4))
    part = md.onnx.load(tmp_path / "model.onnx")["0"]
    with refuses(TypeError, "save: model must be a whole model", "part.state_dict()"):
        models.save(tmp_path / "model.safetensors", part)


def test_what_to_install_is_said(tmp_path, monkeypatch):
    md.onnx.export(nn.Sequential(nn.Dense(4, 3)), tmp_path / "model.onnx", md.zeros(1, 4))
    models.save(tmp_path / "model.safetensors", md.onnx.load(tmp_path / "model.onnx"))
    monkeypatch.setitem(sys.modules, "onnx", None)
    with refuses(ValueError, "model.safetensors", "pip install 'minidl[onnx]'"):
        models.load(tmp_path / "model.safetensors")


def test_another_layout_is_refused():
    with refuses(ValueError, 'layout must be "NHWC" or "NCHW"'):
        kept.again(damaged_graph(), "CHWN")


def damaged_graph(**changes):
    """The graph of a small model, whose weight is changed."""
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
            "g",
            [onnx.helper.make_tensor_value_info("x", 1, ["N", 4])],
            [onnx.helper.make_tensor_value_info("y", 1, ["N", 3])],
        )
    )
    entries = {"name": "w", "dims": (4, 3), "data_type": 1, "doc_string": kept.LEARNED}
    proto.graph.initializer.add(**{**entries, **changes})
    return base64.b64encode(proto.SerializeToString()).decode()


@pytest.mark.parametrize(
    ("graph", "error", "text"),
    [
        ("ä", ValueError, "base64|ascii|ASCII"),
        (3, ValueError, "base64"),
        (base64.b64encode(b"nothing").decode(), ValueError, "no ONNX model"),
        (damaged_graph(dims=(4, -3)), ValueError, "no valid shape"),
        (damaged_graph(data_type=77), ValueError, "no valid shape or dtype"),
        (damaged_graph(dims=(1 << 40, 1 << 20)), MemoryError, "no memory"),
        (damaged_graph(doc_string=""), ValueError, "no valid ONNX model"),
    ],
)
def test_graphs_that_are_none(graph, error, text):
    with pytest.raises(error, match=text):
        kept.again(graph, "NHWC")


def test_a_graph_that_is_one():
    """The same graph without damage builds a model."""
    model = kept.again(damaged_graph(), "NHWC")
    assert model(np.ones((2, 4), np.float32)).shape == (2, 3)
    assert model.input_shape == (4,)


def test_what_the_file_says(tmp_path):
    md.onnx.export(
        nn.Sequential(nn.Dense(4, 3)), tmp_path / "x.onnx", md.zeros(1, 4), metadata={"a": "b"}
    )
    model = md.onnx.load(tmp_path / "x.onnx")
    assert model.metadata == {"a": "b"} and model.input_shape == (4,)
    models.save(tmp_path / "x.safetensors", model)
    assert models.load(tmp_path / "x.safetensors").model.metadata == {"a": "b"}
