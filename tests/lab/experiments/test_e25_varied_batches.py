"""These tests check E25: the rule on both sides, the batches of few classes, and both modes."""

import math

import numpy as np
import pytest

from minidl import nn
from minidl.lab import training
from minidl.lab.experiments import e25_varied_batches as e25
from minidl.lab.verdict import Verdict
from tests.support import random_images

experiment = e25.VariedBatches()


def seed(train, evaluated, group=50.0):
    """Return BatchNorm's accuracy in both modes after batches of two classes and of one, and
    GroupNorm's.
    """

    def arm(train, evaluated):
        return {"train": train / 100, "eval": evaluated / 100}

    few = {
        f"{norm} {classes}": values
        for classes in (2, 1)
        for norm, values in (
            ("batch", arm(train, evaluated)),
            ("group", arm(group, group)),
            ("renorm", arm(50, 45)),
        )
    }
    return {
        "accuracy": {
            "batch 10": arm(52, 51),
            "group 10": arm(51, 51),
            "renorm 10": arm(50, 50),
            **few,
        }
    }


@pytest.mark.parametrize(
    "seeds, verdict",
    [
        ([seed(60, 20), seed(62, 15)], Verdict.SUPPORTED),
        ([seed(60, 50), seed(62, 45)], Verdict.REFUTED),  # accuracy hardly falls
        ([seed(40, 15), seed(42, 14)], Verdict.REFUTED),  # training mode is bad, too
        ([seed(60, 20, 40), seed(62, 15, 41)], Verdict.REFUTED),  # GroupNorm is as bad
        ([seed(60, 20), seed(62, 45)], Verdict.INCONCLUSIVE),
        ([seed(60, 20)], Verdict.INCONCLUSIVE),
        ([seed(60, math.nan), seed(62, 15)], Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(seeds, verdict):
    assert experiment.judge(seeds).verdict is verdict


@pytest.mark.parametrize("classes", [1, 2])
def test_batches_of_few_classes(classes):
    labels = np.random.default_rng(0).integers(0, 10, 500)
    made = e25.batches_of((np.arange(500), labels), 8, classes, seed=1)
    seen = set()
    for _ in range(60):
        rows, found = next(made)
        assert np.array_equal(labels[rows], found)
        kinds, counts = np.unique(found, return_counts=True)
        assert list(counts) == [8 // classes] * classes
        seen.update(kinds)
    assert len(seen) == 10


def test_modes_are_distinguished():
    norm = nn.BatchNorm(10, affine=False)
    batches = [(np.eye(10, dtype=np.float32)[[1, 1, 2, 2]] + 5, np.array([1, 1, 2, 2]))]
    norm.running_mean[...] = [9, *[5.0] * 9]
    with training.quiet():
        assert e25.accuracy(norm, batches, training=True) == 1
    norm.running_mean[...] = [0, *[9.0] * 9]
    assert e25.accuracy(norm, batches, training=False) == 0


def test_it_runs_and_is_judged_and_plotted(monkeypatch):
    monkeypatch.setattr(e25.problems, "mnist", random_images.data(28, 28, 1))
    settings = {
        "norms": ["batch", "group", "renorm"],
        "batch": 8,
        "steps": 3,
        "rate": 0.01,
        "trials": 2,
    }
    results = [experiment.run(number, settings) for number in range(2)]
    assert len(results[0]["accuracy"]) == 9
    assert results[0]["accuracy"]["group 1"]["eval"] == results[0]["accuracy"]["group 1"]["train"]
    assert experiment.judge(results).figures
    assert experiment.plot(results[:1]).axes
