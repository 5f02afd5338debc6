"""E33: is scattered input harder to learn from than normalized input?

Pixels from 0 to 255 are all positive and large. The sigmoids of the first layer are saturated
before the first step, and the loss is steep in some directions and flat in others. The same pixels
with mean 0 and variance 1 have neither problem, and a BatchNorm as the first layer normalizes the
raw pixels. Each kind of input is tried at several learning rates, so that a badly chosen rate
cannot decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import nn, optim

from .. import plots
from ..experiment import Experiment, Judgement, Result
from ..problems import Arrays, Stack, batches, mlp, mnist
from ..sweeps import quotient
from ..training import accuracy, diverged, train
from ..verdict import Verdict, at_least, interval

INPUTS = {"raw": plots.B, "standardized": plots.C, "BatchNorm first": plots.A}
MEAN, STD = np.float32(0.1307), np.float32(0.3081)  # of all pixels of the training images
ACTIVATIONS = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU}


class ScatteredInput(Experiment):
    id = "E33"
    title = "Scattered input"
    claim = "Scattered input is harder to train on than normalized input."
    notes = "B, E"
    source = "LeCun et al. 1998, Efficient BackProp; Ioffe & Szegedy 2015, section 2 (1502.03167)"
    setup = (
        "The MLP without normalization, MNIST, batch 60, SGD. The input is the raw pixels, from "
        "0 to 255; or the pixels standardized by the mean and the standard deviation of all "
        "pixels; or the raw pixels with a BatchNorm as the first layer. Measured is the number "
        "of steps until the accuracy on {test} test images is 95%, which is tested every "
        "{every} steps, at each of the learning rates {rates}; the best rate counts. A training "
        "that does not reach 95% within {limit} steps counts as {limit}, which is a lower "
        "bound. Activations: {activations}."
    )
    rule = (
        "The number of steps with the raw input divided by that with the standardized input is "
        "judged for sigmoids, with each input at its best rate, as geometric mean over the "
        "seeds: SUPPORTED if its interval lies at 2 or above; REFUTED if it lies below 2."
    )
    expected = Verdict.SUPPORTED
    explanation = (
        "At none of the rates does the network of sigmoids learn from raw pixels in "
        "{figure[sigmoid: steps, raw]:,.0f} steps (it reaches {figure[sigmoid: best accuracy, %, "
        "raw]:.0f}%) what it learns from the same pixels with mean 0 and variance 1 in "
        "{figure[sigmoid: steps, standardized]:,.0f} steps. With raw pixels, 97% of the outputs "
        "of the first sigmoids are outside of 0.01 to 0.99 before the first step (with "
        "standardized pixels 0.1%), and with ReLUs only rates about a hundred times smaller are "
        "stable. A BatchNorm as the first layer has nearly the same effect as standardizing, "
        "without knowing the data in advance. It needs {figure[sigmoid: steps, BatchNorm first "
        "over standardized]:.1f} times as many steps here, as it scales each pixel separately, "
        "and those that are rarely bright most."
    )
    needs = ("mnist",)
    minutes = 1.9
    full = {
        "rates": [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0],
        "limit": 6000,
        "every": 50,
        "target": 0.95,
        "test": 2000,
        "activations": ["sigmoid", "relu"],
    }
    quick = {"rates": [0.1, 1.0], "limit": 3500, "activations": ["sigmoid"]}

    omitted = "ReLU is omitted in this quick run."

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        test = mnist("test")
        rows = np.random.default_rng(seed).permutation(len(test[0]))[: settings["test"]]
        found: dict[str, Any] = {"rates": settings["rates"], "limit": settings["limit"]}
        for activation in settings["activations"]:
            found[activation] = {
                kind: [
                    steps_to(settings, kind, activation, rate, seed, (test[0][rows], test[1][rows]))
                    for rate in settings["rates"]
                ]
                for kind in INPUTS
            }
        return found

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        figures: dict[str, Any] = {}
        for activation in (name for name in ACTIVATIONS if name in seeds[0]):
            for kind in ("raw", "BatchNorm first"):
                figures[f"{activation}: steps, {kind} over standardized"] = quotient(
                    *(
                        [best(seed, activation, one)[0] for seed in seeds]
                        for one in (kind, "standardized")
                    )
                )
        ratio = figures["sigmoid: steps, raw over standardized"]
        for activation in (name for name in ACTIVATIONS if name in seeds[0]):
            for kind in INPUTS:
                found = [best(seed, activation, kind) for seed in seeds]
                figures |= {
                    f"{activation}: steps, {kind}": interval([one[0] for one in found]),
                    f"{activation}: best rate, {kind}": [one[1] for one in found],
                    f"{activation}: best accuracy, %, {kind}": 100
                    * interval([one[2] for one in found]),
                }
        steps = [figures[f"sigmoid: steps, {kind}"].value for kind in ("raw", "standardized")]
        never = steps[0] == seeds[0]["limit"]
        raw = (
            f"At no rate does the raw input reach 95% within {steps[0]:,.0f} steps"
            if never
            else f"To reach 95% the raw input needs {steps[0]:,.0f} steps at its best rate"
        )
        return Judgement(
            at_least(ratio, 2),
            f"{raw}, and the standardized input needs {steps[1]:,.0f}; the ratio is "
            f"{'at least ' * never}{ratio.value:.1f}.",
            figures,
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        shown = [name for name in ACTIVATIONS if name in seeds[0]]
        figure, axes = plots.new(*((f"learning rate, {name}", "steps to 95%") for name in shown))
        for ax, activation in zip(axes, shown, strict=True):
            for kind, colour in INPUTS.items():
                plots.band(
                    ax,
                    seeds[0]["rates"],
                    [[steps for steps, _ in seed[activation][kind]] for seed in seeds],
                    kind,
                    colour,
                )
            plots.logarithmic(ax.xaxis)
            plots.logarithmic(ax.yaxis)
            plots.guide(ax, seeds[0]["limit"], "not reached")
            plots.legend(ax, 3 if len(shown) == 1 else 2)
        return figure


def steps_to(
    settings: Mapping[str, Any], kind: str, activation: str, rate: float, seed: int, test: Arrays
) -> tuple[int, float]:
    """Train until the target accuracy or the limit of the steps is reached. Return the number of
    steps, and the best accuracy so far. Unlike `sweeps.course` it stops at the target, which saves
    about half of the steps."""
    md.manual_seed(seed)
    model = build(kind, activation)
    optimizer = optim.SGD(model.parameters(), rate)
    stream = (
        (scaled(kind, images), labels) for images, labels in batches(mnist("train"), 60, seed)
    )
    seen, reached = (scaled(kind, test[0]), test[1]), 0.0
    for step in range(settings["every"], settings["limit"] + 1, settings["every"]):
        if diverged(train(model, optimizer, stream, settings["every"])):
            break
        reached = max(reached, accuracy(model, seen))
        if reached >= settings["target"]:
            return step, reached
    return settings["limit"], reached


def scaled(kind: str, images: np.ndarray) -> np.ndarray:
    """Return the images scaled as the network with this kind of input gets them."""
    return (images - MEAN) / STD if kind == "standardized" else 255 * images


def build(kind: str, activation: str) -> nn.Layer:
    """Return an MLP without normalization; for "BatchNorm first" with a BatchNorm before it."""
    model = mlp("none", activation=ACTIVATIONS[activation])
    if kind != "BatchNorm first":
        return model
    return Stack({"flatten": nn.Flatten(), "first": nn.BatchNorm(784), "rest": model})


def best(seed: Result, activation: str, kind: str) -> tuple[int, float, float]:
    """Return (steps, rate, accuracy) at the best rate, which is the one with the fewest steps, and
    among rates with equally many the one with the highest accuracy."""
    found = [
        (steps, -reached, rate)
        for (steps, reached), rate in zip(seed[activation][kind], seed["rates"], strict=True)
    ]
    steps, reached, rate = min(found)
    return steps, rate, -reached
