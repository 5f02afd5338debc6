"""These tests check E17: the rule on both sides, and the ranges along a step."""

import math

import numpy as np
import pytest

import minidl as md
from minidl.lab import problems
from minidl.lab.experiments import e17_landscape as e17
from minidl.lab.verdict import Verdict

experiment = e17.Landscape()
SHORT = {
    **experiment.settings(True),
    "steps": 4,
    "every": 2,
    "batch": 8,
    "images": 40,
    "widths": [8, 8, 8],
}


def arm(ranges):
    """Return the results of an arm whose measurements all have these ranges."""
    return {
        "at": list(range(len(ranges))),
        "end": 1.0,
        **{name: list(ranges) for name in e17.NAMES},
    }


def seeds(*shares, count=20):
    """Return one seed for each share of checkpoints at which BatchNorm's range is below half of the
    other.
    """
    return [
        {
            "none": arm([2.0] * count),
            "batch": arm([0.5 if k < round(share * count) else 1.5 for k in range(count)]),
        }
        for share in shares
    ]


@pytest.mark.parametrize(
    "shares, verdict",
    [
        ((0.9, 1.0, 0.85), Verdict.SUPPORTED),
        ((0.5, 0.4, 0.7), Verdict.REFUTED),
        ((0.7, 0.9, 0.8), Verdict.INCONCLUSIVE),
        ((1.0,), Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule_judges_figures_on_both_sides(shares, verdict):
    assert experiment.judge(seeds(*shares)).verdict is verdict


@pytest.mark.parametrize("name", [f"{s} {r}" for s in e17.STEPS for r in e17.RANGES])
def test_each_of_the_four_ranges_counts(name):
    found = seeds(1.0, 1.0, 1.0)
    for seed in found:
        seed["batch"][name] = [1.5] * 20
    assert experiment.judge(found).verdict is Verdict.REFUTED


def test_diverged_arms():
    found = seeds(1.0, 1.0, 1.0)
    for seed in found:
        seed["none"] = arm([2.0] * 15 + [math.nan] * 5)
    # The seeds that have checkpoints decide.
    assert experiment.judge(found).verdict is Verdict.SUPPORTED
    for seed in found:
        seed["none"] = arm([math.nan] * 20)
    assert experiment.judge(found).verdict is Verdict.INCONCLUSIVE
    assert math.isnan(e17.share(found[0], "loss", "rate"))
    assert math.isnan(e17.ratio(found[0], "loss", "rate"))


def test_an_infinite_range_is_larger():
    seed = {"none": arm([math.inf] * 4), "batch": arm([1.0] * 4)}
    assert e17.share(seed, "loss", "rate") == 1
    seed = {"none": arm([math.inf] * 4), "batch": arm([math.inf] * 4)}
    assert e17.share(seed, "loss", "rate") == 0


def test_shares_and_ratios():
    seed = {"none": arm([2.0, 2.0, 2.0, 2.0]), "batch": arm([1.0, 0.5, 1.1, 4.0])}
    assert e17.share(seed, "gradient", "equal") == 0.5
    assert e17.ratio(seed, "gradient", "equal") == pytest.approx(np.median([2, 4, 2 / 1.1, 0.5]))


def test_what_is_measured_is_that_of_a_step():
    md.manual_seed(0)
    model = problems.mlp("batch", (6, 8, 3))
    rng = np.random.default_rng(0)
    x, labels = rng.random((16, 6), np.float32), rng.integers(0, 3, 16)
    before = [p.data.copy() for p in model.parameters()]
    found = e17.measured(model, x, labels, rate=0.1)
    assert set(found) == set(e17.NAMES)
    assert found["rate loss"] == pytest.approx(found["rate high"] - found["rate low"])
    start = md.cross_entropy(model(x), labels)
    grads = md.grad(start, model.parameters())
    losses = []
    for factor in (0.5, 1, 2, 4):
        for p, value, g in zip(model.parameters(), before, grads, strict=True):
            p.data[...] = value - np.float32(0.1 * factor) * g
        losses.append(md.cross_entropy(model(x), labels).item())
    assert found["rate low"] == pytest.approx(min(losses), rel=1e-5)
    assert found["rate high"] == pytest.approx(max(losses), rel=1e-5)


@pytest.fixture
def noise(monkeypatch):
    """Replace the pictures by random images, so that nothing is read from disk."""
    rng = np.random.default_rng(0)
    arrays = rng.standard_normal((40, 32, 32, 3)).astype(np.float32), rng.integers(0, 10, 40)
    monkeypatch.setattr(problems, "cifar10", lambda part: arrays)


@pytest.mark.usefixtures("noise")
def test_it_runs_and_is_judged_and_plotted():
    found = experiment.run(0, SHORT)
    assert found["none"]["at"] == [2, 4]
    assert experiment.judge([found]).verdict is Verdict.INCONCLUSIVE
    pytest.importorskip("matplotlib")
    assert len(experiment.plot([found]).axes) == 2


@pytest.mark.usefixtures("noise")
def test_an_arm_that_diverges():
    found = e17.train_arm("none", 0, **{**SHORT, "rate": 1e30})
    assert len(found["rate loss"]) == 2 and not math.isfinite(found["end"])
