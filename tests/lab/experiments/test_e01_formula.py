"""These tests check E01: the rule on both sides, the gradient errors, and a run."""

import math

import numpy as np
import pytest

from minidl.lab.experiments import e01_formula as e01
from minidl.lab.verdict import Verdict

experiment = e01.Formula()
GOOD = {
    "mean": 1e-16,
    "variance": 1e-15,
    "x": 1e-9,
    "gamma": 1e-10,
    "beta": 1e-11,
    "before": [0.1, 1e-5],
    "after": [0.9999, 0.5],
}


@pytest.mark.parametrize(
    "change, verdict",
    [
        ({}, Verdict.SUPPORTED),
        ({"mean": 1e-9}, Verdict.REFUTED),
        ({"variance": 1e-9}, Verdict.REFUTED),
        ({"x": 1e-5}, Verdict.REFUTED),
        ({"beta": 1e-5}, Verdict.REFUTED),
        ({"gamma": math.nan}, Verdict.REFUTED),
    ],
)
def test_the_rule_judges_figures_on_both_sides(change, verdict):
    found = experiment.judge([GOOD, {**GOOD, **change}])
    assert found.verdict is verdict
    assert found.figures["output's variance where σ² is smallest"] == 0.5


@pytest.mark.parametrize("scale", [1, 1e-3])
def test_gradients_are_those_of_differences(scale):
    x = scale * np.random.default_rng(0).normal(3, 1, (12, 5))
    assert max(e01.gradient_errors(x, seed=1).values()) < 1e-7


def test_a_coarse_difference_is_seen():
    x = np.random.default_rng(0).standard_normal((12, 5))
    assert e01.gradient_errors(x, seed=1, step=1.0)["x"] > 1e-2


def test_it_runs_and_is_judged_and_plotted():
    results = [experiment.run(0, experiment.settings(quick=True))]
    assert experiment.judge(results).verdict is Verdict.SUPPORTED
    experiment.plot(results)
