"""E32: do LayerNorm, InstanceNorm and GroupNorm allow the learning rates that BatchNorm does?

What makes the high rates of E13 possible is, in the paper, that the scale of the weights before a
normalization does not matter. That holds for each of the others too, so if it were all, they would
allow the same rates. From a cold start they do not. With a rate that rises in the first steps, the
way such networks are trained in practice, they come closer. Both are measured; the rule is about
the first, the sweep of E13.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import plots, words
from ..experiment import Experiment, Judgement, Result
from ..sweeps import SWEEP, Course, at_the_end, best, c6_sweep, ceiling, percent, quotient
from ..training import CHANCE
from ..verdict import Interval, Verdict, every, interval, within

TIMES = 3  # the bound of the rule
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
        "of the rates {rates}, until two in a row are not stable (diverged or thrown back to "
        "guessing, as there), without a warm-up. LayerNorm over the channels at each "
        "position, GroupNorm with 8 groups, InstanceNorm with gamma and beta. {again} Where "
        "no rate is stable, the largest one counts as 0."
    )
    rule = (
        "Of each of the three, the interval of its largest stable rate over BatchNorm's lies "
        "within 1/3 to 3: SUPPORTED; of one wholly outside: REFUTED."
    )
    expected = Verdict.SUPPORTED
    examination = (
        "Expected was SUPPORTED: published networks are trained with group and batch "
        "normalization at the same rate. Looked at in one seed: (1) LayerNorm over all "
        "values of an image, GroupNorm with one group, stays at 0.05 as that over the "
        "channels does. (2) After 120 steps at 0.2, just above GroupNorm's largest, 47% "
        "of the units of the last convolution are dead with it, their ReLU passing "
        "nothing on for any image, and none with BatchNorm; at 2 all of BatchNorm's "
        "are. (3) Without momentum the largest stable rates are 2 with BatchNorm, 0.5 "
        "with LayerNorm and with GroupNorm, and 0.1 without any: a factor of 4 apart, "
        "and 5 above none. And in all seeds, beside the rule: (4) With a warm-up of 100 "
        "steps the largest stable rates are 0.3 (LayerNorm), 0.5 (GroupNorm) and 0.8 "
        "(InstanceNorm) of BatchNorm's in a full run: the latter two are within the "
        "bounds then, LayerNorm (0.1 to 0.5) is on both sides."
    )
    explanation = (
        "That the scale of the weights before a normalization does not matter holds for "
        "all of them, and is not enough: from a cold start with momentum LayerNorm "
        "allows no higher rate than no normalization, and group normalization a "
        "fraction of BatchNorm's; instance normalization comes near it, but learns "
        "less. The likely reason: BatchNorm alone takes from each channel its mean over "
        "the data, so that some images get through each ReLU as long as beta is not far "
        "below zero; a channel of the others can be pushed below zero for all images by "
        "the weights too, and is dead then. With a warm-up, as such networks are "
        "trained in practice, the rates come closer to each other: the note is right "
        "about practice, not about the normalization by itself."
    )
    needs = ("cifar10",)
    minutes = 2.8
    full = {**SWEEP, "warm": {"rates": [0.05, 0.1, 0.2, 0.5, 1, 2, 5], "steps": 300, "warmup": 100}}
    quick = {"rates": [0.02, 0.2, 0.5, 1], "steps": 80, "batch": 16, "test": 500, "warm": None}

    def fields(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        again = (
            "The same again from {rates[0]} on with {steps} steps, in the first {warmup} of "
            "which the rate rises from 0."
            if settings["warm"]
            else "The sweep with a warm-up is left out here."
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
    """The largest stable rate of each arm over BatchNorm's."""
    return {
        norm: quotient(
            [ceiling(arms[norm]) for arms in sweeps], [ceiling(arms["batch"]) for arms in sweeps]
        )
        for norm in LABELS
        if norm != "batch"
    }


def more_figures(sweeps: Sequence[Mapping[str, Sequence[Course]]], suffix: str) -> dict[str, Any]:
    """The rates themselves, and the accuracy at the best one."""
    found: dict[str, Any] = {}
    for norm, label in LABELS.items():
        chosen = [best(arms[norm]) for arms in sweeps]
        found[f"largest stable rate, {label}{suffix}"] = [ceiling(arms[norm]) for arms in sweeps]
        found[f"best rate, {label}{suffix}"] = [one["rate"] for one in chosen]
        found[f"accuracy at it, %, {label}{suffix}"] = 100 * interval(
            [one["accuracy"][-1] for one in chosen]
        )
    return found
