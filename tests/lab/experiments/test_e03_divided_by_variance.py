"""These tests check E03: the rule on both sides, the formula, and a run."""

import math

import numpy as np
import pytest

from minidl.lab.experiments import e03_divided_by_variance as e03
from minidl.lab.verdict import Verdict

experiment = e03.DividedByVariance()


def seed(before=(0.1, 0.2), deviation=(1.0, 1.0), variance=(10.0, 5.0), loss=0.5):
    """Return a result with these variances of units."""
    return {
        "before": before,
        "scales": [1.0],
        "deviation": {"after": deviation, "size": [1.0], "loss": [0.4]},
        "variance": {"after": variance, "size": [3.0], "loss": [loss]},
    }


@pytest.mark.parametrize(
    "change, verdict",
    [
        ({}, Verdict.SUPPORTED),
        ({"loss": math.inf}, Verdict.SUPPORTED),  # the training is shown but not judged
        ({"variance": (1.0, 1.0)}, Verdict.REFUTED),
        ({"variance": (10.0, 5.001)}, Verdict.REFUTED),
        ({"deviation": (1.0, 1.01)}, Verdict.REFUTED),
        ({"variance": (math.nan, 5.0)}, Verdict.REFUTED),
        ({"before": (1.0, 1.0), "variance": (1.0, 1.0)}, Verdict.REFUTED),  # 1 divided by 1 is 1
    ],
)
def test_the_rule_judges_figures_on_both_sides(change, verdict):
    assert experiment.judge([seed(**change)]).verdict is verdict


def test_each_seed_counts_by_itself():
    near = seed(before=(1.05, 1.05), variance=(1 / 1.05, 1 / 1.05))
    assert experiment.judge([seed(), seed(), near]).verdict is Verdict.REFUTED


def test_divisors():
    x = np.random.default_rng(0).normal(1, 3, (50, 4))
    for name, power in (("deviation", 0), ("variance", -1)):
        y = e03.applied(name, x)
        assert np.allclose(y.var(axis=0), x.var(axis=0) ** power)


def test_it_runs_and_is_judged_and_plotted():
    results = [experiment.run(0, {"images": 240, "batch": 60, "steps": 4, "scales": [1.0, 10.0]})]
    assert experiment.judge(results).verdict is Verdict.SUPPORTED
    assert results[0]["variance"]["size"][1] == pytest.approx(
        results[0]["variance"]["size"][0] / 10
    )
    experiment.plot(results)
