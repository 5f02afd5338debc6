"""E22: which statistics should a trained network use for testing?

It should use those of the population: the mean and the variance of a layer's input over all data,
with the current weights. They are estimated from batches. An average over all batches of the
training mostly comes from weights that have changed since. A moving average forgets old weights,
but is noisy. A pass over some training images after the training has neither fault (Algorithm 2 of
Ioffe & Szegedy 2015; Precise BN: Wu & Johnson 2021). All of these estimates are computed here in
one training, which they do not influence: the layers keep the statistics of the last batch (a
momentum of 1), and the averages are computed outside of the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import nn, optim

from .. import plots
from ..experiment import Experiment, Judgement, Result
from ..problems import Arrays, batches, c6, cifar10, subset
from ..training import CHANCE, accuracy, diverged, recalibrate, train
from ..verdict import Verdict, above, every, interval, within

Statistics = list[tuple[np.ndarray, np.ndarray]]  # mean and variance of each layer
# The share of its old value that a moving average keeps; None: the average of all batches.
KEEPS = {"all batches": None, "EMA 0.9": 0.9, "EMA 0.99": 0.99}
COLOURS = dict(zip(KEEPS, (plots.B, plots.A, plots.D), strict=True))
PRECISE = 100  # the batch size of the pass over training images
DISTANCES = "shift of the means, std", "factor of the variances"
ESTIMATES = "mean of sigma", "mean of sigma^2"
VARIANCE, ACCURACY = "variance by the {}, of the precise one", "accuracy, {}"


class Population(Experiment):
    id = "E22"
    title = "Population statistics"
    claim = (
        "For testing, mean and variance must be estimated over many training batches, and over "
        "recent ones: early in training the plain average of all batches so far is the worst "
        "estimate, and a fresh pass over 10,000 images is as good as one over more images."
    )
    notes = "A"
    source = (
        "Ioffe & Szegedy 2015 (1502.03167), Algorithm 2; Wu & Johnson 2021, Rethinking "
        '"Batch" in BatchNorm (2105.07576)'
    )
    setup = (
        "C6 ({widths} channels) on {images} CIFAR-10 images, batch {batch}, SGD with learning "
        "rate {rate} and momentum 0.9; test accuracy on {test} images at steps {checkpoints}. "
        "The estimates are computed in the same training, for the same weights: the average of "
        "all batches since the start; exponential moving averages (EMA) that keep 0.9 and 0.99 "
        "of their value at each step (they start at mean 0 and variance 1, as in libraries); "
        "and Precise BN of {samples} and {reference} training images in batches of 100. Early "
        "means after {early} steps, when the slower moving average has forgotten its start "
        "(0.99^400 = 2%). At the end, sigma and sigma^2 are averaged over batches of {averaged} "
        "with the final weights."
    )
    rule = (
        "Early, the accuracies with EMA 0.9, EMA 0.99 and Precise BN of {most} images, minus "
        "that with the average of all batches, must have intervals above 0, and the accuracy "
        "with {reference} images minus that with {most} images an interval within -0.3 to 0.3 "
        "points. SUPPORTED if all of these intervals lie there; REFUTED if one lies wholly "
        "elsewhere."
    )
    paper = "1,000 to 10,000 samples are enough; Algorithm 2 computes the statistics after training"
    expected = Verdict.SUPPORTED
    explanation = (
        'To average the statistics "of all batches seen in training" is a bad recipe: the '
        "weights change, and such an average describes networks of the past. A moving average "
        "(one that keeps 0.9, which is the default of nn.BatchNorm: momentum 0.1) forgets them, "
        "but with 0.99 it needs some hundred steps to forget its own start. A pass over training "
        "images with the current weights (nn.recalibrate) is the paper's own algorithm, and has "
        "neither fault. With convolutions, whose statistics average over positions too, even a "
        "few hundred images are nearly enough. To average sigma instead of sigma^2 makes the "
        "variance too small: with batches of 2 it is {figure[batches of 2: variance by the mean "
        "of sigma, of the precise one]:.2f} times the precise variance, and with the mean of "
        "sigma^2 {figure[batches of 2: variance by the mean of sigma^2, of the precise "
        "one]:.2f} times. The accuracy does not reveal this."
    )
    examination = (
        "The verdict depends on what early means. At 50 and 100 steps the moving average that "
        "keeps 0.99 is the worst estimate, because it still contains its start. At 200 steps and "
        "later the average of all batches is the worst, on average over the three seeds of a "
        "full run. The quick settings first judged step 120, and gave REFUTED for this reason; "
        "now they judge step 400, as the full settings always did."
    )
    needs = ("cifar10",)
    minutes = 0.4
    full = {
        "images": 20_000,
        "test": 3000,
        "batch": 32,
        "rate": 0.1,
        "early": 400,
        "checkpoints": [50, 100, 200, 400, 800],
        "samples": [100, 300, 1000, 3000, 10_000],
        "reference": 20_000,
        "sizes": [2, 8, 32],
        "widths": [16, 32, 64],
    }
    quick = {
        "images": 6000,
        "test": 2000,
        "checkpoints": [50, 400],
        "samples": [300, 3000],
        "reference": 6000,
        "widths": [8, 16, 32],
        "sizes": [2, 32],
    }

    def fields(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**settings, "most": settings["samples"][-1], "averaged": settings["sizes"]}

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        arrays = subset(cifar10("train"), settings["images"])
        test = subset(cifar10("test"), settings["test"])
        fresh = arrays[0][np.random.default_rng(seed).permutation(len(arrays[0]))]
        md.manual_seed(seed)
        model = c6(lambda features: nn.BatchNorm(features, momentum=1.0), settings["widths"])
        averages = {name: Average(keep) for name, keep in KEEPS.items()}
        curves: dict[str, list[float]] = {name: [] for name in (*KEEPS, "precise")}
        early: dict[str, Any] = {}

        def look(step: int) -> None:
            seen = taken(model)
            for average in averages.values():
                average.take(seen)
            if step not in settings["checkpoints"]:
                return
            for name, average in averages.items():
                curves[name].append(accuracy(put(model, average.value), test))
            most = settings["samples"][-1]
            curves["precise"].append(accuracy(precise(model, fresh[:most]), test))
            if step == settings["early"]:
                early.update(sample_sizes(model, fresh, test, settings))
                reference = taken(model)  # the last pass of sample_sizes has the most images
                early["distances"] = {
                    name: distances(average.value, reference) for name, average in averages.items()
                }

        optimizer = optim.SGD(model.parameters(), settings["rate"], 0.9)
        losses = train(
            model,
            optimizer,
            batches(arrays, settings["batch"], seed),
            settings["checkpoints"][-1],
            at=look,
        )
        found = {
            "checkpoints": settings["checkpoints"],
            "early": settings["early"],
            "accuracy": curves,
            **early,
        }
        if diverged(losses):
            return {
                **after_divergence(settings),
                **found,
                "accuracy": {
                    name: curve + [CHANCE] * (len(settings["checkpoints"]) - len(curve))
                    for name, curve in curves.items()
                },
            }
        return {
            **found,
            "averaged": {
                str(size): sigma_or_square(model, batches(arrays, size, seed), test)
                for size in settings["sizes"]
            },
        }

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        place = seeds[0]["checkpoints"].index(seeds[0]["early"])
        ahead = {}
        for name in ("EMA 0.9", "EMA 0.99", "precise"):
            ahead[name] = interval(
                [
                    100 * (seed["accuracy"][name][place] - seed["accuracy"]["all batches"][place])
                    for seed in seeds
                ]
            )
        most, reference = seeds[0]["samples"][-2:]
        gain = interval([100 * (seed["by samples"][-1] - seed["by samples"][-2]) for seed in seeds])
        figures: dict[str, Any] = {
            f"{name} minus all batches, early, points": found for name, found in ahead.items()
        }
        figures[f"{reference:,} minus {most:,} images, points"] = gain
        for at, step in enumerate(seeds[0]["checkpoints"]):
            for name in seeds[0]["accuracy"]:
                figures[f"accuracy, %, {name}, step {step}"] = 100 * interval(
                    [seed["accuracy"][name][at] for seed in seeds]
                )
        for at, count in enumerate(seeds[0]["samples"]):
            figures[f"accuracy, %, precise of {count:,} images, early"] = 100 * interval(
                [seed["by samples"][at] for seed in seeds]
            )
        for name in KEEPS:
            for what in DISTANCES:
                figures[f"{name}, early: {what}"] = interval(
                    [seed["distances"][name][what] for seed in seeds]
                )
        for size, found in seeds[0]["averaged"].items():
            for what in found:
                values = interval([seed["averaged"][size][what] for seed in seeds])
                if what.startswith("accuracy"):
                    what, values = what.replace("accuracy", "accuracy, %", 1), 100 * values
                figures[f"batches of {size}: {what}"] = values
        verdict = every(*(above(found, 0) for found in ahead.values()), within(gain, -0.3, 0.3))
        return Judgement(
            verdict,
            f"At step {seeds[0]['early']} the average of all batches is "
            f"{min(found.value for found in ahead.values()):.1f} points behind the worst of the "
            f"other estimates, and {ahead['precise'].value:.1f} points behind a fresh pass. "
            f"{reference:,} images in the pass change the accuracy by {gain.value:+.2f} points "
            f"compared with {most:,}.",
            figures,
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        samples, step = seeds[0]["samples"], seeds[0]["early"]
        figure, (left, right) = plots.new(
            ("training step", "test accuracy (%)"),
            ("images in the fresh pass", f"points over those of {samples[-1]:,}"),
        )
        for name, colour in {**COLOURS, "precise": plots.C}.items():
            label = f"fresh pass, {samples[-2]:,}" if name == "precise" else name
            plots.band(
                left,
                seeds[0]["checkpoints"],
                [[100 * found for found in seed["accuracy"][name]] for seed in seeds],
                label,
                colour,
            )
        plots.logarithmic(left.xaxis)
        plots.legend(left)
        gains = [
            [100 * (found - seed["by samples"][-1]) for found in seed["by samples"]]
            for seed in seeds
        ]
        plots.band(right, samples, gains, f"fresh pass at step {step}", plots.C)
        right.set_ylim(min(-1.5, right.get_ylim()[0]), max(1.5, right.get_ylim()[1]))
        for bound in (-0.3, 0.3):  # each label is on the side of the line away from the curve
            plots.guide(right, bound, f"{bound:+g}", below=bound < 0)
        plots.logarithmic(right.xaxis)
        right.set_xticks([10**n for n in range(2, 6) if samples[0] <= 10**n <= samples[-1]])
        plots.legend(right, 1)
        return figure


class Average:
    """A running average in float64 of the statistics of all layers. With `keep` it is a moving
    average that starts at mean 0 and variance 1, and keeps this share of its value at each batch;
    without, it is the plain average of all batches."""

    def __init__(self, keep: float | None) -> None:
        self.keep, self.count, self.value = keep, 0, Statistics()

    def take(self, seen: Statistics) -> None:
        if not self.count:
            self.value = [(0 * mean, np.ones_like(var)) for mean, var in seen]
        self.count += 1
        new = 1 / self.count if self.keep is None else 1 - self.keep
        self.value = [
            (mean + new * (other - mean), var + new * (other_var - var))
            for (mean, var), (other, other_var) in zip(self.value, seen, strict=True)
        ]


def norms(model: nn.Layer) -> list[nn.BatchNorm]:
    """Return the model's BatchNorm layers in their order."""
    return [layer for _, layer in model.named_layers() if isinstance(layer, nn.BatchNorm)]


