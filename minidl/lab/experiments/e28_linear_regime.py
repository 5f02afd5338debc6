"""E28: why are mean 0 and variance 1 not enough? Because a sigmoid is nearly linear there.

For normal inputs of variance 1 a straight line explains 98.4% of the variance of a sigmoid. A
normalization without gamma and beta would keep each unit in this linear regime. gamma scales the
inputs up, beta shifts them to where the sigmoid is curved, and the network learns how much of both
each unit needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import nn

from .. import arms, plots, problems, training
from ..experiment import Experiment, Judgement, Result
from ..verdict import Verdict, above, every, identity, interval

STATED = {1: 0.984, 2: 0.930, 4: 0.838}  # R² by the standard deviation of the sigmoid's input
BINS = np.linspace(0, 6, 49)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(200)

ARMS: dict[str, problems.Norm] = {
    "none": lambda features: nn.BatchNorm(features, affine=False),
    "fixed": lambda features: nn.Sequential(
        nn.BatchNorm(features, affine=False), nn.Lambda(lambda x: 4 * x)
    ),
    "learned": "batch",
}
LABELS = {"none": "without", "fixed": "gamma 4, fixed", "learned": "learned"}


class LinearRegime(Experiment):
    id = "E28"
    title = "What gamma and beta are for"
    claim = (
        "Normalized inputs keep a sigmoid in its linear regime, and gamma and beta free it from "
        "this regime."
    )
    notes = "E, B"
    source = "Ioffe & Szegedy 2015, section 3 (1502.03167)"
    setup = (
        "The best straight line for a sigmoid is computed over inputs from N(0, 1), N(0, 4) and "
        "N(0, 16), by Gauss-Hermite quadrature. Then the MLP is trained on MNIST: "
        "784-100-100-100-10, sigmoid, {images} images, batch {batch}, {steps} steps of SGD with "
        "momentum 0.9, the learning rate decays linearly from {rate} to 0. It is trained with "
        "gamma and beta, without them, and with a fixed gamma of 4. Reported are the test "
        "accuracy, and the learned gamma and beta of the 300 units."
    )
    rule = (
        "(1) R², the share of the sigmoid's variance that the best line explains, is 0.984 at 1 "
        "times, 0.930 at 2 times and 0.838 at 4 times the standard deviation, each within "
        "0.0005. (2) The interval of the test accuracy with gamma and beta minus that without, "
        "in points, lies above 0. SUPPORTED if both hold; REFUTED if (1) does not hold, or if "
        "the interval of (2) lies at 0 or below. How far the learned gammas leave the linear "
        "regime is reported, but not judged."
    )
    expected = Verdict.SUPPORTED
    explanation = (
        "Mean 0 and variance 1 are not enough, because a sigmoid is a straight line there up to "
        "1.6% of its variance, and a network of linear units can do no more than one linear "
        "layer. gamma scales the inputs up, and beta shifts them to where the sigmoid is curved. "
        "The learned gammas are {figure[learned gamma, layer 1, mean size]:.2f} on average in "
        "the first layer and {figure[learned gamma, layer 3, mean size]:.2f} in the third, and "
        "with them and the learned betas a line explains {figure[R² with the learned gamma and "
        "beta, layer 1]:.3f} and {figure[R² with the learned gamma and beta, layer 3]:.3f} of "
        "the variance. The sigmoids are still mostly linear, and yet this is worth "
        "{figure[with gamma and beta minus without, points]:.1f} points of accuracy. A fixed "
        "gamma of 4 gains most of this too: the scale of the inputs is what counts, and learning "
        "adapts it to each unit."
    )
    needs = ("mnist",)
    minutes = 0.3
    seeds = 5
    full = {"images": 60_000, "batch": 60, "rate": 0.1, "steps": 10_000}
    quick = {"images": 10_000, "steps": 1000}
    quick_seeds = 3

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        train = problems.subset(problems.mnist("train"), settings["images"])
        found: dict[str, Any] = {}
        models = {}
        for arm, norm in ARMS.items():
            md.manual_seed(seed)
            models[arm] = problems.mlp(norm)
            losses = arms.train_with_linear_decay(models[arm], train, settings, seed)
            found[arm] = training.score(models[arm], losses, problems.mnist("test"))
        norms = [getattr(models["learned"], f"norm{place}") for place in (1, 2, 3)]
        return {
            "accuracy": found,
            "gamma": [norm.gamma.data for norm in norms],
            "beta": [norm.beta.data for norm in norms],
        }

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        shares = {scale: float(line_share(scale)) for scale in STATED}
        exact = all(abs(shares[scale] - stated) <= 5e-4 for scale, stated in STATED.items())
        gain, fixed = (
            arms.paired(seeds, ("accuracy", arm), ("accuracy", "none"))
            for arm in ("learned", "fixed")
        )
        figures: dict[str, Any] = {
            f"R² of the best line, {scale}x": share for scale, share in shares.items()
        }
        figures |= {
            "with gamma and beta minus without, points": gain,
            "fixed gamma of 4 minus without, points": fixed,
        }
        figures |= {
            f"test accuracy, {LABELS[arm]}, %": interval(arms.percent(seeds, "accuracy", arm))
            for arm in ARMS
        }
        for layer in range(3):
            figures[f"learned gamma, layer {layer + 1}, mean size"] = interval(
                [float(np.abs(seed["gamma"][layer]).mean()) for seed in seeds]
            )
            learned = [(np.array(s["gamma"][layer]), np.array(s["beta"][layer])) for s in seeds]
            figures[f"R² with the learned gamma and beta, layer {layer + 1}"] = interval(
                [float(line_share(gamma, beta).mean()) for gamma, beta in learned]
            )
        sizes, lines = (
            [figures[f"{what} layer {layer + 1}{ending}"].value for layer in range(3)]
            for what, ending in (
                ("learned gamma,", ", mean size"),
                ("R² with the learned gamma and beta,", ""),
            )
        )
        return Judgement(
            every(identity(exact), above(gain, 0)),
            f"A line explains {shares[1]:.3f} of the variance of a sigmoid at input variance 1, "
            f"and gamma and beta gain {gain} points. The verdict is about this, not about how far "
            f"the units leave the linear regime: the learned gammas are {min(sizes):.2f} to "
            f"{max(sizes):.2f} on average in the three layers, where a line still explains "
            f"{min(lines):.3f} to {max(lines):.3f}.",
            figures,
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        figure, (left, right) = plots.new(
            ("learned gamma, size", "units, %"), ("MLP on MNIST", "test error, %")
        )
        for layer, colour in enumerate((plots.A, plots.C, plots.D)):
            sizes = np.abs(np.concatenate([seed["gamma"][layer] for seed in seeds]))
            counts = np.histogram(np.clip(sizes, None, BINS[-1] - 1e-6), BINS)[0]
            left.stairs(
                100 * counts / len(sizes),
                BINS,
                color=colour,
                linewidth=1.5,
                label=f"layer {layer + 1}",
            )
        top = left.get_ylim()[1]
        left.set_ylim(0, 1.3 * top)
        for scale in STATED:
            left.axvline(scale, color=plots.MUTED, linewidth=1, linestyle=(0, (1, 2)))
            side, aligned = (-3, "right") if scale == 1 else (3, "left")
            left.annotate(
                f"R² {line_share(scale):.3f}",
                (scale, 1.29 * top),
                (side, 0),
                textcoords="offset points",
                va="top",
                ha=aligned,
                fontsize=9,
                color=plots.MUTED,
            )
        plots.legend(left, 3)
        plots.bars(
            right,
            [LABELS[arm].replace(", ", ",\n") for arm in ARMS],
            [[100 * (1 - seed["accuracy"][arm]) for arm in ARMS] for seed in seeds],
            [plots.B, plots.GREY, plots.A],
        )
        return figure


def line_share(scale: Any, shift: Any = 0.0) -> Any:
    """Return R² of the best straight line for sigmoid(scale x + shift) over x from N(0, 1).

    As x has variance 1, the slope of the line is the covariance of x and the sigmoid, and R² is the
    square of the slope divided by the variance of the sigmoid.
    """
    inner = np.multiply.outer(scale, NODES) + np.asarray(shift, np.float64)[..., None]
    values, weights = 1 / (1 + np.exp(-inner)), WEIGHTS / WEIGHTS.sum()
    variance = values**2 @ weights - (values @ weights) ** 2
    return (values @ (weights * NODES)) ** 2 / variance
