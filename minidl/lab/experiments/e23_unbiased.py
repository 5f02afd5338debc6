"""E23: is the variance at inference m / (m - 1) times the mean of the variances of the batches?

The variance of a batch of m independent values is on average (m - 1) / m times the variance V of
the population, because the batch's own mean is nearer to its values. This applies to dense layers.
After a convolution the m' = m p q values of a channel are not independent: neighbouring positions
of an image are correlated. The variance of a batch is too small by the variance of its mean, which
is Var(a) / m, where a is the average of the channel over one image. So the missing share is rho / m
with rho = Var(a) / V. It would be 1 / m' only if all positions were independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import nn, optim

from .. import plots
from ..experiment import Experiment, Judgement, Result
from ..problems import Stack, batches, c6, cifar10, mlp, mnist, subset
from ..training import quiet, recalibrate, score, train
from ..verdict import Verdict, below, every, interval, within

KINDS = "dense", "convolution"


class Unbiased(Experiment):
    id = "E23"
    title = "Unbiased variance at inference"
    claim = (
        "At inference the variance is m/(m - 1) E[var]. For a dense layer and m = 2, it is half "
        "of the population's variance without the factor, and right with it; after a "
        "convolution the factor m'/(m' - 1) corrects too little."
    )
    notes = "E"
    source = "Ioffe & Szegedy 2015, section 3.1 and Algorithm 2 (1502.03167)"
    setup = (
        "The population consists of the inputs of all normalizations of the MLP (MNIST, trained "
        "for {steps[dense]} steps of batch 60) and of C6 (CIFAR-10, {steps[convolution]} steps "
        "of batch 32), in evaluation mode after nn.recalibrate, for {population[dense]} and "
        "{population[convolution]} images. Batches of m = {sizes} are drawn from it with "
        "replacement, {draws[dense]} examples (convolutions: {draws[convolution]}) for each m, "
        "and given to nn.BatchNorm(momentum=None) with unbiased=False and True. Reported is its "
        "running variance divided by that of the population, as mean over the channels and "
        "layers. Not judged is the test accuracy of an MLP trained with batches of m (SGD with "
        "learning rate 0.5 m / 60, {small steps} steps), with and without the factor."
    )
    rule = (
        "(1) For dense layers and m = 2, the population's variance divided by E[var] lies within "
        "2 ± 5%. (2) For dense layers and each m, the variance with the factor divided by the "
        "population's lies within 1 ± 5%. (3) For convolutions and m = 2, the latter ratio lies "
        "below 1. SUPPORTED if all intervals lie there; REFUTED if one lies wholly elsewhere."
    )
    paper = "Var[x] = m/(m - 1) E[var] over batches of m"
    expected = Verdict.SUPPORTED
    explanation = (
        "For independent values the factor is exactly right; at m = 2 it is 2. For convolutions "
        "the factor counts all values: m' = 2,048 for two images of 32 x 32, which makes it "
        "1.0005. With it the variance is {figure[convolution, m = 2: with the factor, of the "
        "population's]:.2f} times that of the population, because the pixels of an image are "
        "correlated. The number that matters is closer to the number of images, as if an image "
        "had about 3 to 6 independent values. E[var + mean^2] - E[mean]^2 (Precise BN, "
        "nn.recalibrate) needs no factor and is right in both cases. A right variance does not "
        "make the network better: the MLP trained with batches of 2 was more accurate without "
        "the factor (see the figures, which are not judged)."
    )
    needs = ("mnist", "cifar10")
    minutes = 0.3
    full = {
        "sizes": [2, 4, 8, 60],
        "draws": {"dense": 8000, "convolution": 12_000},
        "population": {"dense": 2000, "convolution": 500},
        "steps": {"dense": 1000, "convolution": 150},
        "small steps": 3000,
        "test": 5000,
        "images": 10_000,
    }
    quick = {
        "draws": {"dense": 4000, "convolution": 1000},
        "population": {"dense": 1000, "convolution": 200},
        "steps": {"dense": 200, "convolution": 20},
        "small steps": 300,
        "test": 2000,
    }

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {"sizes": settings["sizes"]}
        for kind in KINDS:
            layers = populations(kind, seed, settings)
            found[kind] = {
                name: {
                    str(size): ratios(x, size, settings["draws"][kind], seed)
                    for size in settings["sizes"]
                }
                for name, x in layers.items()
            }
            found[f"rho {kind}"] = {name: correlation(x) for name, x in layers.items()}
        found["accuracy"] = {
            str(size): accuracies(size, seed, settings) for size in settings["sizes"]
        }
        return found

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        sizes = [str(size) for size in seeds[0]["sizes"]]
        found = {
            (kind, size, name): interval([ratio(seed, kind, size, name) for seed in seeds])
            for kind in KINDS
            for size in sizes
            for name in ("without", "with")
        }
        least = sizes[0]
        off = interval([1 / ratio(seed, "dense", least, "without") for seed in seeds])
        short = found["convolution", least, "with"]
        m = int(least)
        right = m / (m - 1)
        verdict = every(
            within(off, 0.95 * right, 1.05 * right),
            *(within(found["dense", size, "with"], 0.95, 1.05) for size in sizes),
            below(short, 1),
        )
        figures: dict[str, Any] = {
            f"dense, m = {least}: population's variance over E[var]": off,
            f"convolution, m = {least}: with the factor, of the population's": short,
        }
        figures |= {
            f"{kind}, m = {size}: {name} the factor, of the population's variance": value
            for (kind, size, name), value in found.items()
        }
        for layer in seeds[0]["convolution"]:
            figures[f"{layer} of C6: missing at m = {least}, %"] = interval(
                [100 * (1 - seed["convolution"][layer][least]["without"]) for seed in seeds]
            )
            figures[f"{layer} of C6: rho / m, %"] = interval(
                [100 * seed["rho convolution"][layer] / m for seed in seeds]
            )
            figures[f"{layer} of C6: independent values an image, 1 / rho"] = interval(
                [1 / seed["rho convolution"][layer] for seed in seeds]
            )
        figures |= {
            f"MLP trained with batches of {size}: accuracy, %, {name} the factor": 100
            * interval([seed["accuracy"][size][name] for seed in seeds])
            for size in sizes
            for name in ("without", "with")
        }
        return Judgement(
            verdict,
            f"At m = {least} the variance of a dense layer is too small by a factor of "
            f"{off.value:.2f} without the correction, and "
            f"{found['dense', least, 'with'].value:.3f} times the population's with it; after "
            f"convolutions {100 * (1 - short.value):.1f}% are missing in spite of it.",
            figures,
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        labels = [
            (f"examples a batch, {kind}", "estimated / population's variance") for kind in KINDS
        ]
        figure, axes = plots.new(*labels)
        sizes = seeds[0]["sizes"]
        for ax, kind in zip(axes, KINDS, strict=True):
            for name, colour, style in (("without", plots.B, "-"), ("with", plots.A, "--")):
                plots.band(
                    ax,
                    sizes,
                    [[ratio(seed, kind, str(size), name) for size in sizes] for seed in seeds],
                    f"{name} the factor",
                    colour,
                    linestyle=style,
                )
            plots.logarithmic(ax.xaxis)
            ax.axhline(1, color=plots.MUTED, linewidth=1, linestyle=(0, (1, 2)))
            ax.set_ylim(0.45, 1.08)
            plots.legend(ax, 1)
        return figure


def populations(kind: str, seed: int, settings: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Train a network, and return the inputs of its normalizations by name, with the shape
    (images, positions, channels)."""
    arrays, build, size = (
        (mnist("train"), mlp, 60) if kind == "dense" else (cifar10("train"), c6, 32)
    )
    arrays = subset(arrays, settings["images"])
    md.manual_seed(seed)
    model = build()
    train(
        model,
        optim.SGD(model.parameters(), 0.1, 0.9),
        batches(arrays, size, seed),
        settings["steps"][kind],
    )
    images = arrays[0][: settings["population"][kind]]
    recalibrate(model, images, len(images))
    return inputs_of_norms(model.eval(), images)


