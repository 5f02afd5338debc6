"""These tests check E22: all sides of the rule, the averages, and what is computed from batches."""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.lab import problems
from minidl.lab.experiments import e22_population as e22
from minidl.lab.verdict import Verdict
from tests.support import random_images

experiment = e22.Population()


def seeds(*ahead, gain=0.001):
    """Return a result for each seed, in which all other statistics are so far ahead of the average
    over all batches early on, and the largest pass is so far ahead of the one before it.
    """
    found = {"shift of the means, std": 0.5, "factor of the variances": 1.5}
    return [
        {
            "checkpoints": [10, 20],
            "early": 10,
            "accuracy": {
                "all batches": [0.3, 0.5],
                **{name: [0.3 + a, 0.5] for name in ("EMA 0.9", "EMA 0.99", "precise")},
            },
            "samples": [100, 1000, 2000],
            "by samples": [0.4, 0.5, 0.5 + gain * i],
            "distances": dict.fromkeys(e22.KEEPS, found),
            "averaged": {"8": {"accuracy, precise": 0.5}},
        }
        for i, a in enumerate(ahead)
    ]


@pytest.mark.parametrize(
    "ahead, gain, verdict",
    [
        ((0.05, 0.06, 0.07), 0.001, Verdict.SUPPORTED),
        ((-0.05, -0.06, 0.0), 0.001, Verdict.REFUTED),
        ((-0.05, 0.06, 0.07), 0.001, Verdict.INCONCLUSIVE),
        ((0.05, 0.06, 0.07), 0.01, Verdict.INCONCLUSIVE),
        ((0.05,), 0.001, Verdict.INCONCLUSIVE),
        ((0.05, np.nan), 0.001, Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(ahead, gain, verdict):
    assert experiment.judge(seeds(*ahead, gain=gain)).verdict is verdict


def test_a_larger_pass_that_is_better_refutes():
    assert (
        experiment.judge(
            [
                dict(seed, **{"by samples": [0.4, 0.5, 0.55 + i / 100]})
                for i, seed in enumerate(seeds(0.1, 0.1))
            ]
        ).verdict
        is Verdict.REFUTED
    )


def test_averages():
    values = [[(np.array([v]), np.array([2 * v]))] for v in (1.0, 2.0, 6.0)]
    plain, moving = e22.Average(None), e22.Average(0.9)
    for value in values:
        plain.take(value)
        moving.take(value)
    assert plain.value[0][0] == pytest.approx(3) and plain.value[0][1] == pytest.approx(6)
    assert moving.value[0][0] == pytest.approx(0.081 + 0.18 + 0.6)
    assert moving.value[0][1] == pytest.approx(0.729 + 0.162 + 0.36 + 1.2)


def test_distances():
    reference = [(np.array([0.0, 1.0]), np.array([4.0, 1.0]))]
    found = e22.distances([(np.array([2.0, 1.0]), np.array([8.0, 2.0]))], reference)
    assert found["shift of the means, std"] == pytest.approx(np.sqrt(0.5))
    assert found["factor of the variances"] == pytest.approx(2)


def test_mean_of_sigma_is_too_small():
    md.manual_seed(0)
    model = problems.mlp(lambda features: nn.BatchNorm(features, momentum=1.0), (4, 8, 3))
    rng = np.random.default_rng(0)
    arrays = rng.standard_normal((64, 4), np.float32), rng.integers(3, size=64)
    found = e22.sigma_or_square(model, problems.batches(arrays, 8, 0), arrays)
    sigma, square = (
        found[f"variance by the mean of {name}, of the precise one"]
        for name in ("sigma", "sigma^2")
    )
    assert sigma < square < 1
    assert square == pytest.approx(7 / 8, abs=0.03)  # from batches of 8 independent values


@pytest.mark.parametrize("rate", [0.1, 1e30])
def test_it_runs_and_is_judged_and_plotted(rate, monkeypatch):
    monkeypatch.setattr(e22, "cifar10", random_images.data(32, 32, 3))
    settings = {
        **experiment.settings(True),
        "images": 40,
        "test": 20,
        "batch": 8,
        "early": 4,
        "checkpoints": [2, 4],
        "samples": [20, 30],
        "reference": 40,
        "sizes": [8],
        "widths": [8, 8, 8],
        "rate": rate,
    }
    results = [experiment.run(number, settings) for number in range(2)]
    assert set(results[0]) == set(seeds(0.1)[0])
    assert [len(curve) for curve in results[0]["accuracy"].values()] == [2] * 4
    assert experiment.judge(results).figures
    experiment.plot(results)
