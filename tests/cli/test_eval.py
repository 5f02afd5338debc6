"""These tests check `minidl eval` for a run on the data that it was measured on, and for runs and
files on other data.
"""

import shutil

import pytest

import minidl as md
from minidl import models
from tests.support.picture_files import coloured


def accuracy(said):
    assert said.code == 0, said.err
    part, word, value = said.last.split()
    assert word == "accuracy"
    return part, float(value)


def test_a_run_without_data_says_what_train_said(minidl, shared, tmp_path):
    """The pictures have noise, so that the accuracy is not 1."""
    coloured(tmp_path / "photos", {"blue": 30, "red": 30}, seed=3)
    for i, path in enumerate(sorted((tmp_path / "photos" / "red").iterdir())):
        if i % 3 == 0:
            path.rename(tmp_path / "photos" / "blue" / f"wrong{i}.png")
    trained = minidl("train", "photos", "--epochs", 2, "--valid", 0.4, "--seed", 3)
    evaluated = minidl("eval", "runs/photos")
    part, value = accuracy(evaluated)
    assert part == "valid" and 0.4 < value < 0.95
    assert evaluated.last == trained.last


def test_the_test_part_is_measured(minidl, run):
    assert accuracy(minidl("eval", run)) == ("test", 1.0)


def test_a_moved_run_is_measured_from_another_folder(minidl, run, shared, tmp_path, monkeypatch):
    shutil.copytree(run, tmp_path / "moved")
    assert accuracy(minidl("eval", "moved")) == ("test", 1.0)


def test_missing_data_are_named(minidl, tmp_path):
    coloured(tmp_path / "photos", {"blue": 12, "red": 12})
    assert minidl("train", "photos", "--epochs", 1, "--model", "mlp").code == 0
    (tmp_path / "photos").rename(tmp_path / "pictures")
    said = minidl("eval", "runs/photos")
    assert said.code == 1 and said.out == "" and str(tmp_path / "photos") in said.err
    assert accuracy(minidl("eval", "runs/photos", "pictures"))[0] == "test"


def test_changed_data_are_refused(minidl, refused, tmp_path):
    """The valid part would be another one now, with pictures that the model was trained on."""
    coloured(tmp_path / "photos", {"blue": 12, "red": 12})
    assert minidl("train", "photos", "--epochs", 1, "--model", "mlp").code == 0
    coloured(tmp_path / "photos", {"red": 15}, seed=7)
    refused("eval", "runs/photos", code=1, words=["has changed since", "pictures train", "DATA"])


def test_a_folder_with_a_train_part_alone(refused, run, tmp_path):
    coloured(tmp_path / "photos" / "train", {"blue": 2, "red": 2})
    refused("eval", run, "photos", words=["train", "has only train/"])


def test_skip_broken_is_for_data(refused, run):
    refused("eval", run, "--skip-broken", words=["--skip-broken", "DATA"])


@pytest.mark.parametrize("model", ["run", "file"])
def test_a_folder_of_classes(minidl, run, tmp_path, model):
    """The folder has fewer classes than the model, and pictures of another size."""
    coloured(tmp_path / "more", {"red": 5, "green": 5}, size=(13, 13), seed=9)
    given = run if model == "run" else run / "best.safetensors"
    assert accuracy(minidl("eval", given, "more")) == ("test", 1.0)


def test_labels_go_by_name(minidl, run, tmp_path):
    coloured(tmp_path / "more", {"red": 4}, seed=9)
    (tmp_path / "more" / "red").rename(tmp_path / "more" / "blue")
    coloured(tmp_path / "more", {"green": 4}, seed=9)
    assert accuracy(minidl("eval", run, "more")) == ("test", 0.5)


