"""These tests check E18: the rule on both sides, and the limit."""

import pytest

from minidl.lab.experiments import e18_gradient_flow as e18
from minidl.lab.verdict import Verdict

experiment = e18.GradientFlow()


def seeds(*growths, depth=10):
    """Return one result for each seed, in which the gradient grows by this factor in each layer."""
    return [
        {
            "batches": [32],
            "norms": {
                "batch 128 32": [g ** (depth - i) for i in range(depth + 1)],
                "none 128 32": [1.0] * (depth + 1),
            },
        }
        for g in growths
    ]


@pytest.mark.parametrize(
    "growths, verdict, theory",
    [
        ((1.20, 1.21, 1.22), Verdict.REFUTED, "SUPPORTED"),
        # A larger explosion of gradients is not better.
        ((1.40, 1.41, 1.42), Verdict.REFUTED, "REFUTED"),
        ((1.02, 1.03, 1.04), Verdict.REFUTED, "REFUTED"),
        ((0.98, 0.99, 1.00), Verdict.SUPPORTED, "REFUTED"),
        ((0.99, 1.10, 1.32), Verdict.INCONCLUSIVE, "INCONCLUSIVE"),
        ((1.21,), Verdict.INCONCLUSIVE, "INCONCLUSIVE"),
        ((1.21, float("nan")), Verdict.INCONCLUSIVE, "INCONCLUSIVE"),
    ],
)
def test_the_rule_judges_figures_on_both_sides(growths, verdict, theory):
    found = experiment.judge(seeds(*growths))
    assert found.verdict is verdict
    assert found.figures["growth as the theory says"] == theory


def test_the_plot_names_width_and_batch():
    settings = {"depth": 3, "widths": [16, 32], "batches": [8, 16], "small": [8]}
    (ax,) = experiment.plot([experiment.run(0, settings)]).axes
    assert ax.get_xlabel() == "layer, from the input (width 32, batch 16)"


def test_growth_is_near_its_limit():
    norms = e18.gradient_norms("batch", depth=20, width=256, size=128, seed=0)
    assert abs(e18.growth(norms) - e18.GROWTH) < 0.04
    assert len(norms) == 21


def test_without_normalization_gradients_stay_level():
    assert abs(e18.growth(e18.gradient_norms("none", 20, 256, 128, seed=0)) - 1) < 0.03
