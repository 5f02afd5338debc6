"""E13: does batch normalization allow higher learning rates?

Weights that a normalization follows have no scale of their own: a step that is too large makes them
longer, and the same rate then turns them less (E07). So the network does not blow up where the one
without does. How far the rate can go is measured on C6, rate by rate; then what it is good for: the
accuracy at 1, 5 and 30 times the rate that is best without, the arms of the paper's Figure 2, and
at a hundredth of it, where Bjorck et al. (2018) found no advantage left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import arms, plots
from ..experiment import Experiment, Judgement, Result
from ..sweeps import (
    SWEEP,
    at_the_end,
    best,
    c6_course,
    c6_sweep,
    ceiling,
    percent,
    quotient,
    stable,
)
from ..training import CHANCE
from ..verdict import Verdict, at_least, interval

RATIO = 10  # the bound of the rule
LABELS = plots.names("none", "batch")


class HigherRates(Experiment):
    id = "E13"
    title = "Higher learning rates"
    claim = "Batch normalization allows much higher learning rates."
    notes = "A, B, C, D"
    source = (
        "Ioffe & Szegedy 2015, sections 3.3 and 4.2 (1502.03167); Bjorck et al. 2018 (1806.02375)"
    )
    setup = (
        "C6, six convolutions on CIFAR-10 without augmentation, SGD with momentum 0.9, "
        "batches of {batch}, no warm-up; rates {rates}, "
        "{steps} steps at each, until two in a row are not stable. Not stable: diverged, or "
        "thrown back to guessing, whose loss is 2.303. The latter is a mean loss over the "
        "last tenth of the steps of 2.4 or more; or of 2.2 or more where the loss had risen "
        "by 0.2 above its start, or above guessing if that is more (mean of ten steps), or "
        "where the outputs are alike for all images (standard deviation of 0.01 or less). "
        "What has merely not learned yet is stable. Then {long} steps at {times} "
        "times the rate at which the sweep's accuracy without BatchNorm is best, and at the "
        "one at which that with it is. Accuracy on {test} test images at the end."
    )
    rule = (
        "The interval of BatchNorm's largest stable rate over the baseline's lies at 10 or "
        "above: SUPPORTED; below 10: REFUTED."
    )
    paper = (
        "the baseline diverges at 5 times its rate; BatchNorm at 30 times reaches 74.8%, the "
        "baseline 72.2%; equal accuracies at a rate of 1e-4 (Bjorck et al.)"
    )
    expected = Verdict.SUPPORTED
    explanation = (
        "BatchNorm stays trainable at rates at which the network without it is thrown "
        "back to guessing in its first steps, and that is where most of its advantage "
        "lies. It is at its most accurate at five times the baseline's best rate "
        "({figure[accuracy, %, BatchNorm, at 5 times]:.0f}%), where the baseline, "
        "unlike the paper's, still learns ({figure[accuracy, %, none, at 5 "
        "times]:.0f}%); at 30 times the baseline only guesses, and BatchNorm has "
        "{figure[accuracy, %, BatchNorm, at 30 times]:.0f}%. At a hundredth both have "
        "learned equally little ({figure[accuracy, %, BatchNorm, at 0.01 times]:.0f}% "
        "and {figure[accuracy, %, none, at 0.01 times]:.0f}%; in so short a training "
        "that says no more than that nothing is left of the head start). How far apart "
        "the largest rates are depends on the start: with a warm-up of 100 steps the "
        "baseline's was twice as large in one seed, and BatchNorm's the same. The "
        "largest stable rate is not the best one, which is ten or more times smaller."
    )
    needs = ("cifar10",)
    minutes = 1.7
    full = {**SWEEP, "times": [0.01, 1, 5, 30], "long": 1000}
    quick = {"rates": [0.02, 0.2, 0.5, 1, 2], "steps": 100, "test": 500, "long": 50}

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        sweep = {norm: c6_sweep(norm, seed, settings) for norm in LABELS}
        once = best(sweep["none"])["rate"]
        longer = {**settings, "steps": settings["long"]}
        long = {
            norm: {
                f"{times:g}": c6_course(norm, times * once, seed, longer)
                for times in settings["times"]
            }
            for norm in LABELS
        }
        long["batch"]["own"] = c6_course("batch", best(sweep["batch"])["rate"], seed, longer)
        return {"rates": settings["rates"], "sweep": sweep, "long": long}

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        ceilings = {norm: [ceiling(seed["sweep"][norm]) for seed in seeds] for norm in LABELS}
        ratio = quotient(ceilings["batch"], ceilings["none"])
        # Each at the rate that is best in its sweep.
        tuned = arms.paired(seeds, last("batch", "own"), last("none", "1"))
        figures: dict[str, Any] = {
            "largest stable rate with BatchNorm over that without": ratio,
            "points that BatchNorm is ahead, each at its best rate of the sweep": tuned,
        }
        tiny, *_ = seeds[0]["long"]["none"]
        gaps = {
            times: arms.paired(seeds, last("batch", times), last("none", times))
            for times in seeds[0]["long"]["none"]
        }
        figures |= {
            f"points that BatchNorm is ahead, both at {times} times": found
            for times, found in gaps.items()
        }
        figures |= {
            f"largest stable rate, {LABELS[norm]}": found for norm, found in ceilings.items()
        }
        figures |= accuracies(seeds)
        figures["seeds whose baseline is not stable at 5 times, %"] = 100 * float(
            np.mean([not stable(seed["long"]["none"]["5"]) for seed in seeds])
        )
        return Judgement(
            at_least(ratio, RATIO),
            f"BatchNorm's largest stable rate is {ratio.value:.3g} times the "
            f"baseline's; each at its best rate it is {tuned.value:.1f} "
            f"points ahead, both at {tiny} times the baseline's best rate "
            f"{gaps[tiny].value:.1f} points.",
            figures,
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        rates = seeds[0]["rates"]
        accuracy = f"test accuracy, % (guessing: {100 * CHANCE:.0f})"
        figure, (left, right) = plots.new(
            ("learning rate", accuracy), ("times the baseline's best rate", accuracy)
        )
        for norm, label in LABELS.items():
            rows = [percent(at_the_end(seed["sweep"][norm], rates)) for seed in seeds]
            plots.band(left, rates, rows, label, plots.COLOURS[norm], marker="o")
        plots.logarithmic(left.xaxis)
        times = list(seeds[0]["long"]["none"])
        for norm, label in LABELS.items():
            rows = [
                percent(seed["long"][norm][one]["accuracy"][-1] for one in times) for seed in seeds
            ]
            plots.band(right, range(len(times)), rows, label, plots.COLOURS[norm])
        right.set_xticks(range(len(times)), [f"{one}x" for one in times])
        for ax in (left, right):
            plots.legend(ax)
        return figure


def last(norm: str, times: str) -> tuple[Any, ...]:
    """Where a result has the accuracy at the end of a long training."""
    return "long", norm, times, "accuracy", -1


def accuracies(seeds: Sequence[Result]) -> dict[str, Any]:
    """The accuracy of each long training, and the rate of BatchNorm's own best."""
    found: dict[str, Any] = {
        f"accuracy, %, {LABELS[norm]}, at {times} times": interval(
            arms.percent(seeds, *last(norm, times))
        )
        for norm in LABELS
        for times in seeds[0]["long"]["none"]
    }
    found["accuracy, %, BatchNorm, at its own best rate"] = interval(
        arms.percent(seeds, *last("batch", "own"))
    )
    for norm, label in LABELS.items():
        found[f"best rate, {label}"] = [best(seed["sweep"][norm])["rate"] for seed in seeds]
    return found
