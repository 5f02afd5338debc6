"""E09: after a convolution, each feature map has one mean, variance, gamma and beta.

A convolution computes the same function at each position, so each position is treated like an
example: a batch of images (m, p, q, C) is normalized like m p q rows of C features. The effective
batch size is m' = m p q, and there are 2 C parameters rather than 2 C p q. But m' counts values,
not independent ones. The positions of an image are correlated, so the statistics are less precise
than those of m' independent examples; for photographs they are much less precise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import nn

from .. import plots, problems, words
from ..experiment import Experiment, Judgement, Result
from ..identities import digits, input_of, relative_error
from ..verdict import Verdict, identity

EQUAL = 1e-12  # the largest relative difference of results that count as equal
COUNTED = 1e-6  # the largest relative error of m'
PLACES = tuple(f"norm{i}" for i in range(1, 7))


class Convolution(Experiment):
    id = "E09"
    title = "Convolutions: one γ and β for each feature map"
    claim = (
        "After a convolution, batch normalization uses an effective batch of m' = m·p·q "
        "values, and one γ and β for each feature map."
    )
    notes = "E, B"
    source = "Ioffe & Szegedy 2015 (1502.03167), section 3.2"
    setup = (
        "The inputs of the six normalizations in the untrained C6 (3x3 convolutions "
        "16-16-pool-32-32-pool-64-64) for a batch of {batch} MNIST images, float64. BatchNorm "
        "of the images (m, p, q, C) is compared with BatchNorm of (m·p·q, C) rows: outputs, "
        "all gradients and running statistics. The m' that the layer itself uses is derived "
        "from the factor m'/(m' − 1) in its running variance. Independent values: σ² divided "
        "by the variance of the batch mean, estimated from {images} images, and also from "
        "photographs of CIFAR-10 if it is on this machine."
    )
    rule = (
        "SUPPORTED if in every layer and seed both agree with a relative error of at most "
        f"{EQUAL:g}, m' equals m·p·q with one of at most {COUNTED:g}, and there are 2C "
        "parameters; otherwise REFUTED."
    )
    paper = "m' = m·p·q, one γ and β per feature map"
    expected = Verdict.SUPPORTED
    explanation = (
        "After a convolution, each position counts as an example. A feature map applies the "
        "same filter at all positions. Separate statistics for each position would destroy "
        "this property, and 2C parameters are enough. But m' counts values, not independent "
        "ones, as the positions of an image are correlated. In the first layers the mean over "
        "a batch of digits is as noisy as that of several times fewer independent values. The "
        "mean over 60 photographs, each of which is bright or dark as a whole, is as noisy as "
        "that of {figure[layer 1: independent values, photographs of CIFAR-10]:.0f} values "
        "out of 61,440. So after a convolution, too, a batch needs "
        "enough images (E21, E23)."
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
            x = input_of(model, name, images)
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
            f"The results for images and for rows {words.agree(apart)}; the first layer counts "
            f"{first[0]['counted']:,.0f} values for each map, and has "
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
                    f"layer {i + 1}: independent values, photographs of CIFAR-10": float(
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
    """Return the number of independent values in each layer for CIFAR-10; [] if it is missing."""
    try:
        images, _ = problems.cifar10("test")  # needs a fifth of the memory of the training images
    except problems.MissingData:
        return []
    rows = np.random.default_rng(seed).permutation(len(images))[: settings["images"]]
    md.manual_seed(seed)
    model = problems.c6().astype(np.float64)
    return [
        independent(input_of(model, name, images[rows].astype(np.float64)), settings["batch"])
        for name in PLACES
    ]


def compared(x: np.ndarray, seed: int) -> dict[str, Any]:
    """Compare BatchNorm of images with BatchNorm of rows. Return the largest relative difference of
    outputs, gradients and running statistics, and the numbers of values and of parameters of the
    layer."""
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
    """Return the output, the gradients of x, gamma and beta, and the running statistics after one
    pass in training mode, and the layer. `start` is the gradient of the output."""
    bn = nn.BatchNorm(x.shape[-1], momentum=1.0).astype(np.float64)
    assert bn.gamma is not None and bn.beta is not None
    assert bn.running_mean is not None and bn.running_var is not None
    bn.gamma.data = gamma.copy()
    point = md.tensor(x, requires_grad=True)
    y = bn(point)
    gradients = md.grad((y * start).sum(), (point, bn.gamma, bn.beta))
    return [y.data, *gradients, bn.running_mean, bn.running_var], bn


def values(shape: Sequence[int]) -> int:
    """Return m p q for images of shape (m, p, q, C)."""
    return int(np.prod(shape[:-1]))


def independent(x: np.ndarray, size: int) -> float:
    """Return how many independent values have a mean that is as precise as that of a batch of
    `size` images, for the median feature map. The mean of a batch is the mean of the means of its
    images, which are independent."""
    means = x.mean(axis=(1, 2))
    return float(np.median(x.var(axis=(0, 1, 2)) / (means.var(axis=0, ddof=1) / size)))
