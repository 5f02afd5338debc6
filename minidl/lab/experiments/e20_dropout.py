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
from minidl import nn, optim

from .. import plots, problems, training
from ..experiment import Experiment, Judgement, Result
from ..verdict import Interval, Verdict, above, every, interval, within

TOLERANCE = 0.1
PLACES = {"none": "no dropout", "before": "before each", "after": "after all"}


class Dropout(Experiment):
    id = "E20"
    title = "Dropout beside BatchNorm"
    claim = ("Dropout does not go together with batch normalization: before a BatchNorm it makes "
             "the running variance wrong, and costs accuracy that dropout after the last one does "
             "not cost.")
    notes = "B, C, D"
    source = ("Li et al. 2018, Understanding the Disharmony between Dropout and Batch "
              "Normalization by Variance Shift (1801.05134)")
    setup = ("CIFAR-10, 10,000 training images, MLP 3072-256-256-256-10 of dense layers, ReLU, "
             "BatchNorm; SGD with momentum 0.9, rate 0.05 with a cosine to 0, batch 100, 15 "
             "epochs, 5,000 test images. Dropout of keep 0.5, 0.7 and 0.9: none; before each "
             "BatchNorm (between ReLU and BatchNorm); after all of them (before the last dense "
             "layer). Ratio of variances: running variance over that of the training images in "
             "evaluation, the geometric mean over the units of the first BatchNorm, whose input "
             "has no other noise; beside it the formula, from the same units' mean and variance. "
             "Beside them: the network without BatchNorm, with and without dropout behind each "
             "ReLU; dropout before a BatchNorm with the statistics computed anew without dropout.")
    rule = (f"At each keep: the interval of the measured ratio over that of the formula lies "
            f"within 1 ± {TOLERANCE}. At keep 0.5: the interval of the accuracy with dropout after "
            "all BatchNorms minus that with dropout before each, in points, is above 0. All of it: "
            "SUPPORTED; one wholly elsewhere: REFUTED.")
    paper = "DenseNet on CIFAR-100: 77.42% without dropout, 68.55% with 0.5 before BatchNorm"
    expected = Verdict.SUPPORTED
    minutes = 1.0
    needs = ("cifar10",)
    full = {"images": 10_000, "test": 5_000, "widths": [256, 256, 256], "epochs": 15,
            "batch": 100, "lr": 0.05, "keeps": [0.5, 0.7, 0.9]}
    quick = {"images": 5_000, "test": 2_000, "widths": [100, 100, 100], "epochs": 8,
             "keeps": [0.5, 0.9]}

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        arrays = problems.subset(problems.cifar10("train"), settings["images"])
        test = problems.subset(problems.cifar10("test"), settings["test"])
        points: dict[str, float] = {}
        ratios: dict[str, list[dict[str, float]]] = {}
        arms = [("batch", place, keep) for keep in settings["keeps"] for place in PLACES
                if place != "none"]
        for norm, place, keep in [("batch", "none", 1.0), *arms, ("none", "none", 1.0),
                                  ("none", "before", min(settings["keeps"]))]:
            model = network(norm, place, keep, settings["widths"], seed)
            fit(model, arrays, seed, settings)
            points[f"{norm} {place} {keep}"] = 100 * training.accuracy(model, test)
            if norm == "batch" and place == "before":
                ratios[str(keep)] = variance_ratios(model, arrays, keep)
                points[f"anew before {keep}"] = 100 * training.accuracy(model, test)
        return {"points": points, "ratios": ratios,
                "gaussian": {name: gaussian_ratio(0.5, name, seed) for name in ("normal", "ReLU")}}

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        keeps = list(seeds[0]["ratios"])
        first = {keep: [seed["ratios"][keep][0] for seed in seeds] for keep in keeps}
        fits = {f"measured ratio / formula, keep {keep}": interval(
            [one["measured"] / one["formula"] for one in first[keep]]) for keep in keeps}
        least = min(keeps, key=float)
        worse = _difference(seeds, f"batch after {least}", f"batch before {least}")
        verdict = every(*(within(found, 1 - TOLERANCE, 1 + TOLERANCE) for found in fits.values()),
                        above(worse, 0))
        ratio = interval([one["measured"] for one in first[least]])
        figures = {
            **fits, f"after minus before, points, keep {least}": worse,
            **{f"ratio of variances, keep {keep}": interval([one["measured"] for one in rows])
               for keep, rows in first.items()},
            **{f"ratio at the last BatchNorm, keep {keep}": interval(
                [seed["ratios"][keep][-1]["measured"] for seed in seeds]) for keep in keeps},
            **{f"ratio behind dropout of {what}, keep 0.5": interval(
                [seed["gaussian"][name] for seed in seeds])
               for name, what in (("normal", "normal values"), ("ReLU", "their ReLU"))},
            **{f"accuracy, {_label(name)}, points": interval(_points(seeds, name))
               for name in seeds[0]["points"]},
            "what new statistics give back, points": _difference(
                seeds, f"anew before {least}", f"batch before {least}"),
            "what dropout gives beside BatchNorm (after all), points": _difference(
                seeds, f"batch after {least}", "batch none 1.0"),
            "what dropout gives without BatchNorm, points": _difference(
                seeds, f"none before {least}", "none none 1.0")}
        return Judgement(verdict,
                         f"At keep {least} the running variance is {ratio.value:.2f} times the "
                         f"real one; dropout before each BatchNorm is {worse.value:.1f} points "
                         f"below dropout after all.", figures)

    def plot(self, seeds: Sequence[Result]) -> Any:
        figure, (left, right) = plots.new(("share of values that dropout keeps",
                                           "running variance / real variance"),
                                          ("", "test accuracy (%)"))
        keeps = list(seeds[0]["ratios"])
        x = [float(keep) for keep in keeps]
        for key, label, colour, style in (("measured", "measured", plots.A, {}),
                                          ("formula", "formula", plots.INK, {"linestyle": "--"})):
            rows = [[seed["ratios"][keep][0][key] for keep in keeps] for seed in seeds]
            plots.band(left, x, rows, label, colour, **style)
        left.axhline(1, color=plots.MUTED, linewidth=1, linestyle=(0, (1, 2)))
        plots.legend(left)
        least = min(keeps, key=float)
        names = ["batch none 1.0", f"batch after {least}", f"batch before {least}",
                 f"anew before {least}"]
        plots.bars(right, ["none", "after all\nBatchNorms", "before\neach",
                           "before,\nrecalibrated"],
                   [[seed["points"][name] for name in names] for seed in seeds],
                   [plots.GREY, plots.C, plots.B, plots.D])
        return figure


