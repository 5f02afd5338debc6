"""These tests check plots as SVG, whatever is drawn."""

import math
from xml.etree import ElementTree

import pytest

from minidl.train.report import plots

NAN, INF = math.nan, math.inf
COLUMNS = {
    "plain": [1.0, 2.0, 0.5],
    "zeros": [0.0, 0.0],
    "not finite": [NAN, INF, -INF],
    "some": [NAN, 1e-30, 1e30],
    "negative": [-1.0, -2.0],
    "one": [3.0],
}


def text_of(svg):
    """Return the text in a drawing, which must be well-formed."""
    root = ElementTree.fromstring(svg)
    assert root.tag == "svg" and "viewBox" in root.attrib and "width" not in root.attrib
    return " ".join(element.text or "" for element in root.iter("text"))


@pytest.mark.parametrize("values", COLUMNS.values(), ids=COLUMNS)
@pytest.mark.parametrize("log", [False, True])
def test_any_numbers(values, log):
    epochs = range(len(values))
    assert "epoch" in text_of(plots.many("a", {"x": values, "y": values}, epochs, log))
    assert "epoch" in text_of(plots.many("a", {"x": values}, epochs, percent=True))
    assert "epoch" in text_of(plots.lines("a", {"x": values, "y": values}, zero=log))
    assert "depth" in text_of(plots.depth("a", {"x": values}, {"y": values}, "depth"))


def test_names_are_text():
    name = "$\\alpha_<b>&_$"
    assert name in text_of(plots.lines("a", {name: [1.0], "_hidden": [2.0]}))


def test_the_first_and_the_last_line_stand_out():
    text = text_of(plots.many("a", {"in": [1.0], "middle": [1.0], "out": [1.0]}, [0]))
    assert "in (the first)" in text and "out (the last)" in text and "middle" not in text


@pytest.mark.parametrize(
    ("low", "high", "labels"), [(0.5, 4.0, ["0.5", "1", "2"]), (1e-6, 1.0, ["1e-06", "0.01"])]
)
def test_a_logarithmic_axis_has_plain_numbers(low, high, labels):
    found = text_of(plots.many("a", {"x": [low, high]}, [0, 1], log=True)).split()
    assert set(labels) <= set(found)
