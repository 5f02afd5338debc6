"""These tests check E15: the rule on both sides."""

import pytest

from minidl.lab.experiments import e15_initialization as e15
from minidl.lab.verdict import Verdict

experiment = e15.Initialization()
TINY = {"stds": [0.01, 1.0, 10.0], "rates": [0.5, 2.0], "main": 0.5, "steps": 20, "batch": 20}
STDS = [0.001, 0.01, 0.1, 1.0, 10.0]
BASELINE = [0.11, 0.11, 0.95, 0.93, 0.8]


def seeds(*accuracies, baseline=BASELINE):
    """Return results with these accuracies of BatchNorm for each initial scale."""

    def arm(values):
        return [
            [{"rate": 0.5, "accuracy": value}, {"rate": 2.0, "accuracy": 0.9}] for value in values
        ]

    return [
        {"stds": STDS, "main": 0.5, "arms": {"batch": arm(values), "none": arm(baseline)}}
        for values in accuracies
    ]


LEVEL = [0.95, 0.95, 0.95, 0.93, 0.88]


@pytest.mark.parametrize(
    "accuracies, verdict",
    [
        ((LEVEL, LEVEL, [0.94, 0.95, 0.96, 0.94, 0.9]), Verdict.SUPPORTED),
        (([0.95, 0.95, 0.95, 0.93, 0.3],) * 3, Verdict.REFUTED),
        (([0.5, 0.95, 0.95, 0.93, 0.88],) * 3, Verdict.REFUTED),
        ((LEVEL, LEVEL, [0.95, 0.95, 0.95, 0.93, 0.3]), Verdict.INCONCLUSIVE),
        ((LEVEL,), Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(accuracies, verdict):
    assert experiment.judge(seeds(*accuracies)).verdict is verdict


def test_scales_at_which_both_collapse_are_reported():
    assert (
        "both networks collapse at none of the initial scales" in experiment.judge(seeds(LEVEL)).why
    )
    why = experiment.judge(seeds([0.1, 0.95, 0.95, 0.93, 0.88])).why
    assert (
        why.startswith("At rate 0.5") and "both networks collapse at 1 of the initial scales" in why
    )


def test_a_collapse_counts_where_both_have_it():
    (one,) = seeds([0.1, 0.95, 0.1, 0.93, 0.88])
    assert e15.collapses(one) == 1


def test_best_rates_are_those_for_each_start():
    (one,) = seeds(LEVEL)
    assert e15.at_main(one, "none") == BASELINE
    assert e15.at_best(one, "none") == [0.9, 0.9, 0.95, 0.93, 0.9]


def test_a_baseline_without_a_spread_is_no_verdict():
    found = seeds(LEVEL, LEVEL, baseline=[0.11] * 5)
    assert experiment.judge(found).verdict is Verdict.INCONCLUSIVE


def test_it_runs_and_is_judged_and_plotted():
    found = [experiment.run(0, TINY)]
    assert len(found[0]["arms"]["none"]) == 3
    experiment.judge(found)
    experiment.plot(found)
