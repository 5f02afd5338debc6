"""These tests check the options of `minidl train`, what it chooses where they are not given, and
what a run leaves behind. Data, resuming and fine-tuning have files of their own.
"""

import csv
import os
import re
import sys
from pathlib import Path

import pytest

from minidl import models
from tests.support.picture_files import coloured
from tests.support.runs import config

QUICK = ("--epochs", "1", "--model", "mlp")


def rows(run):
    with open(run / "log.csv") as file:
        return list(csv.DictReader(file))


# --------------------------------------------------------------------------------- a whole run


def test_a_run_leaves_these_files(shared):
    run = shared / "runs" / "photos"
    assert {path.name for path in run.iterdir()} == {
        "config.json",
        "log.csv",
        "last.safetensors",
        "last-1.safetensors",
        "last-2.safetensors",
        "best.safetensors",
        "curves.png",
        "report.html",
    }
    assert [row["epoch"] for row in rows(run)] == ["1", "2", "3", "4"]
    for name in ("loss", "accuracy", "valid_loss", "valid_accuracy", "lr", "seconds"):
        assert all(float(row[name]) >= 0 for row in rows(run))
    for name in ("curves.png", "report.html"):
        assert (run / name).stat().st_size > 1000
    found = config(run)
    assert found["source"] == str(shared / "photos") and found["seed"] == 0
    assert found["data"]["classes"] == ["blue", "green", "red"]
    assert found["data"]["pictures"] == {"train": 60, "valid": 12, "test": 12}


def test_it_learns_and_the_last_line_is_the_accuracy_of_the_best_model(minidl, photos, tmp_path):
    coloured(tmp_path / "apart" / "test", {"blue": 5, "red": 3}, seed=7)
    photos.rename(tmp_path / "apart" / "train")
    said = minidl("train", "apart", "--epochs", 6, "--out", "run")
    assert said.code == 0
    assert said.out == "test accuracy 1.0000\n"  # stdout has nothing else
    saved = models.load("run/best.safetensors")
    paths = sorted((tmp_path / "apart" / "test").rglob("*.png"))
    expected = [saved.predict(path)[0][0][0] == path.parent.name for path in paths]
    assert all(expected)
    accuracies = [float(row["valid_accuracy"]) for row in rows(Path("run"))]
    # The earliest of the best epochs.
    assert saved.info["epoch"] == accuracies.index(max(accuracies)) + 1
    assert saved.info["valid_accuracy"] == max(accuracies)


def test_the_last_line_without_a_test_part(minidl, photos):
    said = minidl("train", "photos", *QUICK)
    assert said.code == 0
    assert re.fullmatch(r"valid accuracy [01]\.\d{4}\n", said.out)
    assert f"{models.load('runs/photos/best.safetensors').info['valid_accuracy']:.4f}" in said.out


def test_progress_goes_to_stderr_a_line_an_epoch(minidl, photos):
    said = minidl("train", "photos", "--epochs", 3, "--model", "mlp")
    lines = [line for line in said.err.splitlines() if line.startswith("epoch ")]
    assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"]
    assert all("valid_accuracy" in line and "\r" not in line for line in lines)
    assert "runs/photos/report.html" in said.err


def test_a_known_data_set_is_trained_on(minidl):
    said = minidl("train", "mnist", "--model", "mlp", "--epochs", 2, "--valid", 0.9)
    assert said.code == 0 and said.last.startswith("test accuracy 0.")
    assert float(said.last.split()[-1]) > 0.8
    assert "mnist: 6,000 pictures to train, 54,000 to validate, 10,000 to test" in said.err
    found = config(Path("runs/mnist"))
    assert found["source"] == "mnist" and found["data"]["shape"] == [28, 28, 1]
    assert found["data"]["classes"] == list("0123456789")


# --------------------------------------------------------------------------- what is chosen


def chosen(folder, **wanted):
    settings = config(folder)["settings"]
    return {name: settings[name] for name in wanted} == wanted


def printed(said, folder):
    """Return whether stderr names each number that was chosen."""
    settings = config(folder)["settings"]
    return all(
        f"{name} {settings[name]}" in said.err
        for name in ("model", "epochs", "batch_size", "lr", "flip", "crop")
    )


def test_chosen_for_colour(minidl, photos, tmp_path):
    said = minidl("train", "photos", "--epochs", 1)
    run = tmp_path / "runs" / "photos"
    assert chosen(run, model="resnet20", batch_size=4, flip=True, crop=1)
    assert printed(said, run)
    assert "22 pictures to train, 2 to validate; 2 classes, 8 x 8, colour" in said.err


