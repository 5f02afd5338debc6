"""E13: does batch normalization allow higher learning rates?

The scale of weights that a normalization follows does not matter: a step that is too large
increases their norm, and the same learning rate then turns them less (E07). So the network does not
diverge at rates at which a network without normalization does. The largest stable rate is measured
on C6, by trying one rate after the other. To see what high rates are good for, the accuracy is then
measured at 1, 5 and 30 times the best rate of the network without normalization, which are the arms
of the paper's Figure 2, and at a hundredth of it, where Bjorck et al. (2018) found no advantage.
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

RATIO = 10  # the claim needs at least this ratio of the largest stable rates
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
        "batches of {batch}, no warm-up. Sweep: the learning rates {rates} in rising order, "
        "{steps} steps at each, until two rates in a row are not stable. A training is not "
        "stable if it diverges or collapses to guessing, whose loss is 2.303. It has collapsed "
        "if its mean loss over the last tenth of the steps is 2.4 or more; or if this is 2.2 or "
        "more, and the loss (mean of ten steps) has been 0.2 above the first loss, or above that "
        "of guessing if that is more, or the outputs are the same for all images (standard "
        "deviation of 0.01 or less). A training that has merely not learned anything yet is "
        "stable. Then {long} steps at {times} times the rate at which the network without "
        "BatchNorm has its best accuracy in the sweep, and at the best rate of the network with "
        "BatchNorm. Accuracy on {test} test images at the end."
    )
    rule = (
        "The interval of the ratio of BatchNorm's largest stable rate to that of the baseline "
        "(the network without it) is judged: SUPPORTED if it lies at 10 or above; REFUTED if it "
        "lies below 10."
    )
    paper = (
        "the baseline diverges at 5 times its rate; BatchNorm at 30 times reaches 74.8%, the "
        "baseline 72.2%; equal accuracies at a rate of 1e-4 (Bjorck et al.)"
    )
    expected = Verdict.SUPPORTED
    explanation = (
        "With BatchNorm the network remains trainable at learning rates at which the network "
        "without it collapses to guessing in its first steps, and this accounts for most of "
        "its advantage. It is most accurate at five times the baseline's best rate "
        "({figure[accuracy, %, BatchNorm, at 5 times]:.0f}%), where the baseline still learns "
        "({figure[accuracy, %, none, at 5 times]:.0f}%), unlike that of the paper. At 30 times "
        "the baseline only guesses, and BatchNorm reaches {figure[accuracy, %, BatchNorm, at 30 "
        "times]:.0f}%. At a hundredth both have learned equally little ({figure[accuracy, %, "
        "BatchNorm, at 0.01 times]:.0f}% and {figure[accuracy, %, none, at 0.01 times]:.0f}%). "
        "After so short a training this only shows that the head start of BatchNorm has "
        "vanished. The ratio of the largest stable rates depends on the first steps: with a "
        "warm-up of 100 steps that of the baseline was twice as large in one seed, and that of "
        "BatchNorm was the same. The largest stable rate is not the best one, which is ten or "
        "more times smaller."
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
        # This compares the arms at their own best rates in the sweep.
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
            f"BatchNorm's largest stable rate is {ratio.value:.3g} times the baseline's. It is "
            f"{tuned.value:.1f} points ahead if each has its own best rate, and "
            f"{gaps[tiny].value:.1f} points if both have {tiny} times the baseline's best rate.",
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
    """Return the path of keys under which a result has the final accuracy of a long training."""
    return "long", norm, times, "accuracy", -1


def accuracies(seeds: Sequence[Result]) -> dict[str, Any]:
    """Return the accuracy of each long training, and the best rate of each arm in the sweep."""
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
