"""These tests check that `minidl export` writes runs and models as ONNX files."""

import json

import numpy as np
import onnxruntime
import pytest

import minidl as md
from minidl import models
from tests.support.onnx_files import assert_close, run
from tests.support.picture_files import coloured


def metadata(path):
    """Return the metadata of a file."""
    return onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map


@pytest.mark.parametrize("layout", [None, "NHWC", "NCHW"])
def test_the_file_of_a_run_predicts_what_the_run_does(minidl, shared, layout):
    """The file predicts what the run does, for pictures prepared as its metadata says."""
    options = () if layout is None else ("--layout", layout)
    said = minidl("export", shared / "runs" / "photos", "photos.onnx", *options)
    taken = "(N, 3, 8, 8)" if layout == "NCHW" else "(N, 8, 8, 3)"
    assert said.code == 0 and said.err == ""
    with open("photos.onnx", "rb") as file:
        content = file.read()
    assert said.out == f"photos.onnx: {taken} to (N, 3), {len(content):,} bytes\n"
    saved = models.load(shared / "runs" / "photos" / "best.safetensors")
    told = {name: json.loads(text) for name, text in metadata("photos.onnx").items()}
    assert told == {"classes": ["blue", "green", "red"], "preprocess": saved.preprocess}
    pictures = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    prepared = told["preprocess"]
    x = ((pictures / 255 - prepared["mean"]) / prepared["std"]).astype(np.float32)
    expected = saved.model.predict(x)
    (made,) = run(content, x.transpose(0, 3, 1, 2) if layout == "NCHW" else x)
    assert_close(made, expected)
    best = [told["classes"][k] for k in made.argmax(axis=1)]
    assert best == [found[0][0] for found in saved.predict(pictures)]


@pytest.mark.parametrize(
    "options, preprocess, shape",
    [
        ({"input_shape": (12, 16, 1)}, None, (12, 16, 1)),
        ({"input_shape": (8, 8, 3)}, {"size": 8, "channels": 3, "mean": 0.5}, (8, 8, 3)),
        ({"in_features": 20}, None, (20,)),
    ],
)
def test_the_file_of_a_model_has_what_is_known_of_it(minidl, options, preprocess, shape):
    """The model file knows its input, and what it does not know is not in the metadata."""
    model = models.create("mlp", **options)
    models.save("model.safetensors", model, preprocess=preprocess)
    said = minidl("export", "model.safetensors", "model.onnx")
    assert said.code == 0 and f"(N, {', '.join(map(str, shape))}) to (N, 10)" in said.out
    told = metadata("model.onnx")
    assert told == ({} if preprocess is None else {"preprocess": json.dumps(preprocess)})
    x = np.random.default_rng(0).random((3, *shape), np.float32)
    assert_close(md.onnx.load("model.onnx").predict(x), model.predict(x))


def test_pictures_of_another_size_than_that_of_the_model(minidl):
    """A model that takes any size is written for the size that pictures are scaled to."""
    model = models.create("resnet20", input_shape=(32, 32, 3))
    models.save("model.safetensors", model, preprocess={"size": [16, 24]})
    assert "(N, 16, 24, 3) to (N, 10)" in minidl("export", "model.safetensors", "model.onnx").out


def test_doubles(minidl):
    models.save("model.safetensors", models.create("mlp", in_features=4).astype(np.float64))
    assert minidl("export", "model.safetensors", "model.onnx").code == 0
    assert md.onnx.load("model.onnx")(np.zeros((2, 4))).dtype == np.float64


def test_names_of_any_letters(minidl):
    names = ["grün", 'Röntgen, "rot"']
    models.save("model.safetensors", models.create("mlp", classes=2, in_features=4), names)
    assert minidl("export", "model.safetensors", "model.onnx").code == 0
    assert json.loads(metadata("model.onnx")["classes"]) == names


def test_a_file_that_is_there_is_replaced_and_stays_after_an_error(minidl, shared, monkeypatch):
    with open("photos.onnx", "wb") as file:
        file.write(b"before")
    with monkeypatch.context() as patch:
        patch.setattr(md.onnx, "needed", _missing)
        said = minidl("export", shared / "runs" / "photos", "photos.onnx")
    assert said.code == 1 and said.out == "" and said.err == "minidl: pip install minidl[onnx]\n"
    with open("photos.onnx", "rb") as file:
        assert file.read() == b"before"
    assert minidl("export", shared / "runs" / "photos", "photos.onnx").code == 0
    assert metadata("photos.onnx")["classes"]


def _missing(function):
    raise ImportError("pip install minidl[onnx]")


def test_wrong_calls_are_refused(refused, shared, tmp_path):
    model = shared / "runs" / "photos"
    refused("export", model, words=["OUT.onnx"])
    refused("export", "nix", "model.onnx", words=["'nix'"])
    refused("export", "resnet20", "model.onnx", words=["'resnet20'", "without trained weights"])
    refused("export", tmp_path, "model.onnx", words=["is not a run"])
    refused("export", model, "model.png", words=["ends with .onnx", "'model.png'"])
    refused("export", model, model / "best.safetensors", words=["ends with .onnx"])
    (tmp_path / "folder.onnx").mkdir()
    refused("export", model, "folder.onnx", words=["the name of a file"])
    refused("export", model, "model.onnx", "--layout", "CHWN", words=["--layout", "NCHW"])
    refused("export", model, "nix/model.onnx", code=1, words=["nix"])
    coloured(tmp_path / "photos", {"blue": 1})
    refused("export", "photos/blue/000.png", "model.onnx", code=1, words=["000.png"])
    assert not (tmp_path / "model.onnx").exists()
