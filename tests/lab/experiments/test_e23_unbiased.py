"""These tests check E23: all sides of the rule, and ratios with known values."""

import numpy as np
import pytest

from minidl.lab import problems
from minidl.lab.experiments import e23_unbiased as e23
from minidl.lab.verdict import Verdict

experiment = e23.Unbiased()


def seeds(*conv, dense=1.0):
    """Return a result for each seed with these ratios after convolutions, and these after dense
    layers with the factor.
    """
    return [
        {
            "sizes": [2, 8],
            "dense": {
                "norm1": {
                    "2": {"without": 0.5 * dense, "with": dense},
                    "8": {"without": 0.875, "with": 1.0},
                }
            },
            "convolution": {
                "norm1": {"2": {"without": c, "with": c}, "8": {"without": 0.99, "with": 0.99}}
            },
            "rho dense": {"norm1": 1.0},
            "rho convolution": {"norm1": 0.1},
            "accuracy": {size: {"without": 0.8, "with": 0.9} for size in ("2", "8")},
        }
        for c in conv
    ]


@pytest.mark.parametrize(
    "conv, dense, verdict",
    [
        ((0.95, 0.96, 0.94), 1.0, Verdict.SUPPORTED),
        ((1.01, 1.02, 1.03), 1.0, Verdict.REFUTED),
        ((0.95, 1.01, 1.03), 1.0, Verdict.INCONCLUSIVE),
        ((0.95, 0.96, 0.94), 0.8, Verdict.REFUTED),
        ((0.95,), 1.0, Verdict.INCONCLUSIVE),
        ((0.95, np.nan), 1.0, Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(conv, dense, verdict):
    assert experiment.judge(seeds(*conv, dense=dense)).verdict is verdict


def test_ratios_of_independent_values():
    x = np.random.default_rng(0).standard_normal((200, 1, 50)).astype(np.float32)
    found = e23.ratios(x, 2, 4000, seed=0)
    assert found["without"] == pytest.approx(0.5, abs=0.02)
    assert found["with"] == pytest.approx(1, abs=0.04)


def test_ratios_of_correlated_positions():
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((200, 1, 20)) + rng.standard_normal((200, 16, 20))).astype(np.float32)
    rho = e23.correlation(x)
    assert rho == pytest.approx((1 + 1 / 16) / 2, abs=0.05)
    found = e23.ratios(x, 2, 4000, seed=0)
    assert found["without"] == pytest.approx(1 - rho / 2, abs=0.02)
    assert found["with"] == pytest.approx((1 - rho / 2) * 32 / 31, abs=0.02)


def test_inputs_of_norms():
    found = e23.inputs_of_norms(problems.c6().eval(), np.ones((2, 8, 8, 3), np.float32))
    assert [(name, x.shape) for name, x in found.items()][::5] == [
        ("norm1", (2, 64, 16)),
        ("norm6", (2, 4, 64)),
    ]


def test_one_seed_is_plotted():
    assert len(experiment.plot(seeds(0.95)).axes) == 2
