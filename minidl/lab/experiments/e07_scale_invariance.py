"""E07: BN((aW)u) = BN(Wu), and what follows from it, in answer to the "WHY???" of a note.

The mean and the standard deviation of aWu over the batch are a times those of Wu, so that a cancels
in (aWu - a mean) / (a deviation). The output is the same, and therefore the loss and the gradient
with respect to u are too. The loss as a function of the weights satisfies L(aW) = L(W).
Differentiated with respect to W, this is a L'(aW) = L'(W): larger weights get smaller gradients, by
the factor 1/a. Differentiated with respect to a, at a = 1, it is <W, L'(W)> = 0: the gradient is
orthogonal to the weights. So a step of plain SGD increases their norm, by Pythagoras to
|W|^2 + lr^2 |g|^2, and never decreases it. And since larger weights get smaller gradients, the
growth slows down by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import nn, optim

from .. import plots, problems
from ..experiment import Experiment, Judgement, Result
from ..identities import EPS, digits, input_of, network, output_from, relative_error, worst
from ..training import diverged, train
from ..verdict import Verdict, identity

INVARIANT = 1e-8  # the largest relative error of an invariance
GROWTH = 0.01  # the largest relative error of the formula for the norm
LAYERS = ("dense1", "dense2", "dense3")
FORMS = {
    "output": "BN((aW)u) beside BN(Wu)",
    "input": "gradient of u beside that at a = 1",
    "weight": "a times the gradient of aW beside that of W",
    "angle": "cosine between W and its gradient",
}


class ScaleInvariance(Experiment):
    id = "E07"
    title = "The scale of the weights does not matter"
    claim = (
        "BN((aW)u) = BN(Wu): the scale of the weights changes neither the output nor the "
        "gradient of u, larger weights get smaller gradients, and their growth stabilises."
    )
    notes = 'E ("WHY???"), B'
    source = "Ioffe & Szegedy 2015 (1502.03167), section 3.3"
    setup = (
        "The MLP (784-100-100-100-10, sigmoid), float64, a batch of {batch} MNIST images, ε = "
        "0: the weights of the second layer are multiplied by a = {scales}. Then {steps} steps "
        "of plain SGD on {images} images (learning rate 0.5, batch {batch}, ε = 1e-5) from "
        "initial weights {starts} times as large as usual; the norm of the weights is compared "
        "with the formula."
    )
    rule = (
        "SUPPORTED if in every seed (1) the output, the gradient of u and a times the gradient "
        f"of aW equal those at a = 1 with relative errors of at most {INVARIANT:g}; (2) the "
        "cosine between the weights of a unit and their gradient is at most "
        f"{INVARIANT:g}; (3) for each initial scale and layer |W|² after the training equals "
        "|W|² before it plus rate² times the sum of |gradient|², within "
        f"{GROWTH:.0%}; (4) |W|² of the second layer grows less for larger initial weights, "
        "and for the smallest ones less in the last quarter of the steps than in the first. "
        "Otherwise REFUTED."
    )
    paper = "∂BN((aW)u)/∂(aW) = 1/a · ∂BN(Wu)/∂W"
    expected = Verdict.SUPPORTED
    explanation = (
        "The factor a scales Wu, its mean and its standard deviation alike, and the division "
        "cancels it. So the loss does not change along the direction of W, the gradient is "
        "orthogonal to W, and by Pythagoras every step of plain SGD increases the norm of W. "
        "As the gradient falls with 1/|W|, the growth limits itself: weights that are far too "
        "small grow within a few steps to a norm at which steps are moderate, and large ones "
        "hardly change. It does not end, though: without weight decay the norm keeps growing "
        "slowly. The effective learning rate is rate/|W|², so a rate that is too high lowers "
        "itself. ε limits all this: with weights 100 times smaller than usual it is no longer "
        "small compared with σ², and the output is off by {figure[BN((aW)u) beside BN(Wu) (ε "
        "= 1e-5, the worst a)]:.0%}, the gradients by {figure[gradient of u beside that at a "
        "= 1 (ε = 1e-5, the worst a)]:.0%}."
    )
    needs = ("mnist",)
    minutes = 0.08
    full = {
        "images": 6000,
        "batch": 60,
        "steps": 1000,
        "scales": [0.01, 0.1, 1.0, 10.0, 100.0],
        "starts": [0.1, 1.0, 10.0],
    }
    quick = {"images": 3000, "steps": 200}

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        arrays = digits(settings["images"], seed)
        first = arrays[0][: settings["batch"]], arrays[1][: settings["batch"]]
        return {
            "scales": settings["scales"],
            "exact": scaled(first, seed, settings["scales"], eps=0.0),
            "with eps": scaled(first, seed, settings["scales"], EPS),
            "growth": {
                f"{start:g}": growth(arrays, seed, start, settings) for start in settings["starts"]
            },
        }

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        exact = [seed["exact"] for seed in seeds]
        found = {name: worst(exact, name) for name in FORMS}
        arms = [arm for seed in seeds for arm in seed["growth"].values()]
        largest = float(np.max(list(found.values())))
        error = worst(arms, "error")
        grown = {
            start: [s["growth"][start]["norms"] for s in seeds] for start in seeds[0]["growth"]
        }
        quarters = [next(iter(seed["growth"].values()))["quarters"] for seed in seeds]
        holds = (
            all(value <= INVARIANT for value in found.values())
            and error <= GROWTH
            and not any(arm["diverged"] for arm in arms)
            and all(last < first for first, last in quarters)
            and all(np.all(np.diff(gains(seed)) < 0) for seed in seeds)
        )
        return Judgement(
            identity(holds),
            f"The output and both gradients agree with the formulas within {largest:.0e}, and "
            f"|W|² after the training within {error:.1e}.",
            {
                **{f"{label} (ε = 0)": found[name] for name, label in FORMS.items()},
                "|W|² after training, distance from the formula, relative": error,
                "|W|² gained, distance from the formula, relative": worst(arms, "error of gain"),
                **{
                    f"|W|² gained, start times {start}": float(
                        np.mean([gains(seed)[i] for seed in seeds])
                    )
                    for i, start in enumerate(seeds[0]["growth"])
                },
                **{
                    f"|W| after training, start times {start}, beside before": float(
                        np.mean([norms[-1] / norms[0] for norms in of_seeds])
                    )
                    for start, of_seeds in grown.items()
                },
                **{
                    f"|W|² gained in the {word} quarter of the steps, start times {start}": float(
                        np.mean([seed["growth"][start]["quarters"][i] for seed in seeds])
                    )
                    for start in seeds[0]["growth"]
                    for i, word in ((0, "first"), (1, "last"))
                },
                **{
                    f"{label} (ε = 1e-5, the worst a)": worst(
                        [seed["with eps"] for seed in seeds], name
                    )
                    for name, label in FORMS.items()
                },
            },
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        figure, (left, right) = plots.new(
            ("factor a of the weights", "norm of a gradient (at a = 1: 1)"),
            ("step (the start: 1)", "norm of the weights |W|"),
        )
        scales = seeds[0]["scales"]
        for name, colour, label in (
            ("weight norms", plots.A, "gradient of aW"),
            ("input norms", plots.C, "gradient of u"),
        ):
            plots.band(
                left,
                scales,
                [seed["exact"][name] for seed in seeds],
                label,
                colour,
                linestyle="none",
            )
        left.plot(scales, np.divide(1, scales), color=plots.MUTED, linewidth=1, label="1/a")
        plots.logarithmic(left.xaxis)
        plots.logarithmic(left.yaxis)
        plots.legend(left, 1)
        for (start, arm), colour in zip(
            seeds[0]["growth"].items(), (plots.B, plots.A, plots.D), strict=False
        ):
            right.plot(
                arm["steps"],
                arm["norms"],
                color=colour,
                linewidth=2.2,
                alpha=0.6,
                label=f"start times {start}",
            )
            right.plot(
                arm["steps"], arm["formula"], color=plots.INK, linewidth=0.9, linestyle=(0, (3, 2))
            )
        right.plot(
            [],
            [],
            color=plots.INK,
            linewidth=0.9,
            linestyle=(0, (3, 2)),
            label="√(|W₀|² + η²Σ|g|²)",
        )
        plots.logarithmic(right.xaxis)
        plots.logarithmic(right.yaxis)
        plots.legend(right)
        return figure


def scaled(
    batch: problems.Arrays, seed: int, scales: Sequence[float], eps: float
) -> dict[str, Any]:
    """Scale the weights of the second layer by each a, and compare with a = 1. Return the largest
    errors of the output and of the gradients, the largest cosine between the weights of a unit and
    their gradient, and the norms of the gradients."""
    images, labels = batch
    model = network(seed, lambda features: nn.BatchNorm(features, eps=eps))
    u = input_of(model, "dense2", images)
    dense, norm = (getattr(model, name) for name in ("dense2", "norm2"))
    weight = dense.weight
    start = weight.data.copy()

    def at(scale: float) -> tuple[np.ndarray, ...]:
        weight.data = scale * start
        point = md.tensor(u, requires_grad=True)
        output = norm(dense(point))
        loss = md.cross_entropy(output_from(model, "act2", output), labels)
        return output.data, *md.grad(loss, (point, weight))

    output, of_u, of_weight = at(1.0)
    parts, input_norms, weight_norms = [], [], []
    for scale in scales:
        y, du, dw = at(scale)
        cosine = (start * dw).sum(axis=0) / np.sqrt((start**2).sum(axis=0) * (dw**2).sum(axis=0))
        parts.append(
            {
                "output": relative_error(y, output),
                "input": relative_error(du, of_u),
                "weight": relative_error(scale * dw, of_weight),
                "angle": float(np.abs(cosine).max()),
            }
        )
        input_norms.append(np.linalg.norm(du) / np.linalg.norm(of_u))
        weight_norms.append(np.linalg.norm(dw) / np.linalg.norm(of_weight))
    return {
        **{name: worst(parts, name) for name in FORMS},
        "input norms": input_norms,
        "weight norms": weight_norms,
    }


def growth(
    arrays: problems.Arrays, seed: int, start: float, settings: Mapping[str, Any], rate: float = 0.5
) -> dict[str, Any]:
    """Train by plain SGD from hidden weights that are `start` times as large as usual, and compare
    their norms with those that follow from the gradients by Pythagoras."""
    model = network(seed)
    weights = [getattr(model, layer).weight for layer in LAYERS]
    for weight in weights:
        weight.data = start * weight.data
    before = np.array([square(weight.data) for weight in weights])
    added = np.zeros(len(weights))
    squares, formula = [before[1]], [before[1]]

    def at(step: int) -> None:
        added[:] += [rate**2 * square(weight.grad) for weight in weights]
        squares.append(square(weights[1].data))
        formula.append(before[1] + added[1])

    losses = train(
        model,
        optim.SGD(model.parameters(), lr=rate),
        problems.batches(arrays, settings["batch"], seed),
        settings["steps"],
        at=at,
    )
    after = np.array([square(weight.data) for weight in weights])
    shown = np.unique(np.geomspace(1, len(squares), 60).astype(int)) - 1
    return {
        "diverged": diverged(losses),
        "quarters": quarter_growth(squares),
        "steps": shown + 1,
        "norms": np.sqrt(squares)[shown],
        "formula": np.sqrt(formula)[shown],
        "error": float(np.abs(after / (before + added) - 1).max()),
        "error of gain": float(np.abs((after - before) / added - 1).max()),
    }


def square(values: np.ndarray) -> float:
    """Return the sum of the squares."""
    return float((values**2).sum())


def gains(seed: Result) -> list[float]:
    """Return the growth of the squared norm over the training, for each initial scale."""
    return [arm["norms"][-1] ** 2 - arm["norms"][0] ** 2 for arm in seed["growth"].values()]


def quarter_growth(squares: Sequence[float]) -> tuple[float, float]:
    """Return how much the squared norm grows in the first and in the last quarter of the steps."""
    part = len(squares) // 4
    return float(squares[part] - squares[0]), float(squares[-1] - squares[-1 - part])
