"""These tests check runs: a training in a folder, by a program; the model that it gives; what it
refuses.
"""

import json
import os

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from minidl import models, train
from minidl.train import files
from minidl.train.run import differing, plan_of, read_config
from tests.support.errors import refuses
from tests.support.marks import small_batches
from tests.support.picture_files import coloured
from tests.support.threads import threads

pytestmark = [small_batches, pytest.mark.usefixtures("quick")]

COLOURS = {"blue": 12, "red": 12}


@pytest.fixture
def photos(tmp_path):
    return str(coloured(tmp_path / "photos", COLOURS))


def run(photos, folder="run", seed=0, resume=False, **settings):
    plan = train.Plan(photos, settings={"epochs": 3, "model": "mlp", **settings}, seed=seed)
    made = train.Run(folder, plan, progress=False)
    return made, made.train(resume)


def arrays(name="best", folder="run"):
    return safetensors.numpy.load_file(f"{folder}/{name}.safetensors")


def same(a, b):
    return set(a) == set(b) and all(a[name].tobytes() == b[name].tobytes() for name in a)


# --------------------------------------------------------------------------------- as a whole


def test_before_it_is_trained_nothing_is_written(photos):
    made = train.Run("run", train.Plan(photos, settings={"epochs": 3}))
    assert not os.path.exists("run")
    assert made.recipe.epochs == 3 and made.recipe.model == "resnet20"
    assert type(made.model) is models.ResNet20 and made.model.classes == 2
    assert len(made.task.train) == 22 and made.part == "valid"
    json.dumps(made.config)


def test_the_result(photos, capsys):
    made, result = run(photos, epochs=6)
    assert result.part == "valid" and result.accuracy == 1.0
    assert len(result.history["loss"]) == 6 and result.report.accuracy == result.accuracy
    assert capsys.readouterr() == ("", "")  # with progress=False nothing is printed
    with open("run/config.json") as file:
        assert json.load(file) == json.loads(json.dumps(made.config))
    assert plan_of(read_config("run")).source == photos


def test_the_accuracy_is_of_the_best_model_on_the_test_part(tmp_path):
    """The labels of the test part are all wrong, so that it cannot be the accuracy of another
    part.
    """
    coloured(tmp_path / "photos" / "train", COLOURS)
    coloured(tmp_path / "photos" / "test", {"blue": 3}, seed=1)
    (tmp_path / "photos" / "test" / "blue").rename(tmp_path / "photos" / "test" / "red")
    _, result = run(str(tmp_path / "photos"), epochs=6)
    assert (result.part, result.accuracy) == ("test", 0.0)
    assert max(result.history["valid_accuracy"]) == 1.0


# ------------------------------------------------------------------------------ best.safetensors


def test_the_best_model_is_the_earliest_of_the_best_epochs(photos):
    """Each of the three epochs is still there as a checkpoint. The second and the third are right
    on all pictures in most runs, and one of them must be here, or the test shows nothing.
    """
    for seed in range(20):
        _, result = run(photos, f"run{seed}", seed)
        accuracies = result.history["valid_accuracy"]
        first = accuracies.index(max(accuracies))
        if 0 < first < 2 and accuracies[-1] == accuracies[first]:
            break
    else:
        pytest.fail("no run with a tie in the end")
    saved = models.load(f"run{seed}/best.safetensors")
    assert saved.info["epoch"] == first + 1
    name = ("last-2", "last-1", "last")[first]
    checkpoint = files.read(f"run{seed}/{name}.safetensors")
    assert checkpoint["epoch"] == first + 1
    assert same(saved.model.state_dict(), checkpoint["model"])
    assert not same(saved.model.state_dict(), files.read(f"run{seed}/last.safetensors")["model"])


def test_it_has_the_averaged_weights(photos):
    run(photos, ema=0.9, epochs=1)
    state = files.read("run/last.safetensors")
    assert same(arrays(), state["averaged"]["model"]) and not same(arrays(), state["model"])


def test_without_validation_it_is_the_last(tmp_path):
    coloured(tmp_path / "photos" / "train", COLOURS)
    coloured(tmp_path / "photos" / "test", COLOURS, seed=1)
    _, result = run(str(tmp_path / "photos"), valid=0.0)
    assert "valid_accuracy" not in result.history
    assert same(arrays(), files.read("run/last.safetensors")["model"])


@pytest.mark.parametrize("settings", [{}, {"ema": 0.9, "model": "resnet20"}], ids=["", "ema"])
def test_the_same_bytes_each_time_and_on_any_number_of_threads(photos, settings):
    content = []
    for i, n in enumerate((1, 1, 2)):
        with threads(n):
            run(photos, f"run{i}", **settings)
        with open(f"run{i}/best.safetensors", "rb") as file:
            content.append(file.read())
    assert content[0] == content[1] == content[2]


def test_any_reader_of_safetensors_reads_it(photos, tmp_path):
    made, _ = run(photos)
    found = arrays()
    assert same(found, models.load("run/best.safetensors").model.state_dict())
    with safetensors.safe_open("run/best.safetensors", "numpy") as file:
        text = json.dumps(file.metadata())
    for word in ("seconds", str(tmp_path), os.uname().nodename if hasattr(os, "uname") else "\0"):
        assert word not in text  # the text names no time and no machine
    saved = models.load("run/best.safetensors")
    assert saved.classes == ["blue", "red"] and saved.preprocess == made.preprocess
    assert set(saved.info) == {"epoch", "loss", "accuracy", "valid_loss", "valid_accuracy", "lr"}