@pytest.mark.parametrize(
    "parts, measured, name",
    [
        (("train", "valid", "test"), "test", "test"),
        (("train", "valid"), "valid", "valid"),
        (("training", "val"), "val", "valid"),
        (("test",), "test", "test"),
        (("validation", "test"), "test", "test"),
    ],
)
def test_the_parts_of_a_folder(minidl, run, tmp_path, parts, measured, name):
    """The test part is used, or the valid part if there is none. The labels of the other parts are
    wrong on purpose.
    """
    for part in parts:
        coloured(tmp_path / "data" / part, {"red": 4})
        if part != measured:
            (tmp_path / "data" / part / "red").rename(tmp_path / "data" / part / "blue")
    assert accuracy(minidl("eval", run, "data")) == (name, 1.0)


def test_one_class_is_enough_to_measure(minidl, run, tmp_path):
    coloured(tmp_path / "reds", {"red": 4})
    assert accuracy(minidl("eval", run, "reds")) == ("test", 1.0)


def test_other_classes(refused, run, tmp_path):
    coloured(tmp_path / "more", {"red": 2, "green": 2})
    (tmp_path / "more" / "green").rename(tmp_path / "more" / "yellow")
    refused("eval", run, "more", code=1, words=["'yellow'", "not a class of the model"])


def test_a_broken_picture_is_named(minidl, refused, run, tmp_path):
    coloured(tmp_path / "more", {"red": 2, "green": 2})
    (tmp_path / "more" / "red" / "000.png").write_bytes(b"nonsense")
    refused("eval", run, "more", code=1, words=["red/000.png", "cannot be decoded"])
    said = minidl("eval", run, "more", "--skip-broken")
    assert accuracy(said) == ("test", 1.0) and "red/000.png" in said.err


def test_grey_pictures_for_a_model_of_colour(minidl, run, tmp_path):
    coloured(tmp_path / "grey", {"light": 3})
    (tmp_path / "grey" / "light").rename(tmp_path / "grey" / "red")
    assert accuracy(minidl("eval", run, "grey"))[0] == "test"


def test_known_data(minidl, tmp_path):
    md.manual_seed(0)
    models.save("digits.safetensors", models.create("mlp"), classes=list("0123456789"))
    part, value = accuracy(minidl("eval", "digits.safetensors", "mnist"))
    assert part == "test" and 0 < value < 0.3  # the model has not learned anything


def test_known_data_of_other_classes_or_another_shape(refused, run, tmp_path):
    refused("eval", run, "mnist", code=1, words=["8 x 8", "28 x 28"])


def test_a_model_of_the_same_classes_for_other_channels(refused, tmp_path):
    models.save("colour.safetensors", models.create("resnet20"), classes=list("0123456789"))
    refused("eval", "colour.safetensors", "mnist", code=1, words=["28", "1", "3"])


def test_threads(minidl, run):
    for threads in (1, 2):
        assert accuracy(minidl("eval", run, "--threads", threads)) == ("test", 1.0)
        assert md.get_num_threads() == threads


def test_wrong_calls_are_refused(refused, shared, run, tmp_path):
    refused("eval", "nix", words=["'nix'"])
    refused("eval", tmp_path, words=["is not a run", "best.safetensors"])
    refused("eval", run / "best.safetensors", words=["DATA"])
    refused("eval", run, "nix", words=["'nix'", "mnist"])
    refused("eval", run, "mnist", "--threads", 0, words=["--threads"])


def test_a_run_that_has_no_model_yet(refused, run, tmp_path):
    (tmp_path / "run").mkdir()
    shutil.copy(run / "config.json", tmp_path / "run")
    refused("eval", "run", words=["'run'", "best.safetensors", "--resume"])


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 100])
def test_a_damaged_model(refused, tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    refused("eval", "model.safetensors", "mnist", code=1, words=["model.safetensors", "damaged"])


def test_a_checkpoint_is_no_model(refused, run):
    refused(
        "eval",
        run / "last.safetensors",
        "mnist",
        code=1,
        words=["last.safetensors", "not a file that models.save wrote"],
    )
