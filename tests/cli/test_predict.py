"""These tests check that `minidl predict` prints classes and probabilities of pictures, as text and
as JSON.
"""

import json
import os

import numpy as np
import pytest

import minidl as md
from minidl import models
from tests.support.picture_files import coloured, write


@pytest.fixture
def new(tmp_path):
    """Return pictures that the run has not seen, one of them of another size and format."""
    coloured(tmp_path / "new", {"blue": 1, "green": 1, "red": 1}, seed=11)
    large = np.full((30, 40, 3), (220, 40, 40), np.uint8)
    write(tmp_path / "new" / "large.jpg", large)
    return {
        "blue": "new/blue/000.png",
        "green": "new/green/000.png",
        "red": "new/red/000.png",
        "large": "new/large.jpg",
    }


def test_text_names_the_likeliest_first(minidl, run, new):
    said = minidl("predict", run, *new.values())
    assert said.code == 0 and said.err == ""
    lines = said.out.splitlines()
    assert len(lines) == 4
    for line, path, name in zip(lines, new.values(), ("blue", "green", "red", "red"), strict=True):
        file, found = line.split("  ")
        assert file == path
        pairs = [pair.split(" ") for pair in found.split(", ")]
        assert pairs[0][0] == name and len(pairs) == 3
        shares = [float(share) for _, share in pairs]
        assert shares == sorted(shares, reverse=True) and abs(sum(shares) - 1) < 0.01


@pytest.mark.parametrize("top", [None, 1, 2, 3, 10])
def test_json_is_the_structure_of_the_contract(minidl, run, new, top):
    options = () if top is None else ("--top", top)
    said = minidl("predict", run, new["red"], new["blue"], *options, "--json")
    assert said.code == 0 and said.err == ""
    found = json.loads(said.out)  # stdout has nothing but JSON
    saved = models.load(run / "best.safetensors")
    expected = saved.predict([new["red"], new["blue"]], top=top or 3)
    assert found == [
        {
            "file": path,
            "predictions": [
                {"class": name, "probability": probability} for name, probability in classes
            ],
        }
        for path, classes in zip((new["red"], new["blue"]), expected, strict=True)
    ]
    for item, name in zip(found, ("red", "blue"), strict=True):
        shares = [prediction["probability"] for prediction in item["predictions"]]
        assert item["predictions"][0]["class"] == name
        assert len(shares) == min(top or 3, 3) and shares == sorted(shares, reverse=True)


def test_a_file_of_a_model(minidl, run, new):
    as_run = minidl("predict", run, new["green"], "--json")
    assert minidl("predict", run / "best.safetensors", new["green"], "--json").out == as_run.out


def test_options_after_and_between_pictures(minidl, run, new):
    first = minidl("predict", "--top", 1, "--json", run, new["red"], new["blue"])
    again = minidl("predict", run, new["red"], "--json", new["blue"], "--top", 1)
    assert first.out == again.out and first.code == 0


def test_classes_without_names_are_numbers(minidl, tmp_path, new):
    models.save("numbers.safetensors", models.create("mlp", classes=2, input_shape=(8, 8, 3)))
    [found] = json.loads(minidl("predict", "numbers.safetensors", new["red"], "--json").out)
    assert {prediction["class"] for prediction in found["predictions"]} == {0, 1}


def test_names_of_any_letters(minidl, tmp_path):
    coloured(tmp_path / "photos", {"blue": 10, "red": 10})
    (tmp_path / "photos" / "red").rename(tmp_path / "photos" / 'Röntgen, "rot"')
    assert minidl("train", "photos", "--epochs", 1, "--model", "mlp").code == 0
    path = "photos/blue/000.png"
    [found] = json.loads(minidl("predict", "runs/photos", path, "--json").out)
    names = {prediction["class"] for prediction in found["predictions"]}
    assert names == {"blue", 'Röntgen, "rot"'}
    assert "Röntgen" in minidl("predict", "runs/photos", path).out


def test_the_same_picture_twice_and_many(minidl, run, new):
    said = minidl("predict", run, *[new["red"]] * 200, "--json", "--top", 1)
    found = json.loads(said.out)
    assert len(found) == 200 and {item["predictions"][0]["class"] for item in found} == {"red"}


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_missing_or_broken_picture_is_named_and_nothing_on_stdout(refused, run, new, options):
    refused("predict", run, new["red"], "nix.png", *options, words=["'nix.png'"])
    refused("predict", run, "new", *options, words=["got the folder 'new'", "new/*.jpg"])
    with open("broken.png", "wb") as file:
        file.write(b"nonsense")
    refused(
        "predict",
        run,
        new["red"],
        "broken.png",
        *options,
        code=1,
        words=["broken.png", "cannot be read as a picture"],
    )


def test_wrong_calls_are_refused(refused, run, new, tmp_path):
    refused("predict", run, words=["IMAGE"])
    refused("predict", "nix", new["red"], words=["'nix'"])
    refused("predict", tmp_path, new["red"], words=["is not a run"])
    refused("predict", run, new["red"], "--top", 0, words=["--top"])
    refused("predict", run, new["red"], "--threads", 0, words=["--threads"])


def test_threads(minidl, run, new):
    outputs = {minidl("predict", run, new["red"], "--json", "--threads", n).out for n in (1, 2)}
    assert len(outputs) == 1 and md.get_num_threads() == 2


def test_names_that_a_terminal_cannot_show(process, minidl, tmp_path):
    coloured(tmp_path / "photos", {"blue": 10, "red": 10})
    (tmp_path / "photos" / "red").rename(tmp_path / "photos" / "grün")
    assert minidl("train", "photos", "--epochs", 1, "--model", "mlp").code == 0
    for command in (("predict", "runs/photos", "photos/blue/000.png"), ("eval", "runs/photos")):
        running = process(*command, variables={"PYTHONIOENCODING": "ascii"})
        out, err = running.communicate()
        assert running.returncode == 0, err
        assert "gr\\xfcn" in out


def test_as_a_process_into_a_file(process, run, new, tmp_path):
    """The output is JSON that another program can read."""
    with open(tmp_path / "out.json", "w") as file:
        started = process("predict", run, *new.values(), "--json", stdout=file)
        _, err = started.communicate()
    assert started.returncode == 0 and err == ""
    found = json.loads((tmp_path / "out.json").read_text())
    assert [item["file"] for item in found] == list(new.values())
    assert os.path.getsize(tmp_path / "out.json") > 0
