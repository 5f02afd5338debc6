"""E29: batch normalization before the nonlinearity, or after it?

Ioffe & Szegedy (2015) normalize Wx, which is before the nonlinearity: a sum of many terms is closer
to a normal distribution than the output of a nonlinearity, and a sigmoid gets inputs at which it is
not saturated. Normalization after the nonlinearity gives the next layer inputs of mean 0 and
variance 1. The notes disagree: three say before, and one says that both are possible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md

from .. import arms, plots, problems
from ..experiment import Experiment, Judgement, Result
from ..verdict import Interval, Verdict, above, below, every, interval, within

BOUND = 0.3  # a difference of fewer points counts as none
NETWORKS = {"mlp": "MLP, sigmoid", "c6": "C6, ReLU"}


class BeforeAfter(Experiment):
    id = "E29"
    title = "Before or after the nonlinearity"
    claim = "Batch normalization belongs before the nonlinearity, where it gives better networks."
    notes = "B, D, E; C says that both are possible"
    source = "Ioffe & Szegedy 2015, section 3.2 (1502.03167)"
    setup = (
        "MLP: MNIST, 784-100-100-100-10, sigmoid, {mlp[images]} images, batch {mlp[batch]}, "
        "{mlp[steps]} steps. C6: CIFAR-10, ReLU, the first {c6[images]} images, batch "
        "{c6[batch]}, {c6[steps]} steps. SGD with momentum 0.9, the learning rate decays "
        "linearly from {mlp[rate]} (C6: {c6[rate]}) to 0. Both arms have the same initial "
        "weights; with the normalization after the nonlinearity, the layers have biases. "
        "Accuracy on {mlp[test]} (C6: {c6[test]}) test images."
    )
    rule = (
        "The test accuracy with the normalization before minus that with it after the "
        "nonlinearity, in points and paired by seed, is judged. A network supports the claim if "
        "the interval lies above 0. It refutes the claim if the interval lies below 0 (after is "
        f"better) or within ±{BOUND} (the order does not matter). SUPPORTED if both networks "
        "support it; REFUTED if one refutes it."
    )
    paper = "before, by reasoning and without a comparison"
    expected = Verdict.SUPPORTED
    explanation = (
        "The result depends on the network and on the length of the training. After this "
        "training the accuracy with the normalization before the nonlinearity minus that with "
        "it after is {figure[before minus after, MLP, sigmoid, points]:+.1f} points for the MLP "
        "and {figure[before minus after, C6, ReLU, points]:+.1f} for C6. Early in training the "
        "network that normalizes after the nonlinearity is ahead, because the next layer gets "
        "inputs of mean 0 and variance 1, and the sigmoids are not kept in their linear regime "
        "(E28). Later the other one catches up, and in C6 it gets ahead. One difference is "
        "certain, at inference: before the nonlinearity, the normalization can be folded into "
        "the layer before it."
    )
    examination = (
        "The expected verdict was SUPPORTED. In a full run C6 supports the claim, by 1.1 points "
        "in five seeds, but the MLP does not: its difference lies within ±0.3. With three seeds "
        "the verdict was INCONCLUSIVE. One seed was examined more closely. The MLP has 97.5% "
        "(normalization before) and 97.9% (after) at 5,000 steps, and both have 98.1% at 10,000 "
        "steps, which is the length used here. C6 has 66.4% (before) and 68.0% (after) at 1,200 "
        "steps, and 70.8% and 70.0% at 3,000. At a learning rate of 1 the MLP learns with the "
        "normalization before (97.7%), but not with it after (10%)."
    )
    needs = ("mnist", "cifar10")
    minutes = 1.4
    seeds = 5
    full = {
        "mlp": {"images": 60_000, "test": 10_000, "batch": 60, "rate": 0.1, "steps": 10_000},
        "c6": {"images": 10_000, "test": 10_000, "batch": 50, "rate": 0.1, "steps": 3000},
    }
    quick = {
        "mlp": {"images": 10_000, "test": 10_000, "batch": 60, "rate": 0.1, "steps": 1000},
        "c6": {"images": 3000, "test": 2000, "batch": 50, "rate": 0.1, "steps": 100},
    }
    quick_seeds = 3

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for network, source in (("mlp", problems.mnist), ("c6", problems.cifar10)):
            recipe = settings[network]
            train, test = problems.subsets(source, recipe)
            for arm in ("before", "after"):
                md.manual_seed(seed)
                after = arm == "after"
                model = (problems.mlp if network == "mlp" else problems.c6)(after=after)
                found.setdefault(network, {})[arm] = arms.train_and_test(
                    model, train, test, recipe, seed
                )
        return found

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        gains = {network: gain(seeds, network) for network in NETWORKS}
        figures: dict[str, Any] = {
            f"before minus after, {NETWORKS[network]}, points": found
            for network, found in gains.items()
        }
        for network, name in NETWORKS.items():
            for arm in ("before", "after"):
                figures[f"test accuracy, {name}, {arm}, %"] = interval(
                    arms.percent(seeds, network, arm, "accuracy")
                )
        return Judgement(
            every(*(verdict_of(found) for found in gains.values())),
            "; ".join(
                f"{NETWORKS[network]}: before minus after {found} points, {in_words(found)}"
                for network, found in gains.items()
            )
            + ".",
            figures,
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        figure, (left, right) = plots.new(
            ("step", "test accuracy, C6, %"), ("before minus after", "points of test accuracy")
        )
        for arm, colour in (("before", plots.A), ("after", plots.B)):
            plots.band(
                left,
                seeds[0]["c6"][arm]["steps"],
                [[100 * value for value in seed["c6"][arm]["curve"]] for seed in seeds],
                arm,
                colour,
            )
        plots.legend(left)
        rows = [
            [
                100 * (seed[network]["before"]["accuracy"] - seed[network]["after"]["accuracy"])
                for network in NETWORKS
            ]
            for seed in seeds
        ]
        better = [plots.A if value > 0 else plots.B for value in np.mean(rows, axis=0)]
        plots.bars(right, list(NETWORKS.values()), rows, better)
        right.axhline(0, color=plots.INK, linewidth=1)
        right.axhspan(
            -BOUND,
            BOUND,
            color=plots.GREY,
            alpha=0.25,
            linewidth=0,
            zorder=0,
            label="within ±0.3: no difference",
        )
        plots.legend(right)
        return figure


def gain(seeds: Sequence[Result], network: str) -> Interval:
    """Return by how many points the normalization before the nonlinearity is better than after."""
    return arms.paired(seeds, (network, "before", "accuracy"), (network, "after", "accuracy"))


def verdict_of(found: Interval) -> Verdict:
    """Return the verdict of one network on "before is better". It is refuted if after is better, or
    if the order does not matter."""
    return arms.better(found, none=[below(found, 0), within(found, -BOUND, BOUND)])


def in_words(found: Interval) -> str:
    """Return what an interval says about the order, in words."""
    if above(found, 0) is Verdict.SUPPORTED:
        return "so before is better"
    if below(found, 0) is Verdict.SUPPORTED:
        return "so after is better"
    inside = within(found, -BOUND, BOUND) is Verdict.SUPPORTED
    return "so the order does not matter" if inside else "which does not decide it"
