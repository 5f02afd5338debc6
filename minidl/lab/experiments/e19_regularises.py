"""E19: does batch normalization regularise, and is it the noise of the statistics that does so?

An image is normalized by the statistics of the images that happen to be in its batch, so its
activations differ a little from epoch to epoch. The number m of images that the statistics are
computed from determines how much, as the variance of the statistics is proportional to 1/m. Here
everything else is the same for all arms: the steps, and the batches of 256 images. They are
normalized by the statistics of 16, 32 or 64 images (ghost batches: Hoffer et al. 2017), of the
whole batch, or of all training images, which have no noise. If noise regularises, then the gap
between training and test accuracy is smaller for fewer images.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import nn

from .. import arms, plots, problems, training
from ..experiment import Experiment, Figure, Judgement, Result
from ..verdict import Interval, Verdict, at_least, below, every, interval

FALL = 10.0  # the gap must be smaller with BatchNorm by this percentage
USUAL = "32"  # the arm that is compared with no BatchNorm: a usual number of images per batch
FALLS = f"the gap falls with statistics of {USUAL} images, %"
NAMES = {"mnist": "MNIST", "cifar10": "CIFAR-10"}


class Regularises(Experiment):
    id = "E19"
    title = "It regularises"
    claim = (
        "Batch normalization regularises: the gap between training and test accuracy is "
        "smaller with it, and it is smaller the noisier the statistics are."
    )
    notes = "A, B, C, D, E"
    source = (
        "Luo et al. 2018, Towards Understanding Regularization in Batch Normalization "
        "(1809.00846); Hoffer et al. 2017 (1705.08741)"
    )
    setup = (
        "{mnist[images]} images of MNIST ({mnist[epochs]} epochs) and {cifar10[images]} of "
        "CIFAR-10 ({cifar10[epochs]} epochs), MLPs with three hidden layers of 100, BatchNorm "
        "and ReLU; SGD with momentum 0.9, learning rate {rate} with cosine decay to 0, batch "
        "{batch}; {test} test images. The statistics are those of {mnist[ghosts]} images of the "
        "batch (the last number is the whole batch). On MNIST there is also an arm with the "
        "statistics of all training images, whose loss is that of the batch. The last arm has no "
        "BatchNorm. The gap is the accuracy on the training images minus that on the test "
        "images, both in evaluation mode with the statistics of all training images."
    )
    rule = (
        "There are three conditions for each data set. (1) The gap with statistics of "
        f"{USUAL} images is smaller than that without BatchNorm, by a percentage whose interval "
        f"lies at {FALL:g} or above. (2) The interval of Spearman's rank correlation between "
        "the gap and the noise, over the arms with BatchNorm, lies below 0. (3) No arm has a "
        "larger gap than the next less noisy arm, with the whole interval of the difference "
        "above 0. SUPPORTED if all conditions hold; REFUTED if (3) does not hold, or an interval "
        "of (1) or (2) lies wholly on the other side."
    )
    paper = "the noise of the statistics acts as a penalty on gamma, proportional to about 1/m"
    expected = Verdict.SUPPORTED
    explanation = (
        "The fewer images the statistics are computed from, the smaller is the gap. The "
        "statistics of all images normalize without noise. On MNIST the gap is smaller with "
        "them, too (in a full run it is 6.0 points, compared with 6.5 without BatchNorm and 5.3 "
        "with statistics of 32 images), so a part of the effect there is not due to noise. On "
        "CIFAR-10 the gap with the statistics of the whole batch of 256 is even larger than "
        "without BatchNorm (51.5 and 49.4 points): there the noise regularises, not the "
        "normalization. It is a regulariser like others: on CIFAR-10 much of the decrease of the "
        "gap comes from a lower training accuracy, while the test accuracy rises by "
        "{figure[CIFAR-10: test accuracy, 32 images minus none, points]:.1f} points. In "
        "convolutional layers, whose statistics average over positions too, the effect is "
        "smaller."
    )
    minutes = 0.7
    seeds = 5
    needs = ("mnist", "cifar10")
    full = {
        "batch": 256,
        "rate": 0.05,
        "test": 10_000,
        "mnist": {"images": 5_000, "epochs": 40, "ghosts": [16, 32, 64, 256], "all": True},
        "cifar10": {"images": 10_000, "epochs": 20, "ghosts": [16, 32, 64, 256], "all": False},
    }
    quick = {
        "mnist": {"images": 1_000, "epochs": 60, "ghosts": [16, 32, 256], "all": True},
        "cifar10": {"images": 2_000, "epochs": 10, "ghosts": [16, 32, 256], "all": False},
    }

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: {arm: fit(name, arm, seed, settings) for arm in sizes(settings[name])}
            for name in NAMES
        }

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        verdicts: list[Verdict] = []
        falls: list[float] = []
        figures: dict[str, Figure] = {}
        for name, label in NAMES.items():
            fall = interval([_fall(seed[name]) for seed in seeds])
            trend = interval([rank_correlation(seed[name]) for seed in seeds])
            figures |= {
                f"{label}: {FALLS}": fall,
                f"{label}: rank correlation of gap and noise": trend,
            }
            falls.append(fall.value)
            steps = _steps(seeds, name)
            verdicts += [at_least(fall, FALL), below(trend, 0)]
            verdicts += [Verdict.REFUTED for found in steps.values() if found.low > 0]
            figures |= {f"{label}: gap, {step}, points": found for step, found in steps.items()}
        for name, label in NAMES.items():
            for arm in seeds[0][name]:
                for part in ("train", "test"):
                    figures[f"{label}: {part} accuracy, {_label(arm)}, %"] = interval(
                        [seed[name][arm][part] for seed in seeds]
                    )
            figures[f"{label}: test accuracy, {_label(USUAL)} minus none, points"] = interval(
                [seed[name][USUAL]["test"] - seed[name]["none"]["test"] for seed in seeds]
            )
        return Judgement(
            every(*verdicts),
            f"With statistics of {USUAL} images the gap is smaller by "
            f"{falls[0]:.0f}% on MNIST and {falls[1]:.0f}% on CIFAR-10 than without "
            "BatchNorm.",
            figures,
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        figure, axes = plots.new(
            *[
                (f"{label}: images behind the statistics", "training − test accuracy (points)")
                for label in NAMES.values()
            ]
        )
        for ax, name in zip(axes, NAMES, strict=True):
            names = ["none", *noise(seeds[0][name])[::-1]]
            plots.bars(
                ax,
                ["no BN" if arm == "none" else arm for arm in names],
                [[_gap(seed[name][arm]) for arm in names] for seed in seeds],
                [plots.COLOURS["none"], *[plots.COLOURS["batch"]] * (len(names) - 1)],
            )
        return figure


def sizes(task: Mapping[str, Any]) -> list[str]:
    """Return the arms of a data set: "none", numbers of images, and "all" for all training
    images."""
    return ["none", *map(str, task["ghosts"]), *(["all"] if task["all"] else [])]


def fit(name: str, arm: str, seed: int, settings: Mapping[str, Any]) -> dict[str, float]:
    """Train an arm, and return its accuracy in % and its loss on the training and the test images.

    BatchNorm is evaluated with the statistics of all training images, so that the arms differ in
    what they have learned, and not in the noise of a running average. The figures of a training
    that has diverged are NaN, because the accuracy of guessing, which is the same on training and
    test images, would look like a very small gap.
    """
    load = {"mnist": problems.mnist, "cifar10": problems.cifar10}[name]
    task, size = settings[name], settings["batch"]
    arrays = problems.subset(load("train"), task["images"])
    test = problems.subset(load("test"), settings["test"])
    model = network(arm, arrays[0][0].size, seed)
    steps = task["epochs"] * (len(arrays[0]) // size)
    batches = (with_all if arm == "all" else problems.batches)(arrays, size, seed)
    losses = arms.train_with_cosine_decay(model, batches, settings["rate"], steps, loss=of_first)
    if training.diverged(losses):
        return dict.fromkeys(("train", "test", "train loss", "test loss"), math.nan)
    if arm != "none":
        training.recalibrate(model, arrays[0])
    return {
        "train": 100 * training.accuracy(model, arrays),
        "test": 100 * training.accuracy(model, test),
        "train loss": training.mean_loss(model, arrays),
        "test loss": training.mean_loss(model, test),
    }


def network(arm: str, inputs: int, seed: int) -> nn.Layer:
    """Return the untrained MLP of ReLUs of an arm, whose BatchNorms use its ghost batches."""
    md.manual_seed(seed)
    ghost = int(arm) if arm.isdigit() else None
    norm: problems.Norm = (
        "none" if arm == "none" else (lambda features: nn.BatchNorm(features, ghost_batch=ghost))
    )
    return problems.mlp(norm, (inputs, 100, 100, 100, 10), nn.ReLU)


def with_all(arrays: problems.Arrays, size: int, seed: int) -> Iterator[problems.Arrays]:
    """Yield the batches of `problems.batches`, with all other images appended to the images, but
    only the labels of the batch. So BatchNorm uses the statistics of all images, and `of_first`
    computes the loss of the batch alone."""
    images, labels = arrays
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(images))
        for start in range(0, len(order) - size + 1, size):
            rows = np.roll(order, -start)
            yield images[rows], labels[rows[:size]]


def of_first(logits: md.Tensor, labels: np.ndarray) -> md.Tensor:
    """Return the cross-entropy of the first images, of as many as there are labels."""
    return md.cross_entropy(logits[: len(labels)], labels)


def noise(found: Mapping[str, Any]) -> list[str]:
    """Return the arms with BatchNorm, from the noisiest to the least noisy one."""
    return sorted((arm for arm in found if arm != "none"), key=_images)


def rank_correlation(found: Mapping[str, Any]) -> float:
    """Return Spearman's rank correlation of the gap and the noise, which is -1 if each noisier arm
    has a smaller gap."""
    gaps = [_gap(found[arm]) for arm in noise(found)]
    if not np.isfinite(gaps).all():
        return math.nan
    from scipy.stats import spearmanr

    return float(spearmanr(range(len(gaps), 0, -1), gaps).statistic)


def _steps(seeds: Sequence[Result], name: str) -> dict[str, Interval]:
    """Return by how much the gap of each arm exceeds that of the next less noisy arm."""
    return {
        f"{_label(noisy)} minus {_label(other)}": interval(
            [_gap(seed[name][noisy]) - _gap(seed[name][other]) for seed in seeds]
        )
        for noisy, other in itertools.pairwise(noise(seeds[0][name]))
    }


def _gap(found: Mapping[str, float]) -> float:
    return found["train"] - found["test"]


def _images(arm: str) -> float:
    return int(arm) if arm.isdigit() else math.inf


def _label(arm: str) -> str:
    return {"none": "no BatchNorm", "all": "all images"}.get(arm, f"{arm} images")


def _fall(found: Mapping[str, Any]) -> float:
    """Return by how many % the gap with statistics of `USUAL` images is smaller than without
    BatchNorm."""
    return 100 * (1 - _gap(found[USUAL]) / (_gap(found["none"]) or math.nan))
