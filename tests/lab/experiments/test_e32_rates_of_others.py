"""These tests check E32: the rule on both sides."""

import math

import pytest

from minidl.lab.experiments import e32_rates_of_others as e32
from minidl.lab.verdict import Verdict

experiment = e32.RatesOfOthers()
RATES = [0.1, 0.2, 0.5, 1, 2, 5, 10]


def sweep(ceiling):
    return [
        {
            "rate": rate,
            "every": 10,
            "loss": 1.0 if rate <= ceiling else math.inf,
            "accuracy": [0.4 if rate <= ceiling else 0.1],
        }
        for rate in RATES
    ]


def seeds(*instance, warm=None):
    """Return results in which BatchNorm's largest stable rate is 2, and InstanceNorm's is as
    given.
    """

    def arms(found):
        return {
            "rates": RATES,
            "courses": {
                "batch": sweep(2),
                "layer": sweep(5),
                "group": sweep(1),
                "instance": sweep(found),
                "none": sweep(0.1),
            },
        }

    return [{"cold": arms(found), **({"warm": arms(warm)} if warm else {})} for found in instance]


@pytest.mark.parametrize(
    "instance, verdict",
    [
        ((2, 5, 1), Verdict.SUPPORTED),
        ((0.5, 0.2, 0.1), Verdict.REFUTED),
        ((10, 10, 10), Verdict.REFUTED),
        ((0.2, 2, 2), Verdict.INCONCLUSIVE),
        ((0, 2, 2), Verdict.INCONCLUSIVE),
        ((2,), Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(instance, verdict):
    assert experiment.judge(seeds(*instance)).verdict is verdict


def test_the_sweep_with_a_warm_up_is_reported_but_not_judged():
    found = experiment.judge(seeds(0.2, 0.2, 0.1, warm=2))
    assert found.verdict is Verdict.REFUTED
    name = "largest stable rate over BatchNorm's, InstanceNorm, with a warm-up"
    assert found.figures[name].value == 1


@pytest.mark.parametrize("warm", [None, 2])
def test_one_seed_is_plotted(warm):
    experiment.plot(seeds(2, warm=warm))
