"""E17: does batch normalization make the landscape of the loss smoother?

Santurkar et al. (2018) examine the loss along the step that the training is about to take. How much
does the loss vary between half of the step and four times the step, and how far is the gradient
there from the gradient at the start of the step? A gradient predicts the loss nearby, and if the
landscape is smooth the prediction holds for longer steps. At the same learning rate the arms take
steps of different lengths, and short steps could be mistaken for a smooth landscape. Therefore the
measurement is repeated with steps whose length is a fixed share of the norm of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md

from .. import arms, measures, plots, problems
from ..experiment import Experiment, Judgement, Result
from ..verdict import Verdict, at_least, every, interval

ARMS = plots.names("none", "batch")
STEPS = {"rate": "at the learning rate", "equal": "at equal steps"}
RANGES = {"loss": "range of the loss", "gradient": "range of the gradient"}
LOWEST = 0.8  # the smallest share of the checkpoints that supports the claim
HALF = 0.5  # at these checkpoints BatchNorm's range is at most this share of the other one


class Landscape(Experiment):
    id = "E17"
    title = "A smoother landscape"
    claim = "Batch normalization makes the landscape of the loss smoother."
    notes = "B"
    source = "Santurkar et al. 2018, How Does Batch Normalization Help Optimization? (1805.11604)"
    setup = (
        "C6 ({widths} channels) on {images} CIFAR-10 images, batch {batch}, {steps} steps of "
        "plain SGD at learning rate {rate}. Every {every} steps, on a separate batch: the "
        "gradient, and the loss and the gradient after 1/2, 1, 2 and 4 times the step of plain "
        "SGD along it. Reported are the range of the loss, and the range of the distance "
        "between the gradients there and at the start of the step. The same again for steps in "
        "the same direction whose length is 1% of the norm of the weights."
    )
    rule = (
        "The share of the checkpoints at which BatchNorm's range is at most half of that of the "
        "network without it is judged for the loss and for the gradient, at the learning rate "
        f"and at equal steps. SUPPORTED if all four intervals lie at {LOWEST:.0%} or above; "
        "REFUTED if one lies wholly below; otherwise INCONCLUSIVE."
    )
    paper = (
        "VGG on CIFAR-10: loss and gradient vary far less along the step with batch "
        "normalization, during the whole training (figure 4)"
    )
    expected = Verdict.SUPPORTED
    explanation = (
        "Along a step the loss varies {figure[range of the loss at the learning rate, none / "
        "BatchNorm]:.1f} times as much without batch normalization, and the gradient "
        "{figure[range of the gradient at the learning rate, none / BatchNorm]:.1f} times as "
        "much; with steps of equal length they vary {figure[range of the loss at equal steps, "
        "none / BatchNorm]:.1f} and {figure[range of the gradient at equal steps, none / "
        "BatchNorm]:.1f} times as much. So with batch normalization the gradient is a good "
        "prediction for longer steps, which allows higher learning rates (E13). This is not "
        "true at every step: at about one checkpoint in seven of a full run the ranges are "
        "about equal, or that of BatchNorm is larger. This is often so in the first hundred "
        "steps, in which the network without it is on a plateau, and nothing is as smooth as a "
        "plateau."
    )
    examination = (
        "The verdict is close: in one seed of a full run the share is 80% of the checkpoints, "
        "which is the bound itself. It depends on the length of the training: for the first "
        "400 steps alone the rule gives REFUTED (two seeds: 56% to 88% of the checkpoints), and "
        "--quick trains no longer. It also depends on the size: with half the channels and "
        "batches of 32 (one seed, 1,500 steps) BatchNorm's range was at most half at 53% of the "
        "checkpoints at the learning rate, and at 33% (loss) and 40% (gradient) of them at equal "
        "steps."
    )
    needs = ("cifar10",)
    minutes = 1.6
    full = {
        "steps": 3000,
        "every": 75,
        "batch": 64,
        "rate": 0.1,
        "images": 10000,
        "widths": [16, 32, 64],
    }
    quick = {"steps": 300, "every": 50}

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {arm: train_arm(arm, seed, **settings) for arm in ARMS}

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        shares = {
            (r, s): interval([share(seed, r, s) for seed in seeds]) for s in STEPS for r in RANGES
        }
        figures: dict[str, Any] = {
            f"checkpoints at which BatchNorm's {RANGES[r]} is half at most, %, {STEPS[s]}": 100
            * found
            for (r, s), found in shares.items()
        }
        for s in STEPS:
            for r in RANGES:
                figures[f"{RANGES[r]} {STEPS[s]}, none / BatchNorm"] = interval(
                    [ratio(seed, r, s) for seed in seeds]
                )
        for arm in ARMS:
            figures[f"loss at the end, {ARMS[arm]}"] = interval(
                [seed[arm]["end"] for seed in seeds]
            )
        texts = [f"{found.value:.0%} ({RANGES[r]} {STEPS[s]})" for (r, s), found in shares.items()]
        return Judgement(
            every(*(at_least(found, LOWEST) for found in shares.values())),
            f"BatchNorm's ranges are at most half of those without it at {', '.join(texts)} of the "
            f"checkpoints.",
            figures,
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        figure, (left, right) = plots.new(
            ("training step", "loss at 1/2 to 4 times the step"),
            ("", "checkpoints (%) with half the range"),
        )
        for arm in ARMS:
            colour = plots.COLOURS[arm]
            low, high = (
                np.mean([seed[arm][f"rate {side}"] for seed in seeds], axis=0)
                for side in ("low", "high")
            )
            left.fill_between(
                seeds[0][arm]["at"],
                low,
                high,
                color=colour,
                alpha=0.35,
                linewidth=0,
                label=ARMS[arm],
            )
        plots.legend(left)
        names = [(r, s) for s in STEPS for r in RANGES]
        plots.bars(
            right,
            [f"{r},\n{'rate' if s == 'rate' else 'equal steps'}" for r, s in names],
            [[100 * share(seed, r, s) for r, s in names] for seed in seeds],
            [plots.COLOURS["batch"]] * 4,
        )
        right.set_ylim(0, 105)
        right.axhline(
            100 * LOWEST,
            color=plots.INK,
            linewidth=1,
            linestyle=(0, (1, 2)),
            label=f"{LOWEST:.0%}, the rule's bound",
        )
        plots.legend(right)
        return figure


def share(seed: Result, what: str, steps: str) -> float:
    """Return the share of the checkpoints at which BatchNorm's range is at most half of the other
    one; NaN without any checkpoint."""
    none, batch = (np.asarray(seed[arm][f"{steps} {what}"], np.float64) for arm in ARMS)
    known = ~(np.isnan(none) | np.isnan(batch))
    half = (batch <= HALF * none) & np.isfinite(batch)  # inf <= inf / 2 would be true
    return float(half[known].mean()) if known.any() else math.nan


def ratio(seed: Result, what: str, steps: str) -> float:
    """Return the median over the checkpoints of the range without BatchNorm divided by that with
    it."""
    none, batch = (np.asarray(seed[arm][f"{steps} {what}"], np.float64) for arm in ARMS)
    with np.errstate(all="ignore"):
        found = none / batch
    known = found[np.isfinite(found)]
    return float(np.median(known)) if known.size else math.nan


def train_arm(
    arm: str,
    seed: int,
    steps: int,
    every: int,
    batch: int,
    rate: float,
    images: int,
    widths: Sequence[int],
) -> dict[str, Any]:
    """Train one arm, and measure the landscape along the step at regular steps. The measurements
    are NaN once the training has diverged."""
    md.manual_seed(seed)
    first, second, third = widths
    model = problems.c6(arm, (first, second, third))
    losses, found = arms.train_and_measure(
        model,
        problems.subset(problems.cifar10("train"), images),
        lambda images, labels, step: measured(model, images, labels, rate),
        NAMES,
        seed,
        steps=steps,
        every=every,
        batch=batch,
        rate=rate,
    )
    return {**found, "end": float(np.mean(losses[-20:]))}


NAMES = tuple(
    f"{steps} {what}" for steps in STEPS for what in ("low", "high", *RANGES, "smoothness")
)


def measured(model: Any, images: np.ndarray, labels: np.ndarray, rate: float) -> dict[str, float]:
    """Measure the loss and the gradient along the step that plain SGD would take, and along one of
    a fixed length."""
    loss = measures.fixed_loss(model, images, labels)
    parameters = model.parameters()
    before, start = measures.values_of(parameters), measures.point(loss, parameters)
    found: dict[str, float] = {}
    for name, step in zip(STEPS, arms.two_steps(start, before, rate), strict=True):
        along = measures.landscape(loss, before, step, start)
        low, high = measures.bounds(along.losses)
        found |= {
            f"{name} low": low,
            f"{name} high": high,
            f"{name} loss": along.loss_range,
            f"{name} gradient": along.distance_range,
            f"{name} smoothness": along.smoothness,
        }
    return found
