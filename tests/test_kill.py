"""These tests run the program that kills trainings and saves, in a short version, and check that it
would detect a fault.
"""

import json
import sys

import numpy as np
import pytest

from benchmarks import kill, kill_worker
from minidl.train import files
from tests.support.killed_training import damaged

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")


def test_killed_trainings_and_saves(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "kill",
            "--kills",
            "2",
            "--saves",
            "3",
            "--epochs",
            "1",
            "--images",
            "1600",
            "--megabytes",
            "4",
            "--out",
            str(tmp_path),
        ],
    )
    assert kill.main() == 0
    found = json.loads((tmp_path / "kill.json").read_text())
    training = found["training"]
    assert training["same"] and training["kills"] >= 2 and len(training["killed"]) == 64
    assert training["kills"] == len(training["lives"]["threads"]) and training["batches"] == 25
    assert found["saving"]["kills_inside_a_save"] == 3 and found["saving"]["faults"] == []


def saved(folder, numbers):
    for number in numbers:
        content = kill_worker.content(number, 1)
        files.push(str(folder), content, kill_worker.KEEP, remove_older=False)


@pytest.mark.parametrize(
    "complete, begun, words",
    [(1, 1, ""), (0, 2, ""), (2, 2, "holds save 1; 2 was complete"), (0, 0, "holds save 1; 0 was")],
)
def test_a_file_must_be_of_a_save_that_was_begun_and_none_older(tmp_path, complete, begun, words):
    saved(tmp_path, [0, 1])
    found = kill.fault_of(str(tmp_path), complete, begun, 1)
    assert len(found) == bool(words) and words in "".join(found)


def test_other_content_and_damage_are_faults(tmp_path):
    assert kill.fault_of(str(tmp_path), -1, 0, 1) == []
    assert "no file" in kill.fault_of(str(tmp_path), 0, 0, 1)[0]
    saved(tmp_path, [0, 1])
    assert "holds not what save 1" in kill.fault_of(str(tmp_path), 1, 1, 2)[0]
    damaged(tmp_path / "last.safetensors", "one bit")
    assert "damaged" in kill.fault_of(str(tmp_path), 0, 1, 1)[0]


def test_a_digest_sees_every_value_and_dtype():
    state = {"a": [np.arange(3), 1.5], "b": {"c": None}}
    others = [
        {**state, "a": [np.arange(3.0), 1.5]},
        {**state, "a": [np.arange(3), 2.5]},
        {**state, "b": {"d": None}},
        {**state, "a": [np.arange(4), 1.5]},
    ]
    digests = [kill_worker.digest(value) for value in (state, *others)]
    assert len(set(digests)) == 5
    assert kill_worker.digest(dict(reversed(state.items()))) == digests[0]
