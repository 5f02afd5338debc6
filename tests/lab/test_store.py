"""These tests check the files of seeds and of results."""

import json
import math
import os

import numpy as np
import pytest

from minidl.lab import store
from minidl.lab.registry import chosen
from minidl.lab.verdict import Interval, Verdict

(experiment,) = chosen(["E18"])


def test_numbers_that_json_lacks_come_back(tmp_path):
    path = str(tmp_path / "a.json")
    content = {"a": [1, 2.5, math.nan, math.inf, -math.inf], "b": {"c": "text", "d": None}}
    store.write(path, content)
    json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    found = store.read(path)
    assert math.isnan(found["a"].pop(2)) and found["a"] == [1, 2.5, math.inf, -math.inf]
    assert found["b"] == content["b"]


def test_plain():
    given = {
        1: np.float32(0.5),
        "a": np.arange(2),
        "i": Interval(1, 0, 2, 3),
        "v": Verdict.REFUTED,
        "t": (True, None),
    }
    assert store.plain(given) == {
        "1": 0.5,
        "a": [0, 1],
        "v": "REFUTED",
        "t": [True, None],
        "i": {"value": 1, "low": 0, "high": 2, "count": 3},
    }
    with pytest.raises(TypeError, match="got set"):
        store.plain({"a": {1}})


def test_seeds_count_for_their_settings_alone(tmp_path):
    folder, full = str(tmp_path), experiment.settings(False)
    whole = {"settings": full, "result": {"x": 1}, "seconds": 2, "minidl": "0.2", "machine": {}}
    store.write(store.seed_path(folder, "E18", 2), whole)
    assert store.seeds_of(folder, "E18") == [2]
    assert store.read_seed(folder, experiment, 2, full)["result"] == {"x": 1}
    assert store.read_seed(folder, experiment, 2, experiment.settings(True)) is None
    assert store.read_seed(folder, experiment, 0, full) is None
    for name in ("result", "seconds", "minidl", "machine"):
        store.write(store.seed_path(folder, "E18", 2), {**whole, name: None})
        assert store.read_seed(folder, experiment, 2, full) is None


@pytest.mark.parametrize(
    "content, entries",
    [
        ("[1]", {}),
        ("3", {}),
        ("{", {}),
        ('{"E18": 3, "E19": {"verdict": "REFUTED"}}', {"E19": {"verdict": "REFUTED"}}),
    ],
)
def test_results_that_are_none_are_left_out(tmp_path, content, entries):
    (tmp_path / "results.json").write_text(content)
    assert store.read_results(str(tmp_path)) == entries
    assert store.read_results(str(tmp_path / "missing")) == {}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_a_damaged_file_is_none(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    assert store.read(str(tmp_path / "a.json")) is None


def test_a_folder_has_one_kind_of_settings(tmp_path):
    folder = str(tmp_path / "new")
    with pytest.raises(ValueError, match="no experiment has been run"):
        store.read_kind(folder)
    for _ in range(2):
        with store.working(folder, quick=True):
            assert store.read_kind(folder) is True
    with (
        pytest.raises(ValueError, match="has results of quick settings"),
        store.working(folder, quick=False),
    ):
        pass
    assert os.listdir(os.path.join(folder, "seeds")) == []


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(ValueError, match=r"--out must be a folder, but .* is a file"):
        store.read_kind(str(tmp_path / "a"))
    with (
        pytest.raises(ValueError, match="--out must be a folder"),
        store.working(str(tmp_path / "a"), quick=True),
    ):
        pass


def test_a_folder_in_use_is_refused(tmp_path):
    with (
        store.working(str(tmp_path), quick=True),
        pytest.raises(ValueError, match="another run is using"),
        store.working(str(tmp_path), quick=True),
    ):
        pass
    with store.working(str(tmp_path), quick=True):
        pass


def test_a_folder_that_cannot_be_locked_is_worked_in(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refused(handle, how):
        raise OSError("no locks here")

    monkeypatch.setattr(fcntl, "flock", refused)
    with store.working(str(tmp_path / "a"), quick=True):
        assert store.read_kind(str(tmp_path / "a")) is True


@pytest.mark.parametrize("content", ["", "[]", '{"quick": 3}'])
def test_a_damaged_kind_is_named(tmp_path, content):
    (tmp_path / "lab.json").write_text(content)
    with pytest.raises(ValueError, match=r"lab\.json' is damaged"):
        store.read_kind(str(tmp_path))
