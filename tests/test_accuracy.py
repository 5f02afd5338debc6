"""These tests check the table of rounding errors: how errors are measured, and the claims that need
no PyTorch.
"""

import numpy as np
import pytest

from benchmarks import accuracy_cases
from benchmarks.accuracy import error as error_of
from benchmarks.accuracy import errors, holds, row
from benchmarks.accuracy_cases import KINDS, Case, all_cases

ABSOLUTE = [case for case in all_cases() if case.claim != "direct"]
OTHERS = [case for case in all_cases() if case.claim == "direct"]


@pytest.mark.parametrize(
    "got, expected, pointwise, error",
    [
        ([1.0, 4.0], [1.0, 5.0], False, 0.2),
        ([2.0, 5.0], [1.0, 5.0], False, 0.2),
        ([2.0, 5.0], [1.0, 5.0], True, 1.0),
        ([0.0, 0.0], [0.0, 0.0], False, 0.0),
        ([1.0, 0.0], [0.0, 0.0], False, np.inf),
        ([np.nan, 1.0], [1.0, 1.0], True, np.inf),
        ([np.inf, 1.0], [1e39, 1.0], True, 0.0),  # more than float32 can represent
        ([3e38, 1.0], [1e39, 1.0], True, np.inf),
        ([-np.inf, 1.0], [1e39, 1.0], True, np.inf),
        ([np.inf, 1.0], [1e38, 1.0], True, np.inf),
        ([0.0, 1.0], [2.0**-128, 1.0], True, 0.25),  # relative to 2**-126
        ([], [], False, 0.0),
    ],
)
def test_error(got, expected, pointwise, error):
    got, expected = np.float32(got), np.float64(expected)
    assert error_of(got, expected, pointwise) == error
    assert error_of((np.zeros(1), got), (np.zeros(1), expected), pointwise) == error


@pytest.mark.parametrize(
    "claim, ours, theirs, holding",
    [
        ("direct", 4e-7, 1e-7, True),
        ("direct", 6e-7, 1e-7, False),
        ("direct", 5e-8, 0.0, True),
        ("direct", np.inf, np.inf, False),
        ("direct", 1e-7, np.inf, True),
        ("winograd", 9e-6, 0.0, True),
        ("winograd", 2e-5, 1.0, False),
        ("variance", 9e-5, 0.0, True),
        ("variance", 2e-4, 1.0, False),
    ],
)
def test_claims(claim, ours, theirs, holding):
    assert holds(claim, ours, theirs) is holding


def test_a_row_names_the_inputs_for_which_its_claim_fails():
    case = Case("c", "matmul", ())
    assert row(case, {"a": [1e-7, 1e-7], "b": [1e-7, 2e-7]}) == [
        "c",
        "direct",
        "1.0e-07 / 1.0e-07",
        "1.0e-07 / 2.0e-07",
        "yes",
    ]
    assert row(case, {"a": [1e-6, 1e-7], "b": [1e-7, 2e-7]}) == [
        "c",
        "direct",
        "**1.0e-06** / 1.0e-07",
        "1.0e-07 / 2.0e-07",
        "NO: a",
    ]


def test_inputs_are_of_their_kind():
    assert len({case.name for case in all_cases()}) == len(all_cases())
    case = Case("c", "matmul", ((100, 100), (100,)))
    for kind, size in (("mean/std 1e4", 1e4), ("scale 1e-20", 1e-20), ("scale 1e+20", 1e20)):
        first, other = case.draw(kind)
        assert first.dtype == other.dtype == np.float32
        assert 0.5 * size < np.abs(first).mean() < 2 * size
        assert 0.5 < np.abs(other).mean() < 2
        assert (case.draw(kind)[0] == first).all()
        assert (case.draw(kind, 1)[0] != first).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", ABSOLUTE, ids=lambda case: case.name)
def test_the_claims_of_winograd_and_of_variances(case, kind):
    assert holds(case.claim, *errors(case, kind, [accuracy_cases]), np.nan)


@pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.name)
def test_other_kernels_are_right_to_a_few_roundings(case):
    assert errors(case, "normal", [accuracy_cases])[0] < 5e-6
