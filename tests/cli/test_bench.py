"""These tests check the calls that `minidl bench` counts, for which models, and what it prints.
They assert no times.
"""

import importlib
import itertools
import json
import re

import numpy as np
import pytest

import minidl as md
from minidl import compiled, kernels, models, nn
from tests.support.threads import threads

SHORT = ("--seconds", "0.001")
bench = importlib.import_module("minidl.cli.bench")  # in the package, this name is the command


@pytest.fixture(autouse=True)
def no_warm_up(monkeypatch):
    monkeypatch.setattr(bench, "WARM_UP", 0)


def lines_of(said):
    """Return the table as lists of words. There are headings before it and a blank line after
    it.
    """
    table = said.out.split("\n\n")[1].splitlines()
    assert table[0].split() == ["batch", "model", "calls", "shortest", "median", "99%", "images/s"]
    return [re.split(r"  +", line.strip()) for line in table[1:]]


def test_a_model_is_given_by_name(minidl):
    said = minidl("bench", "mlp", *SHORT)
    assert said.code == 0 and said.err == ""
    assert said.out.startswith("mlp, images of 28 x 28 x 1\n")
    assert "up to 1 thread, kernels" in said.out
    lines = lines_of(said)
    assert [line[:2] for line in lines] == [
        ["1", "compiled"],
        ["1", "evaluation mode"],
        ["128", "compiled"],
        ["128", "evaluation mode"],
    ]
    for line in lines:
        assert int(line[2]) >= bench.SLICES * bench.LEAST
        low, middle, high = (float(word.removesuffix(" ms")) for word in line[3:6])
        assert 0 < low <= middle <= high


def test_the_figures_are_printed_as_json(minidl):
    said = minidl("bench", "mnist-cnn", "--batch", "2", "--threads", "1", "--json", *SHORT)
    assert said.code == 0 and said.err == ""
    found = json.loads(said.out)
    assert found["model"] == "mnist-cnn" and found["input_shape"] == [28, 28, 1]
    assert found["machine"]["minidl"] == md.__version__ and found["machine"]["threads"] == "1"
    assert 0 <= found["difference"] < 1e-5
    assert [line["model"] for line in found["lines"]] == ["compiled", "evaluation mode"]
    for line in found["lines"]:
        assert line["batch"] == 2 and line["threads"] == 1
        assert 0 < line["min"] <= line["p50"] <= line["p99"]
        assert 2 / line["p99"] <= line["images_per_second"] <= 2 / line["min"]


def test_a_run_and_a_file(minidl, shared):
    run = shared / "runs" / "photos"
    for given in (run, run / "best.safetensors"):
        said = minidl("bench", given, "--batch", "1", *SHORT)
        assert said.code == 0 and "images of 8 x 8 x 3" in said.out


def test_the_models_of_both_lines_are_the_given_one(minidl, monkeypatch):
    """The compiled model is timed, and the `predict` of the model itself, on images of the
    requested shape and batch.
    """
    models.save("vgg.safetensors", models.create("vgg8", classes=3))
    calls = []
    monkeypatch.setattr(
        compiled.Compiled, "__call__", noting(calls, "compiled", compiled.Compiled.__call__)
    )
    monkeypatch.setattr(nn.Layer, "predict", noting(calls, "predict", nn.Layer.predict))
    said = minidl("bench", "vgg.safetensors", "--batch", "3", "--input", "32,32,3", *SHORT)
    assert said.code == 0
    assert {shape for _, shape, _ in calls} == {(3, 32, 32, 3)}
    assert {shape for *_, shape in calls} == {(3, 3)}
    turns = [name for name, _ in itertools.groupby(name for name, *_ in calls)]
    # One extra call checks that they agree.
    assert turns == ["compiled", "predict"] * (1 + bench.SLICES)


def noting(calls, name, method):
    def noted(self, x, *arguments):
        y = method(self, x, *arguments)
        calls.append((name, x.shape, y.shape))
        return y

    return noted


