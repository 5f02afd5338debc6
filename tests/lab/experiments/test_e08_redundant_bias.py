"""These tests check E08: the rule on both sides, which biases are counted, and a run."""

import math

import pytest

from minidl.lab import problems
from minidl.lab.experiments import e08_redundant_bias as e08
from minidl.lab.verdict import Verdict

experiment = e08.RedundantBias()


def seed(largest=1e-16):
    """Return a result with this largest gradient."""
    arm = {"steps": [1, 2], "rms": [1e-6, 1e-5], "largest": 1e-4}
    return {
        "relative": {"MLP": [largest], "C6": [0.0]},
        "largest": largest,
        "losses apart": 0.0,
        "drift": dict.fromkeys(e08.ARMS, arm),
        "wasted": {"MLP": [300, 90000]},
    }


@pytest.mark.parametrize(
    "largest, verdict",
    [(1e-16, Verdict.SUPPORTED), (1e-9, Verdict.REFUTED), (math.nan, Verdict.REFUTED)],
)
def test_the_rule_judges_figures_on_both_sides(largest, verdict):
    results = [seed(), seed(largest)]
    assert experiment.judge(results).verdict is verdict
    experiment.plot(results)


def test_each_layer_before_a_normalization_gets_a_bias():
    assert e08.wasted(problems.c6())[0] == 2 * (16 + 32 + 64)
    model = e08.biased(problems.mlp())
    assert [getattr(model, f"dense{i}").bias is not None for i in range(1, 5)] == [True] * 4
    assert sum(p.data.size for p in model.parameters()) == e08.wasted(problems.mlp())[1]


def test_it_runs_and_is_judged_and_plotted():
    results = [experiment.run(0, {"images": 240, "batch": 12, "steps": 10})]
    assert experiment.judge(results).verdict is Verdict.SUPPORTED
    assert results[0]["losses apart"] < 1e-10
    experiment.plot(results)
