"""These tests check `train.curves`, which draws a history."""

import sys

import numpy as np
import pytest

from minidl import train
from minidl.train.report.curves import panels_of
from tests.support.errors import refuses
from tests.support.reports import settings

HISTORY = {
    "loss": [2.0, 1.0],
    "accuracy": [0.5, 0.75],
    "valid_loss": [1.5, 1.25],
    "valid_accuracy": [0.5, 0.5],
    "lr": [0.1, 0.01],
    "seconds": [3.0, 3.0],
}


def test_a_panel_for_each_figure():
    assert panels_of(HISTORY, "curves") == {
        "loss": {"training": [2.0, 1.0], "validation": [1.5, 1.25]},
        "accuracy": {"training": [0.5, 0.75], "validation": [0.5, 0.5]},
        "learning rate": {"learning rate": [0.1, 0.01]},
    }


def test_a_picture(tmp_path):
    image = pytest.importorskip("PIL.Image")
    train.curves(HISTORY, tmp_path / "curves.png")
    picture = image.open(tmp_path / "curves.png")
    assert picture.format == "PNG" and picture.width > 2 * picture.height
    assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50
    train.curves(HISTORY, tmp_path / "curves")  # a path without an extension
    assert (tmp_path / "curves").read_bytes()[:4] == b"\x89PNG"


def test_other_formats(tmp_path):
    train.curves(HISTORY, tmp_path / "curves.svg")
    assert b"<svg" in (tmp_path / "curves.svg").read_bytes()
    with refuses(ValueError, "nonsense"):
        train.curves(HISTORY, tmp_path / "curves.nonsense")
    assert [path.name for path in tmp_path.iterdir()] == ["curves.svg"]


def test_values_that_are_not_finite(tmp_path):
    train.curves({"loss": [float("nan"), 1.0], "$x$": [float("inf"), 1.0]}, tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()


def test_pyplot_is_left_alone(tmp_path):
    loaded, before = "matplotlib.pyplot" in sys.modules, settings()
    train.curves(HISTORY, tmp_path / "curves.png")
    assert ("matplotlib.pyplot" in sys.modules) == loaded
    assert settings() == before


@pytest.mark.parametrize(
    ("history", "error", "words"),
    [
        ({}, ValueError, "no epoch"),
        ({"loss": []}, ValueError, "no epoch"),
        ([1.0], TypeError, "history"),
        ({"loss": [1], "lr": []}, ValueError, "one length"),
        ({"loss": 1.0}, TypeError, "history['loss']"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, history, error, words):
    with refuses(error, "curves", words):
        train.curves(history, tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with refuses(ImportError, "curves", "minidl[report]"):
        train.curves(HISTORY, tmp_path / "curves.png")
