"""These tests check that in the benchmark of inference every side computes the same, in the turns
that it says. They assert no times.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import compare, inference
from benchmarks.inference_worker import SIDES, Work, outputs
from tests.support.processes import printed
from tests.support.threads import threads

pytest.importorskip("onnx_ir", reason="models go to the other sides as ONNX files")

NAME, IMAGES = "mnist-cnn", 3


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return the folder of a model's files, and its logits in float64."""
    folder = tmp_path_factory.mktemp("inference")
    return folder, inference.write(folder, NAME, IMAGES)


class FakeSide:
    """Answers with times from a list, and leaves logits where a worker would."""

    def __init__(self, name, times=(), asked=None, logits=None):
        self.name, self.times, self.logits = name, iter(times), logits
        self.asked = [] if asked is None else asked

    def prepare(self, case):
        if self.logits is None:
            raise RuntimeError("it is broken")
        folder, model, batch = case.arguments
        np.save(outputs(Path(folder), model, batch, self.name), self.logits)

    def measure(self, seconds):
        self.asked.append(self.name)
        return next(self.times), 1000


def test_all_have_a_turn_in_a_round_and_every_second_round_is_backwards():
    asked = []
    ours = FakeSide("ours", [1, 2, 4], asked)
    others = {"a": FakeSide("a", [3, 8, 4], asked), "b": FakeSide("b", [2, 1, 2], asked)}
    row = compare.rotate(ours, others, rounds=3, seconds=0)
    assert asked == ["ours", "a", "b", "b", "a", "ours", "ours", "a", "b"]
    assert row["ours"]["rounds"] == [1, 2, 4]
    assert row["others"]["a"]["ratio"]["rounds"] == [3, 4, 1]
    assert row["others"]["b"]["ratio"]["median"] == 0.5


def test_statistics_are_random_and_float64_is_what_the_model_computes(written):
    folder, exact = written
    weights = Work(folder, NAME, 2, 1).weights()
    assert exact.shape == (IMAGES, 10) and exact.dtype == np.float64
    assert np.std(exact, axis=0).min() > 0  # each image has different logits
    assert weights["bn1.running_mean"].std() > 0.1 and weights["bn1.running_var"].std() > 0.1


def there(side):
    package = SIDES[side][1]
    missing = importlib.util.find_spec(package) is None
    return pytest.param(side, marks=pytest.mark.skipif(missing, reason=f"needs {package}"))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("side", [there(side) for side in SIDES if not side.startswith("PyTorch")])
def test_a_side_computes_the_same(side, batch, written, monkeypatch):
    monkeypatch.setenv("CI", "true")  # then OpenVINO sends no usage data
    folder, exact = written
    with threads(1):
        run = SIDES[side][0](Work(folder, NAME, batch, 1))
        for _ in range(2):
            logits = run()
            assert logits.shape == (batch, 10) and logits.dtype == np.float32
            far = inference.distance(logits, exact[:batch])
            assert far < (0.05 if "bfloat16" in side else 1e-5)


def test_a_worker_leaves_its_logits_and_is_measured(written):
    folder, exact = written
    with inference.start("minidl", 1) as side:
        assert side.about["threads"] == 1
        side.prepare(inference.Case(NAME, "inference", (str(folder), NAME, 2)))
        assert side.measure(0)[0] > 0
        with pytest.raises(RuntimeError, match="FileNotFoundError"):
            side.prepare(inference.Case("", "inference", (str(folder), "no-model", 2)))
    found = np.load(outputs(folder, NAME, 2, "minidl"))
    assert inference.distance(found, exact[:2]) < 1e-5


ARGUMENTS = argparse.Namespace(rounds=2, seconds=0)


def sides(exact, **logits):
    """Return sides that answer with the exact logits, or with others."""
    times = {
        "minidl": [2, 2],
        "ONNX Runtime": [6, 8],
        "OpenVINO": [4, 8],
        "OpenVINO bfloat16": [1, 1],
    }
    return {
        name: FakeSide(name, of, logits=logits.get(name.replace(" ", "_"), exact))
        for name, of in times.items()
    }


def test_a_row_is_of_the_fastest_in_float32(written):
    folder, exact = written
    row = inference.case(sides(exact), folder, NAME, IMAGES, exact, ARGUMENTS)
    assert row["peer"] == "OpenVINO" and row["failed"] == {}
    text = inference.table({"rows": [{**row, "threads": 2}]})
    line, mean = text.splitlines()[2:4]
    assert line == (
        "| mnist-cnn | 3 | 2 | 2000.0 ms ±0% | 7000.0 ms ±14% | **6000.0 ms ±33%** "
        "|  | **3.00** | 2.00-4.00 | 1000.0 ms ±0% |  |"
    )
    assert mean == "| geometric mean | 3 | 2 |  |  |  |  | **3.00** |  |  |  |"
    assert "0e+00 of the largest in float32" in text


def test_a_side_that_fails_is_noted(written):
    folder, exact = written
    given = {**sides(exact), "PyTorch frozen": FakeSide("PyTorch frozen")}
    row = inference.case(given, folder, NAME, IMAGES, exact, ARGUMENTS)
    assert row["failed"] == {"PyTorch frozen": "it is broken"}
    assert "PyTorch frozen" not in row["others"]


@pytest.mark.parametrize("wrong", ["minidl", "ONNX_Runtime"])
def test_other_logits_are_refused(wrong, written):
    folder, exact = written
    other = exact * (1 + 2e-4)
    with pytest.raises(RuntimeError, match=f"{wrong.replace('_', ' ')} computes something else"):
        inference.case(sides(exact, **{wrong: other}), folder, NAME, IMAGES, exact, ARGUMENTS)


def test_bfloat16_may_differ(written):
    folder, exact = written
    given = sides(exact, OpenVINO_bfloat16=exact * 1.01)
    row = inference.case(given, folder, NAME, IMAGES, exact, ARGUMENTS)
    assert row["distances"]["OpenVINO bfloat16"] == pytest.approx(0.01)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["resnet-20"], "unknown model: resnet-20"),
        (
            ["--sides", "minidl", "OpenVINO bfloat16"],
            "--sides needs minidl and one of ONNX Runtime",
        ),
        (["--sides", "OpenVINO"], "--sides needs minidl"),
        (["--batch", "0"], "must be at least 1, got 0"),
        (["--sides", "TVM"], "invalid choice"),
    ],
)
def test_arguments_are_checked(arguments, words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["inference", *arguments])
    with pytest.raises(SystemExit):
        inference.parsed()
    assert words in capsys.readouterr().err


def test_what_is_not_installed_is_reported(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["inference"])
    monkeypatch.setattr(
        inference.importlib.util, "find_spec", lambda name: None if name == "openvino" else object()
    )
    with pytest.raises(SystemExit):
        inference.parsed()
    assert "openvino not installed here; `make inference`" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["inference", "--sides", "minidl", "ONNX Runtime"])
    assert inference.parsed().sides == ["minidl", "ONNX Runtime"]


def test_a_worker_imports_nothing_of_a_side():
    """What a process has imported is part of its memory, and its threads may wait in loops."""
    printed(
        "import sys, benchmarks.inference_worker\n"
        "assert not {'minidl', 'torch', 'openvino', 'onnxruntime'} & set(sys.modules)"
    )
