"""These tests check that `minidl summary` prints the layers of a model, which is given by its name,
by a run or by a file.
"""

import pytest

from minidl import models


@pytest.mark.parametrize("name", models.names())
def test_a_model_is_given_by_name(minidl, name):
    said = minidl("summary", name)
    assert said.code == 0 and said.err == ""
    model = models.create(name)
    assert said.out.rstrip("\n") == str(model.summary(model.input_shape)).rstrip("\n")
    assert f"{sum(p.size for p in model.parameters()):,}" in said.out


@pytest.mark.parametrize("given, shape", [("64,48,3", (64, 48, 3)), ("64x48x3", (64, 48, 3))])
def test_the_shape_of_the_input_is_an_option(minidl, given, shape):
    said = minidl("summary", "vgg8", "--input", given)
    assert said.out.rstrip("\n") == str(
        models.create("vgg8", input_shape=shape).summary(shape)
    ).rstrip("\n")
    assert "64, 48, 64" in said.out  # the shape after the first convolution


def test_a_run_and_a_file_are_summarized(minidl, shared):
    run = shared / "runs" / "photos"
    said = minidl("summary", run)
    assert said.code == 0 and "8, 8, 16" in said.out and "3" in said.out
    assert minidl("summary", run / "best.safetensors").out == said.out
    wide = minidl("summary", run, "--input", "16,12,3")
    assert wide.code == 0 and "16, 12, 16" in wide.out


def test_a_model_for_rows(minidl, tmp_path):
    """The shape must be given for a model that does not know it."""
    models.save("rows.safetensors", models.MLP(in_features=20, classes=3))
    said = minidl("summary", "rows.safetensors", "--input", 20)
    assert said.code == 0 and "20" in said.out


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (("nix",), 2, ["'nix'", "resnet20"]),
        (("resnet-20",), 2, ["'resnet-20'", "resnet20"]),
        (("resnet20", "--input", "0,1,3"), 2, ["--input"]),
        (("resnet20", "--input", "a"), 2, ["--input", "'a'"]),
        (("resnet20", "--input", "1,2,3,4"), 2, ["--input"]),
        (("resnet20", "--input", "2,2,3"), 1, ["ResNet20", "input_shape", "(2, 2, 3)"]),
        (("resnet20", "--input", "32"), 2, ["resnet20", "H,W,C"]),
    ],
)
def test_wrong_calls_are_refused(refused, arguments, code, words):
    refused("summary", *arguments, code=code, words=words)


def test_a_run_with_another_number_of_channels(refused, shared):
    refused("summary", shared / "runs" / "photos", "--input", "8,8,1", code=1, words=["1", "3"])


def test_a_folder_that_is_no_run(refused, tmp_path):
    refused("summary", tmp_path, words=["is not a run"])
