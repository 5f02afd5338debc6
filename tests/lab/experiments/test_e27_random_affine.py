"""These tests check E27: the rule on both sides, and from what each arm starts and what it
learns.
"""

import math

import numpy as np
import pytest

from minidl import nn
from minidl.lab import problems
from minidl.lab.experiments import e27_random_affine as e27
from minidl.lab.verdict import Verdict
from tests.support import random_images

experiment = e27.RandomAffine()
RECIPE = {"images": 200, "test": 500, "batch": 20, "rate": 0.1, "steps": 3}
TINY = {"mlp": RECIPE, "c6": {**RECIPE, "images": 40}}


def seeds(mlp, c6):
    """Return a result for each seed, in which the random arms are so many points above the
    others.
    """

    def arms(gain, names):
        return {
            name: {"test": 0.9 + (gain / 100 if name == "random" else 0), "train": 1.0}
            for name in names
        }

    return [
        {"mlp": arms(a, e27.ARMS), "c6": arms(b, e27.STARTS)} for a, b in zip(mlp, c6, strict=True)
    ]


@pytest.mark.parametrize(
    "mlp, c6, verdict",
    [
        ((0.5, 0.6, 0.7), (1.0, 0.5, 0.1), Verdict.SUPPORTED),
        ((-0.5, 0.1, 0.2), (1.0, 0.5, 0.1), Verdict.REFUTED),
        ((0.1, 0.2, 0.2), (-1.0, 0.1, 0.2), Verdict.REFUTED),
        ((-0.1, 0.1, 0.5), (1.0, 0.5, 0.1), Verdict.INCONCLUSIVE),
        ((0.1, 0.1, 0.2), (0.1, 0.2, 0.2), Verdict.SUPPORTED),
        ((math.nan, 0.5, 0.6), (1.0, 0.5, 0.1), Verdict.INCONCLUSIVE),
        ((0.5,), (0.5,), Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(mlp, c6, verdict):
    assert experiment.judge(seeds(mlp, c6)).verdict is verdict
    experiment.plot(seeds(mlp, c6))


@pytest.mark.parametrize("arm", e27.ARMS)
def test_arms_start_with_the_same_weights(arm):
    weights, others = (
        [p.data for p in e27.build("mlp", name, 3).parameters() if p.data.ndim == 2]
        for name in ("constant", arm)
    )
    assert all(np.array_equal(a, b) for a, b in zip(weights, others, strict=True))


def test_gamma_and_beta_of_the_random_arm():
    norms = [
        layer
        for _, layer in e27.build("mlp", "random", 0).named_layers()
        if isinstance(layer, nn.BatchNorm)
    ]
    gamma = np.concatenate([norm.gamma.data for norm in norms])
    beta = np.concatenate([norm.beta.data for norm in norms])
    assert len(gamma) == 300
    assert abs(gamma.mean() - 1) < 0.1
    assert abs(gamma.std() - 0.5) < 0.1
    assert beta.min() >= 0
    assert beta.max() <= 1
    assert abs(beta.mean() - 0.5) < 0.1


def test_only_gamma_and_beta_learn():
    model = e27.build("c6", "only", 0)
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(names) == 12
    assert all(name.endswith(("gamma", "beta")) for name in names)


def test_it_runs_and_is_judged_and_plotted(monkeypatch):
    monkeypatch.setattr(problems, "cifar10", random_images.data(32, 32, 3))
    found = [experiment.run(0, TINY)]
    assert experiment.judge(found).verdict is Verdict.INCONCLUSIVE
    experiment.plot(found)
