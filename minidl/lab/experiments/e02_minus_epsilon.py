"""E02: what happens with sqrt(var - eps), as two of the notes print the formula.

The formula has eps so that a unit which is constant over the batch is not divided by 0. If eps is
subtracted instead of added, the square root for such a unit is that of a negative number, which is
NaN, and after one step of training all weights are NaN. The pixels at the border of MNIST's images
are constant, so they show the slip at once. The variance of hidden units is far above eps; there
the slip changes the scale by about eps / var, which goes unnoticed until a unit dies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import nn, optim

from .. import plots, problems
from ..composed import Composed
from ..experiment import Experiment, Judgement, Result
from ..identities import EPS, HIDDEN, digits, input_of, network, normalized, relative_error, worst
from ..training import diverged, train
from ..verdict import Verdict, identity

ARMS = {"plus": EPS, "minus": -EPS}
PLACES = ("pixels", "noisy pixels", "hidden units")


class MinusEpsilon(Experiment):
    id = "E02"
    title = "√(σ² − ε)"
    claim = (
        "The minus sign in √(σ² − ε) is a slip: it gives NaN where a unit is constant over "
        "the batch."
    )
    notes = "A, B"
    source = "Ioffe & Szegedy 2015 (1502.03167), Algorithm 1, which has a plus"
    setup = (
        "Batch normalization composed from operations (BatchNorm refuses a negative ε) with "
        "√(σ² + ε) and with √(σ² − ε), ε = 1e-5, float64, {steps} steps of SGD on {images} "
        "MNIST images, batch {batch}. Pixels: the raw pixels (0 to 1) are normalized, and a "
        "dense layer follows; learning rate 0.01. Noisy pixels: the same with normal noise of "
        "standard deviation 0.01 added to each pixel. Hidden units: the MLP "
        "(784-100-100-100-10, sigmoid) with normalized hidden layers; learning rate 0.5."
    )
    rule = (
        "SUPPORTED if in every seed the loss on raw pixels is NaN at step 1 with −ε and finite "
        "at every step with +ε; otherwise REFUTED. The cases in which the slip goes unnoticed "
        "are reported, but not judged."
    )
    paper = "√(σ² + ε)"
    expected = Verdict.SUPPORTED
    explanation = (
        "ε is needed for units that are constant over a batch, and with a minus sign "
        "exactly these become NaN: all pixels of the border, at the first step. The slip "
        "is easily missed, because it has no visible effect where the variance is far "
        "above ε: with a little noise on the pixels, and in hidden layers, both signs "
        "train alike. It would show later, at the first unit with a variance below ε."
    )
    needs = ("mnist",)
    minutes = 0.04
    full = {"images": 6000, "batch": 60, "steps": 300}
    quick = {"images": 1200, "steps": 60}

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        arrays = digits(settings["images"], seed)
        noise = np.random.default_rng(seed).normal(0, 0.01, arrays[0].shape)
        noisy = arrays[0] + noise, arrays[1]
        losses = {
            arm: {
                "pixels": trained(pixels(eps, seed), arrays, 0.01, seed, settings),
                "noisy pixels": trained(pixels(eps, seed), noisy, 0.01, seed, settings),
                "hidden units": trained(network(seed, composed(eps)), arrays, 0.5, seed, settings),
            }
            for arm, eps in ARMS.items()
        }
        first, _ = next(problems.batches(arrays, settings["batch"], seed))
        flat = first.reshape(len(first), -1)
        variances = {
            "pixels": flat.var(axis=0),
            "hidden units": np.concatenate(
                [input_of(network(seed), name, first).var(axis=0) for name in HIDDEN]
            ),
        }
        plus = composed(EPS)(flat.shape[1]).astype(np.float64)
        return {
            "losses": losses,
            "count": flat.shape[1],
            "constant": int((variances["pixels"] == 0).sum()),
            "below": int(((variances["pixels"] > 0) & (variances["pixels"] <= EPS)).sum()),
            "smallest hidden": float(variances["hidden units"].min()),
            "variances": {
                name: np.sort(found[found > 0])[::6].tolist() for name, found in variances.items()
            },
            "from BatchNorm": relative_error(plus(md.tensor(flat)).data, normalized(flat)),
        }

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        minus = [seed["losses"]["minus"]["pixels"] for seed in seeds]
        plus = [seed["losses"]["plus"]["pixels"] for seed in seeds]
        holds = all(len(losses) == 1 and math.isnan(losses[0]) for losses in minus) and not any(
            diverged(losses) for losses in plus
        )
        smallest = min(seed["smallest hidden"] for seed in seeds)
        constant = min(seed["constant"] for seed in seeds)
        return Judgement(
            identity(holds),
            f"With −ε the loss on raw pixels is "
            f"{'NaN' if all(math.isnan(losses[-1]) for losses in minus) else 'not NaN'} at step "
            f"{max(map(last, minus))} "
            f"({constant} of {seeds[0]['count']} pixels are constant in the first batch); with +ε "
            f"it is {'finite' if not any(map(diverged, plus)) else 'not finite'}.",
            {
                "constant pixels in the first batch, least of the seeds": constant,
                "pixels that vary by ε or less, most of the seeds": max(s["below"] for s in seeds),
                **{
                    f"steps with a finite loss, {place}, {sign}": min(
                        finite(seed["losses"][arm][place]) for seed in seeds
                    )
                    for place in PLACES
                    for arm, sign in (("plus", "+ε"), ("minus", "−ε"))
                },
                "hidden units: smallest σ²": smallest,
                "hidden units: largest change of the factor by the sign, ε/σ²": EPS / smallest,
                **{
                    f"{place}: largest relative difference of the losses": max(
                        apart(seed, place) for seed in seeds
                    )
                    for place in PLACES[1:]
                },
                "composed with +ε, distance from BatchNorm": worst(seeds, "from BatchNorm"),
            },
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        figure, (left, right) = plots.new(
            ("σ² of a unit over the batch", "factor 1/√(σ² ± ε)"), ("step", "loss")
        )
        line = np.geomspace(1e-6, 1, 400)
        above = line[line > EPS * 1.0001]
        left.plot(line, 1 / np.sqrt(line + EPS), color=plots.A, linewidth=1.7, label="+ε")
        left.plot(above, 1 / np.sqrt(above - EPS), color=plots.B, linewidth=1.7, label="−ε")
        left.axvspan(line[0], EPS, color=plots.B, alpha=0.12, linewidth=0)
        left.annotate("NaN", (1.7e-6, 8), color=plots.B, fontsize=10)
        for place, name, height in (
            ("hidden units", "hidden units", 0.3),
            ("pixels", "pixels that vary", 0.03),
        ):
            found = np.array(seeds[0]["variances"][place])
            left.plot(
                found,
                np.full(len(found), height),
                color=plots.MUTED,
                linestyle="none",
                marker="|",
                markersize=6,
            )
            left.annotate(name, (1, height * 1.7), ha="right", fontsize=9, color=plots.MUTED)
        plots.logarithmic(left.xaxis)
        plots.logarithmic(left.yaxis)
        left.set_xlim(line[0], 1.4)
        left.set_xticks([1e-6, 1e-4, 1e-2, 1], ["1e-6", "0.0001", "0.01", "1"])
        plots.legend(left)
        losses = seeds[0]["losses"]
        for arm, sign, colour, style in (
            ("plus", "+ε", plots.A, {"linewidth": 3, "alpha": 0.6}),
            ("minus", "−ε", plots.B, {"linewidth": 1.1}),
        ):
            for place, dash in (("pixels", (0, (1, 0))), ("hidden units", (0, (4, 1.5)))):
                found = losses[arm][place][: finite(losses[arm][place])]
                right.plot(
                    range(1, len(found) + 1),
                    smooth(found),
                    color=colour,
                    linestyle=dash,
                    label=f"{place}, {sign}" if found else None,
                    **style,
                )
        if finite(losses["minus"]["pixels"]) == 0:
            right.plot(
                [1],
                [2.3],
                color=plots.B,
                marker="x",
                markersize=9,
                linestyle="none",
                label="pixels, −ε: NaN",
            )
        right.set_ylim(bottom=0)
        right.legend(loc="upper right", frameon=False, fontsize=9, labelcolor=plots.INK)
        return figure


def composed(eps: float) -> Any:
    """Return a function that makes a normalization layer for a number of features, which divides by
    sqrt(var + eps)."""
    return lambda features: Composed(features, divisor=lambda var: (var + eps).sqrt())


def pixels(eps: float, seed: int) -> problems.Stack:
    """Return a float64 model that normalizes the pixels and applies a dense layer to them."""
    md.manual_seed(seed)
    model = problems.Stack(
        {"flatten": nn.Flatten(), "norm": composed(eps)(784), "dense": nn.Dense(784, 10)}
    )
    model.astype(np.float64)
    return model


def trained(
    model: problems.Stack,
    arrays: problems.Arrays,
    lr: float,
    seed: int,
    settings: Mapping[str, Any],
) -> list[float]:
    """Return the losses of a short training. If it diverges, the last loss is the computed one, NaN
    or a large number, where `train` puts infinity for both."""
    last = math.nan

    def loss(outputs: md.Tensor, labels: np.ndarray) -> md.Tensor:
        nonlocal last
        found = md.cross_entropy(outputs, labels)
        last = float(found.data)
        return found

    losses = train(
        model,
        optim.SGD(model.parameters(), lr=lr),
        problems.batches(arrays, settings["batch"], seed),
        settings["steps"],
        loss,
    )
    return [*losses[:-1], last] if diverged(losses) else losses


def finite(losses: Sequence[float]) -> int:
    """Return the number of steps with a finite loss."""
    return sum(map(math.isfinite, losses))


def last(losses: Sequence[float]) -> int:
    """Return the number of the last step: the one at which the training diverged, if it did."""
    return len(losses)


def apart(seed: Result, place: str) -> float:
    """Return the largest relative difference between the losses with +eps and with -eps; infinity
    if one of the trainings diverged."""
    plus, minus = (np.array(seed["losses"][arm][place]) for arm in ARMS)
    if len(plus) != len(minus) or not np.isfinite([*plus, *minus]).all():
        return math.inf
    return relative_error(minus, plus)


def smooth(values: Sequence[float], width: int = 15) -> np.ndarray:
    """Return the moving average of the last `width` values at each step (fewer at the start)."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(sums))
    starts = np.maximum(0, ends - width)
    return (sums[ends] - sums[starts]) / (ends - starts)
