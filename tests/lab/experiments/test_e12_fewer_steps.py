"""These tests check E12: the rule on both sides, and which trainings are compared."""

import pytest

from minidl.lab.experiments import e12_fewer_steps as e12
from minidl.lab.verdict import Verdict

experiment = e12.FewerSteps()


def course(rate, reached, best=0.8, steps=28):
    """Return a course that reaches 0.8 at a checkpoint, or never gets above `best`."""
    return {
        "rate": rate,
        "every": 10,
        "loss": 1.0,
        "accuracy": [best if place >= reached else 0.3 for place in range(1, steps + 1)],
    }


def arms(same, tuned):
    """Return the arms: without BatchNorm the target is reached at checkpoint 28, at the better of
    two rates; with BatchNorm as given.
    """
    return {
        "none": [course(0.1, 28), course(0.3, 28, best=0.6)],
        "batch": [course(0.1, same), course(0.3, tuned)],
    }


def seeds(*reached):
    return [{"mlp": arms(same, 2), "c6": arms(same, 2)} for same in reached]


@pytest.mark.parametrize(
    "reached, verdict",
    [
        ((7, 10, 14), Verdict.SUPPORTED),
        ((20, 28, 99), Verdict.REFUTED),
        ((7, 20, 28), Verdict.INCONCLUSIVE),
        ((7,), Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(reached, verdict):
    assert experiment.judge(seeds(*reached)).verdict is verdict


def test_one_network_of_the_two_refutes():
    found = [{"mlp": arms(7, 2), "c6": arms(28, 2)} for _ in range(3)]
    assert experiment.judge(found).verdict is Verdict.REFUTED


def test_the_rate_is_the_best_one_without():
    assert e12.at_same_rate(arms(14, 2)) == 2
    assert e12.at_fastest_rate(arms(14, 2)) == 14
    assert e12.at_same_rate(arms(99, 99)) == 0
    assert [found["rate"] for found in e12.chosen(arms(14, 2))] == [0.1, 0.1, 0.3]


def test_a_seed_that_never_reaches_the_target_is_reported():
    assert e12.in_words([2, 2]) == "1/2"
    assert e12.in_words([1, 1.8, 0]) == "1/1 and 1/1.8, and never as accurate in 1 seed"
    assert e12.in_words([0, 0]) == "never as accurate in 2 seeds"


def test_one_seed_is_plotted():
    experiment.plot(seeds(14))


def test_an_mlp_at_a_rate():
    settings = {"steps": 40, "every": 20, "batch": 20, "std": 0.1}
    found = e12.mlp_course("batch", 0.5, 0, settings)
    assert found == e12.mlp_course("batch", 0.5, 0, settings)
    assert found["rate"] == 0.5
    assert len(found["accuracy"]) == 2
