"""These tests check `minidl train --init MODEL [--freeze]`, which fine-tunes a model that was
trained before.
"""

import shutil

import numpy as np
import pytest

import minidl as md
from minidl import models
from tests.support.picture_files import coloured


@pytest.fixture
def mine(tmp_path):
    """Return a folder with other classes than the run's: two of its colours under other names."""
    coloured(tmp_path / "mine", {"blue": 10, "red": 10}, seed=21)
    for old, new in (("blue", "sea"), ("red", "fire")):
        (tmp_path / "mine" / old).rename(tmp_path / "mine" / new)
    return tmp_path / "mine"


def states(run, other="runs/mine"):
    """Return the arrays of the initial model and of the trained one."""
    return (md.load(run / "best.safetensors"), md.load(f"{other}/best.safetensors"))


def test_other_classes(minidl, run, mine):
    said = minidl("train", "mine", "--init", run, "--epochs", 3)
    assert said.code == 0 and said.last == "valid accuracy 1.0000"
    saved = models.load("runs/mine/best.safetensors")
    assert saved.classes == ["fire", "sea"] and type(saved.model) is models.ResNet20
    before = models.load(run / "best.safetensors")
    assert saved.preprocess["mean"] == before.preprocess["mean"]
    assert "model resnet20" in said.err


def test_freeze_leaves_all_but_the_head_bit_for_bit(minidl, run, mine):
    said = minidl(
        "train", "mine", "--init", run, "--freeze", "--epochs", 8, "--lr", 0.1, "--set", "ema=0.5"
    )
    assert said.code == 0 and said.last == "valid accuracy 1.0000"
    before, after = states(run)
    assert set(before) == set(after)
    changed = {
        name
        for name in before
        if before[name].shape != after[name].shape
        or before[name].tobytes() != after[name].tobytes()
    }
    assert changed == {"fc.weight", "fc.bias"}
    # The statistics are among them.
    assert any("running" in name or "mean" in name for name in before)


def test_without_freeze_all_learns(minidl, run, mine):
    minidl("train", "mine", "--init", run, "--epochs", 1)
    before, after = states(run)
    changed = [
        name
        for name in before
        if before[name].shape != after[name].shape
        or before[name].tobytes() != after[name].tobytes()
    ]
    assert len(changed) > 0.9 * len(before)


def test_the_same_classes_keep_the_head(minidl, run, tmp_path):
    """The folders may have any order, and the model may come from a file. With a learning rate of
    almost zero the model stays what it was.
    """
    coloured(tmp_path / "more", {"blue": 10, "green": 10, "red": 10}, seed=30)
    said = minidl(
        "train",
        "more",
        "--init",
        run / "best.safetensors",
        "--epochs",
        1,
        "--lr",
        "1e-20",
        "--freeze",
    )
    assert said.last == "valid accuracy 1.0000"
    before, after = states(run, "runs/more")
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_begins_where_the_other_ended_not_anew(minidl, run, mine):
    """Its weights differ from those that a training from scratch has after an epoch."""
    minidl("train", "mine", "--init", run, "--lr", "1e-20", "--epochs", 1)
    before, after = states(run)
    name = "conv.weight"
    np.testing.assert_allclose(after[name], before[name], atol=1e-6)


def test_pictures_of_other_sizes_are_scaled_to_the_models(minidl, run, tmp_path):
    coloured(tmp_path / "large", {"blue": 10, "red": 10}, size=(20, 20), seed=3)
    coloured(tmp_path / "large", {"red": 2}, size=(12, 30))
    said = minidl("train", "large", "--init", run, "--freeze", "--epochs", 2)
    assert said.code == 0 and "8 x 8, colour" in said.err
    assert models.load("runs/large/best.safetensors").model.input_shape == (8, 8, 3)


def test_another_size(minidl, run, mine):
    said = minidl("train", "mine", "--init", run, "--size", 12, "--epochs", 1)
    assert said.code == 0 and "12 x 12" in said.err
    assert models.load("runs/mine/best.safetensors").model.input_shape == (12, 12, 3)