def inputs_of_norms(model: Stack, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the inputs of the layers norm1, norm2, ... with the shape (images, positions,
    channels)."""
    with md.no_grad():
        return {
            name: x.numpy().reshape(len(images), -1, x.shape[-1])
            for name, _, x, _ in model.steps(images)
            if name.startswith("norm")
        }


def ratios(x: np.ndarray, size: int, draws: int, seed: int) -> dict[str, float]:
    """Return the running variance over batches from x divided by the variance of x, with the factor
    and without it."""
    rng = np.random.default_rng(seed)
    layers = {
        name: nn.BatchNorm(x.shape[-1], momentum=None, unbiased=name == "with")
        for name in ("without", "with")
    }
    with md.no_grad(), quiet():
        for _ in range(draws // size):
            batch = x[rng.integers(len(x), size=size)]
            for layer in layers.values():
                layer(batch).numpy()
    true = x.var(axis=(0, 1), dtype=np.float64)
    return {name: float(np.mean(layer.running_var / true)) for name, layer in layers.items()}


def correlation(x: np.ndarray) -> float:
    """Return rho, as mean over the channels: the variance of the averages of images divided by that
    of all values."""
    averages = x.mean(axis=1, dtype=np.float64)
    return float(np.mean(averages.var(axis=0) / x.var(axis=(0, 1), dtype=np.float64)))


def ratio(seed: Result, kind: str, size: str, name: str) -> float:
    """Return the mean over the layers of the ratio of variances in the result of a seed."""
    return float(np.mean([layer[size][name] for layer in seed[kind].values()]))


def accuracies(size: int, seed: int, settings: Mapping[str, Any]) -> dict[str, float]:
    """Return the test accuracies of an MLP trained with batches of `size`: with the unbiased
    running variance of `nn.BatchNorm`, and with that variance without the factor."""
    md.manual_seed(seed)
    model = mlp(lambda features: nn.BatchNorm(features, momentum=0.01))
    losses = train(
        model,
        optim.SGD(model.parameters(), 0.5 * size / 60),
        batches(subset(mnist("train"), settings["images"]), size, seed),
        settings["small steps"],
    )
    test = subset(mnist("test"), settings["test"])
    found = {"with": score(model, losses, test)}
    for _, layer in model.named_layers():
        if isinstance(layer, nn.BatchNorm):
            assert layer.running_var is not None
            layer.running_var[...] *= (size - 1) / size
    return {**found, "without": score(model, losses, test)}
