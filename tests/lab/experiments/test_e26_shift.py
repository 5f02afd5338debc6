"""These tests check E26: all sides of the rule, and the sizes of activations."""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.lab import problems
from minidl.lab.experiments import e26_shift as e26
from minidl.lab.verdict import Verdict
from tests.support import random_images

experiment = e26.Shift()


def seeds(*growths, recovered=0.8):
    """Return a result for each seed, with this growth and this recovery for every shift."""
    return [
        {
            "clean": 0.7,
            "shifts": {
                name: {
                    "activations": [1.5, 1.6, 1.5 * g],
                    "away": [0.5, 0.6, 0.7],
                    "accuracy": 0.3,
                    "recalibrated": 0.3 + 0.4 * recovered,
                }
                for name in e26.COLOURS
            },
        }
        for g in growths
    ]


@pytest.mark.parametrize(
    "growths, recovered, verdict",
    [
        ((1.5, 1.6, 1.7), 0.8, Verdict.SUPPORTED),
        ((0.8, 0.9, 0.95), 0.8, Verdict.REFUTED),
        ((0.9, 1.1, 1.2), 0.8, Verdict.INCONCLUSIVE),
        ((1.5, 1.6, 1.7), 0.3, Verdict.REFUTED),
        ((1.5,), 0.8, Verdict.INCONCLUSIVE),
        ((1.5, np.inf), 0.8, Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(growths, recovered, verdict):
    assert experiment.judge(seeds(*growths, recovered=recovered)).verdict is verdict


def test_no_drop_is_no_recovery():
    (seed,) = seeds(1.5)
    seed["clean"] = 0.2
    assert np.isnan(e26.recovery(seed, "noise"))
    assert experiment.judge([seed]).verdict is Verdict.INCONCLUSIVE


def test_sizes_are_one_of_the_images_that_the_statistics_are_of():
    md.manual_seed(0)
    model = problems.c6(widths=(4, 4, 4))
    images = np.random.default_rng(0).standard_normal((40, 16, 16, 3)).astype(np.float32)
    nn.recalibrate(model, [images], quiet=True)
    np.testing.assert_allclose(e26.sizes(model.eval(), images, chunk=20), np.ones(6), atol=1e-3)


def test_sizes_of_the_first_layer_follow_the_contrast():
    md.manual_seed(0)
    model = problems.c6(widths=(4, 4, 4))
    images = np.random.default_rng(0).standard_normal((40, 16, 16, 3)).astype(np.float32)
    nn.recalibrate(model, [images], quiet=True)
    assert e26.sizes(model.eval(), 2 * images)[0] == pytest.approx(2, abs=0.1)


def test_a_training_that_diverges(monkeypatch):
    monkeypatch.setattr(e26, "cifar10", random_images.data(32, 32, 3))
    settings = {**experiment.settings(True), "rate": 1e30, "images": 40, "batch": 8, "test": 20}
    found = [experiment.run(0, settings)]
    assert found[0]["clean"] == 0.1
    assert experiment.judge(found * 2).verdict is Verdict.INCONCLUSIVE
    experiment.plot(found)


def test_one_seed_is_plotted():
    assert len(experiment.plot(seeds(1.5)).axes) == 2
