"""E09: batch normalization of a convolution's output: one mean, variance, gamma and beta a map.

A convolution computes the same thing at each position, so its positions are treated as if each were
an example: an image batch (m, p, q, C) is normalized like m p q rows of C features. The effective
batch is m' = m p q, and there are 2 C parameters rather than 2 C p q. The count is one of values:
positions of one image are alike, so that the statistics are not as sharp as those of m'
independent examples would be, and for photographs not nearly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import nn

from .. import plots, problems, words
from ..experiment import Experiment, Judgement, Result
from ..identities import digits, into, relative_error
from ..verdict import Verdict, identity

EQUAL, COUNTED = 1e-12, 1e-6  # the bounds of the rule, relative
PLACES = tuple(f"norm{i}" for i in range(1, 7))


class Convolution(Experiment):
    id = "E09"
    title = "Convolutions: one pair a feature map"
    claim = (
        "After a convolution, batch normalization uses an effective batch of m' = m·p·q "
        "values and one γ, β a feature map."
    )
    notes = "E, B"
    source = "Ioffe & Szegedy 2015 (1502.03167), section 3.2"
    setup = (
        "What goes into the six normalizations of the untrained C6 (3x3 convolutions "
        "16-16-pool-32-32-pool-64-64) for a batch of {batch} MNIST images, float64: BatchNorm "
        "of the images (m, p, q, C) beside BatchNorm of (m·p·q, C) rows, outputs, all "
        "gradients and running statistics. m' as the layer itself counts it: from the factor "
        "m'/(m' − 1) in the variance that it keeps. Independent values: σ² over the variance "
        "of a batch's mean, as {images} images give it; where CIFAR-10 is on the machine, of "
        "its photographs too."
    )
    rule = (
        f"In every layer and seed, the two are equal to {EQUAL:g} (relative), m' is m·p·q to "
        f"{COUNTED:g}, and there are 2C parameters: SUPPORTED, else REFUTED."
    )
    paper = "m' = m·p·q, one γ and β per feature map"
    expected = Verdict.SUPPORTED
    explanation = (
        "For a convolution, each position counts as an example. A map stays the same "
        "filter wherever it looks, which one pair of statistics for each position "
        "would destroy, and 2C parameters are enough. But m' counts values, not "
        "independent ones: positions of an image are alike. The mean over a batch of "
        "digits is as noisy as that of several times fewer values in the first "
        "layers, and that over 60 photographs, each bright or dark as a whole, as that "
        "of {figure[layer 1: the same for photographs of CIFAR-10]:.0f} values out of "
        "61,440. So a convolution needs its images "
        "too (E21, E23)."
    )
    needs = ("mnist",)
    minutes = 0.03
    full = {"batch": 60, "images": 400}
    quick = {"images": 200}

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        images, _ = digits(settings["images"], seed)
        md.manual_seed(seed)
        model = problems.c6(colours=1).astype(np.float64)
        layers = []
        for name in PLACES:
            x = into(model, name, images)
            batch = np.ascontiguousarray(x[: settings["batch"]])
            layers.append(
                {
                    **compared(batch, seed),
                    "shape": batch.shape,
                    "independent": independent(x, settings["batch"]),
                }
            )
        return {"layers": layers, "photographs": photographs(seed, settings)}

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        layers = [layer for seed in seeds for layer in seed["layers"]]
        apart = float(np.max([layer["apart"] for layer in layers]))
        miscounted = float(
            np.max([abs(layer["counted"] / values(layer["shape"]) - 1) for layer in layers])
        )
        right = all(layer["parameters"] == 2 * layer["shape"][-1] for layer in layers)
        first = seeds[0]["layers"]
        return Judgement(
            identity(apart <= EQUAL and miscounted <= COUNTED and right),
            f"Normalizing images and normalizing rows {words.agree(apart)}; the first layer "
            f"counts {first[0]['counted']:,.0f} values a map, and has "
            f"{first[0]['parameters']} parameters for {first[0]['shape'][-1]} maps.",
            {
                "largest difference from rows, relative": apart,
                "largest error of m' beside m·p·q, relative": miscounted,
                **{
                    f"layer {i + 1}: {key}": value
                    for i, layer in enumerate(first)
                    for key, value in (
                        ("m', counted", round(layer["counted"], 3)),
                        ("γ and β", layer["parameters"]),
                    )
                },
                **{
                    f"layer {i + 1}: independent values among the m' (median of the maps)": float(
                        np.mean([seed["layers"][i]["independent"] for seed in seeds])
                    )
                    for i in range(len(first))
                },
                **{
                    f"layer {i + 1}: the same for photographs of CIFAR-10": float(
                        np.mean([seed["photographs"][i] for seed in seeds])
                    )
                    for i in range(min(len(seed["photographs"]) for seed in seeds))
                },
            },
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        figure, (ax,) = plots.new(
            ("normalization in C6, and the size of its maps of digits", "values a map")
        )
        layers = seeds[0]["layers"]
        places = range(1, len(layers) + 1)
        plots.band(
            ax,
            places,
            [[layer["counted"] for layer in seed["layers"]] for seed in seeds],
            "m', as the layer counts it",
            plots.A,
            linestyle="none",
            markersize=6,
        )
        ax.plot(
            places,
            [values(layer["shape"]) for layer in layers],
            color=plots.A,
            linewidth=1,
            label="m·p·q",
        )
        plots.band(
            ax,
            places,
            [[layer["independent"] for layer in seed["layers"]] for seed in seeds],
            "independent ones, digits",
            plots.B,
        )
        if all(seed["photographs"] for seed in seeds):
            plots.band(
                ax,
                places,
                [seed["photographs"] for seed in seeds],
                "independent ones, photographs",
                plots.D,
            )
        plots.guide(ax, layers[0]["shape"][0], "m: images in the batch")
        plots.logarithmic(ax.yaxis)
        ax.set_xticks(
            places,
            [
                f"{i}\n{layer['shape'][1]} x {layer['shape'][2]}"
                for i, layer in zip(places, layers, strict=True)
            ],
        )
        plots.legend(ax, 1)
        return figure


def photographs(seed: int, settings: Mapping[str, Any]) -> list[float]:
    """The independent values of each layer for CIFAR-10; none where it is missing."""
    try:
        images, _ = problems.cifar10("test")  # a fifth of the memory of the other part
    except problems.MissingData:
        return []
    rows = np.random.default_rng(seed).permutation(len(images))[: settings["images"]]
    md.manual_seed(seed)
    model = problems.c6().astype(np.float64)
    return [
        independent(into(model, name, images[rows].astype(np.float64)), settings["batch"])
        for name in PLACES
    ]


def compared(x: np.ndarray, seed: int) -> dict[str, Any]:
    """BatchNorm of images beside BatchNorm of rows: the largest relative difference of outputs,
    gradients and running statistics; the values and parameters that the layer counts."""
    rng = np.random.default_rng(seed)
    features = x.shape[-1]
    start, gamma = rng.standard_normal(x.shape), 1 + rng.random(x.shape[-1:])
    rows = (-1, features)
    of_images, bn = computed(x, start, gamma)
    of_rows, _ = computed(x.reshape(rows), start.reshape(rows), gamma)
    factor = bn.running_var / x.var(axis=tuple(range(x.ndim - 1)))
    pairs = zip(of_images, of_rows, strict=True)
    return {
        "apart": float(np.max([relative_error(a.reshape(b.shape), b) for a, b in pairs])),
        "counted": float(np.median(factor / (factor - 1))),
        "parameters": sum(p.data.size for p in bn.parameters()),
    }


def computed(
    x: np.ndarray, start: np.ndarray, gamma: np.ndarray
) -> tuple[list[np.ndarray], nn.BatchNorm]:
    """Output, gradients of x, gamma and beta, and running statistics of one training step."""
    bn = nn.BatchNorm(x.shape[-1], momentum=1.0).astype(np.float64)
    assert bn.gamma is not None and bn.beta is not None
    assert bn.running_mean is not None and bn.running_var is not None
    bn.gamma.data = gamma.copy()
    point = md.tensor(x, requires_grad=True)
    y = bn(point)
    gradients = md.grad((y * start).sum(), (point, bn.gamma, bn.beta))
    return [y.data, *gradients, bn.running_mean, bn.running_var], bn


def values(shape: Sequence[int]) -> int:
    """m p q of images (m, p, q, C)."""
    return int(np.prod(shape[:-1]))


def independent(x: np.ndarray, size: int) -> float:
    """How many independent values would give means of batches of so many images that are as sharp,
    of the median map: the mean over a batch is that of its images' means."""
    means = x.mean(axis=(1, 2))
    return float(np.median(x.var(axis=(0, 1, 2)) / (means.var(axis=0, ddof=1) / size)))
