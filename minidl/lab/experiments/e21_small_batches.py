"""E21: batch normalization with small batches, compared with its alternatives.

In a batch of two images the statistics come from two images only, and the gradient flows through
them. GroupNorm, LayerNorm and InstanceNorm compute their statistics from each image alone, so they
do not depend on the batch size. Batch Renormalization corrects the statistics of the batch by the
running statistics. Whether a larger batch is always better is another question, which is answered
separately and does not affect the verdict.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import nn

from .. import arms, plots, problems, training
from ..experiment import Experiment, Figure, Judgement, Result
from ..verdict import Interval, Verdict, above, every, interval

BOUND = 3.0  # BatchNorm must lose more points than GroupNorm by this
LOOK = 2000  # the number of images for the recalibrated statistics
LARGEST = 32  # the batch size that the learning rate and MOMENTUM are stated for
MOMENTUM = 0.2  # of BatchRenorm's running statistics
LABELS = {**plots.NAMES, "precise": "BatchNorm, recalibrated"}


class SmallBatches(Experiment):
    id = "E21"
    title = "Small batches"
    claim = (
        "Batch normalization is bad with small batches: from batches of 32 images to batches of "
        "2 it loses accuracy that GroupNorm does not lose."
    )
    notes = "A, C, D"
    source = (
        "Wu & He 2018, Group Normalization (1803.08494), table 2; Ioffe 2017, Batch "
        "Renormalization (1702.03275)"
    )
    setup = (
        "C6 on CIFAR-10 (images of {side} x {side}), {images} training images, {epochs} epochs "
        "at each batch size, SGD with momentum 0.9, learning rate {rate} at batch 32 and "
        "proportional to the batch size, with cosine decay to 0, {test} test images. BatchNorm "
        "with batches of {sizes[batch]}, GroupNorm (8 groups) of {sizes[group]}, LayerNorm (over "
        "channels and positions) of {sizes[layer]}, InstanceNorm of {sizes[instance]}, and "
        "BatchRenorm of {sizes[renorm]}; the running averages of BatchRenorm cover the same "
        "number of images at each batch size. BatchNorm is evaluated with its running "
        "statistics, and again with those of 2,000 training images (recalibrated)."
    )
    rule = (
        "The loss of a normalization is its test accuracy with the largest batch (32) minus "
        "that with the smallest (2). The loss of BatchNorm minus that of GroupNorm, in points, "
        f"is judged: SUPPORTED if its interval lies wholly above {BOUND:g}; REFUTED if it lies "
        f"wholly at {BOUND:g} or below. That larger batches are always better is judged "
        "separately, and does not affect the verdict: it holds if the interval of BatchNorm's "
        "gain lies above 0 for each step to the next larger batch."
    )
    paper = (
        "error on ImageNet with batches of 32, 16, 8, 4 and 2: BatchNorm 23.6, 23.7, 24.8, 27.3 "
        "and 34.7%, GroupNorm 24.1, 24.2, 24.0, 24.2 and 24.1%; with batches of 32 LayerNorm "
        "25.3% and InstanceNorm 28.4%; with batches of 4 BatchRenorm 26.3%"
    )
    expected = Verdict.SUPPORTED
    examination = (
        "The accuracy of GroupNorm does not stay level here as it does in the paper: with so few "
        "epochs it gains from small batches, which give more steps at the same learning rate per "
        "image. The verdict does not rest on this, because the loss of BatchNorm alone is above "
        "the bound, with recalibrated statistics too. In so short a training BatchNorm is ahead "
        "of GroupNorm at every batch size, even at 2 ({figure[BatchNorm, batch 2: accuracy, "
        "%]:.1f}% against {figure[GroupNorm, batch 2: accuracy, %]:.1f}%); in the paper, which "
        "trains for 100 epochs, GroupNorm is ahead with batches of 8 or fewer images."
    )
    explanation = (
        "Batches of two images hurt BatchNorm in two ways. Its running statistics are noisy, "
        "which recalibration repairs ({figure[BatchNorm, recalibrated: loss, points]:.1f} points "
        "are lost with it, {figure[BatchNorm: loss, points]:.1f} without it). And so are the "
        "gradients, which flow through the statistics of two images; nothing can repair this "
        "afterwards. From 8 images on the loss is small. GroupNorm, LayerNorm and InstanceNorm "
        "lose nothing, because they do not use statistics of the batch; BatchRenorm loses "
        "{figure[BatchRenorm: loss, points]:.1f} points. In so short a training BatchNorm is "
        "still more accurate than GroupNorm, in a full run even with batches of 2. That "
        "GroupNorm overtakes it in long trainings is the finding of Wu and He, and is not shown "
        "here."
    )
    minutes = 5.0
    needs = ("cifar10",)
    full = {
        "images": 10_000,
        "epochs": 4,
        "test": 5_000,
        "rate": 0.05,
        "sizes": {
            "batch": [2, 4, 8, 16, 32],
            "group": [2, 4, 8, 16, 32],
            "layer": [2, 32],
            "instance": [2, 32],
            "renorm": [2, 4, 32],
        },
    }
    # The images are smaller, so that each normalization learns something within seconds.
    quick = {
        "images": 3_200,
        "epochs": 1,
        "test": 1_000,
        "pool": 2,
        "sizes": {
            "batch": [2, 8, 32],
            "group": [2, 32],
            "layer": [2, 32],
            "instance": [2, 32],
            "renorm": [2, 32],
        },
    }
    omitted = (
        "This quick run uses smaller images (means of 2 x 2 pixels), and it is so short that "
        "InstanceNorm hardly begins to learn."
    )

    def fields(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**settings, "side": 32 // settings.get("pool", 1)}

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        pool = settings.get("pool", 1)
        arrays, test = (
            smaller(part, pool) for part in problems.subsets(problems.cifar10, settings)
        )
        shares: dict[str, dict[str, float]] = {}
        for norm, sizes in settings["sizes"].items():
            for size in sizes:
                model, losses = fit(norm, size, arrays, seed, settings)
                shares.setdefault(norm, {})[str(size)] = training.score(model, losses, test)
                if norm == "batch":
                    training.recalibrate(model, arrays[0][:LOOK])
                    shares.setdefault("precise", {})[str(size)] = training.score(
                        model, losses, test
                    )
        return {"accuracy": shares}

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        loss = {
            norm: _difference(seeds, norm, *_ends(seeds[0], norm))
            for norm in seeds[0]["accuracy"]
            if len(seeds[0]["accuracy"][norm]) > 1
        }
        small, large = _ends(seeds[0], "batch")
        batch, group = (
            np.array(arms.percent(seeds, "accuracy", norm, large))
            - np.array(arms.percent(seeds, "accuracy", norm, small))
            for norm in ("batch", "group")
        )
        difference = interval((batch - group).tolist())
        accuracy = {
            norm: np.mean(arms.percent(seeds, "accuracy", norm, small))
            for norm in ("batch", "group")
        }
        sizes = list(seeds[0]["accuracy"]["batch"])
        gains = {
            f"{small} to {large}": _difference(seeds, "batch", small, large)
            for small, large in itertools.pairwise(sizes)
        }
        larger = every(*(above(gain, 0) for gain in gains.values()))
        figures: dict[str, Figure] = {
            f"loss of BatchNorm minus loss of GroupNorm, {large} to {small}, points": difference,
            **{f"{LABELS[norm]}: loss, points": found for norm, found in loss.items()},
            "larger batches are better with BatchNorm": str(larger),
            **{f"gain of BatchNorm from {step}, points": gain for step, gain in gains.items()},
            **{
                f"{LABELS[norm]}, batch {size}: accuracy, %": interval(
                    arms.percent(seeds, "accuracy", norm, size)
                )
                for norm, found in seeds[0]["accuracy"].items()
                for size in found
            },
        }
        return Judgement(
            above(difference, BOUND),
            f"From batches of {large} to batches of {small} BatchNorm {_lost(loss['batch'])} "
            f"points and GroupNorm {_lost(loss['group'])}; at {small} they have "
            f"{accuracy['batch']:.1f}% and {accuracy['group']:.1f}%. "
            f'"Each larger batch is better with BatchNorm" is {larger}.',
            figures,
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        figure, (ax,) = plots.new(("images a batch", "test accuracy (%)"))
        for norm, found in seeds[0]["accuracy"].items():
            sizes = list(found)
            rows = [[100 * seed["accuracy"][norm][size] for size in sizes] for seed in seeds]
            colour = plots.COLOURS["batch" if norm == "precise" else norm]
            plots.band(
                ax,
                [int(size) for size in sizes],
                rows,
                LABELS[norm],
                colour,
                linestyle="--" if norm == "precise" else "-",
            )
        plots.logarithmic(ax.xaxis)
        ax.set_xticks(
            [int(size) for size in seeds[0]["accuracy"]["batch"]],
            list(seeds[0]["accuracy"]["batch"]),
        )
        plots.legend(ax, 2)
        return figure


def fit(
    norm: str, size: int, arrays: problems.Arrays, seed: int, settings: Mapping[str, Any]
) -> tuple[nn.Layer, list[float]]:
    """Train a C6 with a batch size, and return it and the losses. The number of epochs is the same
    for every batch size."""
    md.manual_seed(seed)
    steps = round(settings["epochs"] * len(arrays[0]) / size)
    model = problems.c6(norm_of(norm, size, steps))
    return model, arms.train_with_cosine_decay(
        model, problems.batches(arrays, size, seed), settings["rate"] * size / LARGEST, steps
    )


def smaller(arrays: problems.Arrays, pool: int) -> problems.Arrays:
    """Replace each square of `pool` x `pool` pixels of the images by its mean."""
    if pool == 1:
        return arrays
    images, labels = arrays
    count, side, _, colours = images.shape
    parts = images.reshape(count, side // pool, pool, side // pool, pool, colours)
    return parts.mean(axis=(2, 4)), labels


def norm_of(norm: str, size: int, steps: int) -> problems.Norm:
    """Return the normalization of an arm for a batch size.

    LayerNorm computes its statistics over channels and positions, as in Wu & He (2018). The running
    statistics of BatchRenorm, which it uses in training, are an average over the same number of
    images for each batch size.
    """
    if norm == "layer":
        return lambda features: nn.GroupNorm(1, features)
    if norm == "renorm":
        return problems.renorm(steps, MOMENTUM * size / LARGEST)
    return norm


def _lost(loss: Interval) -> str:
    """Return a loss in words, such as "loses 3.1"; a negative loss is a gain."""
    return f"{'loses' if loss.value >= 0 else 'gains'} {abs(loss.value):.1f}"


def _ends(seed: Result, norm: str) -> tuple[str, str]:
    """Return the smallest and the largest batch size of a normalization."""
    sizes = sorted(seed["accuracy"][norm], key=int)
    return sizes[0], sizes[-1]


def _difference(seeds: Sequence[Result], norm: str, small: str, large: str) -> Interval:
    return arms.paired(seeds, ("accuracy", norm, large), ("accuracy", norm, small))
