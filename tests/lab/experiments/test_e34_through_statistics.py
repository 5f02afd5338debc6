"""These tests check E34: all sides of the rule, and the gradients of bias and weights."""

import numpy as np
import pytest

import minidl as md
from minidl.lab.experiments import e34_through_statistics as e34
from minidl.lab.verdict import Verdict

experiment = e34.ThroughStatistics()


def seeds(*norms, loss=0.5, through=(0.2, 0.2)):
    """Return results with these norms and this final loss where both statistics are constants, at
    the higher of two rates. `through` has the loss at each rate with the gradient through both.
    """

    def arm(name, rate, norm):
        constant = name == "both constant"
        end = loss if constant else through[rate == "1.0"]
        return {
            "norm": [1.0, norm if constant and rate == "1.0" else 1.2],
            "bias": [0.0, 0.1],
            "steps": [0, 25],
            "loss": [2.3, end],
            "end": end,
            "accuracy": 0.9,
        }

    return [
        {
            "rates": [0.1, 1.0],
            **{
                kind: {
                    rate: {name: arm(name, rate, norm) for name in names} for rate in ("0.1", "1.0")
                }
                for kind, names in (("arms", e34.ARMS), ("affine", e34.AFFINE))
            },
        }
        for norm in norms
    ]


@pytest.mark.parametrize(
    "norms, loss, verdict",
    [
        ((20, 25, 30), 0.5, Verdict.SUPPORTED),
        ((1.1, 1.2, 1.3), 0.5, Verdict.REFUTED),
        ((2, 20, 30), 0.5, Verdict.INCONCLUSIVE),
        ((1.1, 1.2, 1.3), 1e4, Verdict.SUPPORTED),
        ((20,), 0.5, Verdict.INCONCLUSIVE),
        ((20, np.inf), 0.5, Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(norms, loss, verdict):
    assert experiment.judge(seeds(*norms, loss=loss)).verdict is verdict


def test_the_rate_is_one_at_which_the_other_network_learns():
    found = seeds(20, 25, 30, through=(0.2, 5.0))
    assert e34.judged(found) == 0.1
    assert experiment.judge(found).verdict is Verdict.REFUTED  # the norm does not grow at this rate
    found = seeds(20, 25, 30, through=(5.0, 5.0))
    assert experiment.judge(found).verdict is Verdict.INCONCLUSIVE
    assert len(experiment.plot(found).axes) == 2


def gradients(name):
    """Return the gradient of the first bias, and the cosine between weights and gradient, in
    float64.
    """
    md.manual_seed(0)
    model = e34.build(e34.ARMS[name]).astype(np.float64)
    rng = np.random.default_rng(0)
    md.cross_entropy(model(rng.standard_normal((30, 784))), rng.integers(10, size=30)).backward()
    weight, grad = model.dense1.weight.data, model.dense1.weight.grad
    return (
        np.abs(model.dense1.bias.grad).max() / np.abs(grad).max(),
        (weight * grad).sum() / np.linalg.norm(weight) / np.linalg.norm(grad),
    )


def test_gradients():
    bias, cosine = gradients("through both")
    assert bias < 1e-10 and abs(cosine) < 1e-4  # not exactly 0, because of eps
    bias, cosine = gradients("both constant")
    assert bias > 1e-3 and abs(cosine) > 1e-3
    assert gradients("mean constant")[0] > 1e-3 and gradients("std constant")[0] < 1e-10


def test_it_runs_and_is_judged_and_plotted():
    settings = {
        **experiment.full,
        "rates": [0.5],
        "steps": 4,
        "every": 2,
        "images": 200,
        "test": 100,
    }
    found = [experiment.run(seed, settings) for seed in (0, 1)]
    # Nothing can be learned in 4 steps.
    assert experiment.judge(found).verdict is Verdict.INCONCLUSIVE
    assert len(experiment.plot(found).axes) == 2
