"""What tests of runs share: data sets of the package, a cache of their own, no pictures drawn."""

from pathlib import Path

import pytest

from minidl.train import run
from minidl.train.report import Report
from tests.harness import threads


def _empty(content, path):
    Path(path).write_bytes(b"")


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """For tests that make runs: the current folder is empty, and reports are not drawn, which takes
    longer than a training here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MINIDL_DATA", raising=False)
    monkeypatch.setattr(run, "curves", _empty)
    monkeypatch.setattr(Report, "save", _empty)
    with threads(1):
        yield tmp_path
