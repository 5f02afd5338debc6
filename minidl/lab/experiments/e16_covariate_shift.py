"""E16: does batch normalization help because it reduces internal covariate shift?

All notes say so, following Ioffe & Szegedy (2015): while the layers before a layer learn, the
distribution of its input changes, and a normalization keeps it stable. Santurkar et al. (2018) made
this measurable. They compute the gradient of a layer, update only the layers before it, and compute
the gradient again: the difference is what the learning of those layers has done to this one. They
also reason that if stable distributions were what helps, then noise that disturbs the distributions
after each normalization would cancel the gain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import nn

from .. import arms, measures, plots, problems, training
from ..experiment import Experiment, Judgement, Result
from ..look import blocks_of, input_units, look
from ..verdict import Interval, Verdict, above, at_most, below, every, interval, some

ARMS = {**plots.names("none", "batch"), "noisy": "BatchNorm + noise"}
COLOURS = {"none": plots.COLOURS["none"], "batch": plots.COLOURS["batch"], "noisy": plots.C}
FIGURES = {
    "shift": "shift of gradients",
    "cosine": "cosine of shifted gradients",
    "equal": "shift at equal steps",
    "drift": "drift of distributions",
}
CLOSE = 1.0  # noise that costs at most so many points of accuracy counts as harmless
# The noise of Santurkar et al.: the largest shift and scale of a unit, and the noise of each value.
MEAN, SCALE, JITTER = 0.5, 1.25, 0.1


class CovariateShift(Experiment):
    id = "E16"
    title = "Reduces internal covariate shift"
    claim = (
        "Batch normalization helps because it reduces internal covariate shift: a layer depends "
        "less on what the layers before it learn."
    )
    notes = "A, B, C, D, E"
    source = (
        "Ioffe & Szegedy 2015 (1502.03167); against it Santurkar et al. 2018, How Does Batch "
        "Normalization Help Optimization? (1805.11604)"
    )
    setup = (
        "MNIST, 784-100-100-100-10 with sigmoids, {train} training images, batch {batch}, "
        "{steps} steps of plain SGD at the learning rates {rates}, accuracy on {test} test "
        "images at the end. Every {every} steps, on a separate batch: the gradient with respect "
        "to the weights of a layer is computed before and after a step of plain SGD that updates "
        "only the layers before it. Reported are the norm of the change relative to the norm of "
        "the gradient (the shift) and the cosine between both gradients, as means over the "
        "layers from the second on, and the same for steps whose length is 1% of the norm of "
        "the weights. Drift: how far the step at the learning rate moves the means of a layer's "
        "inputs, in their standard deviations. Noise: after each BatchNorm each unit is scaled "
        "by 1 to 1.25 and shifted by -0.5 to 0.5, drawn anew at each step, and each value is "
        "changed by about 0.1 more."
    )
    rule = (
        'All figures are means over the rates. The claim has two parts. "Reduces" holds if the '
        "shift of gradients is smaller with BatchNorm than without: the interval of the "
        'difference lies wholly below 0. It fails if that lies wholly at 0 or above. "Because" '
        f"fails if noise after BatchNorm costs at most {CLOSE:g} point of accuracy, and the "
        "noisy network is still better than one without normalization, with both intervals "
        "wholly there. It holds if one of these intervals lies wholly elsewhere. SUPPORTED if "
        "both parts hold; REFUTED if one fails; otherwise INCONCLUSIVE."
    )
    paper = (
        "with batch normalization gradients shift as much or more; with noise after it a network "
        "trains nearly as well, and better than one without normalization, although its "
        "distributions are the least stable of the three"
    )
    expected = Verdict.REFUTED
    explanation = (
        "There are two kinds of shift. Batch normalization does reduce the drift of a layer's "
        "inputs: a step moves their means 18 to 28 times less (in a full run). But the expected "
        "consequence does not follow. When the layers before it move, the gradient of a layer "
        "changes more than without normalization at the rates 0.1 and 0.5, and less at 2, so "
        "that the mean depends on the choice of the rates; only the angle by which gradients "
        "turn is smaller at high rates. Nor is the small drift the reason why it helps: noise "
        "that makes the inputs drift more than without any normalization costs nothing. E17 "
        "tests the explanation that Santurkar et al. found instead."
    )
    examination = (
        '"Reduces" depends on the network: with ReLUs instead of sigmoids (one seed, 1,500 '
        "steps, rates 0.02 to 0.5) gradients shift less with BatchNorm, by 0.05 of their norm. "
        '"Because" does not depend on it: with ReLUs, noise costs 0.3 of the 1.9 points by '
        "which BatchNorm is better than no normalization."
    )
    needs = ("mnist",)
    minutes = 0.6
    full = {
        "steps": 4000,
        "every": 100,
        "batch": 60,
        "rates": [0.1, 0.5, 2.0],
        "train": 60000,
        "test": 10000,
    }
    quick = {"steps": 600, "every": 60, "train": 20000, "test": 5000}
    quick_seeds = 3

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        options = dict(settings)
        rates = options.pop("rates")
        return {
            "rates": rates,
            **{arm: [train_arm(arm, seed, rate=rate, **options) for rate in rates] for arm in ARMS},
        }

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        rates = seeds[0]["rates"]

        def of(arm: str, name: str, places: Sequence[int] = range(len(rates))) -> np.ndarray:
            """Return a figure of each seed, as the mean over rates and checkpoints."""
            return np.array(
                [np.mean([np.mean(seed[arm][place][name]) for place in places]) for seed in seeds]
            )

        shift = interval(of("batch", "shift") - of("none", "shift"))
        lost, gained, whole = (
            interval(100 * (of(a, "accuracy") - of(b, "accuracy")))
            for a, b in (("batch", "noisy"), ("noisy", "none"), ("batch", "none"))
        )
        figures: dict[str, Any] = {
            "shift of gradients, BatchNorm minus none": shift,
            "points that noise costs BatchNorm": lost,
            "points of noisy BatchNorm above none": gained,
            "points of BatchNorm above none": whole,
            "cosine of shifted gradients, BatchNorm minus none": interval(
                of("batch", "cosine") - of("none", "cosine")
            ),
            "shift at equal steps, BatchNorm minus none": interval(
                of("batch", "equal") - of("none", "equal")
            ),
        }
        for name, label in {"accuracy": "test accuracy, %", **FIGURES}.items():
            for place, rate in enumerate(rates):
                for arm in ARMS:
                    figures[f"{label}, rate {rate:g}, {ARMS[arm]}"] = interval(
                        of(arm, name, [place]).tolist()
                    ) * (100 if name == "accuracy" else 1)
        reduces = below(shift, 0)
        because = some(above(lost, CLOSE), at_most(gained, 0))
        texts = []
        for place, rate in enumerate(rates):
            one, other = (of(arm, "shift", [place]) for arm in ("batch", "none"))
            texts.append(
                f"{_compared(interval(one - other))} at rate {rate:g} "
                f"({one.mean():.2f} of its norm with BatchNorm, {other.mean():.2f} "
                f"without)"
            )
        return Judgement(
            every(reduces, because),
            f'"Reduces" is {reduces}: compared with no normalization, an update of the layers '
            f"before it changes the gradient of a layer {', '.join(texts)}, and on average over "
            f'these rates, which is judged, {_compared(shift)} ({shift.value:+.2f}). "Because" is '
            f"{because}: noise costs {lost.value:.2f} of the {whole.value:.2f} points by which "
            "BatchNorm is better than no normalization.",
            figures,
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        from matplotlib.ticker import LogLocator

        figure, (left, right) = plots.new(
            ("learning rate", "change of gradients (their norm: 1)"),
            (
                "drift of inputs a step (standard deviations)",
                f"test accuracy (%), rate {seeds[0]['rates'][len(seeds[0]['rates']) // 2]:g}",
            ),
        )
        rates = seeds[0]["rates"]
        middle = len(rates) // 2
        for arm, label in ARMS.items():
            plots.band(
                left,
                rates,
                [[np.mean(at["shift"]) for at in seed[arm]] for seed in seeds],
                label,
                COLOURS[arm],
            )
            drifts, found = (
                [value(seed[arm][middle]) for seed in seeds]
                for value in (lambda at: np.mean(at["drift"]), lambda at: 100 * at["accuracy"])
            )
            right.plot(
                drifts,
                found,
                linestyle="none",
                marker="o",
                markersize=7,
                alpha=0.8,
                color=COLOURS[arm],
            )
            right.annotate(
                label,
                (np.mean(drifts), max(found)),
                (0, 8),
                color=COLOURS[arm],
                textcoords="offset points",
                fontsize=9,
                ha="left" if arm == "batch" else "right",
            )
        plots.logarithmic(left.xaxis)
        left.set_ylim(0)
        plots.logarithmic(right.xaxis)
        right.xaxis.set_major_locator(LogLocator())
        right.margins(0.2)
        plots.legend(left)
        return figure


def _compared(difference: Interval) -> str:
    """Return a word that says on which side of 0 a difference lies: with its whole interval, or
    with its value if one seed gives no interval."""
    if Verdict.SUPPORTED in (above(difference, 0), below(difference, 0)) or difference.count < 2:
        return "more" if difference.value > 0 else "less"
    return "about as much"


class Noisy(nn.Layer):
    """BatchNorm followed by noise that shifts and scales each unit anew at each step: a covariate
    shift on purpose. In evaluation mode the noise is replaced by its mean."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm(features)

    def forward(self, x: Any) -> md.Tensor:
        y = self.norm(x)
        if not self.training:
            return y * ((1 + SCALE) / 2)
        unit = (1, y.shape[-1])
        shift = uniform(-MEAN, MEAN, unit) + uniform(-JITTER, JITTER, y.shape)
        scale = uniform(1, SCALE, unit) + md.randn(y.shape) * JITTER
        return y * scale + shift