def taken(model: nn.Layer) -> Statistics:
    """Return copies of the running statistics of all BatchNorm layers."""
    return [
        (np.array(layer.running_mean, np.float64), np.array(layer.running_var, np.float64))
        for layer in norms(model)
    ]


def put(model: nn.Layer, statistics: Statistics) -> nn.Layer:
    """Give the model other running statistics, and return it."""
    for layer, (mean, var) in zip(norms(model), statistics, strict=True):
        assert layer.running_mean is not None and layer.running_var is not None
        layer.running_mean[...], layer.running_var[...] = mean, var
    return model


def precise(model: nn.Layer, images: np.ndarray) -> nn.Layer:
    """Give the model the statistics of a pass over these images, and return it."""
    recalibrate(model, images, PRECISE)
    return model


def sample_sizes(
    model: nn.Layer, images: np.ndarray, test: Arrays, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the test accuracy for each number of images in the pass."""
    sizes = [*settings["samples"], settings["reference"]]
    return {
        "samples": sizes,
        "by samples": [accuracy(precise(model, images[:size]), test) for size in sizes],
    }


def after_divergence(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a result that a training which diverged has no measurements for."""
    sizes = [*settings["samples"], settings["reference"]]
    return {
        "samples": sizes,
        "by samples": [CHANCE] * len(sizes),
        "distances": {name: dict.fromkeys(DISTANCES, math.nan) for name in KEEPS},
        "averaged": {
            str(size): {
                **{VARIANCE.format(name): math.nan for name in ESTIMATES},
                **{ACCURACY.format(name): CHANCE for name in (*ESTIMATES, "precise")},
            }
            for size in settings["sizes"]
        },
    }


def distances(statistics: Statistics, reference: Statistics) -> dict[str, float]:
    """Return how far statistics are from the reference: the means in standard deviations (root mean
    square over the channels of all layers), and the variances as a factor (geometric mean)."""
    mean, var, mean_there, var_there = (
        np.concatenate([pair[i] for pair in which])
        for which in (statistics, reference)
        for i in (0, 1)
    )
    of_means = float(np.sqrt(np.mean((mean - mean_there) ** 2 / var_there)))
    of_variances = float(np.exp(np.abs(np.log(var / var_there)).mean()))
    return dict(zip(DISTANCES, (of_means, of_variances), strict=True))


def sigma_or_square(
    model: nn.Layer, stream: Iterator[Arrays], test: Arrays, count: int = 100
) -> dict[str, float]:
    """Estimate the variance by the mean of sigma, and by the mean of sigma^2, over batches. Return
    the ratio of each estimate to the precise variance (geometric mean over the channels), and the
    accuracy with each."""
    for layer in norms(model):
        layer.unbiased = False
    seen = []
    model.train()
    with md.no_grad():
        for _ in range(count):
            model(next(stream)[0]).numpy()
            seen.append(taken(model))
    means, variances = (
        [np.stack([batch[place][i] for batch in seen]) for place in range(len(seen[0]))]
        for i in (0, 1)
    )
    centres = [mean.mean(axis=0) for mean in means]
    whole = [v.mean(axis=0) + m.var(axis=0) for m, v in zip(means, variances, strict=True)]
    estimates = dict(
        zip(
            ESTIMATES,
            (
                [np.sqrt(v).mean(axis=0) ** 2 for v in variances],
                [v.mean(axis=0) for v in variances],
            ),
            strict=True,
        )
    )
    ratios = {
        name: np.concatenate(estimate) / np.concatenate(whole)
        for name, estimate in estimates.items()
    }
    return {
        **{
            VARIANCE.format(name): float(np.exp(np.log(ratio).mean()))
            for name, ratio in ratios.items()
        },
        **{
            ACCURACY.format(name): accuracy(
                put(model, list(zip(centres, estimate, strict=True))), test
            )
            for name, estimate in {**estimates, "precise": whole}.items()
        },
    }