def test_chosen_for_grey(minidl, tmp_path):
    coloured(tmp_path / "grey", {"dark": 12, "light": 12}, size=(12, 10))
    said = minidl("train", "grey", "--epochs", 1)
    run = tmp_path / "runs" / "grey"
    assert chosen(run, model="mnist-cnn", flip=False, crop=1)
    assert printed(said, run)
    assert config(run)["data"]["shape"] == [12, 10, 1] and "12 x 10, grey" in said.err
    assert models.load(run / "best.safetensors").model.input_shape == (12, 10, 1)


def test_one_coloured_picture_makes_all_of_them_colour(minidl, tmp_path):
    coloured(tmp_path / "mixed", {"dark": 12, "light": 12})
    coloured(tmp_path / "mixed", {"red": 8})
    minidl("train", "mixed", *QUICK)
    assert config(tmp_path / "runs" / "mixed")["data"]["shape"] == [8, 8, 3]


def test_large_pictures_give_a_message(minidl, tmp_path):
    coloured(tmp_path / "photos", {"blue": 5, "red": 5}, size=(160, 120))
    said = minidl("train", "photos", *QUICK)
    assert said.code == 0 and "160 x 120 takes 5 times as long" in said.err
    assert "--size 64" in said.err
    assert (
        "times as long" not in minidl("train", "photos", "--size", 16, "--out", "run", *QUICK).err
    )


# --------------------------------------------------------------------------------- options


def test_options_become_settings(minidl, photos, tmp_path):
    said = minidl(
        "train",
        "photos",
        "--model",
        "lenet",
        "--epochs",
        2,
        "--batch-size",
        6,
        "--lr",
        0.02,
        "--valid",
        0.25,
        "--seed",
        5,
        "--size",
        "16,12",
        "--threads",
        2,
        "--set",
        "label_smoothing=0.1",
        "--set",
        "crop=0",
        "--set",
        "flip=false",
        "--set",
        "ema=0.5",
        "--out",
        "here/and/there",
    )
    assert said.code == 0
    run = tmp_path / "here" / "and" / "there"
    found = config(run)
    assert chosen(
        run,
        model="lenet",
        epochs=2,
        batch_size=6,
        lr=0.02,
        valid=0.25,
        crop=0,
        flip=False,
        label_smoothing=0.1,
        ema=0.5,
    )
    assert (found["seed"], found["size"]) == (5, [16, 12])
    assert found["data"]["pictures"] == {"train": 18, "valid": 6}
    assert found["data"]["shape"] == [16, 12, 3]
    saved = models.load(run / "best.safetensors")
    assert type(saved.model).__name__ == "LeNet" and saved.preprocess["size"] == [16, 12]
    assert len(rows(run)) == 2
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "text, value",
    [
        ("label_smoothing=1e-1", 0.1),
        ("label_smoothing=0", 0),
        ("flip=True", True),
        ("flip=None", True),
        ("crop=2", 2),
        ("ema=null", None),
        ("model=mlp", "mlp"),
        ('model_options={"hidden": 8}', {"hidden": 8}),
        ("weight-decay=0", 0),
    ],
)
def test_values_of_set(minidl, photos, tmp_path, text, value):
    options = () if text.startswith("model=") else ("--model", "mlp")
    said = minidl("train", "photos", "--epochs", 1, *options, "--set", text)
    assert said.code == 0, said.err
    name = text.split("=")[0].replace("-", "_")
    assert config(tmp_path / "runs" / "photos")["settings"][name] == value


@pytest.mark.parametrize(
    "options, words",
    [
        (("--set", "nix=3"), ["'nix'", "label_smoothing", "momentum"]),
        (("--set", "epochs=many"), ["epochs", "'many'", "int"]),
        (("--set", "momentum=true"), ["momentum", "float", "True"]),
        (("--set", "flip=3"), ["flip", "bool", "3"]),
        (("--set", "epochs=2.5"), ["epochs", "2.5"]),
        (("--set", "epochs=0"), ["epochs", "0"]),
        (("--set", "epochs"), ["key=value", "'epochs'"]),
        (("--set", "lr=1", "--set", "lr=2"), ["lr", "twice"]),
        (("--set", "lr=1", "--lr", "2"), ["lr", "twice"]),
        (("--set", "ema=2"), ["ema", "2"]),
        (("--set", "weight_decay=-1"), ["weight_decay", "-1"]),
        (("--set", "momentum=1.5"), ["momentum", "1.5"]),
        (("--set", "label_smoothing=2"), ["label_smoothing", "2"]),
        (("--set", "warmup=2"), ["warmup", "2"]),
        (("--set", 'model_options={"classes": 3}'), ["model_options", "classes"]),
        (("--model", "nix"), ["'nix'", "resnet20", "mobile"]),
        (("--model", "resnet-20"), ["did you mean resnet20"]),
        (("--recipe", "nix"), ["--recipe", "'nix'", "cifar10-fast"]),
        (("--epochs", "0"), ["--epochs", "0"]),
        (("--epochs", "2.5"), ["--epochs", "2.5"]),
        (("--batch-size", "0"), ["--batch-size", "0"]),
        (("--lr", "0"), ["lr", "0"]),
        (("--lr", "nan"), ["lr", "nan"]),
        (("--lr", "fast"), ["--lr", "fast"]),
        (("--valid", "1"), ["valid", "1"]),
        (("--valid", "-0.1"), ["valid", "-0.1"]),
        (("--seed", "-1"), ["--seed", "-1"]),
        (("--seed", "100000000000000000000"), ["--seed"]),
        (("--threads", "0"), ["--threads", "0"]),
        (("--size", "0"), ["--size", "0"]),
        (("--size", "big"), ["--size", "big"]),
        (("--size", "8,8,3"), ["--size", "8,8,3"]),
        (("--freeze",), ["--freeze", "--init"]),
        (("--init", "nix"), ["'nix'"]),
    ],
)
def test_wrong_options_are_refused(refused, photos, tmp_path, options, words):
    refused("train", "photos", *options, words=words)
    assert not (tmp_path / "runs").exists()


