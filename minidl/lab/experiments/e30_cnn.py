"""E30a: in convolutional networks, is batch normalization better than layer normalization?

A channel of a convolution has the output of one filter at all positions of the image. Batch
normalization treats the channels separately. Layer normalization mixes channels of very different
scales, so that some of them dominate the others. This holds whether it normalizes the channels at
each position or, as in Ba et al. (2016) and Wu & He (2018), those of the whole image.
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
        "momentum 0.9. The learning rate decays linearly to 0 from {rates}, and for each "
        "normalization the better rate counts. All arms have the same initial weights. Layer "
        "normalization is tested in both of its forms: over the channels at each position, and "
        "over the channels and positions of each image. Accuracy on {test} test images."
    )
    rule = (
        "The test accuracy with batch normalization minus that with layer normalization, in "
        "points and paired by seed, is judged for each form of layer normalization, with each "
        "normalization at the learning rate that has the better mean over the seeds. SUPPORTED "
        "if both intervals lie above 0; REFUTED if one lies at 0 or below."
    )
    paper = (
        "layer normalization trains faster than no normalization, but is behind batch "
        "normalization; error of ResNet-50 on ImageNet with batches of 32: 23.6% with batch and "
        "25.3% with layer normalization"
    )
    expected = Verdict.SUPPORTED
    explanation = (
        "In this network batch normalization is far ahead, with each normalization at its best "
        "learning rate: by {figure[BatchNorm minus LayerNorm, each position, points]:.0f} and "
        "{figure[BatchNorm minus LayerNorm, whole image, points]:.0f} points after these few "
        "epochs. With layer normalization the channels keep their different scales, and at a "
        "rate of 0.1, which is the best one for batch normalization, it is worse than at 0.02. "
        "In deep residual networks that are fully trained the difference is smaller: 1.7 points "
        "in Wu & He (2018)."
    )
    examination = (
        "It was examined whether the rates suit layer normalization (over the whole image, one "
        "seed, 1,000 steps): 0.1 gives 41.8%, 0.02 47.1%, 0.01 44.7%, and 0.005 41.1%. In a "
        "longer training, of 3,000 steps, it has 60.3% at 0.02, and batch normalization has "
        "70.8% at 0.1."
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
        train, test = problems.subsets(problems.cifar10, settings)
        found: dict[str, Any] = {arm: {} for arm in ARMS}
        for arm, norm in ARMS.items():
            for rate in settings["rates"]:
                md.manual_seed(seed)
                found[arm][str(rate)] = arms.train_and_test(
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
    """Return the learning rate at which the arm's mean accuracy over the seeds is highest."""
    return max(seeds[0][arm], key=lambda rate: np.mean(arms.percent(seeds, arm, rate, "accuracy")))
