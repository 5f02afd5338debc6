"""These tests check intervals, and the verdicts that follow from where they lie."""

import math

import numpy as np
import pytest

from minidl.lab.verdict import (
    Interval,
    Verdict,
    above,
    at_least,
    at_most,
    below,
    every,
    identity,
    interval,
    opposite,
    some,
    within,
)

YES, NO, OPEN = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.INCONCLUSIVE


def span(low, high):
    return Interval((low + high) / 2, low, high, 3)


def test_interval_of_three_seeds_is_as_wide_as_they_are():
    found = interval([1.0, 2.0, 6.0])
    assert (found.value, found.low, found.high, found.count) == (3.0, 1.0, 6.0, 3)


def test_interval_of_many_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).standard_normal(400)
    found = interval(values)
    half = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.01)
    assert found.high == pytest.approx(values.mean() + half, abs=0.01)


def test_interval_of_a_median():
    assert interval([1.0, 2.0, 30.0], np.median).value == 2


def test_equal_values_are_an_interval_of_no_width():
    assert interval([2.0, 2.0]) == Interval(2, 2, 2, 2)


@pytest.mark.parametrize("values", [[1.0], [1.0, math.nan], [1.0, math.inf]])
def test_no_interval(values):
    found = interval(values)
    assert math.isnan(found.low) and math.isnan(found.high)
    assert above(found, 0) is OPEN
    assert within(found, -1e9, 1e9) is OPEN


@pytest.mark.parametrize("values", [[], [[1.0, 2.0]]])
def test_what_is_no_list_of_numbers_is_refused(values):
    with pytest.raises(ValueError, match="one number for each seed"):
        interval(values)


@pytest.mark.parametrize(
    "where, bounds, there, elsewhere, between",
    [
        (above, (1,), (1.1, 2), (0.5, 1), (0.9, 1.1)),
        (at_least, (1,), (1, 2), (0.5, 0.9), (0.9, 1.1)),
        (below, (1,), (0.5, 0.9), (1, 2), (0.9, 1.1)),
        (at_most, (1,), (0.5, 1), (1.1, 2), (0.9, 1.1)),
        (within, (1, 2), (1, 2), (2.1, 3), (1.9, 2.1)),
        (within, (1, 2), (1.2, 1.3), (0, 0.9), (0.5, 2.5)),
    ],
)
def test_where_an_interval_lies(where, bounds, there, elsewhere, between):
    found = [where(span(*given), *bounds) for given in (there, elsewhere, between)]
    assert found == [YES, NO, OPEN]


def test_sentences_of_parts():
    assert every(YES, YES) is YES
    assert every(YES, OPEN) is OPEN
    assert every(OPEN, NO, YES) is NO
    assert some(NO, YES, OPEN) is YES
    assert some(NO, OPEN) is OPEN
    assert some(NO, NO) is NO
    assert [opposite(v) for v in (YES, NO, OPEN)] == [NO, YES, OPEN]
    assert [identity(True), identity(False)] == [YES, NO]
