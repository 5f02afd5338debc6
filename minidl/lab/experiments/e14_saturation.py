"""E14: sigmoids saturate and gradients vanish, and batch normalization cures it. Does it?

Ten hidden layers of sigmoids are trained with and without it, at several rates so that none of
them is to blame. Saturation and vanishing are then looked at apart: how many sigmoids lie where
their slope is small, and how the gradient shrinks from layer to layer on its way back. It vanishes
without a single sigmoid being saturated: a slope is 1/4 at most, and the weights do not make up for
it. Saturation would make it worse; it is not needed.
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

WITHOUT, WITH = 0.15, 0.95  # the bounds of the rule
ARMS = {"none": ("none", nn.Sigmoid), "batch": ("batch", nn.Sigmoid), "relu": ("none", nn.ReLU)}
LABELS = {"none": "sigmoid", "batch": "sigmoid, BatchNorm", "relu": "ReLU"}
COLOURS = {"none": plots.COLOURS["none"], "batch": plots.COLOURS["batch"], "relu": plots.C}


class Saturation(Experiment):
    id = "E14"
    title = "Saturated sigmoids and vanishing gradients"
    claim = (
        "Sigmoids saturate and their gradients vanish, so that deep networks of them do not "
        "train; batch normalization cures it."
    )
    notes = "B, C"
    source = "Ioffe & Szegedy 2015, sections 2 and 4.2.2 (1502.03167)"
    setup = (
        "MNIST with pixels of 0 or 1, {depth} hidden layers of {width} sigmoids, Glorot's "
        "(2010) uniform weights; with BatchNorm before each sigmoid, and without. SGD without "
        "momentum, batches of {batch}, {steps} steps, rate {rates}; test accuracy on 10,000 "
        "images at the best rate. Beside it the same network of ReLUs without BatchNorm. "
        "Saturated: an output where the slope is under a tenth of the largest (an input "
        "beyond 3.6); over all hidden layers and {images} test images, before the training, "
        "and after it at the highest rate. Gradients: of the untrained network."
    )
    rule = (
        "Test accuracy of each arm at the best of its rates: the interval without BatchNorm "
        "lies at 15% or below and that with it at 95% or above: SUPPORTED; one of them wholly "
        "on the other side: REFUTED. The verdict is about accuracy alone: saturation and "
        "gradients are shown beside it and do not enter."
    )
    paper = "Inception with sigmoids on ImageNet: at most 0.1% without, 69.8% with"
    expected = Verdict.SUPPORTED
    explanation = (
        "Gradients vanish without any saturation: untrained, no sigmoid is near its "
        "ends, and yet the first layer's gradient is {figure[gradient of the first "
        "layer over the last, sigmoid]:.0e} of the last's, as each sigmoid multiplies "
        "it by a quarter at most. BatchNorm makes up for that factor in each layer, by "
        "dividing by the small standard deviation that the layer before has left, and "
        "the network trains. So does one of ReLUs without any normalization: BatchNorm "
        "is a cure, not the only one, and where nothing vanishes it makes gradients "
        "explode (E18). After the training some sigmoids are saturated with BatchNorm "
        "too: at the highest rate {figure[saturated sigmoids at the end, %, sigmoid, "
        "BatchNorm]:.0f}%, and {figure[saturated sigmoids at the end, %, sigmoid]:.0f}% "
        "without it."
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
            f"Test accuracy is {found['none'].value:.1%} without and "
            f"{found['batch'].value:.1%} with. That is what the verdict is about; not "
            f"about saturation: without BatchNorm {saturated[0]:.1f}% of the sigmoids "
            f"are saturated at the start (with it {saturated[1]:.1f}% after the "
            f"training), and the first layer's gradient is {shrinks:.1g} of the "
            f"last's.",
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
    """The courses at all rates, and what is seen in the untrained network and in the trained one
    of the last rate."""
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
    """The network of an arm."""
    md.manual_seed(seed)
    norm, activation = ARMS[name]
    widths = 784, *[settings["width"]] * settings["depth"], 10
    return mlp(norm, widths, activation)


def saturated(model: Stack, images: np.ndarray) -> float:
    """The share of sigmoids, over the images and the layers, that lie where they are flat, with the
    statistics of these images; NaN without sigmoids."""
    model.train()
    with md.no_grad(), quiet():
        shares = [
            measures.saturated("Sigmoid", y.data)
            for _, layer, _, y in model.steps(images)
            if isinstance(layer, nn.Sigmoid)
        ]
    return float(np.mean(shares)) if shares else math.nan


def gradient_norms(model: Stack, images: Arrays) -> list[float]:
    """The norm of the loss's gradient with respect to the weights of each dense layer."""
    model.train()
    weights = [getattr(model, name).weight for name in model.order if name.startswith("dense")]
    grads = md.grad(md.cross_entropy(model(images[0]), images[1]), weights)
    return [float(np.linalg.norm(grad.astype(np.float64))) for grad in grads]
