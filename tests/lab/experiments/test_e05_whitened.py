"""These tests check E05: the rule on both sides, correlations, and a run."""

import math

import numpy as np
import pytest

from minidl.lab.experiments import e05_whitened as e05
from minidl.lab.verdict import Verdict

experiment = e05.Whitened()


def seed(change=1e-14, largest=0.9):
    """Return a result with this change of correlations, and this largest correlation."""
    pairs = [[0.1, 0.9], [0.1, 0.9]]
    return {
        "change": change,
        "largest": {"pixels": largest, "hidden units": 0.05},
        "median": {"pixels": 0.1, "hidden units": 0.01},
        "whitened": 1e-13,
        "pairs": {"pixels": pairs, "hidden units": pairs, "whitened": pairs},
    }


@pytest.mark.parametrize(
    "change, verdict",
    [
        ({}, Verdict.REFUTED),
        ({"change": 1e-3}, Verdict.INCONCLUSIVE),
        ({"change": 0.9, "largest": 0.01}, Verdict.SUPPORTED),
        ({"change": math.nan}, Verdict.INCONCLUSIVE),
        ({"change": math.nan, "largest": 0.01}, Verdict.INCONCLUSIVE),
        ({"largest": math.nan}, Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(change, verdict):
    assert experiment.judge([seed(**change), seed(**change)]).verdict is verdict


def test_one_seed_that_disagrees_decides_nothing():
    for change in ({"largest": 0.01}, {"largest": math.nan}, {"change": math.nan}):
        assert experiment.judge([seed(), seed(**change)]).verdict is Verdict.INCONCLUSIVE


def test_correlations_and_whitening():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 4)) @ rng.standard_normal((4, 4)) + 5
    expected = np.corrcoef(x.T)[np.triu_indices(4, 1)]
    assert np.allclose(e05.correlations(x), expected)
    assert np.allclose(np.cov(e05.whitened(x).T, bias=True), np.eye(4))


def test_it_runs_and_is_judged_and_plotted():
    results = [experiment.run(0, {"images": 500})]
    assert experiment.judge(results).verdict is Verdict.REFUTED
    experiment.plot(results)