def uniform(low: float, high: float, shape: tuple[int, ...]) -> md.Tensor:
    """Return uniformly distributed numbers between two bounds."""
    return md.rand(shape) * (high - low) + low


def train_arm(
    arm: str, seed: int, steps: int, every: int, batch: int, rate: float, train: int, test: int
) -> dict[str, Any]:
    """Train one arm. Return the measures at regular steps, which are NaN once the training has
    diverged, and the accuracy at the end."""
    md.manual_seed(seed)
    model = problems.mlp(Noisy if arm == "noisy" else arm)
    losses, found = arms.train_and_measure(
        model,
        problems.subset(problems.mnist("train"), train),
        lambda images, labels, step: measured(model, images, labels, rate, step),
        list(FIGURES),
        seed,
        steps=steps,
        every=every,
        batch=batch,
        rate=rate,
    )
    accuracy = training.score(model, losses, problems.subset(problems.mnist("test"), test))
    return {**found, "accuracy": accuracy}


def measured(
    model: nn.Layer, images: np.ndarray, labels: np.ndarray, rate: float, step: int
) -> dict[str, float]:
    """Return means over the layers from the second on: the shift and the cosine for an update at
    the learning rate, the shift for an update of a fixed length, and the drift of means.

    Gradients are compared under the same noise of the noisy arm. The drift is measured under
    different noise before and after the update, as it occurs from one step to the next.
    """
    loss = measures.fixed_loss(model, images, labels, seed=step)
    blocks = blocks_of(model, look(model, loss)[0].rows)
    parameters = [p for block in blocks for p in block.parameters]
    before = measures.values_of(parameters)
    start = measures.point(loss, parameters)
    descent, equal = arms.two_steps(start, before, rate)
    shifts, equals = (
        measures.gradient_shift(loss, blocks, before, measures.moved(before, one), start)
        for one in (descent, equal)
    )
    units = input_units(model, images, seed=step)
    with measures.with_values(measures.moved(before, descent)):
        moved = input_units(model, images, seed=step + 1)
    drifts = [measures.drift(units[block.name], moved[block.name])[0] for block in blocks[1:]]
    return {
        "shift": float(np.mean([one.relative for one in shifts.values()])),
        "cosine": float(np.mean([one.cosine for one in shifts.values()])),
        "equal": float(np.mean([one.relative for one in equals.values()])),
        "drift": float(np.mean(drifts)),
    }
