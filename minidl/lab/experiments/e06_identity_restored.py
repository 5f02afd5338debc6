"""E06: can gamma and beta undo the normalization?

With gamma = sqrt(var + eps) and beta = mean they do so exactly. With gamma = sqrt(var), as the
paper prints it, the centred input comes back multiplied by sqrt(var / (var + eps)), which is
practically 1 unless var is as small as eps. But gamma and beta are the same for all batches, and
the mean and the variance are not: in training, values that restore one batch miss the next one by
the noise of its statistics. In evaluation, with running statistics, the identity is exact for every
batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md

from .. import plots
from ..experiment import Experiment, Judgement, Result
from ..identities import EPS, digits, input_of, network, normalized, worst
from ..verdict import Verdict, identity

ROUNDING = 1e-12  # a smaller error counts as rounding
NAMES = {
    "formula": "γ = √V: distance of the error from (x − E)(√(V/(V+ε)) − 1)",
    "exact": "γ = √(V+ε): largest error",
    "evaluation": "γ = √(V+ε), running statistics: largest error, any batch",
}
CURVES = {"root": "γ = √V", "exact": "γ = √(V + ε)", "another": "γ = √(V + ε), another batch"}


class IdentityRestored(Experiment):
    id = "E06"
    title = "γ and β can undo it"
    claim = "With γ = √Var[x] and β = E[x] the normalization gives back its input."
    notes = "E"
    source = "Ioffe & Szegedy 2015 (1502.03167), section 3"
    setup = (
        "The input of the first normalization in the untrained MLP (784-100-100-100-10, "
        "sigmoid) for a batch of {batch} MNIST images, in float64 with ε = 1e-5. It is "
        "multiplied by {scales}, so that its variance V also comes near ε and below it. In "
        "addition another batch of {batch} is normalized with the γ and β of the first. Errors "
        "are in standard deviations of the input."
    )
    rule = (
        "SUPPORTED if in every seed, for all units and scales, the error with γ = √V equals "
        f"(x − E)(√(V/(V+ε)) − 1), which goes to 0 with ε, within {ROUNDING:g}, and the error "
        f"with γ = √(V + ε) is at most {ROUNDING:g}; otherwise REFUTED."
    )
    paper = 'γ = √Var[x] and β = E[x] "could recover the original activations"'
    expected = Verdict.SUPPORTED
    explanation = (
        "This is what γ and β are for. Without them the output of a layer would always have "
        "mean 0 and variance 1 (E28 shows what that costs a sigmoid). With them it can have "
        "any mean and scale, the original ones included, and these are learned by two "
        "parameters of each unit rather than by all weights before it. Strictly, γ must be "
        "√(V + ε), and the identity holds only for the batch that E and V come from: for "
        "another batch the error is {figure[γ = √(V + ε), another batch: error of the "
        "unscaled activations (root mean square)]:.2f} standard deviations, which is the "
        "noise of E10. In evaluation, with running statistics, it holds for every input."
    )
    needs = ("mnist",)
    minutes = 0.02
    full = {"batch": 60, "scales": [1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003]}
    quick = {"scales": [1.0, 0.1, 0.01, 0.001]}

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        size = settings["batch"]
        images, _ = digits(2 * size, seed)
        hidden = input_of(network(seed), "norm1", images)
        parts = [
            errors(scale * hidden[:size], scale * hidden[size:]) for scale in settings["scales"]
        ]
        return {
            **{name: worst(parts, name) for name in NAMES},
            "variance": [part["variance"] for part in parts],
            "rms": {name: [part[f"rms {name}"] for part in parts] for name in CURVES},
        }

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        found = {name: worst(seeds, name) for name in NAMES}
        first = {name: float(np.mean([seed["rms"][name][0] for seed in seeds])) for name in CURVES}
        return Judgement(
            identity(found["formula"] <= ROUNDING and found["exact"] <= ROUNDING),
            f"The input is restored within {found['exact']:.0e} standard deviations with "
            f"γ = √(V + ε), and within {first['root']:.0e} with γ = √V, as the formula says.",
            {
                **{NAMES[name]: value for name, value in found.items()},
                **{
                    f"{CURVES[name]}: error of the unscaled activations (root mean square)": value
                    for name, value in first.items()
                },
                "γ = √V: error where V is smallest": float(
                    np.mean([seed["rms"]["root"][-1] for seed in seeds])
                ),
            },
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        figure, (ax,) = plots.new(
            ("variance V of the input (mean of the units)", "error, standard deviations")
        )
        variance = np.mean([seed["variance"] for seed in seeds], axis=0)
        for name, colour in (("root", plots.A), ("exact", plots.C), ("another", plots.B)):
            plots.band(
                ax,
                variance,
                [np.maximum(seed["rms"][name], 1e-17) for seed in seeds],
                CURVES[name],
                colour,
                linestyle="none",
            )
        line = np.geomspace(variance.min(), variance.max(), 100)
        ax.plot(
            line,
            1 - np.sqrt(line / (line + EPS)),
            color=plots.MUTED,
            linewidth=1,
            linestyle=(0, (1, 1)),
            label="1 − √(V / (V + ε))",
        )
        plots.logarithmic(ax.xaxis)
        plots.logarithmic(ax.yaxis)
        plots.legend(ax)
        return figure


def errors(x: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Return the errors with which a batch is restored, and with which another batch is restored by
    the gamma and beta of the first one, in standard deviations of each unit."""
    mean, var = x.mean(axis=0), x.var(axis=0)
    deviation = np.sqrt(var)
    root = (normalized(x, deviation, mean) - x) / deviation
    formula = (x - mean) * (np.sqrt(var / (var + EPS)) - 1) / deviation
    gamma = np.sqrt(var + EPS)
    exact = (normalized(x, gamma, mean) - x) / deviation
    another = (normalized(other, gamma, mean) - other) / deviation
    evaluated = md.batch_norm(other, gamma, mean, mean.copy(), var.copy(), eps=EPS).data
    return {
        "variance": float(var.mean()),
        "formula": float(np.abs(root - formula).max()),
        "exact": float(np.abs(exact).max()),
        "evaluation": float(np.abs((evaluated - other) / deviation).max()),
        **{
            f"rms {name}": float(np.sqrt((part**2).mean()))
            for name, part in (("root", root), ("exact", exact), ("another", another))
        },
    }
