"""E08: the bias of a layer directly before batch normalization has no effect.

It adds the same number to a unit for all examples, and so to the mean, which is subtracted next.
Its gradient is 0, of which the computer gets the rounding error. SGD multiplies this error by the
learning rate, and nothing happens. Adam divides it by its own size: in float32, where rounding
errors are not far below Adam's epsilon, the bias makes a random walk. This does not change the
output, because the mean removes it too. But these parameters are stored and updated for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import models, nn, optim

from .. import plots, problems
from ..experiment import Experiment, Judgement, Result
from ..identities import digits, input_of, output_from, worst
from ..training import train
from ..verdict import Verdict, identity

BOUND = 1e-12  # the largest relative gradient that counts as 0
NETWORKS: dict[str, Callable[[], problems.Stack]] = {
    "MLP": problems.mlp,
    "C6": lambda: problems.c6(colours=1),
}
ARMS = {
    "Adam, float32": (np.float32, optim.Adam, 1e-3),
    "SGD, float32": (np.float32, optim.SGD, 0.5),
    "Adam, float64": (np.float64, optim.Adam, 1e-3),
}


class RedundantBias(Experiment):
    id = "E08"
    title = "A bias before it is redundant"
    claim = "A bias directly before batch normalization is redundant."
    notes = "D's code keeps one"
    source = "Ioffe & Szegedy 2015 (1502.03167), section 3.2: the bias can be ignored"
    setup = (
        "The MLP (784-100-100-100-10, sigmoid) and C6 (six convolutions) with random biases "
        "added before each BatchNorm, a batch of {batch} MNIST images, float64. The gradient "
        "of a bias is a sum over the examples (and positions); the relative gradient is this "
        "sum divided by the sum of the absolute values of its terms. Drift: the biases of the "
        "MLP start at 0, and it is trained with Adam (learning rate 0.001) in float32 and "
        "float64, and with SGD (learning rate 0.5) in float32, for {steps} steps of batch "
        "{batch} on {images} images."
    )
    rule = (
        f"SUPPORTED if the relative gradient of every bias is at most {BOUND:g} in float64, in "
        "every layer and seed; otherwise REFUTED."
    )
    paper = '"the bias b can be ignored since its effect will be canceled"'
    expected = Verdict.SUPPORTED
    explanation = (
        "The mean that batch normalization subtracts contains the bias, so a layer before it "
        "should have none (`bias=False`); β takes its role. To keep it is not an error, but "
        "wastes a little memory: {figure[MLP: share of these biases in all parameters, "
        "%]:.1f}% and {figure[C6: share of these biases in all parameters, %]:.1f}% of the "
        "parameters of these networks. It also shows what Adam does with a gradient that is "
        "nothing but rounding error: in float32 it turns the error into steps, and the biases "
        "drift away from 0; in float64 the error is so far below Adam's epsilon that they "
        "stay at 0."
    )
    needs = ("mnist",)
    minutes = 0.1
    full = {"images": 6000, "batch": 60, "steps": 1500}
    quick = {"images": 3000, "steps": 300}

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        arrays = digits(settings["images"], seed)
        batch = arrays[0][: settings["batch"]], arrays[1][: settings["batch"]]
        relative = {name: relative_gradients(name, batch, seed) for name in NETWORKS}
        drift = {arm: drifted(arm, arrays, seed, settings) for arm in ARMS}
        without, kept = (trained(bias, arrays, seed, settings) for bias in (False, True))
        return {
            "relative": relative,
            "largest": float(np.max([*relative["MLP"], *relative["C6"]])),
            "drift": drift,
            "losses apart": float(np.abs(np.subtract(without, kept)).max()),
            "wasted": {
                **{name: wasted(build()) for name, build in NETWORKS.items()},
                "ResNet-20": wasted(models.ResNet20()),
            },
        }

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        largest = worst(seeds, "largest")
        wasted = seeds[0]["wasted"]
        return Judgement(
            identity(largest <= BOUND),
            f"The gradient of a bias is at most {largest:.0e} of the sum of the absolute values "
            "of its terms.",
            {
                **{
                    f"{name}: largest relative gradient of a bias": float(
                        np.max([seed["relative"][name] for seed in seeds])
                    )
                    for name in seeds[0]["relative"]
                },
                **{
                    f"{name}: biases that would be wasted": count
                    for name, (count, _) in wasted.items()
                },
                **{
                    f"{name}: share of these biases in all parameters, %": 100 * count / total
                    for name, (count, total) in wasted.items()
                },
                "MLP with and without biases, SGD, float64: largest difference of losses": worst(
                    seeds, "losses apart"
                ),
                **{
                    f"drift after the last step, {arm} (root mean square of the biases)": float(
                        np.mean([seed["drift"][arm]["rms"][-1] for seed in seeds])
                    )
                    for arm in ARMS
                },
                "largest bias after the last step, Adam, float32": float(
                    np.max([seed["drift"]["Adam, float32"]["largest"] for seed in seeds])
                ),
            },
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        figure, (ax,) = plots.new(("step", "size of the biases (root mean square)"))
        for arm, colour in zip(ARMS, (plots.B, plots.A, plots.C), strict=True):
            steps = seeds[0]["drift"][arm]["steps"]
            plots.band(
                ax,
                steps,
                [np.maximum(seed["drift"][arm]["rms"], 1e-20) for seed in seeds],
                arm,
                colour,
                marker=None,
            )
        plots.logarithmic(ax.yaxis)
        plots.legend(ax)
        return figure


def biased(model: problems.Stack, std: float = 0.0) -> problems.Stack:
    """Add a bias to each layer before a normalization, and return the network."""
    for before, norm in zip(model.order, model.order[1:], strict=False):
        if norm.startswith("norm"):
            features = getattr(model, norm).features
            getattr(model, before).bias = nn.Parameter(nn.init.normal((features,), std))
    return model


def relative_gradients(name: str, batch: problems.Arrays, seed: int) -> list[float]:
    """Return the largest relative gradient of a bias for each layer before a normalization. The
    gradient is a sum; it is divided by the sum of the absolute values of its terms."""
    images, labels = batch
    md.manual_seed(seed)
    model = biased(NETWORKS[name](), std=0.1).astype(np.float64)
    found = []
    for before, norm in zip(model.order, model.order[1:], strict=False):
        if norm.startswith("norm"):
            layer = getattr(model, before)
            z = layer(input_of(model, before, images))
            loss = md.cross_entropy(output_from(model, norm, z), labels)
            of_z, of_bias = md.grad(loss, (z, layer.bias))
            terms = np.abs(of_z).sum(axis=tuple(range(of_z.ndim - 1)))
            found.append(float((np.abs(of_bias) / terms).max()))
    return found


def drifted(
    arm: str, arrays: problems.Arrays, seed: int, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the root mean square of the biases, which start at 0, in the course of a training."""
    dtype, optimizer, rate = ARMS[arm]
    md.manual_seed(seed)
    model = biased(problems.mlp()).astype(dtype)
    biases = [getattr(model, name).bias for name in ("dense1", "dense2", "dense3")]
    every = max(1, settings["steps"] // 75)
    steps: list[int] = []
    rms: list[float] = []

    def at(step: int) -> None:
        values = np.concatenate([bias.data for bias in biases]).astype(np.float64)
        steps.append(step)
        rms.append(float(np.sqrt((values**2).mean())))

    train(
        model,
        optimizer(model.parameters(), lr=rate),
        problems.batches((arrays[0].astype(dtype), arrays[1]), settings["batch"], seed),
        settings["steps"],
        at=at,
        every=every,
    )
    return {
        "steps": steps,
        "rms": rms,
        "largest": float(np.max([np.abs(bias.data).max() for bias in biases])),
    }


def trained(
    bias: bool, arrays: problems.Arrays, seed: int, settings: Mapping[str, Any]
) -> list[float]:
    """Return the losses of a short training in float64, with the redundant biases or without."""
    md.manual_seed(seed)
    model = problems.mlp().astype(np.float64)
    if bias:
        biased(model).astype(np.float64)
    return train(
        model,
        optim.SGD(model.parameters(), lr=0.5),
        problems.batches(arrays, settings["batch"], seed),
        settings["steps"] // 5,
    )


def wasted(model: nn.Layer) -> tuple[int, int]:
    """Return how many biases the network would have before normalizations, and the number of its
    parameters including them."""
    count = sum(
        layer.features for _, layer in model.named_layers() if isinstance(layer, nn.BatchNorm)
    )
    return count, count + sum(p.data.size for p in model.parameters())