def test_a_size_for_pictures_that_have_one(refused):
    refused("train", "mnist", "--size", 14, words=["--size", "mnist", "not scaled"])


@pytest.mark.parametrize(
    "options, words",
    [
        (("--size", "2"), ["ResNet20", "at least 4", "2, 2, 3"]),
        (("--set", 'model_options={"nix": 3}'), ["nix", "ResNet20"]),
    ],
)
def test_models_that_do_not_fit_are_refused(refused, photos, tmp_path, options, words):
    refused("train", "photos", *options, code=1, words=words)
    assert not (tmp_path / "runs").exists()


def test_what_fails_at_once_leaves_no_folder(minidl, photos, tmp_path):
    """If it stayed, the same call with corrected numbers would be refused."""
    for options in (("--set", "crop=100"), ("--lr", "1e30")):
        said = minidl("train", "photos", "--epochs", 1, *options)
        assert said.code == 1 and said.out == ""
        assert not (tmp_path / "runs" / "photos").exists()


# ------------------------------------------------------------------------------ where it goes


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text elsewhere")
def test_as_a_process_into_files(process, photos, tmp_path):
    """The names of files and of a class are in Latin-1, which is not valid UTF-8."""
    root = os.fsencode(photos)
    os.rename(root + b"/blue/000.png", root + b"/blue/caf\xe9.png")
    os.rename(root + b"/red", root + b"/r\xf6t")
    with open("out.txt", "w") as out, open("err.txt", "w") as err:
        running = process(
            "train", "photos", "--epochs", 1, "--model", "mlp", stdout=out, stderr=err
        )
        running.wait()
    text = Path("err.txt").read_text()
    assert running.returncode == 0, text
    assert re.fullmatch(r"valid accuracy [01]\.\d{4}\n", Path("out.txt").read_text())
    assert "\nepoch 1/1 " in text and "\r" not in text and "Traceback" not in text
    assert "</html>" in Path("runs/photos/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "data, out",
    [
        (".", None),
        (".", "runs/a"),
        ("../photos", "red/run"),
        ("../photos", "."),
        ("../photos", "../photos"),
    ],
)
def test_a_run_does_not_lie_among_the_pictures(refused, photos, monkeypatch, data, out):
    """Otherwise its curves would be pictures of a class "runs" from then on."""
    monkeypatch.chdir(photos)
    before = sorted(photos.rglob("*"))
    refused("train", data, *QUICK, *(() if out is None else ("--out", out)), words=["--out"])
    assert sorted(photos.rglob("*")) == before


def test_a_folder_with_something_else_in_it(refused, photos, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    refused("train", "photos", "--out", "mine", words=["'mine'", "--out"])
    refused("train", "photos", "--out", "mine/letter.txt", words=["letter.txt", "--out"])
    refused("train", "photos", "--out", "mine/letter.txt", "--resume", words=["letter.txt"])
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_an_empty_folder_is_taken(minidl, photos, tmp_path):
    (tmp_path / "mine").mkdir()
    assert minidl("train", "photos", *QUICK, "--out", "mine").code == 0


def test_the_same_bytes_on_every_run_and_any_number_of_threads(minidl, photos, tmp_path):
    files = []
    for i, threads in enumerate((1, 1, 2)):
        minidl(
            "train",
            "photos",
            "--epochs",
            2,
            "--threads",
            threads,
            "--out",
            f"run{i}",
            "--set",
            "ema=0.5",
        )
        files.append((tmp_path / f"run{i}" / "best.safetensors").read_bytes())
    assert files[0] == files[1] == files[2]
    assert minidl("train", "photos", "--epochs", 2, "--seed", 1, "--out", "other").code == 0
    assert (tmp_path / "other" / "best.safetensors").read_bytes() != files[0]
