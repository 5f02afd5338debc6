"""E30a: in convolutional networks, is batch normalization better than layer normalization?

A channel of a convolution is one filter's answer all over the image. Batch normalization keeps
the channels apart; layer normalization mixes channels of very different scales, of which some
must win, whether it takes the channels of each position or, as Ba et al. (2016) and Wu & He
(2018) did, of the whole image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import nn

from .. import arms, plots, problems
from ..experiment import Experiment, Judgement, Result
from ..verdict import Verdict, above, every, interval

ARMS: dict[str, problems.Norm] = {
    "batch": "batch",
    "layer": "layer",
    "image": lambda features: nn.GroupNorm(1, features),
}
LABELS = {
    "batch": "BatchNorm",
    "layer": "LayerNorm, each position",
    "image": "LayerNorm, whole image",
}


class BatchOrLayerInCNN(Experiment):
    id = "E30a"
    title = "CNN: batch or layer normalization"
    claim = "In a convolutional network batch normalization is better than layer normalization."
    notes = "B"
    source = "Ba, Kiros & Hinton 2016, section 6.7 (1607.06450); Wu & He 2018 (1803.08494)"
    setup = (
        "C6: CIFAR-10, the first {images} images, batch {batch}, {steps} steps of SGD with "
        "momentum 0.9, the rate falling to 0 in a straight line from {rates}: each "
        "normalization counts with its better one. The same first weights. Layer "
        "normalization in both of its forms: over the channels of each position, and over "
        "channels and positions of each image. Accuracy on {test} test images."
    )
    rule = (
        "Batch minus layer normalization, in points of test accuracy, paired by seed, for each "
        "form of layer normalization, each at the rate with the better mean over the seeds. "
        "SUPPORTED if both intervals are above 0, REFUTED if one "
        "is at 0 or below."
    )
    paper = (
        "layer normalization faster than none, but behind batch normalization; ResNet-50 on "
        "ImageNet at 32 images: error 23.6% against 25.3%"
    )
    expected = Verdict.SUPPORTED
    explanation = (
        "In this network batch normalization is far ahead, at the best rates of each: "
        "by {figure[BatchNorm minus LayerNorm, each position, points]:.0f} and "
        "{figure[BatchNorm minus LayerNorm, whole image, points]:.0f} points after so "
        "few epochs. Layer normalization leaves the channels their different scales, "
        "and at a rate of 0.1, at which batch normalization does best, it does worse "
        "than at 0.02. In deep residual networks trained to the end the distance is "
        "smaller: 1.7 points in Wu & He (2018)."
    )
    examination = (
        "Whether the rates are right for layer normalization (over the whole image, one "
        "seed, 1,000 steps): 0.1 gives 41.8%, 0.02 47.1%, 0.01 44.7%, 0.005 41.1%. And "
        "longer: after 3,000 steps 60.3% at 0.02, where batch normalization has 70.8% "
        "at 0.1."
    )
    needs = ("cifar10",)
    minutes = 1.6
    full = {
        "images": 10_000,
        "test": 10_000,
        "batch": 50,
        "rates": [0.1, 0.02],
        "steps": 1000,
        "points": 8,
    }
    quick = {"images": 3000, "test": 2000, "steps": 50, "points": 4}
    quick_seeds = 3

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        train = problems.subset(problems.cifar10("train"), settings["images"])
        test = problems.subset(problems.cifar10("test"), settings["test"])
        found: dict[str, Any] = {arm: {} for arm in ARMS}
        for arm, norm in ARMS.items():
            for rate in settings["rates"]:
                md.manual_seed(seed)
                found[arm][str(rate)] = arms.learned(
                    problems.c6(norm),
                    train,
                    test,
                    {**settings, "rate": rate},
                    seed,
                    settings["points"],
                )
        return found

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        rates = {arm: better_rate(seeds, arm) for arm in ARMS}
        gains = {
            arm: arms.paired(
                seeds, ("batch", rates["batch"], "accuracy"), (arm, rates[arm], "accuracy")
            )
            for arm in ARMS
            if arm != "batch"
        }
        figures: dict[str, Any] = {
            f"BatchNorm minus {LABELS[arm]}, points": found for arm, found in gains.items()
        }
        for arm in ARMS:
            figures[f"better rate, {LABELS[arm]}"] = float(rates[arm])
            for rate in seeds[0][arm]:
                figures[f"test accuracy, {LABELS[arm]}, rate {rate}, %"] = interval(
                    arms.percent(seeds, arm, rate, "accuracy")
                )
        return Judgement(
            every(*(above(found, 0) for found in gains.values())),
            "BatchNorm is "
            + " and ".join(f"{found} points above {LABELS[arm]}" for arm, found in gains.items())
            + ".",
            figures,
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        figure, (ax,) = plots.new(("step", "test accuracy, %"))
        for arm, colour in zip(
            ARMS, (plots.COLOURS["batch"], plots.COLOURS["layer"], plots.C), strict=True
        ):
            rate = better_rate(seeds, arm)
            plots.band(
                ax,
                seeds[0][arm][rate]["steps"],
                [[100 * value for value in seed[arm][rate]["curve"]] for seed in seeds],
                LABELS[arm],
                colour,
            )
        plots.legend(ax, 1)
        return figure


def better_rate(seeds: Sequence[Result], arm: str) -> str:
    """The rate at which the arm's mean accuracy over the seeds is highest."""
    return max(seeds[0][arm], key=lambda rate: np.mean(arms.percent(seeds, arm, rate, "accuracy")))
