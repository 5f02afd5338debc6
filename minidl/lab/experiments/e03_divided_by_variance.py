"""E03: what happens where the output is divided by the variance rather than by its root.

One note says so in words, against the formula that it prints. The output then has variance 1/var:
units that vary little come out large, and the larger the weights, the smaller the output. What
makes batch normalization robust, an output that does not depend on the scale of the weights (E07),
is lost. A network still learns that way where its weights start at a good scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import optim

from .. import plots, problems
from ..composed import Composed
from ..experiment import Experiment, Judgement, Result
from ..identities import HIDDEN, digits, into, network
from ..training import train
from ..verdict import Verdict, identity

BOUND, NEAR = 1e-10, 0.1  # of the identity; from 1, of a variance that would count as 1
DIVISORS = {"deviation": lambda var: var.sqrt(), "variance": lambda var: var}


class DividedByVariance(Experiment):
    id = "E03"
    title = "Divided by the variance"
    claim = (
        "Dividing by the variance instead of the standard deviation is a slip: the output's "
        "variance is then 1/σ², not 1."
    )
    notes = "D, against its own formula"
    source = "Ioffe & Szegedy 2015 (1502.03167), Algorithm 1: divided by √(σ² + ε)"
    setup = (
        "Batch normalization composed from operations with σ and with σ² as the divisor, ε = "
        "0, float64, on what goes into the three normalizations of the untrained MLP "
        "(784-100-100-100-10, sigmoid) for a batch of {batch} MNIST images. Then both train "
        "the MLP from weights {scales} times as large as usual: {steps} steps of SGD, rate "
        "0.5, batch {batch}, on {images} images; the loss is the mean of the last 50 steps."
    )
    rule = (
        f"In every seed: divided by σ², the output's variance is 1/σ² to {BOUND:g} (relative) "
        f"in every unit, and within {NEAR:g} of 1 in at most half of the units; divided by σ, "
        f"it is 1 to {BOUND:g} in every unit: SUPPORTED, else REFUTED."
    )
    paper = "variance 1"
    expected = Verdict.SUPPORTED
    explanation = (
        "Hidden units of this network have variances far below 1, so divided by them "
        "the outputs have variances of {figure[divided by σ²: variance, smallest]:.2g} "
        "to {figure[divided by σ²: variance, largest]:.2g}: far into the flat parts of "
        "the sigmoid. With weights 10 times as large they come out 10 times smaller, "
        "where batch normalization changes nothing (E07). A short training bears it: "
        "its loss is {figure[divided by σ²: loss in the end, weights times 1]:.2f} from "
        "the usual weights, where that of the formula is {figure[divided by σ: loss in "
        "the end, weights times 1]:.2f}, and {figure[divided by σ²: loss in the end, "
        "weights times 10]:.2f} against {figure[divided by σ: loss in the end, weights "
        "times 10]:.2f} from weights 10 times as large. What is lost is that the scale "
        "of the weights does not matter. It is a slip of words: the formula beside it "
        "divides by the root."
    )
    needs = ("mnist",)
    minutes = 0.06
    full = {"images": 6000, "batch": 60, "steps": 300, "scales": [0.1, 1.0, 10.0]}
    quick = {"images": 1200, "steps": 60}

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        arrays = digits(settings["images"], seed)
        images = arrays[0][: settings["batch"]]
        model = network(seed)
        inputs = [into(model, name, images) for name in HIDDEN]
        found: dict[str, Any] = {
            "before": np.concatenate([x.var(axis=0) for x in inputs]),
            "scales": settings["scales"],
        }
        for name in DIVISORS:
            outputs = [applied(name, x) for x in inputs]
            found[name] = {
                "after": np.concatenate([y.var(axis=0) for y in outputs]),
                "size": [applied(name, scale * inputs[0]).std() for scale in settings["scales"]],
                "loss": [
                    final_loss(name, scale, arrays, seed, settings) for scale in settings["scales"]
                ],
            }
        return found

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        before, deviation, variance = variances(seeds)
        to_inverse = float(np.abs(variance * before - 1).max())
        to_one = float(np.abs(deviation - 1).max())
        after = [np.asarray(seed["variance"]["after"]) for seed in seeds]
        near = float(np.max([np.mean(np.abs(of_units - 1) <= NEAR) for of_units in after]))
        low, middle, high = np.quantile(variance, (0, 0.5, 1)).tolist()
        holds = to_inverse <= BOUND and near <= 0.5 and to_one <= BOUND
        words = {"deviation": "divided by σ", "variance": "divided by σ²"}
        return Judgement(
            identity(holds),
            f"Divided by σ², outputs have variances of {low:.3g} to {high:.3g}, which is 1/σ² to "
            f"{to_inverse:.0e}.",
            {
                "divided by σ²: distance of the variance from 1/σ², relative": to_inverse,
                "divided by σ²: units with a variance near 1, most of the seeds, %": 100 * near,
                "divided by σ: distance of the variance from 1": to_one,
                "divided by σ²: variance, smallest": low,
                "divided by σ²: variance, median": middle,
                "divided by σ²: variance, largest": high,
                **{
                    f"{words[name]}: {label}, weights times {scale:g}": float(
                        np.mean([seed[name][key][i] for seed in seeds])
                    )
                    for key, label in (
                        ("size", "standard deviation of the outputs of layer 1"),
                        ("loss", "loss in the end"),
                    )
                    for i, scale in enumerate(seeds[0]["scales"])
                    for name in words
                },
            },
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        figure, (left, right) = plots.new(
            ("σ² of a unit over the batch", "variance of its output"),
            ("scale of the weights (usual: 1)", "size of the outputs (std)"),
        )
        before, deviation, variance = variances(seeds)
        for after, colour, label in (
            (deviation, plots.A, "divided by σ"),
            (variance, plots.B, "divided by σ²"),
        ):
            left.plot(
                before[::5],
                after[::5],
                color=colour,
                linestyle="none",
                marker="o",
                markersize=3,
                alpha=0.5,
                label=label,
            )
        line = np.geomspace(before.min(), before.max(), 50)
        left.plot(line, 1 / line, color=plots.MUTED, linewidth=1)
        left.annotate(
            "1/σ²", (line[20], 1 / line[20]), (6, 4), textcoords="offset points", color=plots.MUTED
        )
        left.axhline(1, color=plots.MUTED, linewidth=1)
        plots.logarithmic(left.xaxis)
        plots.logarithmic(left.yaxis)
        plots.legend(left, 1)
        for name, colour, label in (
            ("deviation", plots.A, "divided by σ"),
            ("variance", plots.B, "divided by σ²"),
        ):
            plots.band(
                right, seeds[0]["scales"], [seed[name]["size"] for seed in seeds], label, colour
            )
        plots.logarithmic(right.xaxis)
        plots.logarithmic(right.yaxis)
        plots.legend(right, 1)
        return figure


def composed(name: str) -> Any:
    """The normalization of so many features that divides by this, without eps."""
    return lambda features: Composed(features, divisor=DIVISORS[name])


def applied(name: str, x: np.ndarray) -> np.ndarray:
    """The normalization of an array."""
    return composed(name)(x.shape[1]).astype(np.float64)(md.tensor(x)).data


def final_loss(
    name: str, scale: float, arrays: problems.Arrays, seed: int, settings: Mapping[str, Any]
) -> float:
    """The mean of the last 50 losses of a short training from hidden weights that are so many
    times as large."""
    model = network(seed, composed(name))
    for layer in ("dense1", "dense2", "dense3"):
        weight = getattr(model, layer).weight
        weight.data = scale * weight.data
    losses = train(
        model,
        optim.SGD(model.parameters(), lr=0.5),
        problems.batches(arrays, settings["batch"], seed),
        settings["steps"],
    )
    return float(np.mean(losses[-50:]))


def variances(seeds: Sequence[Result]) -> list[np.ndarray]:
    """Of all units of all seeds: before, and after a division by deviation and by variance."""
    return [
        np.concatenate([np.asarray(part, float) for part in parts])
        for parts in (
            [seed["before"] for seed in seeds],
            [seed["deviation"]["after"] for seed in seeds],
            [seed["variance"]["after"] for seed in seeds],
        )
    ]