def network(norm: str, place: str, keep: float, widths: Sequence[int], seed: int) -> problems.Stack:
    """An MLP of dense, ReLU, normalization, with dropout at a place of PLACES.

    The same weights for a seed, wherever dropout stands.
    """
    md.manual_seed(seed)
    active: Any = nn.ReLU
    if place == "before":
        def active() -> nn.Layer:
            return nn.Sequential(nn.ReLU(), nn.Dropout(1 - keep))
    base = problems.mlp(norm, (3072, *widths, 10), active, after=True)
    parts = {name: getattr(base, name) for name in base.order}
    if place == "after":
        last = base.order[-1]
        parts |= {"dropout": nn.Dropout(1 - keep), last: parts.pop(last)}
    return problems.Stack(parts)


def fit(model: nn.Layer, arrays: problems.Arrays, seed: int, settings: Mapping[str, Any]) -> None:
    """Train with momentum and a cosine, in the same batches for a seed."""
    steps = settings["epochs"] * (len(arrays[0]) // settings["batch"])
    optimizer = optim.SGD(model.parameters(), lr=settings["lr"], momentum=0.9)
    training.train(model, optimizer, problems.batches(arrays, settings["batch"], seed), steps,
                   schedule=optim.CosineLR(optimizer, steps))


def variance_ratios(model: problems.Stack, arrays: problems.Arrays,
                    keep: float) -> list[dict[str, float]]:
    """For each BatchNorm the ratio of running to real variance, and that of the formula.

    The model has the real statistics, those of the images without dropout, afterwards. Units that
    are nearly always 0 have no variance to speak of, and are left out.
    """
    norms = [getattr(model, name) for name in model.order if name.startswith("norm")]
    running = [norm.running_var.astype(np.float64) for norm in norms]
    nn.recalibrate(model, [arrays[0][start:start + 1000] for start in
                           range(0, len(arrays[0]), 1000)], quiet=True)
    found = []
    for norm, before in zip(norms, running, strict=True):
        mean, var = (value.astype(np.float64) for value in (norm.running_mean, norm.running_var))
        alive = var > 1e-3 * np.median(var)
        mean, var, before = mean[alive], var[alive], before[alive]
        found.append({"measured": _geometric(before / var),
                      "formula": _geometric(shifted(keep, mean, var))})
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


def _points(seeds: Sequence[Result], name: str) -> list[float]:
    return [seed["points"][name] for seed in seeds]


def _difference(seeds: Sequence[Result], name: str, other: str) -> Interval:
    return interval(np.subtract(_points(seeds, name), _points(seeds, other)))


def _label(name: str) -> str:
    norm, place, keep = name.split()
    return {"batch": "BatchNorm", "none": "no BatchNorm", "anew": "BatchNorm, new statistics"}[
        norm] + f", {PLACES[place]}" + (f", keep {keep}" if place != "none" else "")
