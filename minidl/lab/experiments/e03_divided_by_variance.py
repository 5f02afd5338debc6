"""E03: what happens if the centred input is divided by the variance instead of its square root.

One note says this in words, although the formula that it prints has the root. The output then has
variance 1/var: units with a small variance become large, and larger weights make the output
smaller. That the output does not depend on the scale of the weights (E07), which is what makes
batch normalization robust, is lost. A network still learns if its initial weights have a good
scale.
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
from ..identities import HIDDEN, digits, input_of, network
from ..training import train
from ..verdict import Verdict, identity

BOUND = 1e-10  # the largest relative error of the identity
NEAR = 0.1  # a variance within this distance of 1 would count as 1
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
        "Batch normalization composed from operations, with σ and with σ² as the divisor, ε = "
        "0, float64. Its input is that of the three normalizations in the untrained MLP "
        "(784-100-100-100-10, sigmoid) for a batch of {batch} MNIST images. Then the MLP is "
        "trained with both from initial weights {scales} times as large as usual: {steps} "
        "steps of SGD, learning rate 0.5, batch {batch}, {images} images. The reported loss is "
        "the mean of the last 50 steps."
    )
    rule = (
        "SUPPORTED if in every seed (1) with the divisor σ² the output's variance equals 1/σ² "
        f"in every unit, with a relative error of at most {BOUND:g}, (2) it is within {NEAR:g} "
        "of 1 in at most half of the units, and (3) with the divisor σ it equals 1 in every "
        f"unit, with an error of at most {BOUND:g}; otherwise REFUTED."
    )
    paper = "variance 1"
    expected = Verdict.SUPPORTED
    explanation = (
        "Hidden units of this network have variances far below 1. With the variance as the "
        "divisor the outputs have variances of {figure[divided by σ²: variance, "
        "smallest]:.2g} to {figure[divided by σ²: variance, largest]:.2g}, which is far "
        "into the flat parts of the sigmoid. Weights 10 times as large make the outputs 10 "
        "times smaller, whereas they do not change the output of batch normalization (E07). "
        "A short training still works: from the usual weights its loss is "
        "{figure[divided by σ²: loss in the end, weights times 1]:.2f}, while with the "
        "correct formula it is {figure[divided by σ: loss in the end, weights times "
        "1]:.2f}; from weights 10 times as large the losses are {figure[divided by σ²: loss "
        "in the end, weights times 10]:.2f} and {figure[divided by σ: loss in the end, "
        "weights times 10]:.2f}. What is lost is the independence of the scale of the "
        "weights. The note only words it wrongly: the formula that it prints divides by the "
        "root."
    )
    needs = ("mnist",)
    minutes = 0.06
    full = {"images": 6000, "batch": 60, "steps": 300, "scales": [0.1, 1.0, 10.0]}
    quick = {"images": 1200, "steps": 60}

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        arrays = digits(settings["images"], seed)
        images = arrays[0][: settings["batch"]]
        model = network(seed)
        inputs = [input_of(model, name, images) for name in HIDDEN]
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
            f"With the divisor σ² the outputs have variances of {low:.3g} to {high:.3g}, which "
            f"equal 1/σ² with a relative error of {to_inverse:.0e}.",
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
    """Return a function that makes a normalization layer for a number of features with this divisor
    and without eps."""
    return lambda features: Composed(features, divisor=DIVISORS[name])


def applied(name: str, x: np.ndarray) -> np.ndarray:
    """Return an array normalized with this divisor."""
    return composed(name)(x.shape[1]).astype(np.float64)(md.tensor(x)).data


def final_loss(
    name: str, scale: float, arrays: problems.Arrays, seed: int, settings: Mapping[str, Any]
) -> float:
    """Return the mean of the last 50 losses of a short training, whose initial hidden weights are
    `scale` times as large as usual."""
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
    """Return the variances of all units of all seeds as three arrays: those of the inputs, and
    those of the outputs with the standard deviation and with the variance as the divisor."""
    return [
        np.concatenate([np.asarray(part, float) for part in parts])
        for parts in (
            [seed["before"] for seed in seeds],
            [seed["deviation"]["after"] for seed in seeds],
            [seed["variance"]["after"] for seed in seeds],
        )
    ]
