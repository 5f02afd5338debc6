"""These tests fill settings and figures into texts."""

import math

import pytest

from minidl.lab import words
from minidl.lab.verdict import Interval

SETTINGS = {"steps": 12000, "rates": [0.1, 1.0], "c6": {"rates": [0.005]}, "small steps": 3}


@pytest.mark.parametrize(
    "text, expected",
    [
        ("{steps} steps at {rates}", "12,000 steps at 0.1 and 1"),
        ("at {c6[rates]}, {small steps} of them", "at 0.005, 3 of them"),
        ("nothing to fill in", "nothing to fill in"),
    ],
)
def test_settings_are_filled_in(text, expected):
    assert words.filled(text, SETTINGS) == expected


def test_a_setting_that_is_not_there_is_an_error():
    with pytest.raises(KeyError):
        words.filled("{epochs}", SETTINGS)


def test_figures_have_their_digits_or_those_of_the_field():
    figures = words.Figures(
        {"gain: a, b = 2": Interval(1.23456, 1.2, 1.3, 3), "share": 0.25, "none": math.nan}
    )
    fill = lambda text: words.filled(text, {"figure": figures})  # noqa: E731
    assert fill("{figure[gain: a, b = 2]} and {figure[gain: a, b = 2]:.1f}") == "1.235 and 1.2"
    assert fill("{figure[share]:.0%}, {figure[none]}") == "25%, –"
    assert fill("{figure[of a larger run]:.2f}") == words.ABSENT


@pytest.mark.parametrize(
    "value, expected",
    [
        (True, "yes"),
        (None, "none"),
        ("MLP", "MLP"),
        (12345, "12,345"),
        (0.05, "0.05"),
        ([2, 8, 32], "2, 8 and 32"),
        ([2], "2"),
        ([], ""),
    ],
)
def test_words(value, expected):
    assert words.words(value) == expected


def test_settings_in_a_line():
    assert words.listed(SETTINGS) == ("steps 12,000; rates 0.1, 1; c6 (rates 0.005); small steps 3")


def test_counted_and_agree():
    assert [words.counted(count, "seed") for count in (0, 1, 2)] == ["0 seeds", "1 seed", "2 seeds"]
    assert words.agree(0.0) == "are equal to the last bit"
    assert words.agree(2e-6) == "differ by 2e-06 at most"
