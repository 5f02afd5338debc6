"""These tests check E28: the explained share of a line, by quadrature and by sampling, and the
rule.
"""

import math

import numpy as np
import pytest

from minidl.lab.experiments import e28_linear_regime as e28
from minidl.lab.verdict import Verdict

experiment = e28.LinearRegime()
TINY = {"images": 200, "batch": 20, "rate": 0.1, "steps": 3}


def seeds(*gains):
    """Return a result for each seed, in which gamma and beta add so many points."""
    return [
        {
            "accuracy": {"none": 0.9, "fixed": 0.95, "learned": 0.9 + gain / 100},
            "gamma": [[1.0, -2.0]] * 3,
            "beta": [[0.0, 1.0]] * 3,
        }
        for gain in gains
    ]


@pytest.mark.parametrize(
    "gains, verdict",
    [
        ((0.2, 0.3, 0.4), Verdict.SUPPORTED),
        ((-0.2, -0.3, -0.1), Verdict.REFUTED),
        ((-0.2, 0.3, 0.4), Verdict.INCONCLUSIVE),
        ((math.nan, 0.3, 0.4), Verdict.INCONCLUSIVE),
        ((0.3,), Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(gains, verdict):
    assert experiment.judge(seeds(*gains)).verdict is verdict
    experiment.plot(seeds(*gains))


def test_the_verdict_says_what_it_is_not_about():
    why = experiment.judge(seeds(0.2, 0.3, 0.4)).why
    assert "not about how far the units leave the linear regime: the learned gammas are 1.50" in why


def test_another_share_refutes(monkeypatch):
    monkeypatch.setitem(e28.STATED, 2, 0.95)
    assert experiment.judge(seeds(0.2, 0.3, 0.4)).verdict is Verdict.REFUTED


@pytest.mark.parametrize("scale, shift", [(1, 0), (2, 0), (4, 0), (1.5, 2), (-3, 1)])
def test_share_of_a_line_is_that_of_a_fit(scale, shift):
    x = np.random.default_rng(0).standard_normal(400_000)
    y = 1 / (1 + np.exp(-(scale * x + shift)))
    rest = y - np.polyval(np.polyfit(x, y, 1), x)
    assert e28.line_share(scale, shift) == pytest.approx(1 - rest.var() / y.var(), abs=2e-3)


def test_shares_are_those_stated():
    for scale, stated in e28.STATED.items():
        assert abs(e28.line_share(scale) - stated) <= 5e-4


def test_shares_of_many_units():
    scales, shifts = np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, -1.0])
    each = [e28.line_share(a, b) for a, b in zip(scales, shifts, strict=True)]
    assert np.allclose(e28.line_share(scales, shifts), each)


def test_it_runs_and_is_judged_and_plotted():
    found = [experiment.run(0, TINY)]
    assert [len(layer) for layer in found[0]["gamma"]] == [100] * 3
    assert experiment.judge(found).verdict is Verdict.INCONCLUSIVE
    experiment.plot(found)
