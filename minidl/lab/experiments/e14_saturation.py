"""E14: does batch normalization cure saturated sigmoids and vanishing gradients?

Ten hidden layers of sigmoids are trained with and without it, at several learning rates, so that a
badly chosen rate cannot decide. Saturation and vanishing gradients are then measured separately:
how many sigmoids are at inputs where their slope is small, and how the gradient shrinks from layer
to layer in the backward pass. The gradient vanishes although no sigmoid is saturated, because the
slope of a sigmoid is 1/4 at most, and the weights do not compensate for it. Saturation would make
it worse, but is not needed for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import nn

from .. import arms, measures, plots, sweeps
from ..experiment import Experiment, Judgement, Result
from ..problems import Arrays, Stack, mlp, subset
from ..training import quiet
from ..verdict import Verdict, at_least, at_most, every, interval

WITHOUT, WITH = 0.15, 0.95  # the highest accuracy without BatchNorm, and the lowest one with it
ARMS = {"none": ("none", nn.Sigmoid), "batch": ("batch", nn.Sigmoid), "relu": ("none", nn.ReLU)}
LABELS = {"none": "sigmoid", "batch": "sigmoid, BatchNorm", "relu": "ReLU"}
COLOURS = {"none": plots.COLOURS["none"], "batch": plots.COLOURS["batch"], "relu": plots.C}


class Saturation(Experiment):
    id = "E14"
    title = "Saturated sigmoids and vanishing gradients"
    claim = (
        "Sigmoids saturate and their gradients vanish, so that deep networks of them do not "
        "train; batch normalization cures this."
    )
    notes = "B, C"
    source = "Ioffe & Szegedy 2015, sections 2 and 4.2.2 (1502.03167)"
    setup = (
        "MNIST with pixels of 0 or 1, {depth} hidden layers of {width} sigmoids, Glorot's "
        "(2010) uniform initial weights, with BatchNorm before each sigmoid and without it. SGD "
        "without momentum, batches of {batch}, {steps} steps, learning rates {rates}; test "
        "accuracy on 10,000 images at the best rate. For comparison, the same network with "
        "ReLUs and without BatchNorm. A sigmoid is saturated where its slope is below a tenth "
        "of the maximum (an input beyond ±3.6); the share of saturated outputs is that over all "
        "hidden layers and {images} test images, before the training and after the training at "
        "the highest rate. The gradients are those of the untrained network."
    )
    rule = (
        "The test accuracy of each arm at its best rate is judged. SUPPORTED if its interval "
        "without BatchNorm lies at 15% or below, and that with it at 95% or above; REFUTED if "
        "one of them lies wholly on the other side. The verdict is about accuracy alone: "
        "saturation and gradients are reported, but do not affect it."
    )
    paper = "Inception with sigmoids on ImageNet: at most 0.1% without BatchNorm, 69.8% with it"
    expected = Verdict.SUPPORTED
    explanation = (
        "Gradients vanish without any saturation: in the untrained network no sigmoid is near "
        "0 or 1, and yet the gradient of the first layer is {figure[gradient of the first "
        "layer over the last, sigmoid]:.0e} times that of the last layer, because each sigmoid "
        "multiplies it by a quarter at most. BatchNorm compensates for this factor in each "
        "layer, as it divides by the small standard deviation of its input, and the network "
        "trains. A network of ReLUs trains without any normalization: BatchNorm is a cure, but "
        "not the only one, and where gradients do not vanish it makes them explode (E18). After "
        "the training some sigmoids are saturated with BatchNorm too: at the highest rate "
        "{figure[saturated sigmoids at the end, %, sigmoid, BatchNorm]:.0f}%, compared with "
        "{figure[saturated sigmoids at the end, %, sigmoid]:.0f}% without it."
    )
    needs = ("mnist",)
    minutes = 1.1
    full = {
        "depth": 10,
        "width": 100,
        "rates": [0.1, 0.5, 2],
        "steps": 8000,
        "every": 500,
        "batch": 60,
        "images": 1000,
    }
    quick = {"rates": [0.1], "steps": 4000}

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {name: arm(name, seed, settings) for name in ARMS}

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        found = {
            name: interval([sweeps.best(seed[name]["courses"])["accuracy"][-1] for seed in seeds])
            for name in ARMS
        }
        figures: dict[str, Any] = {
            f"test accuracy, %, {LABELS[name]}": 100 * value for name, value in found.items()
        }
        for name, label in LABELS.items():
            figures[f"gradient of the first layer over the last, {label}"] = interval(
                [seed[name]["gradients"][0] / seed[name]["gradients"][-1] for seed in seeds],
                sweeps.geometric_mean,
            )
            if name != "relu":
                for moment in ("start", "end"):
                    figures[f"saturated sigmoids at the {moment}, %, {label}"] = interval(
                        arms.percent(seeds, name, moment)
                    )
            figures[f"best rate, {label}"] = [
                sweeps.best(seed[name]["courses"])["rate"] for seed in seeds
            ]
        shrinks = figures[f"gradient of the first layer over the last, {LABELS['none']}"].value
        saturated = [
            figures[f"saturated sigmoids at the {moment}, %, {LABELS[name]}"].value
            for name, moment in (("none", "start"), ("batch", "end"))
        ]
        return Judgement(
            every(at_most(found["none"], WITHOUT), at_least(found["batch"], WITH)),
            f"The test accuracy is {found['none'].value:.1%} without BatchNorm and "
            f"{found['batch'].value:.1%} with it. The verdict is about this, not about "
            f"saturation: without BatchNorm {saturated[0]:.1f}% of the sigmoids are saturated at "
            f"the start (with it {saturated[1]:.1f}% after the training), and the gradient of "
            f"the first layer is {shrinks:.1g} times that of the last.",
            figures,
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        figure, (left, right) = plots.new(
            ("step", "test accuracy, %"),
            ("layer, from the input", "gradient of the weights (last: 1)"),
        )
        for name, label in LABELS.items():
            courses = [sweeps.best(seed[name]["courses"]) for seed in seeds]
            plots.band(
                left,
                sweeps.checkpoints(courses[0]),
                [sweeps.percent(found["accuracy"]) for found in courses],
                label,
                COLOURS[name],
                marker=None,
            )
            rows = [
                [norm / seed[name]["gradients"][-1] for norm in seed[name]["gradients"]]
                for seed in seeds
            ]
            plots.band(right, range(1, len(rows[0]) + 1), rows, label, COLOURS[name])
        plots.logarithmic(right.yaxis)
        plots.legend(left, 1)
        return figure


def arm(name: str, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train an arm at all rates. Return the records of the trainings, the shares of saturated
    sigmoids in the untrained network and in the one trained at the last rate, and the gradients of
    the untrained network."""
    test = sweeps.binary_mnist("test")
    images = subset(test, settings["images"])
    models = [build(name, seed, settings) for _ in settings["rates"]]
    courses = [
        sweeps.course(model, sweeps.binary_mnist("train"), test, rate, seed, settings)
        for model, rate in zip(models, settings["rates"], strict=True)
    ]
    fresh, last = build(name, seed, settings), models[-1]
    return {
        "courses": courses,
        "start": saturated(fresh, images[0]),
        "end": saturated(last, images[0]),
        "gradients": gradient_norms(fresh, images),
    }


def build(name: str, seed: int, settings: Mapping[str, Any]) -> Stack:
    """Return the untrained network of an arm."""
    md.manual_seed(seed)
    norm, activation = ARMS[name]
    widths = 784, *[settings["width"]] * settings["depth"], 10
    return mlp(norm, widths, activation)


def saturated(model: Stack, images: np.ndarray) -> float:
    """Return the share of saturated sigmoids over images and layers, where BatchNorm uses the
    statistics of these images; NaN for a network without sigmoids."""
    model.train()
    with md.no_grad(), quiet():
        shares = [
            measures.saturated("Sigmoid", y.data)
            for _, layer, _, y in model.steps(images)
            if isinstance(layer, nn.Sigmoid)
        ]
    return float(np.mean(shares)) if shares else math.nan


def gradient_norms(model: Stack, images: Arrays) -> list[float]:
    """Return the norm of the loss's gradient with respect to the weights of each dense layer."""
    model.train()
    weights = [getattr(model, name).weight for name in model.order if name.startswith("dense")]
    grads = md.grad(md.cross_entropy(model(images[0]), images[1]), weights)
    return [float(np.linalg.norm(grad.astype(np.float64))) for grad in grads]
