"""E01: the formula of batch normalization, and its gradient.

Each unit is normalized over the batch: y = gamma (x - mean) / sqrt(var + eps) + beta. With gamma 1
and beta 0 the output has mean 0 and variance var / (var + eps). This is nearly 1 if the input's
variance is far above eps, and smaller otherwise; a constant unit becomes 0 rather than NaN. The
mean and the variance are functions of the batch, so the gradient flows through them too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md

from .. import plots
from ..experiment import Experiment, Judgement, Result
from ..identities import EPS, HIDDEN, digits, input_of, network, normalized, relative_error, worst
from ..verdict import Verdict, identity

MOMENTS, GRADIENTS = 1e-10, 1e-6  # the bounds of the rule
SHOWN = 20  # the number of units of each layer that are plotted
NAMES = {
    "mean": "largest |mean| of an output",
    "variance": "largest error of an output's variance, relative",
    "x": "gradient of x, distance from differences",
    "gamma": "gradient of gamma, distance from differences",
    "beta": "gradient of beta, distance from differences",
}


class Formula(Experiment):
    id = "E01"
    title = "The formula"
    claim = (
        "Batch normalization gives each unit mean 0 and variance σ²/(σ² + ε) over the batch, "
        "and backpropagates the gradient of the whole formula, mean and variance included."
    )
    notes = "all"
    source = "Ioffe & Szegedy 2015, Batch Normalization (1502.03167), Algorithm 1"
    setup = (
        "The inputs of the three normalizations in the untrained MLP (784-100-100-100-10, "
        "sigmoid) for a batch of {batch} MNIST images, in float64 with ε = 1e-5. They are "
        "multiplied by {scales}, so that σ² also comes below ε. The gradients of a randomly "
        "weighted sum of the outputs (with random gamma and beta) are compared with central "
        "differences."
    )
    rule = (
        "SUPPORTED if for all units, layers and scales the means are within "
        f"{MOMENTS:g} of 0, the variances within {MOMENTS:g} of σ²/(σ² + ε), and the gradients "
        f"of x, gamma and beta within {GRADIENTS:g} of central differences (relative to the "
        "largest gradient of the unit, or for gamma and beta of all units); otherwise REFUTED."
    )
    expected = Verdict.SUPPORTED
    explanation = (
        '"Variance 1" is an approximation that holds if the variance of a unit is far '
        "above ε: at σ² = ε the output's variance is 1/2, at σ² = ε/1000 it is 1/1001. "
        "Thanks to ε, a unit that is constant over the batch becomes 0 rather than 0/0. "
        "The gradient of x has two terms more than that of a division by a constant, one "
        "through the mean and one through the variance. They remove the components of the "
        "gradient that would shift or scale the whole batch, because the output does not "
        "depend on its shift and scale."
    )
    needs = ("mnist",)
    minutes = 0.02
    full = {"batch": 60, "scales": [1.0, 0.1, 0.01, 0.001]}
    quick = {"scales": [1.0, 0.01]}

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        images, _ = digits(settings["batch"], seed)
        model = network(seed)
        errors, before, after = [], [], []
        for name in HIDDEN:
            x = input_of(model, name, images)
            for scale in settings["scales"]:
                y = normalized(scale * x)
                variance = (scale * x).var(axis=0)
                expected = variance / (variance + EPS)
                errors.append(
                    {
                        "mean": np.abs(y.mean(axis=0)).max(),
                        "variance": np.abs(y.var(axis=0) / expected - 1).max(),
                        **gradient_errors(scale * x, seed),
                    }
                )
                before += variance[:SHOWN].tolist()
                after += y.var(axis=0)[:SHOWN].tolist()
        return {**{name: worst(errors, name) for name in NAMES}, "before": before, "after": after}

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        found = {name: worst(seeds, name) for name in NAMES}
        moments = float(np.max([found["mean"], found["variance"]]))
        gradients = float(np.max([found[name] for name in ("x", "gamma", "beta")]))
        holds = all(
            found[name] <= (MOMENTS if name in ("mean", "variance") else GRADIENTS)
            for name in NAMES
        )
        return Judgement(
            identity(holds),
            f"Means and variances are within {moments:.0e} of the formula, gradients "
            f"within {gradients:.0e} of central differences.",
            {
                **{NAMES[name]: value for name, value in found.items()},
                "output's variance where σ² is largest": largest(seeds, -1),
                "output's variance where σ² is smallest": largest(seeds, 0),
            },
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        figure, (ax,) = plots.new(("σ² of a unit over the batch", "variance of its output"))
        before = np.concatenate([seed["before"] for seed in seeds])
        after = np.concatenate([seed["after"] for seed in seeds])
        line = np.geomspace(before.min(), before.max(), 200)
        ax.plot(line, line / (line + EPS), color=plots.MUTED, linewidth=1.2, label="σ² / (σ² + ε)")
        ax.plot(
            before,
            after,
            color=plots.COLOURS["batch"],
            linestyle="none",
            marker="o",
            markersize=3.5,
            alpha=0.5,
            label="units of the network",
        )
        ax.axvline(EPS, color=plots.MUTED, linewidth=1, linestyle=(0, (1, 2)))
        ax.annotate("ε", (EPS, 0.9), (4, 0), textcoords="offset points", color=plots.MUTED)
        plots.logarithmic(ax.xaxis)
        plots.legend(ax)
        return figure


def gradient_errors(x: np.ndarray, seed: int, step: float = 1e-4) -> dict[str, float]:
    """Return the errors of the gradients against central differences, relative to the largest ones.

    The function that is differentiated is a weighted sum of the outputs. As a unit does not depend
    on the other units, the input of one image can be changed in all units at once. It is changed by
    `step` times the standard deviation of each unit.
    """
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal(x.shape)
    gamma, beta = 1 + rng.random(x.shape[1:]), rng.standard_normal(x.shape[1:])

    def sums(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
        return (normalized(x, gamma, beta) * weight).sum(axis=0)

    given = [md.tensor(part, requires_grad=True) for part in (x, gamma, beta)]
    y = md.batch_norm(given[0], given[1], given[2], training=True, eps=EPS)
    of_x, of_gamma, of_beta = md.grad((y * weight).sum(), given)

    differences = np.empty_like(x)
    moves = step * x.std(axis=0)
    for image in range(len(x)):
        above, below = x.copy(), x.copy()
        above[image] += moves
        below[image] -= moves
        differences[image] = (sums(above, gamma, beta) - sums(below, gamma, beta)) / (2 * moves)
    by_gamma = (sums(x, gamma + step, beta) - sums(x, gamma - step, beta)) / (2 * step)
    by_beta = (sums(x, gamma, beta + step) - sums(x, gamma, beta - step)) / (2 * step)
    by_unit = np.abs(of_x - differences).max(axis=0) / np.abs(differences).max(axis=0)
    return {
        "x": float(by_unit.max()),
        "gamma": relative_error(of_gamma, by_gamma),
        "beta": relative_error(of_beta, by_beta),
    }


def largest(seeds: Sequence[Result], place: int) -> float:
    """Return the output's variance of the unit whose input has the smallest variance (place 0) or
    the largest one (place -1)."""
    pairs = sorted(
        pair for seed in seeds for pair in zip(seed["before"], seed["after"], strict=True)
    )
    return pairs[place][1]
