"""These tests check `minidl train` on all kinds of data, on data that it cannot learn from, with
parts and recipes.
"""

import numpy as np
import pytest

from minidl import models
from tests.support.picture_files import coloured, write
from tests.support.runs import config

COLOURS = {"blue": 12, "red": 12}
QUICK = ("--epochs", "1", "--model", "mlp")


def test_data_that_do_not_exist_are_refused(refused, tmp_path):
    refused("train", "nowhere", words=["'nowhere'", "mnist", "cifar10"])
    (tmp_path / "file").write_text("")
    refused("train", "file", words=["'file' is not a folder"])
    refused("train", "cifar100", words=["'cifar100'", "mnist"])


def folder_of_one(root):
    coloured(root, {"red": 4})


def folder_of_broken(root):
    coloured(root, COLOURS)
    (root / "red" / "001.png").write_bytes(b"nonsense")


def folder_of_sizes(root):
    coloured(root, COLOURS)
    coloured(root, {"red": 2}, size=(6, 9))


def folder_of_loose(root):
    write(root / "1.png", np.zeros((4, 4, 3), np.uint8))


def folder_without_pictures(root):
    coloured(root, COLOURS)
    (root / "green").mkdir()


def unknown_class(root):
    coloured(root / "train", COLOURS)
    coloured(root / "test", {"green": 2, "red": 2})


def other_sizes_in_test(root):
    coloured(root / "train", COLOURS)
    coloured(root / "test", COLOURS, size=(9, 9))


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda root: root.mkdir(), ["is empty", "CLASS"]),
        (folder_of_one, ["one class, 'red'", "two"]),
        (lambda root: coloured(root, {"blue": 1, "red": 1}), ["2 pictures", "none for validation"]),
        (folder_of_broken, ["red/001.png", "cannot be decoded"]),
        (folder_of_sizes, ["22 of 8 x 8", "2 of 6 x 9", "size"]),
        (folder_of_loose, ["1.png", "CLASS"]),
        (folder_without_pictures, ["'green'", "no pictures"]),
        (unknown_class, ["'green'", "test", "blue, red"]),
        (other_sizes_in_test, ["9 x 9", "8 x 8", "size"]),
    ],
    ids=[
        "empty",
        "one class",
        "one picture a class",
        "broken",
        "sizes",
        "loose",
        "class without pictures",
        "unknown class",
        "other sizes in test",
    ],
)
def test_folders_that_cannot_be_learned_are_refused(refused, tmp_path, make, words):
    make(tmp_path / "photos")
    refused("train", "photos", code=1, words=words)
    assert not (tmp_path / "runs").exists()


def test_broken_pictures_are_left_out_where_that_is_asked_for(minidl, refused, tmp_path):
    folder_of_broken(tmp_path / "photos")
    refused("train", "photos", *QUICK, code=1, words=["red/001.png", "--skip-broken"])
    said = minidl("train", "photos", "--skip-broken", *QUICK)
    assert said.code == 0 and "21 pictures to train, 2 to validate" in said.err
    assert "minidl: warning: " in said.err and "red/001.png" in said.err
    assert minidl("eval", "runs/photos").last == said.last
    assert minidl("train", "photos", "--resume").last == said.last


def test_a_size_that_no_memory_has(refused, photos):
    refused("train", "photos", "--size", 10_000_000, code=1, words=["a picture", "10000000"])


def test_sizes_with_size(minidl, tmp_path):
    folder_of_sizes(tmp_path / "photos")
    assert minidl("train", "photos", "--size", "8", *QUICK).code == 0
    run = tmp_path / "runs" / "photos"
    assert config(run)["data"]["shape"] == [8, 8, 3] and config(run)["size"] == 8


def test_parts_are_matched_by_the_names_of_classes(minidl, tmp_path):
    """The test parts lack classes, so labels by position would all be wrong."""
    coloured(tmp_path / "photos" / "training", {"blue": 12, "green": 12, "red": 12})
    coloured(tmp_path / "photos" / "val", {"green": 4, "red": 4}, seed=1)
    coloured(tmp_path / "photos" / "test", {"red": 6}, seed=2)
    said = minidl("train", "photos", "--epochs", 6)
    assert said.last == "test accuracy 1.0000"
    assert "36 pictures to train, 8 to validate, 6 to test; 3 classes" in said.err


def test_valid_zero(minidl, tmp_path):
    coloured(tmp_path / "photos" / "train", COLOURS)
    coloured(tmp_path / "photos" / "test", COLOURS, seed=1)
    said = minidl("train", "photos", "--valid", 0, "--epochs", 2, "--model", "mlp")
    assert said.code == 0 and said.last.startswith("test accuracy")
    assert "24 pictures to train, 24 to test" in said.err
    header = (tmp_path / "runs" / "photos" / "log.csv").read_text().splitlines()[0]
    assert "valid" not in header
    assert models.load("runs/photos/best.safetensors").info["epoch"] == 2  # the last epoch


def test_valid_zero_without_a_test_part(refused, photos, tmp_path):
    refused("train", "photos", "--valid", 0, words=["test", "--valid must be above 0", "accuracy"])
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("options", [("--valid", "0.2"), ("--set", "valid=0.2")])
def test_a_share_of_a_folder_that_has_a_valid_part(refused, shared, options):
    refused("train", shared / "photos", *options, "--out", "run", words=["valid", "already has"])


@pytest.mark.parametrize(
    "recipe, options",
    [
        ("mnist", ()),
        ("cifar10-resnet20", ()),
        ("cifar10-fast", ("--batch-size", "8", "--size", "12", "--set", "whitening_pictures=20")),
    ],
)
def test_recipes(minidl, tmp_path, recipe, options):
    if recipe == "mnist":
        coloured(tmp_path / "photos", {"dark": 12, "light": 12}, size=(12, 12))
    else:
        coloured(tmp_path / "photos", COLOURS, size=(12, 12))
    said = minidl("train", "photos", "--recipe", recipe, "--epochs", 2, *options)
    assert said.code == 0, said.err
    assert f"recipe {recipe}" in said.err and said.last.startswith("valid accuracy")
    assert config(tmp_path / "runs" / "photos")["recipe"] == recipe
    models.load("runs/photos/best.safetensors").predict(next((tmp_path / "photos").rglob("*.png")))
