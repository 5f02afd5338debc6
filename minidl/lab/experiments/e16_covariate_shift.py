"""E16: does batch normalization help because it reduces internal covariate shift?

All notes say so, after Ioffe & Szegedy (2015): a layer has to follow what the layers before it do
to its input while they learn, and a normalization holds the input still. Santurkar et al. (2018)
made of this what can be measured. A layer's gradient says where the layer should go. Update the
layers before it, and those alone, and take its gradient again: what has changed is what their
learning has done to it. And if it were the stable distributions that help, noise that shakes them
behind each normalization would take the gain away.
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
CLOSE = 1.0  # points of accuracy
MEAN, SCALE, JITTER = 0.5, 1.25, 0.1  # of the noise, those of Santurkar et al.


class CovariateShift(Experiment):
    id = "E16"
    title = "Reduces internal covariate shift"
    claim = (
        "Batch normalization helps because it reduces internal covariate shift: layers depend "
        "less on what those before them learn."
    )
    notes = "A, B, C, D, E"
    source = (
        "Ioffe & Szegedy 2015 (1502.03167); against it Santurkar et al. 2018, How Does Batch "
        "Normalization Help Optimization? (1805.11604)"
    )
    setup = (
        "MNIST, 784-100-100-100-10 with sigmoids, {train} training images, batch {batch}, "
        "{steps} steps of plain SGD at the rates {rates}, accuracy on {test} test images at "
        "the end. Each {every} steps, with a batch of its own: the gradient by a layer's "
        "weights, and again after a step of plain SGD of all layers before it; the norm of "
        "the change as a share of the gradient's norm, and the cosine between both, means of "
        "the layers from the second on; the same with steps of one length, 1% of the weights' "
        "norm. Drift: how far such a step moves the means of a layer's inputs, in their "
        "standard deviations. Noise: behind each BatchNorm each unit is scaled by 1 to 1.25 "
        "and shifted by -0.5 to 0.5, drawn anew at each step, and each value by about 0.1 "
        "more."
    )
    rule = (
        'All figures are means over the rates. "Reduces" needs a mean shift of gradients '
        "with BatchNorm below that without: the interval of the difference wholly below 0; it "
        'fails where that lies wholly at 0 or above. "Because" fails where noise behind '
        f"BatchNorm costs at most {CLOSE:g} point of accuracy and leaves it above none, both "
        "intervals wholly there; it holds where one lies wholly elsewhere. Both hold: "
        "SUPPORTED; one fails: REFUTED; else INCONCLUSIVE."
    )
    paper = (
        "with batch normalization gradients shift as much or more; with noise behind it a "
        "network trains nearly as well, and better than without, though its distributions are "
        "the least stable of the three"
    )
    expected = Verdict.REFUTED
    explanation = (
        "There are two shifts. Batch normalization does make the inputs of a layer "
        "drift less: a step moves their means 18 to 28 times less (a full run). What "
        "that was to bring does not follow: how much a layer's gradient changes when "
        "the layers before it move is more than without it at the rates 0.1 and 0.5, "
        "and less at 2, so the mean depends on which rates one takes; only the angle by "
        "which gradients turn is smaller at high rates. Nor is the little drift why it "
        "helps: noise that makes the inputs drift more than without any normalization "
        "costs nothing. What Santurkar et al. found in their place is E17."
    )
    examination = (
        '"Reduces" depends on the network: with ReLU in place of sigmoids (one seed, '
        "1,500 steps, rates 0.02 to 0.5) gradients shift less with BatchNorm, by 0.05 "
        'of their norm. "Because" does not: there, noise costs 0.3 of the 1.9 points '
        "that BatchNorm is above none."
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
            """A figure of each seed: the mean over rates and checkpoints."""
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
            f'"Reduces" is {reduces}: updates of the layers before change a layer\'s gradient '
            f"{', '.join(texts)}; it is judged by the mean over these rates, "
            f'{_compared(shift)} ({shift.value:+.2f}). "Because" is {because}: noise costs '
            f"{lost.value:.2f} of the {whole.value:.2f} points that BatchNorm is above none.",
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
    """Which side of 0 a difference lies on, with its whole interval if it has one."""
    if Verdict.SUPPORTED in (above(difference, 0), below(difference, 0)) or difference.count < 2:
        return "more" if difference.value > 0 else "less"
    return "about as much"


class Noisy(nn.Layer):
    """BatchNorm, and noise behind it that has another mean and scale for each unit at each step: a
    covariate shift that is there on purpose. In eval mode the noise has its mean."""

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
    """Uniform numbers between two bounds."""
    return md.rand(shape) * (high - low) + low


def train_arm(
    arm: str, seed: int, steps: int, every: int, batch: int, rate: float, train: int, test: int
) -> dict[str, Any]:
    """Train with one of the arms: `at` some steps the measures, and the accuracy at the end. The
    measures are NaN from where it has diverged."""
    md.manual_seed(seed)
    model = problems.mlp(Noisy if arm == "noisy" else arm)
    losses, found = arms.watched(
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
    """Means over the layers from the second on: shift and cosine after an update at rate `lr`, the
    shift after one of a given length, and the drift of means. All that is compared has the same
    noise, but for the drift, which is what it is from one step to the next."""
    loss = measures.fixed_loss(model, images, labels, seed=step)
    blocks = blocks_of(model, look(model, loss)[0].rows)
    parameters = [p for block in blocks for p in block.parameters]
    before = measures.values_of(parameters)
    start = measures.point(loss, parameters)
    descent, equal = arms.two_steps(start, before, rate)
    shifts, equals = (
        measures.gradient_shift(loss, blocks, before, measures.after(before, step), start)
        for step in (descent, equal)
    )
    units = input_units(model, images, seed=step)
    with measures.placed(measures.after(before, descent)):
        moved = input_units(model, images, seed=step + 1)
    drifts = [measures.drift(units[block.name], moved[block.name])[0] for block in blocks[1:]]
    return {
        "shift": float(np.mean([one.relative for one in shifts.values()])),
        "cosine": float(np.mean([one.cosine for one in shifts.values()])),
        "equal": float(np.mean([one.relative for one in equals.values()])),
        "drift": float(np.mean(drifts)),
    }
