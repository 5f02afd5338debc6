"""These tests check E33: all sides of the rule, the kinds of input, and the best rate."""

import numpy as np
import pytest

import minidl as md
from minidl.lab.experiments import e33_scattered_input as e33
from minidl.lab.problems import mnist
from minidl.lab.verdict import Verdict

experiment = e33.ScatteredInput()


def seeds(*raw):
    """Return a result for each seed, in which the raw input needs so many steps at its best
    rate.
    """
    return [
        {
            "rates": [0.1, 1.0],
            "limit": 6000,
            "sigmoid": {
                "raw": [[6000, 0.2], [steps, 0.95]],
                "standardized": [[1000, 0.95], [3000, 0.95]],
                "BatchNorm first": [[1000, 0.95], [6000, 0.1]],
            },
        }
        for steps in raw
    ]


@pytest.mark.parametrize(
    "raw, verdict",
    [
        ((2500, 3000, 6000), Verdict.SUPPORTED),
        ((1000, 1200, 1500), Verdict.REFUTED),
        ((1500, 2500, 3000), Verdict.INCONCLUSIVE),
        ((6000,), Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(raw, verdict):
    assert experiment.judge(seeds(*raw)).verdict is verdict


def test_what_is_never_reached_gives_a_bound():
    assert "the ratio is at least 6.0" in experiment.judge(seeds(6000, 6000)).why
    why = experiment.judge(seeds(3000, 6000)).why
    assert "needs 4,500 steps at its best rate" in why and "at least" not in why


def test_best_of_equal_steps_is_the_most_accurate():
    seed = {"rates": [0.1, 1.0, 3.0], "sigmoid": {"raw": [[6000, 0.2], [6000, 0.9], [6000, 0.1]]}}
    assert e33.best(seed, "sigmoid", "raw") == (6000, 1.0, 0.9)


def test_inputs():
    images, _ = mnist("test")
    raw = e33.scaled("raw", images[:100])
    assert raw.min() == 0 and raw.max() == 255
    standard = e33.scaled("standardized", images)
    assert abs(standard.mean()) < 0.05 and abs(standard.std() - 1) < 0.05


def test_arms_start_with_the_same_weights():
    weights = []
    for kind in e33.INPUTS:
        md.manual_seed(1)
        weights.append(
            [p.data for p in e33.build(kind, "sigmoid").parameters() if p.data.ndim == 2]
        )
    assert all(
        np.array_equal(a, b)
        for other in weights[1:]
        for a, b in zip(weights[0], other, strict=True)
    )


def test_what_is_not_reached_is_the_limit():
    settings = {"every": 1, "limit": 2, "target": 1.1}
    images, labels = mnist("test")
    steps, reached = e33.steps_to(settings, "raw", "sigmoid", 0.1, 0, (images[:50], labels[:50]))
    assert steps == 2 and 0 <= reached <= 1


def test_one_seed_is_plotted():
    assert len(experiment.plot(seeds(2000)).axes) == 1
