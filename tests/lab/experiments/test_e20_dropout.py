"""These tests check E20: the rule on both sides, the formula, and the places of dropout."""

import math

import numpy as np
import pytest

from minidl import nn
from minidl.lab.experiments import e20_dropout as e20
from minidl.lab.verdict import Verdict
from tests.support import random_images

experiment = e20.Dropout()
TINY = {"images": 100, "test": 40, "epochs": 1, "batch": 50, "rate": 0.05, "keeps": [0.5]}


def seed(ratio, before, after):
    """Return a result with this ratio of variances, where the formula gives 2.5, and with these
    accuracies in %.
    """
    points = {
        "batch none 1.0": 50.0,
        "batch before 0.5": before,
        "batch after 0.5": after,
        "anew before 0.5": 48.0,
        "none none 1.0": 45.0,
        "none after 0.5": 46.0,
    }
    return {
        "accuracy": {name: value / 100 for name, value in points.items()},
        "gaussian": {"normal": 2.0, "ReLU": 2.47},
        "ratios": {"0.5": [{"measured": ratio, "formula": 2.5}] * 2},
    }


@pytest.mark.parametrize(
    "seeds, verdict",
    [
        ([seed(2.5, 40, 50), seed(2.6, 41, 49)], Verdict.SUPPORTED),
        ([seed(3.0, 40, 50), seed(3.1, 41, 49)], Verdict.REFUTED),
        ([seed(2.5, 50, 49), seed(2.5, 50, 48)], Verdict.REFUTED),
        ([seed(2.5, 48, 49), seed(2.5, 49, 48)], Verdict.INCONCLUSIVE),
        ([seed(2.5, 40, 50), seed(3.0, 41, 49)], Verdict.INCONCLUSIVE),
        ([seed(2.5, 40, 50)], Verdict.INCONCLUSIVE),
        ([seed(math.nan, 40, 50), seed(2.5, 40, 50)], Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(seeds, verdict):
    assert experiment.judge(seeds).verdict is verdict


@pytest.mark.parametrize(
    "what, mean_square_over_variance", [("normal", 0), ("ReLU", 1 / (math.pi - 1))]
)
def test_ratio_of_normal_values(what, mean_square_over_variance):
    exact = e20.shifted(0.5, np.sqrt(mean_square_over_variance), 1.0)
    assert e20.gaussian_ratio(0.5, what, seed=0) == pytest.approx(exact, rel=0.02)


def test_after_a_relu_the_formula_is_that_of_the_specification():
    assert e20.shifted(0.5, math.sqrt(1 / (2 * math.pi)), 0.5 - 1 / (2 * math.pi)) == pytest.approx(
        2.47, abs=0.005
    )
    assert e20.shifted(0.8, 0.0, 3.0) == pytest.approx(1 / 0.8)


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("place, count", [("none", 0), ("before", 6), ("after", 1)])
def test_places_of_dropout(norm, place, count):
    model = e20.network(norm, place, 0.5, seed=0)
    layers = [layer for _, layer in model.named_layers()]
    assert sum(isinstance(layer, nn.Dropout) for layer in layers) == count
    kinds = [type(layer) for layer in layers if isinstance(layer, (nn.BatchNorm, nn.Dropout))]
    if norm == "batch":
        assert (
            kinds
            == {
                "none": [nn.BatchNorm] * 6,
                "before": [nn.Dropout, nn.BatchNorm] * 6,
                "after": [*[nn.BatchNorm] * 6, nn.Dropout],
            }[place]
        )
    start = e20.network(norm, "none", 0.5, seed=0).conv2.weight.data
    assert np.array_equal(model.conv2.weight.data, start)


def test_ratios_of_a_network_follow_the_formula_at_its_first_batch_norm():
    model = e20.network("batch", "before", 0.5, seed=0)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((40, 32, 32, 3)).astype(np.float32)
    for _ in range(30):
        model(images)
    first, second, *_ = e20.variance_ratios(model, images, keep=0.5)
    assert first["measured"] == pytest.approx(first["formula"], rel=0.05)
    assert second["measured"] > 1.5


def test_it_runs_and_is_judged_and_plotted(monkeypatch):
    monkeypatch.setattr(e20.problems, "cifar10", random_images.data(32, 32, 3))
    results = [experiment.run(number, TINY) for number in range(2)]
    assert len(results[0]["ratios"]["0.5"]) == 6
    assert experiment.judge(results).figures
    assert experiment.plot(results[:1]).axes
