"""These tests check E07: each part of the rule on both sides, the formulas, and a run."""

import math

import numpy as np
import pytest

from minidl.lab.experiments import e07_scale_invariance as e07
from minidl.lab.identities import digits
from minidl.lab.verdict import Verdict

experiment = e07.ScaleInvariance()


def seed(error=1e-4, quarters=(3.0, 1.0), large=10.01, diverged=False, **exact):
    """Return a result with figures for which the claim holds, changed by these."""
    forms = dict.fromkeys(e07.FORMS, 1e-14) | {"input norms": [1.0], "weight norms": [1.0]}
    arm = {
        "diverged": diverged,
        "quarters": quarters,
        "steps": [1, 2],
        "norms": [1.0, 2.0],
        "formula": [1.0, 2.0],
        "error": error,
        "error of gain": 1e-3,
    }
    return {
        "scales": [1.0],
        "exact": {**forms, **exact},
        "with eps": forms,
        "growth": {"1": arm, "10": {**arm, "norms": [10.0, large]}},
    }


@pytest.mark.parametrize(
    "change, verdict",
    [
        ({}, Verdict.SUPPORTED),
        ({"output": 1e-5}, Verdict.REFUTED),
        ({"input": 1e-5}, Verdict.REFUTED),
        ({"weight": 1e-5}, Verdict.REFUTED),
        ({"angle": 1e-5}, Verdict.REFUTED),
        ({"error": 0.02}, Verdict.REFUTED),
        ({"large": 11.0}, Verdict.REFUTED),
        ({"quarters": (1.0, 3.0)}, Verdict.REFUTED),
        ({"diverged": True, "error": math.nan}, Verdict.REFUTED),
    ],
)
def test_the_rule_judges_figures_on_both_sides(change, verdict):
    results = [seed(), seed(**change)]
    assert experiment.judge(results).verdict is verdict


def test_quarters():
    assert e07.quarter_growth([1.0, 4.0, 4.0, 4.0, 9.0]) == (3.0, 5.0)


def test_eps_breaks_the_invariance():
    found = e07.scaled(digits(60, 0), 0, [0.01, 1.0], eps=1e-5)
    assert 1e-4 < found["output"] < 1
    assert found["angle"] > 1e-8


def test_norms_are_those_of_pythagoras():
    arm = e07.growth(digits(240, 0), 0, 1.0, {"batch": 60, "steps": 8})
    assert arm["error"] < 1e-4
    assert np.all(np.diff(arm["norms"]) > 0)


def test_it_runs_and_is_judged_and_plotted():
    results = [
        experiment.run(
            0,
            {
                "images": 600,
                "batch": 60,
                "steps": 40,
                "starts": [0.1, 10.0],
                "scales": [0.01, 1.0, 100.0],
            },
        )
    ]
    assert experiment.judge(results).verdict is Verdict.SUPPORTED
    experiment.plot(results)
