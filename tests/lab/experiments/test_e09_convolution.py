"""These tests check E09: the rule on both sides, the number of independent values, and a run."""

import math

import numpy as np
import pytest

from minidl.lab import problems
from minidl.lab.experiments import e09_convolution as e09
from minidl.lab.verdict import Verdict

experiment = e09.Convolution()


def seed(**change):
    """Return a result of one layer for 60 images with 2 x 2 positions and 3 maps."""
    return {
        "layers": [
            {
                "apart": 1e-15,
                "counted": 240.0,
                "parameters": 6,
                "shape": [60, 2, 2, 3],
                "independent": 90.0,
                **change,
            }
        ],
        "photographs": [],
    }


@pytest.mark.parametrize(
    "change, verdict",
    [
        ({}, Verdict.SUPPORTED),
        ({"apart": 1e-6}, Verdict.REFUTED),
        ({"apart": math.nan}, Verdict.REFUTED),
        ({"counted": 60.0}, Verdict.REFUTED),
        ({"parameters": 24}, Verdict.REFUTED),
    ],
)
def test_the_rule_judges_figures_on_both_sides(change, verdict):
    assert experiment.judge([seed(), seed(**change)]).verdict is verdict


def test_the_count_is_that_of_positions():
    x = np.random.default_rng(0).normal(2, 3, (5, 3, 4, 2))
    found = e09.compared(x, seed=0)
    assert found["counted"] == pytest.approx(60)
    assert found["parameters"] == 4
    assert found["apart"] < 1e-13


def test_photographs_may_be_missing(monkeypatch):
    def missing(part):
        raise problems.MissingData("cifar10")

    monkeypatch.setattr(problems, "cifar10", missing)
    assert e09.photographs(0, {"images": 10, "batch": 5}) == []
    experiment.plot([seed(), {**seed(), "photographs": [70.0]}])


def test_independent_values():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 4, 4, 50))
    assert e09.independent(x, 60) == pytest.approx(60 * 16, rel=0.1)
    same = np.broadcast_to(x[:, :1, :1], x.shape)  # all positions are equal
    assert e09.independent(same, 60) == pytest.approx(60, rel=0.01)


def test_it_runs_and_is_judged_and_plotted(monkeypatch):
    pictures = np.random.default_rng(0).random((50, 8, 8, 3))
    monkeypatch.setattr(problems, "cifar10", lambda part: (pictures, None))
    results = [experiment.run(0, {"images": 40, "batch": 20})]
    assert experiment.judge(results).verdict is Verdict.SUPPORTED
    experiment.plot(results)
