"""These tests check E30a: the rule on both sides."""

import math

import pytest

from minidl.lab import problems
from minidl.lab.experiments import e30_cnn as e30
from minidl.lab.verdict import Verdict
from tests.support import random_images

experiment = e30.BatchOrLayerInCNN()
TINY = {"images": 40, "test": 40, "batch": 20, "rates": [0.1, 0.02], "steps": 3, "points": 3}


def seeds(layer, image):
    """Return a result for each seed, in which BatchNorm is so many points above the two forms of
    LayerNorm. Its best rate is 0.1, and theirs is 0.02.
    """

    def arm(name, gain):
        return {
            rate: {"accuracy": value, "steps": [1, 2], "curve": [0.3, 0.6]}
            for rate, value in (
                ("0.1", 0.6 if name == "batch" else 0.1),
                ("0.02", 0.6 - gain / 100 if name != "batch" else 0.1),
            )
        }

    return [
        {name: arm(name, gain) for name, gain in (("batch", 0), ("layer", a), ("image", b))}
        for a, b in zip(layer, image, strict=True)
    ]


@pytest.mark.parametrize(
    "layer, image, verdict",
    [
        ((2, 3, 4), (1, 2, 3), Verdict.SUPPORTED),
        ((2, 3, 4), (-1, -2, -3), Verdict.REFUTED),
        ((2, 3, 4), (-1, 2, 3), Verdict.INCONCLUSIVE),
        ((2,), (2,), Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(layer, image, verdict):
    assert experiment.judge(seeds(layer, image)).verdict is verdict
    experiment.plot(seeds(layer, image))


def test_the_better_rate_counts():
    found = seeds((2, 3), (1, math.nan))
    assert [e30.better_rate(found, arm) for arm in e30.ARMS] == ["0.1", "0.02", "0.1"]
    judged = experiment.judge(seeds((2, 3), (1, 2)))
    assert judged.figures["BatchNorm minus LayerNorm, whole image, points"].value == pytest.approx(
        1.5
    )


def test_it_runs_and_is_judged_and_plotted(monkeypatch):
    monkeypatch.setattr(problems, "cifar10", random_images.data(32, 32, 3))
    found = [experiment.run(0, TINY)]
    assert experiment.judge(found).verdict is Verdict.INCONCLUSIVE
    experiment.plot(found)