def test_it_says_of_pictures_what_was_measured(photos):
    """This includes files of pictures, which the model scales and normalizes by itself."""
    made, result = run(photos, epochs=6)
    saved = models.load("run/best.safetensors")
    said = [saved.predict(path)[0][0][0] for path in made.task.valid.paths]
    expected = [
        name == os.path.basename(os.path.dirname(path))
        for name, path in zip(said, made.task.valid.paths, strict=True)
    ]
    assert np.mean(expected) == result.accuracy


def test_pictures_that_are_all_the_same(tmp_path):
    """Their standard deviation is zero, and nothing is divided by it."""
    from PIL import Image

    for name in ("a", "b"):
        os.makedirs(tmp_path / "photos" / name)
        for i in range(12):
            Image.new("RGB", (8, 8), "red").save(tmp_path / "photos" / name / f"{i}.png")
    _, result = run(str(tmp_path / "photos"), epochs=1)
    assert np.isfinite(result.history["loss"]).all() and result.accuracy == 0.5


# ------------------------------------------------------------------------------------ resuming


def test_resume(photos):
    _, first = run(photos)
    before = arrays()
    _, again = run(photos, resume=True)
    assert same(arrays(), before) and again.history == first.history
    assert again.accuracy == first.accuracy
    with refuses(FileExistsError, "'run'", "resume"):
        run(photos)
    with refuses(ValueError, "'run'", "another configuration", "epochs: 3 there, 4 here"):
        run(photos, resume=True, epochs=4)
    with refuses(ValueError, "seed: 0 there, 1 here"):
        run(photos, resume=True, seed=1)


def test_an_interrupted_run_is_resumed(photos, monkeypatch, capsys):
    run(photos, "whole")
    step = train.Trainer._train_on

    def interrupted(self, batch):
        if self.step == 8:
            raise KeyboardInterrupt
        step(self, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train.Trainer, "_train_on", interrupted)
        run(photos)
    assert "last.safetensors" in capsys.readouterr().err
    run(photos, resume=True)
    assert same(arrays(), arrays(folder="whole"))


def test_what_is_left_after_an_error(photos, monkeypatch):
    """If nothing was saved, nothing is left, and otherwise there is what was saved, to resume
    from.
    """
    step = train.Trainer._train_on

    def failing(at):
        def fail(self, batch):
            if self.step == at:
                raise ZeroDivisionError
            step(self, batch)

        return fail

    monkeypatch.setattr(train.Trainer, "_train_on", failing(2))
    with pytest.raises(ZeroDivisionError):
        run(photos)
    assert not os.path.exists("run")
    os.makedirs("mine")
    with pytest.raises(ZeroDivisionError):
        run(photos, "mine", resume=True)
    monkeypatch.setattr(train.Trainer, "_train_on", failing(8))
    with pytest.raises(ZeroDivisionError):
        run(photos)
    assert {"config.json", "best.safetensors", "last.safetensors"} <= set(os.listdir("run"))


# ------------------------------------------------------------------------------------- refused


def test_what_cannot_be_carried_out(photos):
    for plan, kind, words in (
        (train.Plan("nowhere"), FileNotFoundError, ["nowhere"]),
        (train.Plan(photos, recipe="nix"), ValueError, ["nix", "cifar10-fast"]),
        (train.Plan(photos, settings={"nix": 3}), ValueError, ["nix", "momentum"]),
        (train.Plan(photos, settings={"epochs": "3"}), TypeError, ["epochs", "'3'"]),
        (train.Plan(photos, settings={"valid": 0.0}), ValueError, ["test part", "valid"]),
        (train.Plan(photos, freeze=True), ValueError, ["freeze", "init"]),
        (train.Plan(photos, init="nix.safetensors"), FileNotFoundError, ["nix.safetensors"]),
        (train.Plan("mnist", size=14), ValueError, ["mnist", "size"]),
    ):
        with refuses(kind, *words):
            train.Run("run", plan)
    with refuses(TypeError, "Run", "folder"):
        train.Run(3, train.Plan(photos))
    assert not os.path.exists("run")


@pytest.mark.parametrize(
    "there, here, texts",
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, ["a: 1 there, 2 here"]),
        ({"a": (1, 2)}, {"a": [1, 2]}, []),
        ({"minidl": "1"}, {"minidl": "2"}, []),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["a c: 2 there, 3 here"]),
        ({"a": None}, {"a": 0}, ["a: None there, 0 here"]),
        ({}, {"a": 1}, ["a: None there, 1 here"]),
        ({"a": 1}, {}, ["a: 1 there, None here"]),
    ],
)
def test_settings_that_differ_are_named(there, here, texts):
    assert differing(there, here) == texts


@pytest.mark.parametrize(
    "content, kind, words",
    [
        (None, FileNotFoundError, ["'run'", "config.json"]),
        ("{", ValueError, ["config.json", "damaged"]),
        ("[1]", ValueError, ["config.json", "not the configuration"]),
        ("{}", ValueError, ["config.json", "not the configuration"]),
        ('{"format": 2, "minidl": "9"}', ValueError, ["format 2", "minidl 9", "up to 1"]),
    ],
)
def test_read_config(tmp_path, content, kind, words):
    (tmp_path / "run").mkdir()
    if content is not None:
        (tmp_path / "run" / "config.json").write_text(content)
    with refuses(kind, *words):
        read_config("run")


def test_a_configuration_without_some_of_its_parts():
    with refuses(ValueError, "'recipe'"):
        plan_of({"format": 1, "source": "mnist"})
