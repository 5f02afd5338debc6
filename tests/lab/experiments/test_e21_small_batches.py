"""These tests check E21: the rule on both sides, the separate question of monotonicity, and the
normalization for each batch size.
"""

import math

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.lab.experiments import e21_small_batches as e21
from minidl.lab.verdict import Verdict
from tests.support import random_images

experiment = e21.SmallBatches()
TINY = {
    "images": 64,
    "epochs": 1,
    "test": 50,
    "rate": 0.05,
    "sizes": {"batch": [16, 32], "group": [16, 32], "renorm": [16]},
}
LARGER = "larger batches are better with BatchNorm"


def seed(batch, group):
    """Return the result of these accuracies at batch sizes 2, 8 and 32."""

    def points(values):
        return dict(zip(("2", "8", "32"), np.divide(values, 100).tolist(), strict=True))

    return {
        "accuracy": {
            "batch": points(batch),
            "precise": points(batch),
            "group": points(group),
            "renorm": {"2": 0.4},
        }
    }


@pytest.mark.parametrize(
    "seeds, verdict, larger",
    [
        (
            [seed((40, 48, 50), (49, 49, 49)), seed((41, 48, 50), (48, 49, 50))],
            "SUPPORTED",
            "SUPPORTED",
        ),
        (
            [seed((40, 52, 50), (49, 49, 49)), seed((41, 52, 50), (48, 49, 50))],
            "SUPPORTED",
            "REFUTED",
        ),
        (
            [seed((48, 49, 50), (49, 49, 49)), seed((49, 49, 50), (48, 49, 50))],
            "REFUTED",
            "INCONCLUSIVE",
        ),
        (
            [seed((40, 48, 50), (49, 49, 49)), seed((49, 49, 50), (48, 49, 50))],
            "INCONCLUSIVE",
            "INCONCLUSIVE",
        ),
        ([seed((40, 48, 50), (49, 49, 49))], "INCONCLUSIVE", "INCONCLUSIVE"),
        ([seed((40, 48, math.nan), (49, 49, 49))] * 2, "INCONCLUSIVE", "INCONCLUSIVE"),
    ],
)
def test_the_rule_judges_figures_on_both_sides(seeds, verdict, larger):
    judgement = experiment.judge(seeds)
    assert judgement.verdict is Verdict(verdict)
    assert judgement.figures[LARGER] == larger


def test_the_verdict_says_who_loses_and_who_gains():
    why = experiment.judge([seed((40, 48, 50), (53, 49, 49))] * 2).why
    assert why.startswith(
        "From batches of 32 to batches of 2 BatchNorm loses 10.0 points and GroupNorm gains 4.0; "
        "at 2 they have 40.0% and 53.0%."
    )


def test_smaller_pictures_are_the_means_of_their_pixels():
    images = np.random.default_rng(0).standard_normal((2, 4, 4, 3)).astype(np.float32)
    labels = np.array([1, 2])
    assert e21.smaller((images, labels), 1)[0] is images
    found, same = e21.smaller((images, labels), 2)
    assert found.shape == (2, 2, 2, 3) and same is labels
    np.testing.assert_allclose(found[1, 1, 0], images[1, 2:, :2].mean(axis=(0, 1)), rtol=1e-6)


def test_layer_norm_is_that_of_an_image():
    y = e21.norm_of("layer", 2, 100)(16)(md.randn(3, 4, 4, 16)).data
    assert np.abs(y.reshape(3, -1).mean(axis=1)).max() < 1e-5
    assert y.reshape(3, -1).std(axis=1) == pytest.approx(1, abs=1e-3)


def test_batch_renorm_averages_as_many_images_at_each_size():
    for size in (2, 32):
        norm = e21.norm_of("renorm", size, 320 * 32 // size)(8)
        assert size / norm.momentum == e21.LARGEST / e21.MOMENTUM
        assert norm.renorm.warmup * size == 512
        assert norm.renorm.limits(320 * 32 // size) == (3.0, 5.0)


def test_all_sizes_see_the_same_number_of_images(monkeypatch):
    steps = {}
    monkeypatch.setattr(
        e21.training,
        "train",
        lambda model, optimizer, batches, count, schedule: (
            steps.update({next(batches)[0].shape[0]: (count, optimizer.lr)}) or [1.0]
        ),
    )
    arrays = np.zeros((64, 32, 32, 3), np.float32), np.zeros(64, np.int64)
    for size in (2, 32):
        assert isinstance(e21.fit("group", size, arrays, 0, TINY)[0], nn.Layer)
    assert steps == {2: (32, pytest.approx(0.05 / 16)), 32: (2, 0.05)}


def test_it_runs_and_is_judged_and_plotted(monkeypatch):
    monkeypatch.setattr(e21.problems, "cifar10", random_images.data(32, 32, 3))
    results = [experiment.run(number, TINY) for number in range(2)]
    assert set(results[0]["accuracy"]) == {"batch", "precise", "group", "renorm"}
    assert experiment.judge(results).figures
    assert experiment.plot(results[:1]).axes


def test_what_diverges_has_its_place_among_the_results(monkeypatch):
    monkeypatch.setattr(e21.problems, "cifar10", random_images.data(32, 32, 3))
    results = [experiment.run(number, {**TINY, "rate": 1e30}) for number in range(2)]
    assert results[0]["accuracy"]["precise"] == {"16": 0.1, "32": 0.1}
    assert experiment.judge(results).verdict is Verdict.REFUTED
    experiment.plot(results)
