"""E11: is training with batch normalization faster and more stable? This is the experiment of
Figure 1 in the paper, at its full length.

A network with three hidden layers of 100 sigmoids learns black and white digits. "Faster" refers to
the accuracy in the course of the training. "More stable" refers to the input of the sigmoids in the
last hidden layer: to its 15th, 50th and 85th percentile over the images, and to how far these drift
during the training. In the paper's figure the percentiles of the network without normalization move
up and down, and those of the normalized network hardly move.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md

from .. import plots, sweeps
from ..experiment import Experiment, Judgement, Result
from ..identities import input_of
from ..problems import Stack, mlp, subset
from ..verdict import Interval, Verdict, at_least, at_most, every, interval

PERCENTILES = 15, 50, 85
AHEAD = 0.9  # the share of the checkpoints at which BatchNorm must have the higher accuracy
DRIFT = 0.5  # the largest ratio of the drift with BatchNorm to the drift without
LABELS = plots.names("batch", "none")


class FasterAndStable(Experiment):
    id = "E11"
    title = "Faster and more stable"
    claim = (
        "With batch normalization training is faster, and the distributions inside the "
        "network are more stable."
    )
    notes = "B, C, D"
    source = "Ioffe & Szegedy 2015, section 4.1 and Figure 1 (1502.03167)"
    setup = (
        "784-100-100-100-10 with sigmoids, MNIST with pixels of 0 or 1, cross-entropy, SGD "
        "without momentum, batches of {batch}, {steps} steps (in the paper 50,000), initial "
        "weights normal with standard deviation {std}. This is the paper's set-up except for "
        "the learning rate, which the paper does not give. It is 0.1, at which the network "
        "without BatchNorm learns about as slowly as in the paper's figure, and 1, which is "
        "near its best rate. Accuracy on the 10,000 test images every {every} steps, in "
        "evaluation mode. Sigmoids: the inputs of all 100 sigmoids of the last hidden layer "
        "over {images} test images, normalized as in training, by the statistics of these "
        "images. Drift: the highest minus the lowest value of a percentile during the training, "
        "averaged over the three percentiles and the sigmoids. The plot shows the sigmoid with "
        "the median drift in the first seed."
    )
    rule = (
        "Two intervals are judged at each rate: that of the share of checkpoints at which "
        "BatchNorm has the higher test accuracy, which must lie at 90% or above, and that of "
        "the ratio of the drift with BatchNorm to the drift without, which must lie at 0.5 or "
        "below. SUPPORTED if all of them do; REFUTED if one lies wholly on the other side."
    )
    paper = (
        "Figure 1: BatchNorm is ahead during the whole training, and its percentiles stay level; "
        "no numbers are given"
    )
    expected = Verdict.SUPPORTED
    examination = (
        "The expected verdict was SUPPORTED. Three causes were examined. (1) The learning "
        "rate. At 0.1 BatchNorm is ahead at {figure[checkpoints with BatchNorm ahead, %, rate "
        "0.1]:.0f}% of the checkpoints, and needs {figure[times fewer steps to the best "
        "accuracy without, rate 0.1]:.1f} times fewer steps to the best accuracy of the "
        "network without it. At 1 it is ahead at {figure[checkpoints with BatchNorm ahead, %, "
        "rate 1.0]:.0f}% of the checkpoints, and in each seed of a full run it is behind at "
        "most of those from 1,500 to 4,500 steps. (2) The measure, over the first 20,000 steps "
        "of one seed. With the statistics of the images, the drift is 0.47 times that without "
        "BatchNorm at rate 0.1 and 0.86 times at 1, and the sum of all changes of the "
        "percentiles is 0.50 and 0.47 times as large. In evaluation mode the drift is 0.64 and "
        "1.04 times, the sum of the changes 1.4 and 1.1 times as large, as it includes the "
        "noise of the running statistics. (3) The length of the training. Drift grows with it: "
        "over the 50,000 steps of a full run it is more than half of that without BatchNorm at "
        "rate 0.1 too, in each seed. In evaluation mode it is {figure[drift in eval mode with "
        "BatchNorm over without, rate 0.1]:.2f} and {figure[drift in eval mode with BatchNorm "
        "over without, rate 1.0]:.2f} times that without."
    )
    explanation = (
        "With BatchNorm this network learns much faster at first, and is a little more "
        "accurate in the end ({figure[last accuracy, %, BatchNorm, rate 1.0]:.1f}% against "
        "{figure[last accuracy, %, none, rate 1.0]:.1f}% at the higher rate). How much faster "
        "it is over a whole training depends on the learning rate of both networks. At a rate "
        "at which the network without BatchNorm learns very slowly, BatchNorm is ahead all the "
        "time. At a rate that suits the network without it, that network has caught up after "
        "1,000 to 1,500 steps; then the two are about level, and from 30,000 steps on "
        "BatchNorm is ahead by 0.1 or 0.2 points. With BatchNorm the inputs of the sigmoids "
        "have a suitable range from the start, whereas those of the other network have to "
        "spread first. But they do not stay the same: gamma and beta are learned, and at the "
        "higher rate they move the inputs about as far. The paper's figure shows one sigmoid "
        "at one rate."
    )
    needs = ("mnist",)
    minutes = 2
    full = {
        "rates": [0.1, 1.0],
        "steps": 50000,
        "every": 500,
        "batch": 60,
        "std": 0.1,
        "images": 1000,
    }
    quick = {"steps": 3000, "every": 150}

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {
            str(rate): {norm: arm(norm, rate, seed, settings) for norm in LABELS}
            for rate in settings["rates"]
        }

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        rates = list(seeds[0])
        ahead = {rate: interval([lead(seed[rate]) for seed in seeds]) for rate in rates}
        drift = {rate: relative([seed[rate] for seed in seeds], "drift") for rate in rates}
        figures = {
            **{
                f"checkpoints with BatchNorm ahead, %, rate {rate}": 100 * found
                for rate, found in ahead.items()
            },
            **{
                f"drift with BatchNorm over drift without, rate {rate}": found
                for rate, found in drift.items()
            },
        }
        for rate in rates:
            figures |= more_figures([seed[rate] for seed in seeds], rate)
        verdict = every(
            *(at_least(found, AHEAD) for found in ahead.values()),
            *(at_most(found, DRIFT) for found in drift.values()),
        )
        return Judgement(
            verdict,
            " ".join(
                f"At rate {rate} BatchNorm is ahead at {ahead[rate].value:.0%} of the checkpoints, "
                f"and the inputs of its sigmoids drift {drift[rate].value:.2f} times as far."
                for rate in rates
            ),
            figures,
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        *_, last = seeds[0]
        figure, (left, right) = plots.new(
            ("step", "test error, %"),
            (f"step (rate {last})", "input of a last-layer sigmoid"),
            size=(7.7, 3.4),
        )
        for rate, style in zip(seeds[0], ("--", "-")[-len(seeds[0]) :], strict=True):
            for norm, label in LABELS.items():
                courses = [seed[rate][norm] for seed in seeds]
                plots.band(
                    left,
                    sweeps.checkpoints(courses[0]),
                    [sweeps.percent(1 - value for value in found["accuracy"]) for found in courses],
                    f"{label}, rate {rate}",
                    plots.COLOURS[norm],
                    linestyle=style,
                    marker=None,
                )
        for norm, label in LABELS.items():
            one = seeds[0][last][norm]
            low, middle, high = np.transpose(one["typical"] or [[np.nan] * 3])
            x = sweeps.checkpoints(one)[: len(middle)]
            right.fill_between(x, low, high, color=plots.COLOURS[norm], alpha=0.25, linewidth=0)
            right.plot(
                x,
                middle,
                color=plots.COLOURS[norm],
                linewidth=1.7,
                label=f"{label}: median, 15–85%",
            )
        plots.logarithmic(left.yaxis)
        plots.legend(left, 1)
        plots.legend(right, 1)
        return figure


def arm(norm: str, rate: float, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train one arm, and return the record of its training and of the drift of its sigmoids'
    inputs."""
    md.manual_seed(seed)
    model = mlp(norm, std=settings["std"])
    test = sweeps.binary_mnist("test")
    images = subset(test, settings["images"])[0]
    rows: dict[bool, list[np.ndarray]] = {True: [], False: []}

    def watch() -> None:
        for training, found in rows.items():
            found.append(percentiles(model, "act3", images, training))

    course = sweeps.course(model, sweeps.binary_mnist("train"), test, rate, seed, settings, watch)
    evaluated = wandering(np.array(rows[False]))
    return {**course, **wandering(np.array(rows[True])), "drift in eval mode": evaluated["drift"]}


