"""`minidl import`: ONNX files as models' files."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from tests.support.onnx_files import assert_close, file_of, node


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_a_run_comes_back(minidl, shared, layout):
    """The classes, the preprocessing and the predictions are those of the run, and the file can be
    evaluated and exported again."""
    run = shared / "runs" / "photos"
    assert minidl("export", run, "photos.onnx", "--layout", layout).code == 0
    said = minidl("import", "photos.onnx", "photos.safetensors")
    assert said.code == 0 and said.err == ""
    assert said.out.startswith("photos.safetensors: ") and " 3 classes, " in said.out
    given, made = (models.load(path) for path in (run / "best.safetensors", "photos.safetensors"))
    assert made.classes == given.classes and made.preprocess == given.preprocess
    assert made.model.input_shape == given.model.input_shape
    x = np.random.default_rng(0).random((5, 8, 8, 3), np.float32)
    assert_close(made.model.predict(x), given.model.predict(x))
    test = shared / "photos" / "test"
    lines = [minidl("eval", path, test).last for path in (run, "photos.safetensors")]
    assert lines[0] == lines[1]
    assert "(N, 8, 8, 3) to (N, 3)" in minidl("export", "photos.safetensors", "again.onnx").out


def test_a_file_of_another_program(minidl):
    """Metadata of other programs is no list of classes."""
    model = nn.Sequential(nn.Conv(3, 4, 3, padding=1), nn.GlobalAvgPool())
    told = {"classes": "{0: 'cat'}", "preprocess": "[]"}
    md.onnx.export(model, "x.onnx", md.zeros(1, 8, 8, 3), metadata=told)
    assert "no names of classes" in minidl("import", "x.onnx", "x.safetensors").out
    saved = models.load("x.safetensors")
    assert saved.classes == [] and saved.preprocess is None


def test_classes_and_preprocessing_of_a_file_of_another_program(minidl, refused):
    """They are given as options, which go before what the file says of them."""
    model = nn.Sequential(nn.Conv(3, 2, 3, padding=1), nn.GlobalAvgPool())
    md.onnx.export(model, "x.onnx", md.zeros(1, 8, 8, 3), metadata={"preprocess": {"std": 0.5}})
    options = ["--classes", "cat, dog", "--size", "8", "--mean", "0.4,0.5,0.6"]
    said = minidl("import", "x.onnx", "x.safetensors", *options)
    assert said.err == "" and " 2 classes, " in said.out
    saved = models.load("x.safetensors")
    assert saved.classes == ["cat", "dog"]
    assert saved.preprocess == {"size": 8, "mean": [0.4, 0.5, 0.6], "std": 0.5}
    x = np.random.default_rng(0).random((1, 8, 8, 3), np.float32)
    scores = model.predict((x - np.float32([0.4, 0.5, 0.6])) / np.float32(0.5))[0]
    [best] = saved.predict(x, top=2)
    assert [name for name, _ in best] == [["cat", "dog"][k] for k in np.argsort(-scores)]
    with open("names.txt", "w", encoding="utf-8") as file:
        file.write("one\ntwo, or more\n")
    minidl("import", "x.onnx", "x.safetensors", "--classes", "names.txt")
    assert models.load("x.safetensors").classes == ["one", "two, or more"]
    refused("import", "x.onnx", "x.safetensors", "--mean", "0.4;0.5", words=["--mean", "0.4;0.5"])
    words = ["--classes", "expected 2 names", "got 3"]
    refused("import", "x.onnx", "x.safetensors", "--classes", "a,b,c", words=words)


def test_the_number_of_classes_of_the_metadata(minidl, refused):
    """What a program has written wrongly may be said anew."""
    model = nn.Sequential(nn.Flatten(), nn.Dense(4, 3))
    md.onnx.export(model, "x.onnx", md.zeros(1, 2, 2, 1), metadata={"classes": ["a", "b"]})
    refused("import", "x.onnx", "x.safetensors", words=["metadata has 2 classes", "3 outputs"])
    assert minidl("import", "x.onnx", "x.safetensors", "--classes", "a,b,c").code == 0


def test_a_file_without_a_normalization(minidl):
    """A model that gets other values than it has learned from is wrong silently: it is said."""
    md.onnx.export(nn.Sequential(nn.Flatten(), nn.Dense(4, 2)), "x.onnx", md.zeros(1, 2, 2, 1))
    said = minidl("import", "x.onnx", "x.safetensors")
    assert said.code == 0 and "--mean and --std" in said.err


def test_an_imported_model_cannot_begin_a_run(minidl, refused, photos):
    """A run makes its model again for its classes; the error comes before the pictures are read."""
    with open("x.onnx", "wb") as file:
        nodes = [node("MatMul", ["x", "w"], ["y"])]
        file.write(file_of(nodes, [("x", ("N", 3))], ["y"], {"w": np.ones((3, 2), np.float32)}))
    minidl("import", "x.onnx", "x.safetensors")
    words = ["the initial model", "minidl.models", "got a Model"]
    refused("train", photos, "--init", "x.safetensors", words=words, code=1)


def test_a_file_that_leaves_its_shape_open(refused):
    """The commands that need an input say so."""
    weight = np.ones((4, 3), np.float32)
    with open("x.onnx", "wb") as file:
        nodes = [node("MatMul", ["x", "w"], ["y"])]
        file.write(file_of(nodes, [("x", ("N", "D"))], ["y"], {"w": weight}))
    models.save("x.safetensors", md.onnx.load("x.onnx"))
    assert models.load("x.safetensors").model.input_shape is None
    refused("bench", "x.safetensors", words=["--input", "the shape of its input"])
    refused("export", "x.safetensors", "again.onnx", words=["the shape of its input"], code=1)


def test_what_is_no_onnx(minidl):
    with open("x.onnx", "wb") as file:
        file.write(b"nothing")
    said = minidl("import", "x.onnx", "x.safetensors")
    assert said.code == 1 and "x.onnx is no ONNX model" in said.err and said.out == ""


def test_wrong_calls(refused, tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"")
    refused("import", "nix.onnx", "x.safetensors", words=["FILE.onnx", "'nix.onnx'"])
    refused("import", tmp_path, "x.safetensors", words=["FILE.onnx", "folder"])
    refused("import", "x.onnx", "x.onnx", words=["ends with .safetensors", "'x.onnx'"])
    refused("import", "x.onnx", words=["OUT.safetensors"])
