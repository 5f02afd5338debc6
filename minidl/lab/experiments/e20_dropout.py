"""E20: dropout and batch normalization in one network; the order decides.

Dropout scales what it keeps by 1/keep, so that the mean stays and the variance does not: a value x
of mean mu and variance sigma^2 has, behind dropout in training, the second moment
(sigma^2 + mu^2) / keep, and so the variance

    sigma^2 / keep + mu^2 (1/keep - 1).

In evaluation dropout does nothing and the variance is sigma^2 again. A BatchNorm behind dropout
keeps a running average of the first and meets the second: its output is too small by the root of

    running variance / real variance = 1/keep + (1/keep - 1) mu^2 / sigma^2

(the variance shift of Li et al. 2018, whose 1/keep is the case mu = 0). Dropout behind the last
BatchNorm changes no statistic that anyone keeps.
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

TOLERANCE = 0.1
LOOK = 2000  # images that statistics are computed of
PLACES = {"none": "no dropout", "before": "before each", "after": "after all"}


class Dropout(Experiment):
    id = "E20"
    title = "Dropout beside BatchNorm"
    claim = (
        "Dropout does not go together with batch normalization: before a BatchNorm it makes "
        "the running variance wrong, and costs accuracy that dropout after the last one does "
        "not cost."
    )
    notes = "B, C, D"
    source = (
        "Li et al. 2018, Understanding the Disharmony between Dropout and Batch "
        "Normalization by Variance Shift (1801.05134)"
    )
    setup = (
        "CIFAR-10, {images} training images, C6 in the order convolution, ReLU, BatchNorm; "
        "SGD with momentum 0.9, rate {rate} with a cosine to 0, batch {batch}, {epochs} "
        "epochs, {test} test images. Dropout of keep {keeps}: none; before each BatchNorm "
        "(between ReLU and BatchNorm); after all of them (before the last dense layer). Ratio "
        "of variances: running variance over that of 2,000 training images in evaluation, the "
        "geometric mean over the channels of the first BatchNorm, whose input has no other "
        "noise; beside it the formula, 1/keep + (1/keep - 1) mean^2 / variance, of the same "
        "channels. Beside them: dropout before each with the statistics computed anew without "
        "dropout; the network without BatchNorm, with and without dropout before the last "
        "layer."
    )
    rule = (
        f"At each keep: the interval of the measured ratio over that of the formula lies "
        f"within 1 ± {TOLERANCE}. At keep 0.5: the interval of the accuracy with dropout after "
        "all BatchNorms minus that with dropout before each, in points, is above 0. All of it: "
        "SUPPORTED; one wholly elsewhere: REFUTED."
    )
    paper = "DenseNet on CIFAR-100: 77.42% without dropout, 68.55% with 0.5 before BatchNorm"
    expected = Verdict.SUPPORTED
    examination = (
        "The variance does not depend on the network, the cost does. One seed of an MLP "
        "(3072-256-256-256-10, 10,000 images, 15 epochs, which overfits: 45.9% without "
        "dropout) had ratios of 2.40 at keep 0.5 at the first BatchNorm and 3.5 at the "
        "last. There dropout before each was 1.9 points below dropout after all at "
        "keep 0.5, and 1.6 and 2.0 points above it at 0.7 and 0.9; new statistics gave "
        "nothing back. So the order is decisive in convolutional networks, and not in "
        "every network."
    )
    explanation = (
        "Each dropout before a BatchNorm makes the variance that is remembered larger "
        "than the one that is met later, exactly as the formula says: {figure[ratio of "
        "variances, keep 0.5]:.2f} times at the first BatchNorm, {figure[ratio behind "
        "dropout of their ReLU, keep 0.5]:.2f} times behind a ReLU of normal values. "
        "Layer by layer the errors multiply, to {figure[ratio of variances at the last "
        "BatchNorm, keep 0.5]:.0f} times at the last one, and in evaluation the last "
        "layers see nearly constant inputs. Statistics computed anew without dropout, "
        "which cost one pass over a few images, give back {figure[what new statistics "
        "give back, points]:.0f} points; the rest is the noise in training. Dropout "
        "after the last BatchNorm leaves the statistics right; to a network that is "
        "regularised already, and trained for few epochs, it gives {figure[what dropout "
        "gives beside BatchNorm (after all), points]:+.1f} points."
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
        arrays = problems.subset(problems.cifar10("train"), settings["images"])
        test = problems.subset(problems.cifar10("test"), settings["test"])
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
                f"ratio behind dropout of {what}, keep 0.5": interval(
                    [seed["gaussian"][name] for seed in seeds]
                )
                for name, what in (("normal", "normal values"), ("ReLU", "their ReLU"))
            },
            **{
                f"accuracy, {_label(name)}, %": interval(arms.percent(seeds, "accuracy", name))
                for name in seeds[0]["accuracy"]
            },
            "what new statistics give back, points": _difference(
                seeds, f"anew before {least}", f"batch before {least}"
            ),
            "what dropout gives beside BatchNorm (after all), points": _difference(
                seeds, f"batch after {least}", "batch none 1.0"
            ),
            "what the same dropout gives without BatchNorm, points": _difference(
                seeds, f"none after {least}", "none none 1.0"
            ),
        }
        return Judgement(
            verdict,
            f"At keep {least} the running variance is {ratio.value:.2f} times the "
            f"real one; dropout before each BatchNorm is {worse.value:.1f} points "
            f"below dropout after all.",
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
    """A C6 of convolution, ReLU, normalization, with dropout at a place of PLACES.

    The same weights for a seed, wherever dropout stands.
    """
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
    """Train with momentum and a cosine, in the same batches for a seed; the losses."""
    steps = settings["epochs"] * (len(arrays[0]) // settings["batch"])
    return arms.by_cosine(
        model, problems.batches(arrays, settings["batch"], seed), settings["rate"], steps
    )


def variance_ratios(
    model: problems.Stack, images: np.ndarray, keep: float
) -> list[dict[str, float]]:
    """For each BatchNorm the ratio of its running variance to the variance that it meets in
    evaluation, and the ratio of the formula.

    Units that are nearly always 0 have no variance to speak of, and are left out.
    """
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
    """How many times larger dropout makes the variance of values of such a mean and variance."""
    return 1 / keep + (1 / keep - 1) * mean**2 / var


def gaussian_ratio(keep: float, what: str, seed: int) -> float:
    """The ratio for standard normal values, or their ReLU, that go through dropout to BatchNorm."""
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
