"""These tests check figures as SVG: colours as variables, and axes with plain numbers."""

import math
import re

import pytest

from minidl import svg


def drawn(values):
    figure, (ax,) = svg.new()
    ax.plot(range(len(values)), values, color=svg.A)
    return figure, ax


@pytest.mark.parametrize(
    "values, labels", [([0.01, 0.03], ["0.01", "0.02"]), ([1e-4, 1e4], ["0.01", "1", "100"])]
)
def test_logarithmic_axes_have_plain_numbers(values, labels):
    figure, ax = drawn(values)
    svg.logarithmic(ax.yaxis)
    assert ax.get_yscale() == "log" and ax.get_xscale() == "linear"
    text = svg.element("x", figure)
    assert all(f">{label}</text>" in text for label in labels)


@pytest.mark.filterwarnings("ignore:Data has no positive values")
@pytest.mark.parametrize("values", [[math.nan, math.nan], [0.0, 0.0], [-1.0, 0.0]])
def test_nothing_to_draw_on_a_logarithmic_axis(values):
    figure, ax = drawn(values)
    svg.logarithmic(ax.yaxis)
    assert svg.element("x", figure).startswith("<svg")


def test_the_name_of_a_level_stands_above_or_below_it():
    figure, ax = drawn([0, 1])
    for below in (False, True):
        svg.guide(ax, 0.5, "half", below)
    figure.draw_without_rendering()
    above, under = (found.get_window_extent() for found in ax.texts)
    level = ax.transData.transform((0, 0.5))[1]
    assert above.y0 > level > under.y1


def test_colours_are_variables_and_ids_the_elements_own():
    text = svg.element("name", drawn([1, 2])[0])
    assert "var(--a)" in text and svg.A not in text
    assert all(found.startswith("name-") for found in re.findall(r' id="([^"]*)"', text))


def test_stacked_axes_are_below_each_other():
    figure, axes = svg.new(2, (8, 3))
    svg.stack(figure)
    figure.draw_without_rendering()
    first, second = (ax.get_position() for ax in axes)
    assert first.y0 > second.y1 and first.x0 == pytest.approx(second.x0, abs=0.05)
    assert tuple(figure.get_size_inches()) == (svg.PHONE, 2 * svg.SIZE[1])


def test_a_document_stands_alone():
    text = svg.document("x", drawn([1, 2])[0])
    assert text.startswith('<svg xmlns="http://www.w3.org/2000/svg" width="451" height="278"')
    assert "prefers-color-scheme: dark" in text
