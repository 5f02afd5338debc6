"""These tests check E06: the rule on both sides, the errors, and a run."""

import math

import numpy as np
import pytest

from minidl.lab.experiments import e06_identity_restored as e06
from minidl.lab.verdict import Verdict

experiment = e06.IdentityRestored()


def seed(formula=1e-15, exact=1e-15):
    """Return a result with these errors."""
    rms = {name: [1e-4, 1e-2] for name in e06.CURVES}
    return {
        "formula": formula,
        "exact": exact,
        "evaluation": 1e-15,
        "variance": [0.1, 1e-5],
        "rms": rms,
    }


@pytest.mark.parametrize(
    "change, verdict",
    [
        ({}, Verdict.SUPPORTED),
        ({"formula": 1e-6}, Verdict.REFUTED),
        ({"exact": 1e-6}, Verdict.REFUTED),
        ({"exact": math.nan}, Verdict.REFUTED),
    ],
)
def test_the_rule_judges_figures_on_both_sides(change, verdict):
    assert experiment.judge([seed(), seed(**change)]).verdict is verdict


def test_error_is_that_of_the_ratio_of_variance_and_eps():
    rng = np.random.default_rng(0)
    x, other = (1e-3 * rng.standard_normal((60, 8)) for _ in range(2))
    found = e06.errors(x, other)
    var = x.var(axis=0)
    expected = np.sqrt(((1 - np.sqrt(var / (var + e06.EPS))) ** 2).mean())
    assert found["rms root"] == pytest.approx(expected)
    assert found["rms another"] > 0.05
    assert max(found[name] for name in e06.NAMES) < 1e-12


def test_it_runs_and_is_judged_and_plotted():
    results = [experiment.run(0, experiment.settings(quick=False))]
    assert experiment.judge(results).verdict is Verdict.SUPPORTED
    experiment.plot(results)
