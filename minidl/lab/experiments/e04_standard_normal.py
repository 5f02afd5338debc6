"""E04: does batch normalization make the values of a unit standard normal?

It does not change the shape of their distribution. It subtracts one number from all values of a
unit in the batch, and divides them by another, which shifts and scales their histogram and nothing
else: skewness and kurtosis remain the same, and two humps remain two humps. The distance from a
uniform distribution does not change either, although one note says that it shrinks. Whether the
output can be told from a normal distribution depends on the input, and on the number of values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidl import optim

from .. import plots, problems
from ..experiment import Experiment, Judgement, Result
from ..identities import HIDDEN, exact_verdict, input_of, network, normalized, worst
from ..training import train
from ..verdict import Verdict

ALPHA = 0.05  # the significance level of the test
SHARE = 0.5  # the claim is refuted if the test rejects more than this share of the units
UNCHANGED = 1e-4  # a smaller change of skewness and kurtosis counts as none
RARE = 2 * ALPHA  # of truly normal values the test rejects about this share at most
# Lilliefors' critical distance at 5%, times sqrt(n): it holds if mean and variance are those of the
# sample that is tested.
LILLIEFORS = 0.886
STATES = {"start": "untrained", "trained": "trained"}
EDGES = np.linspace(-4, 4, 49)


class StandardNormal(Experiment):
    id = "E04"
    title = "A standard normal distribution"
    claim = "After batch normalization the values of a unit follow a standard normal distribution."
    notes = 'A, B; C: "a more uniform distribution"'
    source = "Ioffe & Szegedy 2015 (1502.03167), which claims mean 0 and variance 1, no more"
    setup = (
        "The MLP (784-100-100-100-10, BatchNorm before each sigmoid) in float64 on {images} "
        "test images of MNIST, untrained and after a training ({steps} steps of SGD, learning "
        "rate 0.5, batch 60). Each of the 300 units is tested against the standard normal "
        "distribution by the Kolmogorov-Smirnov test at 5%, with batches of n = {sizes} images, "
        "as many as the images give. Uniform: the same test against the uniform distribution "
        "with the mean and the variance of the unit."
    )
    rule = (
        "REFUTED if in every seed skewness and kurtosis of every unit change by at most "
        f"{UNCHANGED:g}, and the test rejects more than half of the units of the untrained "
        f"network at n = 10,000. SUPPORTED if in every seed it rejects at most {RARE:.0%}, "
        "about as many as of normal values, and skewness or kurtosis change by more than "
        f"{UNCHANGED:g}. INCONCLUSIVE otherwise, and if a figure is NaN."
    )
    expected = Verdict.REFUTED
    explanation = (
        "Mean 0 and variance 1 do not make a distribution normal. Untrained units are sums "
        "of many pixels and look nearly normal: 60 values do not reveal the difference, but "
        "10,000 do. After training, when units have learned to distinguish classes, 500 "
        "values reveal it in {figure[trained, n = 500: units rejected as standard normal, "
        "%]:.0f}% of the units. The test is lenient here, because mean and variance come "
        "from the tested values themselves; with critical values for this case (Lilliefors "
        "1967) it rejects more units. The output does not come nearer to a uniform "
        "distribution either: the distance stays the same up to rounding."
    )
    needs = ("mnist",)
    minutes = 0.12
    full = {"images": 10000, "sizes": [60, 500, 10000], "steps": 2000}
    quick = {"steps": 500}

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        model = network(seed)
        images = problems.mnist("test")[0][: settings["images"]].astype(np.float64)
        found = {"start": self._state(model, images, settings)}
        model.astype(np.float32)
        train(
            model,
            optim.SGD(model.parameters(), lr=0.5),
            problems.batches(problems.mnist("train"), 60, seed),
            settings["steps"],
        )
        model.astype(np.float64)
        found["trained"] = self._state(model, images, settings)
        return {**found, "sizes": settings["sizes"]}

    def _state(
        self, model: problems.Stack, images: np.ndarray, settings: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the figures of all hidden units of a network."""
        found: dict[str, Any] = {}
        for size in settings["sizes"]:
            parts = [
                _units(model, images[start : start + size])
                for start in range(0, len(images) - size + 1, size)
            ]
            found |= {
                f"{kind} {size}": float(np.mean([part[kind] for part in parts]))
                for kind in ("normal", "fitted", "uniform")
            }
        x, y = _activations(model, images)
        distances = to_normal(y)
        typical = int(np.argsort(distances)[len(distances) // 2])
        return {
            **found,
            "skewness": largest_change(skewness, x, y),
            "kurtosis": largest_change(kurtosis, x, y),
            "to uniform": largest_change(to_uniform, x, y),
            "median |skewness|": float(np.median(np.abs(skewness(y)))),
            "median |kurtosis|": float(np.median(np.abs(kurtosis(y)))),
            "density": np.histogram(y[:, typical], EDGES, density=True)[0],
        }

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        size = max(seeds[0]["sizes"])
        states = [seed[state] for seed in seeds for state in STATES]
        change = float(np.max([worst(states, name) for name in ("skewness", "kurtosis")]))
        rejected = [seed["start"][f"normal {size}"] for seed in seeds]
        least, most = np.min(rejected), np.max(rejected)
        kinds = {
            "normal": "standard normal",
            "fitted": "normal, by Lilliefors' bounds",
            "uniform": "uniform",
        }
        return Judgement(
            exact_verdict(
                supports=change > UNCHANGED and most <= RARE,
                refutes=change <= UNCHANGED and least > SHARE,
            ),
            f"At n = {size:,} the test rejects {least:.0%} to {most:.0%} of the untrained units; "
            f"normalizing changes skewness and kurtosis by at most {change:.0e}.",
            {
                "largest change of skewness or kurtosis by normalizing": change,
                **{
                    f"{word}, n = {n:,}: units rejected as {kinds[kind]}, %": 100
                    * float(np.mean([seed[state][f"{kind} {n}"] for seed in seeds]))
                    for kind in kinds
                    for state, word in STATES.items()
                    for n in reversed(seeds[0]["sizes"])
                },
                "largest change of the distance from a uniform distribution": worst(
                    states, "to uniform"
                ),
                **{
                    f"{word}: median {name} of a unit": float(
                        np.mean([seed[state][f"median {name}"] for seed in seeds])
                    )
                    for state, word in STATES.items()
                    for name in ("|skewness|", "|kurtosis|")
                },
            },
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        figure, (left, right) = plots.new(
            ("output of a unit", "density"), ("images in the batch", "units rejected, %")
        )
        middle = (EDGES[1:] + EDGES[:-1]) / 2
        left.fill_between(
            middle,
            np.exp(-(middle**2) / 2) / np.sqrt(2 * np.pi),
            color=plots.GREY,
            alpha=0.4,
            linewidth=0,
            label="standard normal",
        )
        sizes = seeds[0]["sizes"]
        for state, colour in (("start", plots.A), ("trained", plots.B)):
            left.plot(
                middle,
                seeds[0][state]["density"],
                color=colour,
                linewidth=1.5,
                drawstyle="steps-mid",
                label=f"a typical unit, {STATES[state]}",
            )
            plots.band(
                right,
                sizes,
                [[100 * seed[state][f"normal {n}"] for n in sizes] for seed in seeds],
                STATES[state],
                colour,
            )
        plots.legend(left, 1)
        plots.guide(right, 100 * ALPHA, "5%: normal values")
        right.set_ylim(-3, 103)
        right.set_xscale("log")
        right.minorticks_off()
        right.set_xticks(sizes, [f"{n:,}" for n in sizes])
        plots.legend(right)
        return figure


def _activations(model: problems.Stack, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of all hidden units (images, units) before and after the normalization."""
    inputs = [input_of(model, name, images) for name in HIDDEN]
    return np.hstack(inputs), np.hstack([normalized(x) for x in inputs])


def _units(model: problems.Stack, images: np.ndarray) -> dict[str, float]:
    """Return the share of units that each test rejects for one batch."""
    from scipy.stats import kstwo

    _, y = _activations(model, images)
    bound = kstwo.isf(ALPHA, len(y))
    distances = to_normal(y)
    return {
        "normal": float((distances > bound).mean()),
        "fitted": float((distances > LILLIEFORS / np.sqrt(len(y))).mean()),
        "uniform": float((to_uniform(y) > bound).mean()),
    }


def to_normal(values: np.ndarray) -> np.ndarray:
    """Return the Kolmogorov-Smirnov distance of each column from the standard normal
    distribution."""
    from scipy.special import ndtr

    return _distance(ndtr(np.sort(values, axis=0)))


def to_uniform(values: np.ndarray) -> np.ndarray:
    """Return the Kolmogorov-Smirnov distance of each column from the uniform distribution with the
    same mean and variance."""
    return _distance(np.clip(0.5 + np.sort(standard(values), axis=0) / np.sqrt(12), 0, 1))


def _distance(expected: np.ndarray) -> np.ndarray:
    """Return the largest distance between the empirical distribution function of each column, which
    has steps of 1/n, and the expected one, whose values at the sorted samples are given."""
    n = len(expected)
    steps = np.arange(1, n + 1)[:, None] / n
    return np.maximum((steps - expected).max(axis=0), (expected - steps + 1 / n).max(axis=0))


def standard(values: np.ndarray) -> np.ndarray:
    """Return each column minus its mean, divided by its standard deviation."""
    return (values - values.mean(axis=0)) / values.std(axis=0)


def skewness(values: np.ndarray) -> np.ndarray:
    """Return the skewness of each column, which is 0 for a normal distribution."""
    z = standard(values)
    return (z * z * z).mean(axis=0)


def kurtosis(values: np.ndarray) -> np.ndarray:
    """Return the excess kurtosis of each column, which is 0 for a normal distribution."""
    squares = np.square(standard(values))
    return np.square(squares).mean(axis=0) - 3


def largest_change(of: Any, x: np.ndarray, y: np.ndarray) -> float:
    """Return the largest difference of a figure before and after the normalization of a unit."""
    return float(np.abs(of(x) - of(y)).max())
