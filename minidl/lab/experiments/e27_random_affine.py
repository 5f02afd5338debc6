"""E27: is it better to initialize gamma and beta at random than with 1 and 0?

gamma and beta scale and shift each feature after its normalization. Weights must have random
initial values, because units that start equal stay equal. For gamma and beta this is not necessary,
because the units already differ by their weights. If a random initialization helps nevertheless,
another arm tells whether it is the randomness that helps: it starts from the means of the random
values (gamma 1, beta 0.5).

The experiment also measures, without judging it, what the parts of batch normalization are worth
alone: gamma and beta without the normalization, the normalization without gamma and beta, and a
network in which only gamma and beta are trained and the weights stay random (Frankle et al. 2020).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import nn

from .. import arms, plots, problems, training
from ..experiment import Experiment, Judgement, Result
from ..verdict import Interval, Verdict, below, every, interval

BOUND = 0.3  # a gain of fewer points counts as none
NETWORKS = {"mlp": "MLP", "c6": "C6"}


class Affine(nn.Layer):
    """Computes gamma x + beta, which is batch normalization without the normalization."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(np.ones(features, np.float32))
        self.beta = nn.Parameter(np.zeros(features, np.float32))

    def forward(self, x: Any) -> Any:
        return x * self.gamma + self.beta


# The normalization of each arm, or what replaces it.
ARMS: dict[str, problems.Norm] = {
    "constant": "batch",
    "random": "batch",
    "fixed": "batch",
    "affine": Affine,
    "normalize": lambda features: nn.BatchNorm(features, affine=False),
    "only": "batch",
}
STARTS = ("constant", "random", "fixed")  # arms that differ in the initial gamma and beta
LABELS = {
    "constant": "1 and 0",
    "random": "random",
    "fixed": "1 and 0.5",
    "affine": "gamma and beta alone",
    "normalize": "normalization alone",
    "only": "only gamma and beta learn",
}
SHORT = {
    "constant": "BatchNorm",
    "affine": "gamma,\nbeta\nalone",
    "normalize": "normal-\nization\nalone",
    "only": "weights\nfixed",
}