def test_the_figures_are_those_of_the_calls():
    times = [k / 1000 for k in range(200, 0, -1)]  # from 200 ms down to 1 ms
    found = bench._figures(times, 4)
    assert found == {
        "calls": 200,
        "min": 0.001,
        "p50": 0.1,
        "p99": 0.198,
        "images_per_second": pytest.approx(4 * 200 / 20.1),
    }
    assert bench._figures([3.0, 1.0, 2.0], 1)["p99"] == 3.0


def test_calls_of_the_warm_up_are_not_counted(monkeypatch):
    """Calls of the warm-up are not counted, the smallest number of threads is printed, and a slice
    ends after its time and a minimum of calls.
    """
    ticks, log = iter(range(100)), []
    team = iter([2, 2, 1, 2])
    monkeypatch.setattr(bench, "WARM_UP", 2.5)
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(kernels, "thread_count", lambda: next(team))
    assert bench._measure(lambda: log.append(1), 0) == ([1] * bench.LEAST, 1)
    assert len(log) == 2 + bench.LEAST


def test_a_busy_machine_is_reported(minidl, monkeypatch):
    monkeypatch.setattr(kernels, "thread_count", lambda: 1)
    with threads(2):
        said = minidl("bench", "mlp", "--batch", "1", *SHORT)
        assert said.last.startswith("Some calls ran on 1 thread only, since other processes use")
    assert minidl("bench", "mlp", "--batch", "1", *SHORT).last.startswith("The outputs of the two")


def test_outputs_that_differ_are_seen(minidl, monkeypatch):
    expected = compiled.Compiled.__call__
    monkeypatch.setattr(compiled.Compiled, "__call__", lambda self, x: expected(self, x) * 1.5)
    said = minidl("bench", "mnist-cnn", "--batch", "1", *SHORT)
    assert "differ by at most 5e-01 of the largest" in said.last


def test_a_model_for_rows(minidl):
    models.save("rows.safetensors", models.MLP(in_features=20, classes=3))
    assert "images of 20\n" in minidl("bench", "rows.safetensors", "--batch", "2", *SHORT).out
    assert "images of 12\n" in minidl("bench", "mlp", "--input", "12", "--batch", "2", *SHORT).out


def test_a_model_in_float64(minidl):
    models.save("exact.safetensors", models.create("mlp").astype(np.float64))
    said = minidl("bench", "exact.safetensors", "--batch", "1", "--json", *SHORT)
    assert said.code == 0 and json.loads(said.out)["difference"] < 1e-10


def test_a_model_with_two_outputs(refused, monkeypatch):
    class Two(nn.Layer):
        def forward(self, x):
            return x + 1, x + 2

    monkeypatch.setattr(bench, "_model", lambda given, asked: (Two(), (3,)))
    refused("bench", "two", code=2, words=["needs a model with one output", "Two returns a tuple"])


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (("nix",), 2, ["no run or model 'nix'", "resnet20"]),
        ((".",), 2, ["is not a run"]),
        (
            ("mlp", "--batch", "0"),
            2,
            [
                "--batch",
                "expected one or several positive whole numbers, separated by commas, got '0'",
            ],
        ),
        (("mlp", "--batch", "1,,2"), 2, ["--batch", "'1,,2'"]),
        (("mlp", "--batch", "2.5"), 2, ["--batch", "'2.5'"]),
        (("mlp", "--seconds", "0"), 2, ["--seconds"]),
        (("mlp", "--threads", "0"), 2, ["--threads"]),
        (("mlp", "--input", "1,2,3,4"), 2, ["--input"]),
        (("resnet20", "--input", "32"), 1, ["ResNet20", "input_shape"]),
        (("mlp", "--batch", "1000000000000"), 1, ["allocate"]),
    ],
)
def test_wrong_calls_are_refused(refused, arguments, code, words):
    refused("bench", *arguments, code=code, words=words)


def test_a_file_that_is_no_model_is_refused(refused, tmp_path):
    (tmp_path / "text.safetensors").write_text("no model")
    refused("bench", "text.safetensors", code=1, words=["text.safetensors"])
