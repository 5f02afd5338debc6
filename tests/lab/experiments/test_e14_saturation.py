"""These tests check E14: the rule on both sides, what counts as saturated, and which gradients are
measured.
"""

import numpy as np
import pytest

import minidl as md
from minidl.lab.experiments import e14_saturation as e14
from minidl.lab.problems import mlp
from minidl.lab.verdict import Verdict

experiment = e14.Saturation()
TINY = {
    "depth": 3,
    "width": 20,
    "rates": [0.1, 1],
    "steps": 40,
    "every": 20,
    "batch": 20,
    "images": 50,
}


def seeds(*pairs):
    """Return results with these accuracies without and with BatchNorm."""

    def arm(accuracy):
        courses = [
            {"rate": rate, "every": 10, "loss": 1.0, "accuracy": [0.1, value]}
            for rate, value in ((0.1, accuracy), (1, 0.1))
        ]
        return {"courses": courses, "start": 0.0, "end": 0.1, "gradients": [0.01, 0.1, 1.0]}

    return [{"none": arm(none), "batch": arm(batch), "relu": arm(0.97)} for none, batch in pairs]


@pytest.mark.parametrize(
    "pairs, verdict",
    [
        (((0.11, 0.96), (0.1, 0.97), (0.12, 0.96)), Verdict.SUPPORTED),
        (((0.5, 0.96), (0.6, 0.97), (0.4, 0.96)), Verdict.REFUTED),
        (((0.11, 0.9), (0.1, 0.91), (0.12, 0.8)), Verdict.REFUTED),
        (((0.11, 0.96), (0.1, 0.97), (0.9, 0.96)), Verdict.INCONCLUSIVE),
        (((0.11, 0.96),), Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(pairs, verdict):
    assert experiment.judge(seeds(*pairs)).verdict is verdict


def test_the_verdict_says_what_it_is_not_about():
    why = experiment.judge(seeds((0.11, 0.96), (0.1, 0.97))).why
    assert "The verdict is about this, not about saturation" in why
    assert "0.0% of the sigmoids are saturated at the start (with it 10.0% after" in why


def test_saturated_are_the_sigmoids_at_their_ends():
    md.manual_seed(0)
    images = np.random.default_rng(0).random((40, 6), np.float32)
    assert e14.saturated(mlp("none", (6, 5, 10), std=1e-3), images) == 0
    assert e14.saturated(mlp("none", (6, 5, 10), std=1e3), images) > 0.95


def test_gradients_are_those_of_the_weights_in_their_order():
    md.manual_seed(0)
    model = mlp("none", (6, 5, 10))
    rng = np.random.default_rng(0)
    images, labels = rng.random((40, 6), np.float32), rng.integers(0, 10, 40)
    md.cross_entropy(model(images), labels).backward()
    assert e14.gradient_norms(model, (images, labels)) == pytest.approx(
        [np.linalg.norm(model.dense1.weight.grad), np.linalg.norm(model.dense2.weight.grad)]
    )


def test_it_runs_and_is_judged_and_plotted():
    found = [experiment.run(0, TINY)]
    assert len(found[0]["none"]["gradients"]) == 4
    experiment.judge(found)
    experiment.plot(found)
