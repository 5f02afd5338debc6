"""These tests check E02: the rule on both sides, which steps are counted, and a run."""

import math

import numpy as np
import pytest

import minidl as md
from minidl.lab.experiments import e02_minus_epsilon as e02
from minidl.lab.verdict import Verdict

experiment = e02.MinusEpsilon()
FINE, ENDED = [2.3, 1.0, 0.5], [math.nan]


def seed(plus=FINE, minus=ENDED):
    """Return a result with these losses on raw pixels, and with what the other figures need."""
    losses = {"pixels": FINE, "noisy pixels": FINE, "hidden units": FINE}
    return {
        "losses": {"plus": {**losses, "pixels": plus}, "minus": {**losses, "pixels": minus}},
        "count": 784,
        "constant": 300,
        "below": 10,
        "smallest hidden": 0.01,
        "variances": {"pixels": [1e-6, 0.1], "hidden units": [0.01, 0.1]},
        "from BatchNorm": 0,
    }


@pytest.mark.parametrize(
    "change, verdict",
    [
        ({}, Verdict.SUPPORTED),
        ({"minus": FINE}, Verdict.REFUTED),
        ({"minus": [2.3, math.nan]}, Verdict.REFUTED),  # NaN, but not at the first step
        ({"minus": [math.inf]}, Verdict.REFUTED),  # at the first step, but not NaN
        ({"minus": [20_000.0]}, Verdict.REFUTED),
        ({"plus": ENDED}, Verdict.REFUTED),  # the plus sign does not help
    ],
)
def test_the_rule_judges_figures_on_both_sides(change, verdict):
    results = [seed(), seed(**change)]
    assert experiment.judge(results).verdict is verdict
    experiment.plot(results[::-1])


def test_differences_of_losses():
    assert e02.apart(seed(), "hidden units") == 0
    assert e02.apart(seed(), "pixels") == math.inf
    changed = seed(minus=[2.3, 1.0, 0.73])
    assert e02.apart(changed, "pixels") == pytest.approx(0.1)


def test_smoothing_is_the_mean_of_the_last_ones():
    assert e02.smooth([4.0, 2.0, 0.0, 1.0], width=2).tolist() == [4.0, 3.0, 1.0, 0.5]


def test_only_what_varies_by_less_than_eps_is_nan():
    x = md.tensor(np.array([[1.0, 0.0, 0.0], [1.0, 1e-3, 1e-2]]))
    y = e02.composed(-e02.EPS)(3).astype(np.float64)(x)
    assert np.isnan(y.data).any(axis=0).tolist() == [True, True, False]


def test_it_runs_and_is_judged_and_plotted():
    results = [experiment.run(0, {"images": 240, "batch": 60, "steps": 4})]
    assert experiment.judge(results).verdict is Verdict.SUPPORTED
    assert results[0]["from BatchNorm"] < 1e-12
    assert np.isnan(results[0]["losses"]["minus"]["pixels"]).tolist() == [True]
    experiment.plot(results)
