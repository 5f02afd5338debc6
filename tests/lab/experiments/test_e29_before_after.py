"""These tests check E29: the three sides of the rule."""

import math

import pytest

from minidl.lab import problems
from minidl.lab.experiments import e29_before_after as e29
from minidl.lab.verdict import Verdict
from tests.support import random_images

experiment = e29.BeforeAfter()
RECIPE = {"images": 200, "test": 500, "batch": 20, "rate": 0.1, "steps": 3}
TINY = {"mlp": RECIPE, "c6": {**RECIPE, "images": 40}}
BEFORE, AFTER, NEITHER, OPEN = (0.5, 0.6, 0.7), (-0.9, -0.6, -0.7), (-0.2, 0.1, 0.2), (-1, 0.5, 1)


def seeds(mlp, c6):
    """Return a result for each seed, in which "before" is so many points above "after"."""

    def arms(gain):
        return {
            name: {
                "accuracy": 0.5 + (gain / 100 if name == "before" else 0),
                "steps": [1, 2],
                "curve": [0.1, 0.5],
            }
            for name in ("before", "after")
        }

    return [{"mlp": arms(a), "c6": arms(b)} for a, b in zip(mlp, c6, strict=True)]


@pytest.mark.parametrize(
    "mlp, c6, verdict",
    [
        (BEFORE, BEFORE, Verdict.SUPPORTED),
        (BEFORE, AFTER, Verdict.REFUTED),
        (NEITHER, BEFORE, Verdict.REFUTED),
        (NEITHER, OPEN, Verdict.REFUTED),
        (BEFORE, OPEN, Verdict.INCONCLUSIVE),
        ((math.nan, 0.5, 0.6), BEFORE, Verdict.INCONCLUSIVE),
        ((0.5,), (0.5,), Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(mlp, c6, verdict):
    assert experiment.judge(seeds(mlp, c6)).verdict is verdict
    experiment.plot(seeds(mlp, c6))


@pytest.mark.parametrize(
    "gains, words",
    [
        (BEFORE, "so before is better"),
        (AFTER, "so after is better"),
        (NEITHER, "so the order does not matter"),
        (OPEN, "which does not decide it"),
        ((0.1, 0.2, 0.2), "so before is better"),
    ],
)
def test_words_are_those_of_the_interval(gains, words):
    assert e29.in_words(e29.gain(seeds(gains, gains), "mlp")) == words


def test_it_runs_and_is_judged_and_plotted(monkeypatch):
    monkeypatch.setattr(problems, "cifar10", random_images.data(32, 32, 3))
    found = [experiment.run(0, TINY)]
    assert experiment.judge(found).verdict is Verdict.INCONCLUSIVE
    experiment.plot(found)
