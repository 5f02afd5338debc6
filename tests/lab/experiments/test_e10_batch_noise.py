"""These tests check E10: the rule on both sides and in between, the law, and a run."""

import math

import numpy as np
import pytest

from minidl.lab.experiments import e10_batch_noise as e10
from minidl.lab.verdict import Verdict

experiment = e10.BatchNoise()
SIZES = [32, 64, 128]


def seeds(*slopes):
    """Return results whose outputs have these slopes, while the means follow the law."""
    return [
        {
            "sizes": SIZES,
            "distance": 4.0,
            "far": [0.1] * 3,
            "distances": [0, 1],
            "at 0": [0.1] * 3,
            "at 1": [0.2, 0.1, 0.05],
            "mean": [n**-0.5 for n in SIZES],
            "output": [n**slope for n in SIZES],
        }
        for slope in slopes
    ]


@pytest.mark.parametrize(
    "slopes, verdict",
    [
        ((-0.50, -0.51, -0.49), Verdict.SUPPORTED),
        ((-0.30, -0.31, -0.29), Verdict.REFUTED),
        ((-0.50, -0.51, -0.40), Verdict.INCONCLUSIVE),
        ((-0.50,), Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(slopes, verdict):
    assert experiment.judge(seeds(*slopes)).verdict is verdict


def test_no_number_is_inconclusive():
    results = seeds(-0.5, -0.5)
    results[0]["output"] = [math.nan] * 3
    assert experiment.judge(results).verdict is Verdict.INCONCLUSIVE
    experiment.plot(results)


def test_slope():
    assert e10.slope([1, 10, 100], [1, 0.1, 0.01]) == pytest.approx(-1)
    assert math.isnan(e10.slope([1, 10], [1, 0]))


def test_examples_at_a_distance():
    x = np.random.default_rng(0).standard_normal((400, 30))
    rows, columns = e10.at_distance(x, 2, count=5)
    assert np.abs(x[rows, columns]) == pytest.approx(np.full(5, 2), abs=0.02)
    assert np.abs(x[e10.farthest(x)]).item() == np.abs(x).max()


def test_noise_of_normal_values():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5000, 2))
    x[0] = 0
    means, outputs = e10.drawn(x, np.array([0]), np.array([1]), 64, 2000, rng)
    assert means.shape == (2000, 2)
    assert means.std(axis=0) == pytest.approx([1 / 8, 1 / 8], rel=0.08)
    assert outputs.std() == pytest.approx(1 / 8, rel=0.08)


def test_it_runs_and_is_judged_and_plotted():
    settings = {
        "images": 500,
        "examples": 5,
        "units": 6,
        "sizes": [16, 64],
        "distances": [0, 2],
        "draws": 40,
    }
    results = [experiment.run(0, settings)]
    assert experiment.judge(results).verdict is Verdict.INCONCLUSIVE
    assert -0.7 < e10.slope([16, 64], results[0]["output"]) < -0.3
    experiment.plot(results)
