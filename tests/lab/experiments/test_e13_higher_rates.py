"""These tests check E13: the rule on both sides, and the additional figures."""

import math

import pytest

from minidl.lab.experiments import e13_higher_rates as e13
from minidl.lab.verdict import Verdict

experiment = e13.HigherRates()
RATES = [0.1, 0.2, 0.5, 1, 2, 5]


def course(rate, accuracy=0.4, stable=True):
    return {"rate": rate, "every": 10, "loss": 1.0 if stable else math.inf, "accuracy": [accuracy]}


def sweep(ceiling):
    return [course(rate, stable=rate <= ceiling) for rate in RATES]


def seeds(*ceilings, gap=0.1):
    """Return results with these largest stable rates, without and with BatchNorm."""
    return [
        {
            "rates": RATES,
            "sweep": {"none": sweep(none), "batch": sweep(batch)},
            "long": {
                "none": {
                    "0.01": course(0.001, 0.2),
                    "1": course(0.1, 0.4),
                    "5": course(0.5, 0.1, stable=False),
                },
                "batch": {
                    "0.01": course(0.001, 0.2),
                    "1": course(0.1, 0.4),
                    "5": course(0.5, 0.45),
                    "own": course(1, 0.4 + gap),
                },
            },
        }
        for none, batch in ceilings
    ]


@pytest.mark.parametrize(
    "ceilings, verdict",
    [
        (((0.1, 5), (0.2, 2), (0.1, 2)), Verdict.SUPPORTED),
        (((0.5, 1), (0.5, 2), (1, 2)), Verdict.REFUTED),
        (((0.5, 1), (0.1, 5), (0.1, 5)), Verdict.INCONCLUSIVE),
        (((0, 1), (0.1, 5), (0.1, 5)), Verdict.INCONCLUSIVE),
        (((0.1, 5),), Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(ceilings, verdict):
    assert experiment.judge(seeds(*ceilings)).verdict is verdict


def test_figures_that_are_not_judged():
    figures = experiment.judge(seeds((0.1, 5), (0.1, 5))).figures
    assert figures[
        "points that BatchNorm is ahead, each at its best rate of the sweep"
    ].value == pytest.approx(10)
    assert figures["points that BatchNorm is ahead, both at 0.01 times"].value == 0
    assert figures["seeds whose baseline is not stable at 5 times, %"] == 100


def test_one_seed_is_plotted():
    experiment.plot(seeds((0.1, 5)))
