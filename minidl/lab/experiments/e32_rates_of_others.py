"""E32: do LayerNorm, InstanceNorm and GroupNorm allow the learning rates that BatchNorm does?

According to the paper the high learning rates of E13 are possible because the scale of the weights
before a normalization does not matter. That holds for the other normalizations too, so if it were
the only reason, they would allow the same rates. Without a warm-up they do not. With a warm-up, in
which the rate rises during the first steps, as is usual in practice, they come closer. Both cases
are measured; the rule judges the first one, which is the sweep of E13.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import plots, words
from ..experiment import Experiment, Judgement, Result
from ..sweeps import SWEEP, Course, at_the_end, best, c6_sweep, ceiling, percent, quotient
from ..training import CHANCE
from ..verdict import Interval, Verdict, every, interval, within

TIMES = 3  # largest stable rates are similar if they differ by at most this factor
LABELS = plots.names("batch", "layer", "group", "instance", "none")
OTHERS = "layer", "group", "instance"
SUFFIX = {"cold": "", "warm": ", with a warm-up"}


class RatesOfOthers(Experiment):
    id = "E32"
    title = "The rates of the other normalizations"
    claim = (
        "Layer, instance and group normalization allow learning rates similar to those that "
        "batch normalization allows."
    )
    notes = "A"
    source = (
        "Ba et al. 2016 (1607.06450); Ulyanov et al. 2016 (1607.08022); Wu & He 2018 (1803.08494)"
    )
    setup = (
        "The sweep of E13: C6, batches of {batch}, momentum {momentum}, {steps} steps at each "
        "of the learning rates {rates}, until two in a row are not stable (the training diverges "
        "or collapses to guessing, as defined there), without a warm-up. LayerNorm over the "
        "channels at each position, GroupNorm with 8 groups, InstanceNorm with gamma and beta. "
        "{again} If no rate is stable, the largest stable rate counts as 0."
    )
    rule = (
        "SUPPORTED if for each of the three the interval of its largest stable rate divided by "
        "that of BatchNorm lies within 1/3 to 3; REFUTED if one of these intervals lies wholly "
        "outside."
    )
    expected = Verdict.SUPPORTED
    examination = (
        "The expected verdict was SUPPORTED, because published networks are trained with group "
        "and batch normalization at the same rate. Three things were examined in one seed. (1) "
        "LayerNorm over all values of an image, which is GroupNorm with one group, has the "
        "largest stable rate 0.05, like LayerNorm over the channels. (2) After 120 steps at 0.2, "
        "just above the largest stable rate of GroupNorm, 47% of the units of the last "
        "convolution are dead with GroupNorm, which means that their ReLU is 0 for all images; "
        "with BatchNorm none are. At a rate of 2 all of them are dead with BatchNorm. (3) "
        "Without momentum the largest stable rates are 2 with BatchNorm, 0.5 with LayerNorm and "
        "with GroupNorm, and 0.1 without normalization: those of LayerNorm and GroupNorm are 4 "
        "times smaller than BatchNorm's, and 5 times larger than without. In all seeds it was "
        "measured, but not judged, that (4) with a warm-up of 100 steps the largest stable rates "
        "are 0.3 (LayerNorm), 0.5 (GroupNorm) and 0.8 (InstanceNorm) times BatchNorm's in a full "
        "run: then the intervals of the latter two lie within the bounds, and that of LayerNorm "
        "(0.1 to 0.5) contains a bound."
    )
    explanation = (
        "For all of these normalizations the scale of the weights before them does not matter, "
        "but this is not enough. Without a warm-up and with momentum, layer normalization allows "
        "no higher learning rate than no normalization, and group normalization a fraction of "
        "BatchNorm's; instance normalization comes near BatchNorm's, but is less accurate. The "
        "likely reason is that only BatchNorm subtracts from each channel its mean over the "
        "data. So each ReLU is active for some images, as long as beta is not far below zero. "
        "With the other normalizations the weights can make a channel negative for all images, "
        "and then its ReLU is dead. With a warm-up, as is usual in practice, the rates are closer "
        "to each other: the note is right about practice, but not about the normalizations by "
        "themselves."
    )
    needs = ("cifar10",)
    minutes = 2.8
    full = {**SWEEP, "warm": {"rates": [0.05, 0.1, 0.2, 0.5, 1, 2, 5], "steps": 300, "warmup": 100}}
    quick = {"rates": [0.02, 0.2, 0.5, 1], "steps": 80, "batch": 16, "test": 500, "warm": None}

    def fields(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        again = (
            "A second sweep starts at {rates[0]} and has {steps} steps at each rate; during the "
            "first {warmup} steps the rate rises from 0."
            if settings["warm"]
            else "The sweep with a warm-up is omitted in this quick run."
        )
        return {**settings, "again": words.filled(again, settings["warm"] or {})}

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        warm = settings["warm"] and {**settings, **settings["warm"]}
        return {
            name: {
                "rates": chosen["rates"],
                "courses": {norm: c6_sweep(norm, seed, chosen) for norm in LABELS},
            }
            for name, chosen in (("cold", settings), ("warm", warm))
            if chosen
        }

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        sweeps = {name: [seed[name]["courses"] for seed in seeds] for name in seeds[0]}
        found = {name: ratios(courses) for name, courses in sweeps.items()}
        figures: dict[str, Any] = {
            f"largest stable rate over BatchNorm's, {LABELS[norm]}{SUFFIX[name]}": value
            for name, values in found.items()
            for norm, value in values.items()
        }
        for name, courses in sweeps.items():
            figures |= more_figures(courses, SUFFIX[name])
        return Judgement(
            every(*(within(found["cold"][norm], 1 / TIMES, TIMES) for norm in OTHERS)),
            " ".join(
                f"Largest stable rate over BatchNorm's{SUFFIX[name]}: "
                + ", ".join(f"{LABELS[norm]} {value.value:.2g}" for norm, value in values.items())
                + "."
                for name, values in found.items()
            ),
            figures,
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        accuracy = f"test accuracy, % (guessing: {100 * CHANCE:.0f})"
        figure, axes = plots.new(*((f"learning rate{SUFFIX[name]}", accuracy) for name in seeds[0]))
        for ax, name in zip(axes, seeds[0], strict=True):
            rates = seeds[0][name]["rates"]
            for norm, label in LABELS.items():
                rows = [percent(at_the_end(seed[name]["courses"][norm], rates)) for seed in seeds]
                plots.band(ax, rates, rows, label, plots.COLOURS[norm], marker="o")
            plots.logarithmic(ax.xaxis)
        plots.legend(axes[0], 2)
        return figure


def ratios(sweeps: Sequence[Mapping[str, Sequence[Course]]]) -> dict[str, Interval]:
    """Return the largest stable rate of each arm divided by that of BatchNorm."""
    return {
        norm: quotient(
            [ceiling(arms[norm]) for arms in sweeps], [ceiling(arms["batch"]) for arms in sweeps]
        )
        for norm in LABELS
        if norm != "batch"
    }


def more_figures(sweeps: Sequence[Mapping[str, Sequence[Course]]], suffix: str) -> dict[str, Any]:
    """Return the largest stable rates, the best rates, and the accuracies at the best rates."""
    found: dict[str, Any] = {}
    for norm, label in LABELS.items():
        chosen = [best(arms[norm]) for arms in sweeps]
        found[f"largest stable rate, {label}{suffix}"] = [ceiling(arms[norm]) for arms in sweeps]
        found[f"best rate, {label}{suffix}"] = [one["rate"] for one in chosen]
        found[f"accuracy at the best rate, %, {label}{suffix}"] = 100 * interval(
            [one["accuracy"][-1] for one in chosen]
        )
    return found
