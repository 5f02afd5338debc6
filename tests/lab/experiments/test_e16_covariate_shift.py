"""These tests check E16: both parts of the rule on both sides, the noise, and what is measured."""

import math

import numpy as np
import pytest

import minidl as md
from minidl.lab import measures, problems, training
from minidl.lab.experiments import e16_covariate_shift as e16
from minidl.lab.verdict import Verdict

experiment = e16.CovariateShift()


def arm(shift, accuracy):
    return {
        "at": [1, 2],
        "accuracy": accuracy,
        "shift": [shift, shift],
        "cosine": [0.9, 0.9],
        "equal": [shift, shift],
        "drift": [0.1, 0.2],
    }


def seeds(*, shift=0.7, noisy=0.965, batch=0.97, none=0.95, spread=0.0):
    """Return results of three seeds at two rates, with a shift of 0.6 without BatchNorm and some
    spread.
    """
    return [
        {
            "rates": [0.1, 0.5],
            "none": [arm(0.6, none)] * 2,
            "batch": [arm(shift + spread * k, batch)] * 2,
            "noisy": [arm(0.8, noisy + spread * k)] * 2,
        }
        for k in (-1, 0, 1)
    ]


@pytest.mark.parametrize(
    "options, verdict",
    [
        ({}, Verdict.REFUTED),  # neither part holds
        ({"noisy": 0.94}, Verdict.REFUTED),  # only the first part fails
        ({"shift": 0.4}, Verdict.REFUTED),  # only the second part fails
        ({"shift": 0.4, "noisy": 0.94}, Verdict.SUPPORTED),  # noise cancels the gain
        # Noise cancels much of the gain.
        ({"shift": 0.4, "noisy": 0.955, "batch": 0.97}, Verdict.SUPPORTED),
        ({"shift": 0.6, "noisy": 0.96, "spread": 0.02}, Verdict.INCONCLUSIVE),
        ({"noisy": math.nan, "shift": math.nan}, Verdict.INCONCLUSIVE),
        # The noisy arm diverged, but the shift is not reduced.
        ({"noisy": math.nan}, Verdict.REFUTED),
    ],
)
def test_the_rule_judges_figures_on_both_sides(options, verdict):
    assert experiment.judge(seeds(**options)).verdict is verdict


def test_figures_are_means_over_the_rates():
    found = seeds(shift=0.4, noisy=0.94)
    for seed in found:
        seed["batch"] = [seed["batch"][0], arm(0.7, 0.99)]
    judged = experiment.judge(found)
    assert judged.verdict is Verdict.SUPPORTED
    assert judged.figures["shift of gradients, BatchNorm minus none"].value == pytest.approx(-0.05)
    assert judged.figures["points of BatchNorm above none"].value == pytest.approx(3)
    assert judged.figures["shift of gradients, rate 0.5, BatchNorm"].value == pytest.approx(0.7)


def test_the_verdict_says_what_comes_out_at_each_rate():
    found = seeds(shift=0.7)
    for place, seed in enumerate(found):
        seed["batch"][1] = arm((0.5, 0.4, 0.3)[place], 0.97)
    why = experiment.judge(found).why
    assert "more at rate 0.1 (0.70 of its norm with BatchNorm, 0.60 without)" in why
    assert "less at rate 0.5 (0.40 of its norm with BatchNorm, 0.60 without)" in why
    assert "about as much (-0.05)" in why
    assert "more at rate 0.1" in experiment.judge(found[:1]).why


def test_one_seed():
    assert experiment.judge(seeds()[:1]).verdict is Verdict.INCONCLUSIVE


def test_noise_is_new_at_each_step_and_has_its_moments():
    md.manual_seed(0)
    layer = e16.Noisy(200)
    x = np.random.default_rng(0).standard_normal((400, 200)).astype(np.float32)
    y = layer.norm(x).data
    first, second = (layer(x).data for _ in range(2))
    means = first.mean(axis=0)
    assert np.abs(means).max() < e16.MEAN + 0.02
    assert means.std() == pytest.approx(2 * e16.MEAN / math.sqrt(12), rel=0.15)
    assert np.corrcoef(means, second.mean(axis=0))[0, 1] < 0.3
    scales = (first * y).mean(axis=0)
    assert scales.mean() == pytest.approx((1 + e16.SCALE) / 2, abs=0.02)
    layer.eval()
    np.testing.assert_allclose(layer(x).data, layer.norm(x).data * 1.125)


def test_what_is_measured_is_that_of_a_step():
    md.manual_seed(0)
    model = problems.mlp("none", (6, 5, 4, 3))
    rng = np.random.default_rng(0)
    x, labels = rng.random((16, 6), np.float32), rng.integers(0, 3, 16)
    before = measures.values_of(model.parameters())
    found = e16.measured(model, x, labels, rate=0.5, step=1)
    assert all(np.array_equal(p.data, value) for p, value in before.items())
    assert list(found) == list(e16.FIGURES)
    assert found["shift"] > 0 and found["cosine"] <= 1
    assert found["equal"] > 0 and found["drift"] > 0
    still = e16.measured(model, x, labels, rate=0, step=1)
    assert still["shift"] == still["drift"] == 0


@pytest.fixture
def noise(monkeypatch):
    """Replace the digits by random images, so that nothing is read from disk."""
    rng = np.random.default_rng(0)
    arrays = rng.random((200, 28, 28, 1), np.float32), rng.integers(0, 10, 200)
    monkeypatch.setattr(problems, "mnist", lambda part: arrays)


@pytest.mark.usefixtures("noise")
def test_it_runs_and_is_judged_and_plotted():
    settings = {
        **experiment.settings(True),
        "steps": 4,
        "every": 2,
        "train": 200,
        "test": 100,
        "rates": [0.1, 0.5],
    }
    found = experiment.run(0, settings)
    assert found["batch"][0]["at"] == [2, 4]
    assert found["none"] == experiment.run(0, settings)["none"]
    assert experiment.judge([found]).verdict is Verdict.INCONCLUSIVE
    pytest.importorskip("matplotlib")
    assert len(experiment.plot([found]).axes) == 2
    found["none"][1] = {**arm(math.nan, math.nan), "at": [2, 4]}  # an arm that diverged
    experiment.plot([found])
    assert experiment.judge([found]).verdict is Verdict.INCONCLUSIVE


@pytest.mark.usefixtures("noise")
def test_an_arm_that_diverges():
    options = {**experiment.settings(True), "steps": 6, "every": 3, "train": 120, "test": 50}
    del options["rates"]
    found = e16.train_arm("none", 0, rate=1e30, **options)
    assert found["at"] == [3, 6] and found["accuracy"] == training.CHANCE
    assert len(found["shift"]) == 2 and math.isnan(found["shift"][1])
