"""E20: dropout and batch normalization in one network, where their order is decisive.

Dropout multiplies the values that it keeps by 1/keep, which preserves the mean but not the
variance. If x has the mean mu and the variance sigma^2, then after dropout in training its second
moment is (sigma^2 + mu^2) / keep, and its variance is

    sigma^2 / keep + mu^2 (1/keep - 1).

In evaluation dropout does nothing, and the variance is sigma^2. A BatchNorm after dropout keeps a
running average of the former, but is applied to values with the latter: its output is too small, by
the square root of

    running variance / real variance = 1/keep + (1/keep - 1) mu^2 / sigma^2.

This is the variance shift of Li et al. (2018), who have the case mu = 0, in which it is 1/keep.
Dropout after the last BatchNorm does not change any running statistics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import nn

from .. import arms, plots, problems, training
from ..experiment import Experiment, Judgement, Result
from ..verdict import Interval, Verdict, above, every, interval, within

TOLERANCE = 0.1  # the relative deviation from the formula that is allowed
LOOK = 2000  # the number of images that statistics are computed from
PLACES = {"none": "no dropout", "before": "before each", "after": "after all"}


class Dropout(Experiment):
    id = "E20"
    title = "Dropout beside BatchNorm"
    claim = (
        "Dropout and batch normalization do not go together: dropout before a BatchNorm makes "
        "its running variance wrong, and costs accuracy that dropout after the last BatchNorm "
        "does not cost."
    )
    notes = "B, C, D"
    source = (
        "Li et al. 2018, Understanding the Disharmony between Dropout and Batch "
        "Normalization by Variance Shift (1801.05134)"
    )
    setup = (
        "CIFAR-10, {images} training images, C6 in the order convolution, ReLU, BatchNorm; "
        "SGD with momentum 0.9, learning rate {rate} with cosine decay to 0, batch {batch}, "
        "{epochs} epochs, {test} test images. Dropout with keep probability {keeps}: none; "
        "before each BatchNorm (between ReLU and BatchNorm); after all of them (before the last "
        "dense layer). The ratio of variances is the running variance divided by the variance "
        "over 2,000 training images in evaluation mode, as geometric mean over the channels of "
        "the first BatchNorm, whose input has no other noise. It is compared with the formula, "
        "1/keep + (1/keep - 1) mean^2 / variance, for the same channels. Not judged: dropout "
        "before each BatchNorm with statistics recomputed without dropout; and the network "
        "without BatchNorm, with and without dropout before the last layer."
    )
    rule = (
        "(1) For each keep probability, the interval of the measured ratio divided by that of "
        f"the formula lies within 1 ± {TOLERANCE}. (2) At keep 0.5, the interval of the accuracy "
        "with dropout after all BatchNorms minus that with dropout before each, in points, lies "
        "above 0. SUPPORTED if all of this holds; REFUTED if one interval lies wholly elsewhere."
    )
    paper = "DenseNet on CIFAR-100: 77.42% without dropout, 68.55% with 0.5 before BatchNorm"
    expected = Verdict.SUPPORTED
    examination = (
        "The effect on the variance does not depend on the network, but the cost in accuracy "
        "does. One seed of an MLP (3072-256-256-256-10, 10,000 images, 15 epochs), which "
        "overfits (45.9% without dropout), had ratios of 2.40 at the first BatchNorm and 3.5 at "
        "the last one for keep 0.5. There dropout before each BatchNorm was 1.9 points worse "
        "than dropout after all of them at keep 0.5, but 1.6 and 2.0 points better at 0.7 and "
        "0.9, and new statistics recovered nothing. So the order is decisive in convolutional "
        "networks, but not in every network."
    )
    explanation = (
        "Each dropout before a BatchNorm makes the running variance larger than the variance in "
        "evaluation, exactly as the formula says: {figure[ratio of variances, keep 0.5]:.2f} "
        "times at the first BatchNorm, and {figure[ratio after ReLU and dropout of normal "
        "values, keep 0.5]:.2f} times for normal values after a ReLU. From layer to layer the "
        "errors multiply, to {figure[ratio of variances at the last BatchNorm, keep 0.5]:.0f} "
        "times at the last one, and in evaluation the last layers get nearly constant inputs. "
        "Statistics recomputed without dropout, which cost one pass over a few images, recover "
        "{figure[gain by recomputed statistics, points]:.0f} points; the rest is the effect of "
        "the noise on the training. Dropout after the last BatchNorm does not affect the "
        "statistics. This network is regularised already and is trained for a few epochs only; "
        "such a dropout changes its accuracy by {figure[gain by dropout after all, with "
        "BatchNorm, points]:+.1f} points."
    )
    minutes = 2.5
    needs = ("cifar10",)
    full = {
        "images": 10_000,
        "test": 10_000,
        "epochs": 8,
        "batch": 100,
        "rate": 0.05,
        "keeps": [0.5, 0.8],
    }
    quick = {"images": 2_000, "test": 1_000, "epochs": 2, "keeps": [0.5]}

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        arrays, test = problems.subsets(problems.cifar10, settings)
        accuracy: dict[str, float] = {}
        ratios: dict[str, list[dict[str, float]]] = {}
        chosen = [
            ("batch", place, keep)
            for keep in settings["keeps"]
            for place in PLACES
            if place != "none"
        ]
        for norm, place, keep in [
            ("batch", "none", 1.0),
            *chosen,
            ("none", "none", 1.0),
            ("none", "after", min(settings["keeps"])),
        ]:
            model = network(norm, place, keep, seed)
            losses = fit(model, arrays, seed, settings)
            accuracy[f"{norm} {place} {keep}"] = training.score(model, losses, test)
            if norm == "batch" and place == "before":
                ratios[str(keep)] = variance_ratios(model, arrays[0][:LOOK], keep)
                training.recalibrate(model, arrays[0][:LOOK])
                accuracy[f"anew before {keep}"] = training.score(model, losses, test)
        return {
            "accuracy": accuracy,
            "ratios": ratios,
            "gaussian": {name: gaussian_ratio(0.5, name, seed) for name in ("normal", "ReLU")},
        }

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        keeps = list(seeds[0]["ratios"])
        first = {keep: [seed["ratios"][keep][0] for seed in seeds] for keep in keeps}
        fits = {
            f"measured ratio / formula, keep {keep}": interval(
                [one["measured"] / one["formula"] for one in first[keep]]
            )
            for keep in keeps
        }
        least = min(keeps, key=float)
        worse = _difference(seeds, f"batch after {least}", f"batch before {least}")
        verdict = every(
            *(within(found, 1 - TOLERANCE, 1 + TOLERANCE) for found in fits.values()),
            above(worse, 0),
        )
        ratio = interval([one["measured"] for one in first[least]])
        figures = {
            **fits,
            f"after minus before, points, keep {least}": worse,
            **{
                f"ratio of variances, keep {keep}": interval([one["measured"] for one in rows])
                for keep, rows in first.items()
            },
            **{
                f"ratio of variances at the last BatchNorm, keep {keep}": interval(
                    [seed["ratios"][keep][-1]["measured"] for seed in seeds]
                )
                for keep in keeps
            },
            **{
                f"ratio after {what} of normal values, keep 0.5": interval(
                    [seed["gaussian"][name] for seed in seeds]
                )
                for name, what in (("normal", "dropout"), ("ReLU", "ReLU and dropout"))
            },
            **{
                f"accuracy, {_label(name)}, %": interval(arms.percent(seeds, "accuracy", name))
                for name in seeds[0]["accuracy"]
            },
            "gain by recomputed statistics, points": _difference(
                seeds, f"anew before {least}", f"batch before {least}"
            ),
            "gain by dropout after all, with BatchNorm, points": _difference(
                seeds, f"batch after {least}", "batch none 1.0"
            ),
            "gain by the same dropout without BatchNorm, points": _difference(
                seeds, f"none after {least}", "none none 1.0"
            ),
        }
        return Judgement(
            verdict,
            f"At keep {least} the running variance is {ratio.value:.2f} times the variance in "
            f"evaluation, and dropout before each BatchNorm is {worse.value:.1f} points worse "
            f"than dropout after all.",
            figures,
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        figure, (left, right) = plots.new(
            ("BatchNorm, counted from the input", "running variance / real variance"),
            ("dropout and BatchNorm, keep 0.5", "test accuracy (%)"),
        )
        keeps = list(seeds[0]["ratios"])
        for keep, colour in zip(keeps, (plots.A, plots.E, plots.C), strict=False):
            rows = {
                key: [[one[key] for one in seed["ratios"][keep]] for seed in seeds]
                for key in ("measured", "formula")
            }
            layers = range(1, len(rows["formula"][0]) + 1)
            plots.band(left, layers, rows["measured"], f"keep {keep}", colour)
            left.plot(
                layers,
                np.mean(rows["formula"], axis=0),
                color=colour,
                linestyle="--",
                label="formula" if keep == keeps[0] else None,
            )
        plots.logarithmic(left.yaxis)
        plots.legend(left, 3)
        least = min(keeps, key=float)
        names = [
            "batch none 1.0",
            f"batch after {least}",
            f"batch before {least}",
            f"anew before {least}",
        ]
        plots.bars(
            right,
            ["none", "after all", "before\neach", "before,\nnew stats"],
            [[100 * seed["accuracy"][name] for name in names] for seed in seeds],
            [plots.GREY, plots.C, plots.B, plots.D],
        )
        return figure


def network(norm: str, place: str, keep: float, seed: int) -> problems.Stack:
    """Return a C6 in the order convolution, ReLU, normalization, with dropout at one of `PLACES`.
    The initial weights depend on the seed alone, not on the place of dropout."""
    md.manual_seed(seed)
    active: Any = nn.ReLU
    if place == "before":

        def active() -> nn.Layer:
            return nn.Sequential(nn.ReLU(), nn.Dropout(1 - keep))

    base = problems.c6(norm, activation=active, after=True)
    parts = {name: getattr(base, name) for name in base.order}
    if place == "after":
        parts |= {"dropout": nn.Dropout(1 - keep), "head": parts.pop("head")}
    return problems.Stack(parts)


def fit(
    model: nn.Layer, arrays: problems.Arrays, seed: int, settings: Mapping[str, Any]
) -> list[float]:
    """Train a network by SGD with momentum and cosine decay, and return the losses. The seed
    determines the batches."""
    steps = settings["epochs"] * (len(arrays[0]) // settings["batch"])
    return arms.train_with_cosine_decay(
        model, problems.batches(arrays, settings["batch"], seed), settings["rate"], steps
    )


def variance_ratios(
    model: problems.Stack, images: np.ndarray, keep: float
) -> list[dict[str, float]]:
    """Return, for each BatchNorm, the ratio of its running variance to the variance of its input in
    evaluation, as measured and as the formula gives it. Channels that are nearly always 0, whose
    variance is negligible, are left out."""
    model.eval()
    found = []
    with md.no_grad():
        for _, layer, x, _ in model.steps(images):
            if isinstance(layer, nn.BatchNorm) and layer.running_var is not None:
                mean, var = (f(x.data, axis=tuple(range(x.ndim - 1))) for f in (np.mean, np.var))
                alive = var > 1e-3 * np.median(var)
                formula = shifted(keep, mean[alive], var[alive])
                found.append(
                    {
                        "measured": _geometric(layer.running_var[alive] / var[alive]),
                        "formula": _geometric(formula),
                    }
                )
    return found


def shifted(keep: float, mean: Any, var: Any) -> Any:
    """Return the factor by which dropout increases the variance of values with this mean and
    variance."""
    return 1 / keep + (1 / keep - 1) * mean**2 / var


def gaussian_ratio(keep: float, what: str, seed: int) -> float:
    """Return the ratio of variances at a BatchNorm after dropout of standard normal values, or of
    their ReLU."""
    md.manual_seed(seed)
    dropout, norm = nn.Dropout(1 - keep), nn.BatchNorm(100, momentum=None)
    x = np.random.default_rng(seed).standard_normal((4000, 100)).astype(np.float32)
    if what == "ReLU":
        x = np.maximum(x, 0)
    norm(dropout(md.tensor(x)))
    return _geometric(norm.running_var / x.var(axis=0))


def _geometric(values: Any) -> float:
    return float(np.exp(np.mean(np.log(values)))) if len(values) else math.nan


def _difference(seeds: Sequence[Result], name: str, other: str) -> Interval:
    return arms.paired(seeds, ("accuracy", name), ("accuracy", other))


def _label(name: str) -> str:
    norm, place, keep = name.split()
    return (
        {"batch": "BatchNorm", "none": "no BatchNorm", "anew": "BatchNorm, new statistics"}[norm]
        + f", {PLACES[place]}"
        + (f", keep {keep}" if place != "none" else "")
    )
