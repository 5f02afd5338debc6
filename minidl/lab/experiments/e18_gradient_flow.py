"""E18: does batch normalization make gradients flow better? At initialization it does the opposite.

In a deep network of dense layers, BatchNorm and ReLU, the gradient grows in the backward pass. In
the limit of wide layers and large batches each layer multiplies it by sqrt(pi / (pi - 1)) = 1.211
(Yang et al. 2019). The reason is that the normalization divides by the standard deviation of its
input. After a ReLU, whose mean is not 0, this is smaller than the root mean square.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import nn

from .. import plots
from ..experiment import Experiment, Judgement, Result
from ..verdict import Verdict, at_most, every, interval, within

GROWTH = math.sqrt(math.pi / (math.pi - 1))
BOUNDS = GROWTH - 0.04, GROWTH + 0.04


class GradientFlow(Experiment):
    id = "E18"
    title = "Better gradient flow"
    claim = "With batch normalization gradients flow better through a deep network."
    notes = "B"
    source = "Yang et al. 2019, A Mean Field Theory of Batch Normalization (1902.08129)"
    setup = (
        "An untrained network of {depth} layers, each a dense layer without bias, BatchNorm and "
        "ReLU, in float32; normal inputs, and a random gradient at the output of the last layer. "
        "Widths {widths}, batches of {batches}, and of {small}, which are not judged. The growth "
        "is the norm of the gradient at the input of a layer divided by that at its output, as "
        "geometric mean over the layers. For comparison, the same network without BatchNorm, "
        "with He's initialization."
    )
    rule = (
        "The growth with BatchNorm minus that without is judged for each width from 128 on and "
        "each batch size from 32 to 512. SUPPORTED if all intervals lie at 0 or below; REFUTED "
        "if one lies above 0, as gradients that explode more do not flow better. Whether the "
        f"growth agrees with the theory (all intervals within {BOUNDS[0]:.3f} to "
        f"{BOUNDS[1]:.3f}) is reported, but not judged."
    )
    paper = (
        "the gradient grows by sqrt(pi / (pi - 1)) = 1.211 in each layer; deep networks cannot be "
        "trained at initialization"
    )
    expected = Verdict.REFUTED
    explanation = (
        "At initialization a deep network with batch normalization has exploding gradients: "
        "{figure[layers]} layers make them {figure[gradient at the first layer over that at the "
        "last, with BatchNorm]:,.0f} times larger. In a network with He's initialization and "
        "without normalization their norm stays about the same. This does not contradict E14: "
        "the sigmoids there make gradients vanish, which batch normalization compensates, "
        "whereas with the ReLUs here they do not vanish. What batch normalization does give is "
        "independence of the scale of the weights (E07, E15). Deep networks with it become "
        "trainable by shortcuts."
    )
    minutes = 0.3
    full = {"depth": 40, "widths": [128, 256], "batches": [32, 128, 512], "small": [8]}
    quick = {"depth": 30, "widths": [128], "batches": [32, 128]}
    quick_seeds = 3

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for norm in ("batch", "none"):
            for width in settings["widths"]:
                for size in (*settings["small"], *settings["batches"]):
                    found[f"{norm} {width} {size}"] = gradient_norms(
                        norm, settings["depth"], width, size, seed
                    )
        return {"norms": found, "batches": settings["batches"]}

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        names = [
            name
            for name in seeds[0]["norms"]
            if name.startswith("batch") and int(name.split()[2]) in seeds[0]["batches"]
        ]
        growths = {
            name: [growth(seed["norms"][name]) for seed in seeds] for name in seeds[0]["norms"]
        }
        more = {
            _label(name, "batch minus none"): interval(
                np.subtract(growths[name], growths[name.replace("batch", "none")]).tolist()
            )
            for name in names
        }
        figures = {
            _label(name): interval(growths[name])
            for name in (*names, *(name for name in growths if name not in names))
        }
        judged = [figures[_label(name)] for name in names]
        layers = len(seeds[0]["norms"][names[0]]) - 1
        theory = every(*(within(found, *BOUNDS) for found in judged))
        low, high = (f([found.value for found in judged]) for f in (np.min, np.max))
        words = {Verdict.SUPPORTED: "as", Verdict.REFUTED: "not as"}.get(theory, "perhaps as")
        return Judgement(
            every(*(at_most(found, 0) for found in more.values())),
            f"Each layer multiplies the norm of the gradient by {low:.3f} to {high:.3f}, {words} "
            f"the theory says ({GROWTH:.3f}).",
            {
                **more,
                "growth as the theory says": str(theory),
                "gradient at the first layer over that at the last, with BatchNorm": float(
                    np.mean([growths[name] for name in names])
                )
                ** layers,
                "layers": layers,
                **figures,
                "limit": GROWTH,
            },
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        width = max(int(name.split()[1]) for name in seeds[0]["norms"])
        size = seeds[0]["batches"][len(seeds[0]["batches"]) // 2]
        figure, (ax,) = plots.new(
            (
                f"layer, from the input (width {width}, batch {size})",
                "norm of the gradient (last layer: 1)",
            )
        )
        for norm, label in plots.names("batch", "none").items():
            rows = [
                np.divide(
                    seed["norms"][f"{norm} {width} {size}"],
                    seed["norms"][f"{norm} {width} {size}"][-1],
                )
                for seed in seeds
            ]
            plots.band(ax, range(len(rows[0])), rows, label, plots.COLOURS[norm], marker=None)
        layers = np.arange(len(rows[0]))
        ax.plot(
            layers,
            GROWTH ** (layers[-1] - layers),
            color=plots.INK,
            linewidth=1,
            linestyle=(0, (4, 2)),
            label="1.211 a layer",
        )
        plots.logarithmic(ax.yaxis)
        plots.legend(ax)
        return figure


def gradient_norms(norm: str, depth: int, width: int, size: int, seed: int) -> list[float]:
    """Return the norms of the gradient at the input of each layer and at the output of the last
    one, which are depth + 1 values."""
    md.manual_seed(seed)
    rng = np.random.default_rng(seed)
    points = [md.tensor(rng.standard_normal((size, width)), dtype=np.float32, requires_grad=True)]
    for _ in range(depth):
        y = nn.Dense(width, width, bias=False)(points[-1])
        points.append(md.relu(nn.BatchNorm(width)(y) if norm == "batch" else y))
    last = rng.standard_normal((size, width)).astype(np.float32)
    grads = md.grad((points[-1] * last).sum(), points)
    return [float(np.linalg.norm(grad.astype(np.float64))) for grad in grads]


def growth(norms: Sequence[float]) -> float:
    """Return the factor by which a layer multiplies the norm in the backward pass, as geometric
    mean over the layers."""
    return (norms[0] / norms[-1]) ** (1 / (len(norms) - 1))


def _label(name: str, what: str = "") -> str:
    norm, width, size = name.split()
    return f"growth a layer, {what or norm}, width {width}, batch {size}"
