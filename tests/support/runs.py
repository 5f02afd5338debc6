"""Runs of the command line and of `train.run`, without what takes longer than they do here."""

from pathlib import Path

from minidl.train import run
from minidl.train.report import Report


def draw_nothing(monkeypatch):
    """Curves and reports are empty files: to draw them takes longer than a training here."""

    def empty(content, path):
        Path(path).write_bytes(b"")

    monkeypatch.setattr(run, "curves", empty)
    monkeypatch.setattr(Report, "save", empty)