def test_another_size_where_weights_depend_on_it(refused, minidl, mine):
    minidl("train", "mine", "--model", "lenet", "--size", 16, "--epochs", 1, "--out", "lenet")
    refused(
        "train", "mine", "--init", "lenet", "--size", 20, code=1, words=["LeNet", "size", "16 x 16"]
    )


def test_grey_pictures_for_a_model_of_colour(minidl, run, tmp_path):
    """A folder is read with the channels that the model takes."""
    coloured(tmp_path / "grey", {"dark": 10, "light": 10})
    said = minidl("train", "grey", "--init", run, "--epochs", 2)
    assert said.code == 0
    assert models.load("runs/grey/best.safetensors").model.input_shape == (8, 8, 3)


def test_colour_pictures_for_a_model_of_grey(minidl, mine, tmp_path):
    coloured(tmp_path / "grey", {"dark": 10, "light": 10})
    minidl("train", "grey", "--epochs", 1)
    said = minidl("train", "mine", "--init", "runs/grey", "--epochs", 1)
    assert said.code == 0
    assert models.load("runs/mine/best.safetensors").model.input_shape == (8, 8, 1)


def test_known_data_of_other_channels(refused, run):
    refused("train", "mnist", "--init", run, code=1, words=["3 channels", "1"])


def test_it_ends_by_itself_without_the_model_to_begin_with(minidl, run, mine, tmp_path):
    shutil.copytree(run, tmp_path / "first")
    assert minidl("train", "mine", "--init", "first", "--epochs", 1).code == 0
    shutil.rmtree(tmp_path / "first")
    assert minidl("eval", "runs/mine").code == 0


def test_a_finished_run_with_the_same_options_does_nothing(minidl, run, mine):
    """A finished run that is called again with the same options does nothing; with another model
    the call is wrong.
    """
    options = ("--init", run, "--freeze", "--epochs", 2)
    first = minidl("train", "mine", *options)
    again = minidl("train", "mine", *options, "--resume")
    assert again.code == 0 and again.last == first.last
    other = minidl("train", "mine", "--init", "runs/mine", "--resume")
    assert other.code == 2 and "init" in other.err


def test_wrong_calls_are_refused(refused, run, mine, tmp_path):
    refused("train", "mine", "--init", run, "--model", "vgg8", words=["--model", "--init"])
    refused("train", "mine", "--init", run, "--set", "model=vgg8", words=["--model", "--init"])
    refused(
        "train",
        "mine",
        "--init",
        run,
        "--set",
        'model_options={"norm": "none"}',
        words=["--model", "--init"],
    )
    refused("train", "mine", "--freeze", words=["--init"])
    refused("train", "mine", "--init", tmp_path, words=["is not a run"])
    refused(
        "train",
        "mine",
        "--init",
        run / "last.safetensors",
        code=1,
        words=["last.safetensors", "not a file that models.save wrote"],
    )
    assert not (tmp_path / "runs").exists()


def test_a_network_whose_recipe_has_parts_of_its_own(minidl, refused, tmp_path):
    """The whitening of cifar-fast stays what the first training made of it."""
    coloured(tmp_path / "first", {"blue": 12, "red": 12}, size=(12, 12))
    coloured(tmp_path / "second", {"green": 12, "red": 12}, size=(12, 12), seed=1)
    options = ("--recipe", "cifar10-fast", "--epochs", 2, "--batch-size", 8)
    assert minidl("train", "first", *options).code == 0
    said = minidl("train", "second", "--init", "runs/first", *options)
    assert said.code == 0, said.err
    before, after = states(tmp_path / "runs" / "first", "runs/second")
    assert np.array_equal(before["whitening.weight"], after["whitening.weight"])
    shutil.rmtree("runs/second")
    refused(
        "train",
        "second",
        "--init",
        "runs/first",
        "--freeze",
        *options,
        code=1,
        words=["cifar10-fast", "frozen", "recipe default"],
    )
    said = minidl("train", "second", "--init", "runs/first", "--freeze", "--epochs", 2)
    assert said.code == 0, said.err
    before, after = states(tmp_path / "runs" / "first", "runs/second")
    assert {name for name in before if not np.array_equal(before[name], after[name])} == {
        "fc.weight"
    }