def percentiles(model: Stack, place: str, images: np.ndarray, training: bool) -> np.ndarray:
    """Return the percentiles (3, units) of the input of each unit of a layer over images. With
    `training` the network normalizes by the statistics of these images, otherwise by its running
    statistics."""
    copied = copy.deepcopy(model)  # a pass in training mode would change the running statistics
    copied.train(training)
    return np.percentile(input_of(copied, place, images), PERCENTILES, axis=0)


def wandering(rows: np.ndarray) -> dict[str, Any]:
    """Summarize how percentiles, given as an array (checkpoints, 3, units), change over time.

    `drift`, `path` and `width` are means over the units, and the first two also over the
    percentiles. `drift` is the highest minus the lowest value of a percentile, `path` the sum of
    all of its changes, and `width` the mean distance between the 15th and the 85th percentile.
    `typical` has the percentiles of the unit with the median drift.
    """
    if not len(rows):  # the training has diverged before the first checkpoint
        return {"drift": np.nan, "path": np.nan, "width": np.nan, "typical": []}
    drifts = np.ptp(rows, axis=0).mean(axis=0)
    typical = int(np.argsort(drifts)[len(drifts) // 2])
    return {
        "drift": float(drifts.mean()),
        "path": float(np.abs(np.diff(rows, axis=0)).sum(axis=0).mean()),
        "width": float((rows[:, -1] - rows[:, 0]).mean()),
        "typical": rows[:, :, typical].round(3).tolist(),
    }


def lead(pair: Mapping[str, Any]) -> float:
    """Return the share of the checkpoints at which BatchNorm has the higher accuracy."""
    return float(np.mean(np.greater(pair["batch"]["accuracy"], pair["none"]["accuracy"])))


def relative(pairs: Sequence[Mapping[str, Any]], name: str) -> Interval:
    """Return the ratio of a figure with BatchNorm to that without, over the seeds."""
    return sweeps.quotient(
        [pair["batch"][name] for pair in pairs], [pair["none"][name] for pair in pairs]
    )


def more_figures(pairs: Sequence[Mapping[str, Any]], rate: str) -> dict[str, Any]:
    """Return figures that are not judged: other measures of drift, and the absolute figures."""
    drifts = [
        [pair[norm]["drift"] / pair[norm]["width"] for pair in pairs] for norm in ("batch", "none")
    ]
    found = {
        f"drift in eval mode with BatchNorm over without, rate {rate}": relative(
            pairs, "drift in eval mode"
        ),
        f"path with BatchNorm over path without, rate {rate}": relative(pairs, "path"),
        f"drift over width, with BatchNorm over without, rate {rate}": sweeps.quotient(*drifts),
    }
    for norm, label in LABELS.items():
        arms = [pair[norm] for pair in pairs]
        found |= {
            f"drift, {label}, rate {rate}": interval([one["drift"] for one in arms]),
            f"last accuracy, %, {label}, rate {rate}": interval(
                sweeps.percent(one["accuracy"][-1] for one in arms)
            ),
        }
    found[f"times fewer steps to the best accuracy without, rate {rate}"] = interval(
        [sweeps.times_fewer(pair["none"], pair["batch"]) for pair in pairs], sweeps.geometric_mean
    )
    return found
