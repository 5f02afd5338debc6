"""E15: is a network with batch normalization less sensitive to the initial weights?

The scale of weights before a normalization does not change what the network computes. Apart from
eps, initial hidden weights of any standard deviation from 0.001 to 10 give the same function. But
they do not give the same training: the gradient is smaller for larger weights (E07), so that the
direction of large weights hardly changes. And the last layer, which no normalization follows, is as
sensitive as without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md

from .. import plots, sweeps
from ..experiment import Experiment, Judgement, Result
from ..problems import mlp
from ..training import CHANCE
from ..verdict import Interval, Verdict, at_most, every, interval

SPREAD = 1 / 3  # the largest ratio of the spread with BatchNorm to that without
COLLAPSED = CHANCE + 0.02  # a lower accuracy is within 2 points of guessing
LABELS = plots.names("batch", "none")
LARGEST = 1.0  # the largest standard deviation of the narrower of the two judged ranges


class Initialization(Experiment):
    id = "E15"
    title = "Less sensitive to the initial weights"
    claim = "With batch normalization a network is less sensitive to how its weights start."
    notes = "B, D"
    source = "Ioffe & Szegedy 2015, sections 1 and 3.3 (1502.03167)"
    setup = (
        "784-100-100-100-10 with sigmoids, MNIST with pixels of 0 or 1, SGD without momentum, "
        "batches of {batch}, {steps} steps at a learning rate of {main}. The initial weights of "
        "all layers, the last one included, are normal with a standard deviation of {stds}; "
        "biases are 0. Accuracy on 10,000 test images in evaluation mode. The same at the best "
        "of the rates {rates} for each standard deviation is reported, but not judged."
    )
    rule = (
        "The spread is the highest minus the lowest test accuracy among the standard deviations "
        "of the initial weights. SUPPORTED if (1) the interval of the ratio of BatchNorm's "
        "spread to that of the network without it lies at 1/3 or below, for standard deviations "
        "from 0.001 to 1, and (2) for those from 0.001 to 10, and (3) there is no standard "
        "deviation at which both networks are within 2 points of guessing. REFUTED if one of "
        "the three intervals lies wholly on the other side."
    )
    expected = Verdict.SUPPORTED
    explanation = (
        "At a learning rate of 0.5 the initial scale hardly matters over three decades with "
        "BatchNorm ({figure[accuracy, %, BatchNorm, start 0.001]:.0f}% from 0.001, "
        "{figure[accuracy, %, BatchNorm, start 1]:.0f}% from 1). Without it "
        "({figure[accuracy, %, none, start 0.001]:.0f}% from 0.001), almost no signal passes "
        "through small initial weights, and the network stays on a plateau for a long time. At "
        "a higher rate it leaves the plateau, so the rate explains a part of the difference: "
        "with the best rate for each initial scale, a full run reaches 85% from 0.001 and 16% "
        "from 10 without BatchNorm, and 96% and 80% with it. At 10 BatchNorm suffers too "
        "({figure[accuracy, %, BatchNorm, start 10]:.0f}%): the hidden weights are so large "
        "that the steps no longer change their direction (its cosine with the initial one is "
        "1.0000 after 3,000 steps of one seed), and only the last layer is trained, on random "
        "features. The scale of the weights does not affect the function, but it does affect "
        "the training."
    )
    needs = ("mnist",)
    minutes = 0.8
    full = {
        "stds": [0.001, 0.01, 0.1, 1.0, 10.0],
        "rates": [0.1, 0.5, 2.0],
        "main": 0.5,
        "steps": 3000,
        "batch": 60,
    }
    quick = {"rates": [0.5], "steps": 1000}

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "stds": settings["stds"],
            "main": settings["main"],
            "arms": {
                norm: [
                    [trained(norm, std, rate, seed, settings) for rate in settings["rates"]]
                    for std in settings["stds"]
                ]
                for norm in LABELS
            },
        }

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        narrow, wide = (
            spreads(seeds, accuracies, largest)
            for accuracies, largest in ((at_main, LARGEST), (at_main, np.inf))
        )
        shared = interval([collapses(seed) for seed in seeds])
        figures: dict[str, Any] = {
            "spread with BatchNorm over that without, 0.001 to 1": narrow,
            "spread with BatchNorm over that without, 0.001 to 10": wide,
            "starts at which both collapse": shared,
        }
        for norm, label in LABELS.items():
            for place, std in enumerate(seeds[0]["stds"]):
                figures[f"accuracy, %, {label}, start {std:g}"] = interval(
                    sweeps.percent(at_main(seed, norm)[place] for seed in seeds)
                )
            figures[f"starts at which it collapses, {label}"] = interval(
                [float(np.sum(np.array(at_main(seed, norm)) < COLLAPSED)) for seed in seeds]
            )
        figures |= {
            "spread with BatchNorm over that without, 0.001 to 1, best rates": spreads(
                seeds, at_best, LARGEST
            ),
            "spread with BatchNorm over that without, 0.001 to 10, best rates": spreads(
                seeds, at_best, np.inf
            ),
        }
        return Judgement(
            every(at_most(narrow, SPREAD), at_most(wide, SPREAD), at_most(shared, 0)),
            f"At rate {seeds[0]['main']:g} the spread of the accuracies with BatchNorm is "
            f"{narrow.value:.2f} times that without for initial weights from 0.001 to 1, and "
            f"{wide.value:.2f} times for those from 0.001 to 10; both networks collapse at "
            f"{f'{shared.value:.2g}' if shared.value else 'none'} of the initial scales.",
            figures,
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        guessing = f"test accuracy, % (guessing: {100 * CHANCE:.0f})"
        figure, (ax,) = plots.new(("standard deviation of the initial weights", guessing))
        for norm, label in LABELS.items():
            for accuracies, text, style in (
                (at_main, f"rate {seeds[0]['main']:g}", "-"),
                (at_best, "best rate", ":"),
            ):
                rows = [sweeps.percent(accuracies(seed, norm)) for seed in seeds]
                plots.band(
                    ax,
                    seeds[0]["stds"],
                    rows,
                    f"{label}, {text}",
                    plots.COLOURS[norm],
                    linestyle=style,
                )
        plots.logarithmic(ax.xaxis)
        plots.legend(ax)
        return figure


def trained(
    norm: str, std: float, rate: float, seed: int, settings: Mapping[str, Any]
) -> dict[str, float]:
    """Train a network from weights of a standard deviation, and return its rate and accuracy."""
    md.manual_seed(seed)
    course = sweeps.course(
        mlp(norm, std=std),
        sweeps.binary_mnist("train"),
        sweeps.binary_mnist("test"),
        rate,
        seed,
        settings,
    )
    return {"rate": rate, "accuracy": course["accuracy"][-1]}


def at_main(seed: Result, norm: str) -> list[float]:
    """Return the accuracy for each initial scale at the learning rate that is judged."""
    return [
        one["accuracy"]
        for start in seed["arms"][norm]
        for one in start
        if one["rate"] == seed["main"]
    ]


def at_best(seed: Result, norm: str) -> list[float]:
    """Return the accuracy for each initial scale at the best learning rate for it."""
    return [max(one["accuracy"] for one in start) for start in seed["arms"][norm]]


def spreads(seeds: Sequence[Result], accuracies: Any, largest: float) -> Interval:
    """Return the ratio of the spread with BatchNorm to that without, over the initial standard
    deviations up to `largest`. `accuracies` is `at_main` or `at_best`."""
    count = sum(std <= largest for std in seeds[0]["stds"])
    return sweeps.quotient(
        *(
            [float(np.ptp(accuracies(seed, norm)[:count])) for seed in seeds]
            for norm in ("batch", "none")
        )
    )


def collapses(seed: Result) -> float:
    """Return at how many initial scales both networks are at guessing."""
    both = np.maximum(at_main(seed, "batch"), at_main(seed, "none"))
    return float(np.sum(both < COLLAPSED))
