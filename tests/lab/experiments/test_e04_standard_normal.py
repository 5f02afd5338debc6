"""These tests check E04: the rule on both sides, the tests of distributions beside SciPy's, and a
run.
"""

import math

import numpy as np
import pytest
import scipy.stats

from minidl.lab.experiments import e04_standard_normal as e04
from minidl.lab.verdict import Verdict

experiment = e04.StandardNormal()


def seed(rejected=0.8, change=1e-12):
    """Return a result whose untrained units are rejected this often with 10,000 values."""
    state = {
        f"{kind} {n}": rejected if n == 10000 else 0.0
        for kind in ("normal", "fitted", "uniform")
        for n in (60, 10000)
    }
    state |= {
        "skewness": change,
        "kurtosis": 0.0,
        "to uniform": 0.0,
        "median |skewness|": 0.1,
        "median |kurtosis|": 0.1,
        "density": [0.0] * (len(e04.EDGES) - 1),
    }
    return {"start": state, "trained": state, "sizes": [60, 10000]}


@pytest.mark.parametrize(
    "change, verdict",
    [
        ({}, Verdict.REFUTED),
        # The output is normal, but only because the input is.
        ({"rejected": 0.05}, Verdict.INCONCLUSIVE),
        ({"rejected": 0.4, "change": 1e-3}, Verdict.INCONCLUSIVE),
        ({"rejected": 0.5}, Verdict.INCONCLUSIVE),
        ({"change": 1e-3}, Verdict.INCONCLUSIVE),
        ({"rejected": 0.05, "change": 1e-3}, Verdict.SUPPORTED),
        ({"rejected": math.nan}, Verdict.INCONCLUSIVE),
        ({"change": math.nan}, Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(change, verdict):
    results = [seed(**change), seed(**change)]
    assert experiment.judge(results).verdict is verdict
    experiment.plot(results)


def test_one_seed_that_disagrees_decides_nothing():
    for change in ({"rejected": math.nan}, {"rejected": 0.4}, {"change": math.nan}):
        assert experiment.judge([seed(), seed(**change)]).verdict is Verdict.INCONCLUSIVE


def test_distances_are_those_of_scipy():
    x = np.random.default_rng(0).normal(0.2, 1.1, (80, 3))
    expected = [scipy.stats.kstest(column, "norm").statistic for column in x.T]
    assert np.allclose(e04.to_normal(x), expected)
    halves = x.std(axis=0) * math.sqrt(3)
    expected = [
        scipy.stats.kstest(column, "uniform", (column.mean() - h, 2 * h)).statistic
        for column, h in zip(x.T, halves, strict=True)
    ]
    assert np.allclose(e04.to_uniform(x), expected)


def test_shape_is_that_of_scipy():
    x = np.random.default_rng(0).exponential(size=(50, 2))
    assert np.allclose(e04.skewness(x), scipy.stats.skew(x))
    assert np.allclose(e04.kurtosis(x), scipy.stats.kurtosis(x))


def test_normal_values_are_rarely_rejected():
    x = np.random.default_rng(0).standard_normal((500, 400))
    share = (e04.to_normal(x) > scipy.stats.kstwo.isf(e04.ALPHA, 500)).mean()
    assert 0.02 < share < 0.09


def test_it_runs_and_is_judged_and_plotted():
    results = [experiment.run(0, {"images": 10000, "sizes": [10000], "steps": 4})]
    found = experiment.judge(results)
    assert found.verdict is Verdict.REFUTED
    assert found.figures["largest change of skewness or kurtosis by normalizing"] < 1e-10
    experiment.plot(results)
