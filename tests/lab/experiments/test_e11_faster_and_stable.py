"""These tests check E11: the rule on both sides, and how drift is measured."""

import numpy as np
import pytest

import minidl as md
from minidl.lab.experiments import e11_faster_and_stable as e11
from minidl.lab.problems import mlp
from minidl.lab.verdict import Verdict

experiment = e11.FasterAndStable()
TINY = {"rates": [0.5], "steps": 60, "every": 20, "batch": 20, "std": 0.1, "images": 50}


def arm(accuracy, drift):
    """Return the result of an arm."""
    return {
        "rate": 0.1,
        "every": 10,
        "loss": 1.0,
        "accuracy": accuracy,
        "drift": drift,
        "path": 2 * drift,
        "width": 1.0,
        "drift in eval mode": drift,
        "typical": [[-1, 0, 1]] * len(accuracy),
    }


def seeds(*pairs):
    """Return results in which BatchNorm is ahead at so many of ten checkpoints, with these
    drifts.
    """
    return [
        {
            "0.1": {
                "batch": arm([0.9] * ahead + [0.5] * (10 - ahead), drift),
                "none": arm([0.6] * 10, 1.0),
            }
        }
        for ahead, drift in pairs
    ]


@pytest.mark.parametrize(
    "pairs, verdict",
    [
        (((10, 0.3), (9, 0.4), (10, 0.2)), Verdict.SUPPORTED),
        (((7, 0.3), (6, 0.4), (8, 0.2)), Verdict.REFUTED),
        (((10, 0.8), (9, 0.9), (10, 1.2)), Verdict.REFUTED),
        (((10, 0.3), (9, 0.6), (10, 0.2)), Verdict.INCONCLUSIVE),
        (((10, 0.3), (9, np.nan), (10, 0.2)), Verdict.INCONCLUSIVE),
        (((10, 0.3),), Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(pairs, verdict):
    assert experiment.judge(seeds(*pairs)).verdict is verdict


def test_drift_is_the_range_over_time_and_path_the_sum_of_the_changes():
    rows = np.zeros((4, 3, 5))
    rows[:, :, 0] = np.array([0, 2, 1, 4])[:, None]
    rows[:, 2] += 6
    found = e11.wandering(rows)
    assert found["drift"] == pytest.approx(4 / 5)
    assert found["path"] == pytest.approx((2 + 1 + 3) / 5)
    assert found["width"] == 6
    assert found["typical"] == [[0, 0, 6]] * 4


def test_what_has_diverged_at_once_has_no_drift():
    assert np.isnan(e11.wandering(np.array([]))["drift"])


@pytest.mark.parametrize("training", [True, False])
def test_percentiles_are_those_of_the_input_of_the_sigmoids(training):
    md.manual_seed(0)
    model = mlp("batch", (6, 5, 10))
    images = np.random.default_rng(0).random((40, 6), np.float32)
    found = e11.percentiles(model, "act1", images, training)
    assert model.norm1.num_batches == 0
    assert model.training
    model.train(training)
    inputs = model.norm1(model.dense1(images)).data
    assert np.array_equal(found, np.percentile(inputs, [15, 50, 85], axis=0))


def test_it_runs_and_is_judged_and_plotted():
    found = [experiment.run(0, TINY)]
    again = experiment.run(0, TINY)
    assert found[0] == again
    assert len(found[0]["0.5"]["batch"]["typical"]) == 3
    experiment.judge(found)
    experiment.plot(found)
    experiment.plot(seeds((5, np.nan), (5, 1.0)))