class RandomAffine(Experiment):
    id = "E27"
    title = "Random gamma and beta"
    claim = "Random initial values of gamma and beta generalize better than 1 and 0."
    notes = "C"
    source = (
        "Ioffe & Szegedy 2015 (1502.03167); Frankle et al. 2020, Training BatchNorm and Only "
        "BatchNorm (2003.00152)"
    )
    setup = (
        "Random initial values are gamma from N(1, 0.5), where 0.5 is the standard deviation, "
        "and beta from U(0, 1), with the same initial weights in all arms; for comparison their "
        "means, 1 and 0.5. MLP: MNIST, 784-100-100-100-10, sigmoid, the first {mlp[images]} "
        "images, batch {mlp[batch]}, {mlp[steps]} steps. C6: CIFAR-10, ReLU, the first "
        "{c6[images]} images, batch {c6[batch]}, {c6[steps]} steps. SGD with momentum 0.9, the "
        "learning rate decays linearly from {mlp[rate]} (C6: {c6[rate]}) to 0. Accuracy on "
        "{mlp[test]} (C6: {c6[test]}) test images. For the MLP also: gamma and beta alone, "
        "without the normalization; the normalization alone; and gamma and beta as the only "
        "parameters that are trained, while all weights, those of the last layer included, keep "
        "their random initial values."
    )
    rule = (
        "The test accuracy with random initial values minus that with 1 and 0, in points and "
        "paired by seed, is judged. A network supports the claim if the interval lies above 0, "
        f"and otherwise refutes it if the interval lies below +{BOUND}. SUPPORTED if both "
        "networks support it; REFUTED if one refutes it."
    )
    paper = (
        "initial values gamma 1 and beta 0; 82% on CIFAR-10 if only the BatchNorms are trained, "
        "in a ResNet of 866 layers"
    )
    expected = Verdict.REFUTED
    explanation = (
        "In a network of ReLUs a random initialization costs accuracy. In a network of sigmoids "
        "it gains {figure[random minus 1 and 0, MLP, points]:.1f} points, but the constant "
        "initial values 1 and 0.5 gain most of this too ({figure[1 and 0.5 minus 1 and 0, MLP, "
        "points]:.1f}). So leaving the linear part of the sigmoid helps (E28), not the "
        "randomness; the weights are random already, so no two units start equal. The "
        "normalization alone keeps most of the MLP's accuracy ({figure[MLP, normalization "
        "alone, test accuracy, %]:.1f}% compared with {figure[MLP, 1 and 0, test accuracy, "
        "%]:.1f}%), and in so shallow a network gamma and beta without it are as good "
        "({figure[MLP, gamma and beta alone, test accuracy, %]:.1f}%). If only gamma and beta "
        "are trained, and the weights stay random, the accuracy is {figure[MLP, only gamma and "
        "beta learn, test accuracy, %]:.0f}%, far more than chance."
    )
    examination = (
        "For the MLP of sigmoids the claim holds, which was not expected. The test accuracies of "
        "one seed after 2,500 steps are: gamma 1 and beta 0 94.3%; gamma 1 and beta 0.5 95.1%; "
        "gamma 2 and beta 0 95.2%; gamma random and beta 0 94.5%; gamma 1 and beta random 95.3%; "
        "both random 95.5%. All initial values that leave the linear part of the sigmoid gain "
        "accuracy. At rates of 0.03 and 0.1, random initial values of both gain 1.3 and 0.8 "
        "points."
    )
    needs = ("mnist", "cifar10")
    minutes = 1.4
    seeds = 5
    full = {
        "mlp": {"images": 10_000, "test": 10_000, "batch": 60, "rate": 0.1, "steps": 4000},
        "c6": {"images": 10_000, "test": 10_000, "batch": 50, "rate": 0.1, "steps": 2000},
    }
    quick = {
        "mlp": {"images": 5000, "test": 10_000, "batch": 60, "rate": 0.1, "steps": 600},
        "c6": {"images": 2000, "test": 2000, "batch": 50, "rate": 0.1, "steps": 100},
    }
    quick_seeds = 3

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        mnist, cifar = problems.mnist, problems.cifar10
        found: dict[str, Any] = {"mlp": {}, "c6": {}}
        for network, source, chosen in (("mlp", mnist, ARMS), ("c6", cifar, STARTS)):
            recipe = settings[network]
            train, test = problems.subsets(source, recipe)
            for arm in chosen:
                model = build(network, arm, seed)
                losses = arms.train_with_linear_decay(model, train, recipe, seed)
                found[network][arm] = {
                    "test": training.score(model, losses, test),
                    "train": training.score(model, losses, train),
                }
        return found

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        gains = {network: gain(seeds, network) for network in NETWORKS}
        figures: dict[str, Any] = {
            f"{LABELS[arm]} minus 1 and 0, {name}, points": gain(seeds, network, arm)
            for arm in STARTS[1:]
            for network, name in NETWORKS.items()
        }
        for network, name in NETWORKS.items():
            for arm in seeds[0][network]:
                for part in ("test", "train"):
                    figures[f"{name}, {LABELS[arm]}, {part} accuracy, %"] = interval(
                        arms.percent(seeds, network, arm, part)
                    )
        verdict = every(
            *(arms.better(found, none=[below(found, BOUND)]) for found in gains.values())
        )
        return Judgement(
            verdict,
            f"Random initial values of gamma and beta change the test accuracy by "
            f"{gains['mlp']} points in the MLP and by {gains['c6']} in C6.",
            figures,
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        figure, (left, right) = plots.new(("", "points above 1 and 0"), ("MLP", "test accuracy, %"))
        shown = [(network, arm) for network in NETWORKS for arm in STARTS[1:]]
        plots.bars(
            left,
            [f"{NETWORKS[network]}\n{LABELS[arm]}" for network, arm in shown],
            [
                [
                    100 * (seed[network][arm]["test"] - seed[network]["constant"]["test"])
                    for network, arm in shown
                ]
                for seed in seeds
            ],
            [plots.B, plots.GREY] * 2,
        )
        left.axhline(0, color=plots.INK, linewidth=1)
        plots.guide(left, BOUND, f"below +{BOUND}: no gain")
        plots.bars(
            right,
            [SHORT[arm] for arm in SHORT],
            [[100 * seed["mlp"][arm]["test"] for arm in SHORT] for seed in seeds],
            [plots.A, plots.C, plots.D, plots.E],
        )
        for ax in (left, right):
            ax.tick_params(axis="x", labelsize=9)
        return figure


def build(network: str, arm: str, seed: int) -> problems.Stack:
    """Return the untrained network of an arm. All arms of a seed have the same initial weights."""
    md.manual_seed(seed)
    model = (problems.mlp if network == "mlp" else problems.c6)(ARMS[arm])
    rng = np.random.default_rng(seed)
    for name, parameter in model.named_parameters():
        kind, shape = name.rpartition(".")[2], parameter.shape
        if arm == "only" and kind not in ("gamma", "beta"):
            parameter.fix()
        elif arm == "random" and kind in ("gamma", "beta"):
            drawn = rng.normal(1, 0.5, shape) if kind == "gamma" else rng.uniform(0, 1, shape)
            parameter.data = drawn.astype(np.float32)
        elif arm == "fixed" and kind == "beta":
            parameter.data = np.full(shape, 0.5, np.float32)
    return model


def gain(seeds: Sequence[Result], network: str, arm: str = "random") -> Interval:
    """Return by how many points an initialization of gamma and beta is better than 1 and 0."""
    return arms.paired(seeds, (network, arm, "test"), (network, "constant", "test"))
