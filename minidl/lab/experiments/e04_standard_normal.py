"""E04: does batch normalization make a unit's values standard normal? It leaves their shape alone.

For each unit it subtracts a number and divides by another, the same ones for all examples of the
batch. That moves and stretches a histogram, and changes nothing else of it: skewness and kurtosis
are what they were, two humps stay two humps, and the distance from a uniform distribution (which
one note says it comes nearer to) stays as well. Whether the output can be told from a normal
distribution is then a question of the input, and of how many values one looks at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidl import optim

from .. import plots, problems
from ..experiment import Experiment, Judgement, Result
from ..identities import HIDDEN, into, network, normalized, positive, worst
from ..training import train
from ..verdict import Verdict

ALPHA, SHARE, UNCHANGED = 0.05, 0.5, 1e-4  # level of the test; the rule's bounds
RARE = 2 * ALPHA  # the share that counts as about what the test rejects of normal values
LILLIEFORS = 0.886  # over sqrt(n): the bound at 5% for a mean and variance of the same sample
STATES = {"start": "untrained", "trained": "trained"}
EDGES = np.linspace(-4, 4, 49)


class StandardNormal(Experiment):
    id = "E04"
    title = "A standard normal distribution"
    claim = "After batch normalization the values of a unit follow a standard normal distribution."
    notes = 'A, B; C: "a more uniform distribution"'
    source = "Ioffe & Szegedy 2015 (1502.03167), which claims mean 0 and variance 1, no more"
    setup = (
        "The MLP (784-100-100-100-10, sigmoid, BatchNorm before each), float64, {images} test "
        "images of MNIST, untrained and after a training ({steps} steps of SGD, rate 0.5, "
        "batch 60). Each of the 300 units by the Kolmogorov-Smirnov test against the standard "
        "normal distribution at 5%, with n = {sizes} images in the batch; all "
        "batches that the images give. Uniform: the same test against the uniform "
        "distribution of the unit's mean and variance."
    )
    rule = (
        f"Skewness and kurtosis of every unit are unchanged to {UNCHANGED:g}, and at "
        "n = 10,000 the test rejects more than half of the units of the untrained network, in "
        f"every seed: REFUTED. It rejects at most {RARE:.0%}, about what it does of normal "
        "values, in every seed, and the shape is changed by more than that: SUPPORTED. Else, "
        "or where a figure is no number: INCONCLUSIVE."
    )
    expected = Verdict.REFUTED
    explanation = (
        "Mean 0 and variance 1 do not make a normal distribution. Untrained units are "
        "sums of many pixels and look nearly normal: 60 values do not show the "
        "difference and 10,000 do. After training, when units have learned to tell "
        "classes apart, 500 show it in {figure[trained, n = 500: units rejected as "
        "standard normal, %]:.0f}% of them. The test is lenient here, as mean and "
        "variance are taken from the very values that are tested; with bounds made for "
        "that (Lilliefors 1967) it rejects more. Nor does the output come nearer to a "
        "uniform distribution: the distance stays the same to rounding."
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
        """What is seen of all units of a network."""
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
            positive(
                supports=change > UNCHANGED and most <= RARE,
                refutes=change <= UNCHANGED and least > SHARE,
            ),
            f"At n = {size:,} the test rejects {least:.0%} to {most:.0%} of the "
            f"untrained units; normalizing changes skewness and kurtosis by {change:.0e}.",
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
    """All hidden units, side by side: before their normalization, and after it."""
    inputs = [into(model, name, images) for name in HIDDEN]
    return np.hstack(inputs), np.hstack([normalized(x) for x in inputs])


def _units(model: problems.Stack, images: np.ndarray) -> dict[str, float]:
    """The share of units that the tests reject, of one batch."""
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
    """The Kolmogorov-Smirnov distance of each column from the standard normal distribution."""
    from scipy.special import ndtr

    return _distance(ndtr(np.sort(values, axis=0)))


def to_uniform(values: np.ndarray) -> np.ndarray:
    """That of each column from the uniform distribution of its mean and variance."""
    return _distance(np.clip(0.5 + np.sort(standard(values), axis=0) / np.sqrt(12), 0, 1))


def _distance(expected: np.ndarray) -> np.ndarray:
    """The largest distance of steps of 1/n from the sorted values of a distribution function."""
    n = len(expected)
    steps = np.arange(1, n + 1)[:, None] / n
    return np.maximum((steps - expected).max(axis=0), (expected - steps + 1 / n).max(axis=0))


def standard(values: np.ndarray) -> np.ndarray:
    """Each column less its mean, by its standard deviation."""
    return (values - values.mean(axis=0)) / values.std(axis=0)


def skewness(values: np.ndarray) -> np.ndarray:
    """Of each column: 0 for a normal distribution."""
    z = standard(values)
    return (z * z * z).mean(axis=0)


def kurtosis(values: np.ndarray) -> np.ndarray:
    """The excess of each column: 0 for a normal distribution."""
    squares = np.square(standard(values))
    return np.square(squares).mean(axis=0) - 3


def largest_change(of: Any, x: np.ndarray, y: np.ndarray) -> float:
    """By how much a figure of each unit differs before and after its normalization, at most."""
    return float(np.abs(of(x) - of(y)).max())
