"""This module has settings for runs of the command line and of `train.run`, which draw nothing."""

import json
from pathlib import Path

from minidl.train import run
from minidl.train.report import Report


def draw_nothing(monkeypatch):
    """Make curves and reports empty files, because drawing them takes longer than a training
    here.
    """

    def empty(content, path):
        Path(path).write_bytes(b"")

    monkeypatch.setattr(run, "curves", empty)
    monkeypatch.setattr(Report, "save", empty)


def config(folder):
    """Return the settings with which a run was begun, as its folder says."""
    return json.loads((folder / "config.json").read_text())
