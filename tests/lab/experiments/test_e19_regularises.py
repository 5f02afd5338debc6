"""These tests check E19: the rule on both sides, statistics of all images, and the noise of their
parts.
"""

import math

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.lab import problems, training
from minidl.lab.experiments import e19_regularises as e19
from minidl.lab.verdict import Verdict
from tests.support import random_images

experiment = e19.Regularises()
TINY = {
    "batch": 20,
    "rate": 0.05,
    "test": 50,
    "mnist": {"images": 40, "epochs": 1, "ghosts": [10, 32], "all": True},
    "cifar10": {"images": 40, "epochs": 1, "ghosts": [10, 32], "all": False},
}


def seed(none, *gaps):
    """Return a result with the same gaps on both data sets, that of the noisiest arm first."""
    arms = zip(("none", "16", "32", "256", "all"), (none, *gaps), strict=True)
    found = {
        arm: {"train": 100.0, "test": 100 - gap, "train loss": 0.0, "test loss": gap}
        for arm, gap in arms
    }
    return dict.fromkeys(e19.NAMES, found)


@pytest.mark.parametrize(
    "seeds, verdict",
    [
        ([seed(6, 4, 4.5, 5, 5.2), seed(6.2, 4, 4.4, 5, 4.9)], Verdict.SUPPORTED),
        # The gap is smaller than without BatchNorm, but it rises with the noise.
        ([seed(6, 5.2, 5, 4.5, 4), seed(6, 5.3, 5, 4.4, 4)], Verdict.REFUTED),
        # The gap falls with the noise, but it is not smaller than without BatchNorm.
        ([seed(4, 4, 4.5, 5, 5.2), seed(4, 4, 4.4, 5, 5.1)], Verdict.REFUTED),
        # The trend is right, but one step of it is clearly in the wrong direction.
        ([seed(6, 4, 4.5, 4.4, 5), seed(6, 4, 4.6, 4.4, 5)], Verdict.REFUTED),
        ([seed(6, 4, 4.5, 5, 5.2), seed(4, 4, 4.5, 5, 5.2)], Verdict.INCONCLUSIVE),
        ([seed(6, 4, 4.5, 5, 5.2)], Verdict.INCONCLUSIVE),
        ([seed(6, 4, 4.5, 5, math.nan), seed(6, 4, 4.5, 5, 5)], Verdict.INCONCLUSIVE),
        ([seed(0, 4, 4.5, 5, 5), seed(0, 4, 4.5, 5, 5)], Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(seeds, verdict):
    assert experiment.judge(seeds).verdict is verdict


def test_with_all_has_the_same_batches_and_every_image():
    arrays = np.arange(10), np.arange(10) * 2
    plain, full = problems.batches(arrays, 4, 3), e19.with_all(arrays, 4, 3)
    for _ in range(5):
        (images, labels), (everything, first) = next(plain), next(full)
        assert np.array_equal(everything[:4], images)
        assert np.array_equal(first, labels)
        assert sorted(everything) == list(range(10))


def test_loss_of_the_first_images():
    logits = md.randn(6, 10)
    labels = np.arange(4)
    assert e19.of_first(logits, labels).data == md.cross_entropy(logits[:4], labels).data


def test_parts_are_normalized_each():
    model = e19.network("5", 8, seed=0)
    norm = model.norm1
    with training.quiet():
        y = norm(md.randn(10, 100)).data
    assert isinstance(norm, nn.BatchNorm)
    assert np.abs(y[:5].mean(axis=0)).max() < 1e-5
    assert isinstance(e19.network("none", 8, seed=0).norm1, nn.Identity)
    assert np.array_equal(e19.network("all", 8, 0).dense2.weight.data, model.dense2.weight.data)


def test_rank_correlation():
    assert e19.rank_correlation(seed(9, 1, 2, 3, 4)["mnist"]) == -1
    assert e19.rank_correlation(seed(9, 4, 3, 2, 1)["mnist"]) == 1


def test_it_runs_and_is_judged_and_plotted(monkeypatch):
    monkeypatch.setattr(e19.problems, "mnist", random_images.data(28, 28, 1))
    monkeypatch.setattr(e19.problems, "cifar10", random_images.data(32, 32, 3))
    results = [experiment.run(number, TINY) for number in range(2)]
    assert set(results[0]["mnist"]) == {"none", "10", "32", "all"}
    assert experiment.judge(results).figures
    assert experiment.plot(results[:1]).axes
