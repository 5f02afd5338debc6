"""Runs of the command line and of `train.run`: their settings, and no drawings."""

import json
from pathlib import Path

from minidl.train import run
from minidl.train.report import Report


def draw_nothing(monkeypatch):
    """Curves and reports are empty files: to draw them takes longer than a training here."""

    def empty(content, path):
        Path(path).write_bytes(b"")

    monkeypatch.setattr(run, "curves", empty)
    monkeypatch.setattr(Report, "save", empty)


def config(folder):
    """What a run was begun with, as its folder says."""
    return json.loads((folder / "config.json").read_text())
