"""E10: the statistics of a batch are noisy, and so is the output for an example.

In training an example is normalized by the mean and the variance of the batch that it happens to be
in. Both are estimates from m values, so their noise falls with 1/sqrt(m), and so does the noise of
the output (x - mean) / sqrt(var + eps). An example far from the mean is an exception: in a small
batch it contributes a large part of the variance by itself, which limits how much its own output
can vary. A single example of this kind does not follow the law. In evaluation mode there is no
noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import plots
from ..experiment import Experiment, Judgement, Result
from ..identities import digits, input_of, network, normalized
from ..verdict import Interval, Verdict, every, interval, within

SLOPE, TOLERANCE = -0.5, 0.05  # the slope of 1/sqrt(m), and the deviation from it that is allowed
CURVES = {
    "mean": "mean of the batch",
    "output": "output of an example (median)",
    "far": "output of the farthest example",
}


class BatchNoise(Experiment):
    id = "E10"
    title = "Noise of the batch"
    claim = (
        "The statistics of a batch are noisy, so outputs in training are not deterministic; the "
        "noise falls with the square root of the batch size."
    )
    notes = "A, C, E"
    source = "Ioffe & Szegedy 2015 (1502.03167), sections 3.1 and 3.4"
    setup = (
        "The input of the first normalization in the untrained MLP (784-100-100-100-10) for "
        "{images} MNIST images, float64. Each of {examples} examples is put into batches with m "
        "− 1 others that are drawn with replacement, for m = {sizes}, with {draws} draws each; "
        "{units} units are observed. Noise is a standard deviation over the draws, in units of "
        "the standard deviation of the unit: that of the batch mean (median over the units), "
        "and that of the output of the example (median over the pairs of example and unit). "
        "The slope is that of a straight line through the logarithms of noise and m. Also "
        "shown, but not judged, are the 20 values nearest to each of several distances from the "
        "mean of their unit, and the value farthest from it."
    )
    rule = (
        f"SUPPORTED if the intervals of both slopes lie within {SLOPE - TOLERANCE:g} to "
        f"{SLOPE + TOLERANCE:g}; REFUTED if one of them lies wholly outside; otherwise "
        "INCONCLUSIVE."
    )
    expected = Verdict.SUPPORTED
    explanation = (
        "In training, the output for an image differs from batch to batch: with 32 examples "
        "by {figure[noise of an output, m = 32]:.2f} standard deviations, and a batch four "
        "times as large halves this. E19 examines this noise as a regularizer, and it is what "
        "hurts with small batches (E21). For an example far from the mean the slope is "
        "flatter: in a batch of 32 its own value is a large part of the variance that it is "
        "divided by, which limits how much its output can vary. The slope is {figure[slope, "
        "examples 4 standard deviations from the mean]:.2f} at 4 standard deviations from the "
        "mean. So the law holds for the median, and a single example can deviate from it."
    )
    needs = ("mnist",)
    minutes = 0.12
    full = {
        "images": 10000,
        "examples": 40,
        "units": 40,
        "sizes": [32, 64, 128, 256, 512],
        "distances": [0, 1, 2, 3, 4],
        "draws": 300,
    }
    quick = {"draws": 100}
    quick_seeds = 3

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        images, _ = digits(settings["images"], seed)
        x = input_of(network(seed), "norm1", images)
        x = (x - x.mean(axis=0)) / x.std(axis=0)
        rng = np.random.default_rng(seed)
        examples = rng.choice(len(x), settings["examples"], replace=False)
        units = rng.choice(x.shape[1], settings["units"], replace=False)
        groups = {
            "output": (np.repeat(examples, len(units)), np.tile(units, len(examples))),
            "far": farthest(x),
            **{f"at {d}": at_distance(x, d) for d in settings["distances"]},
        }
        rows, columns = (np.concatenate([group[i] for group in groups.values()]) for i in (0, 1))
        ends = np.cumsum([len(group[0]) for group in groups.values()])[:-1]
        found: dict[str, Any] = {name: [] for name in ("mean", *groups)}
        for size in settings["sizes"]:
            means, outputs = drawn(x, rows, columns, size, settings["draws"], rng)
            found["mean"].append(np.median(means.std(axis=0, ddof=1)))
            noise = np.split(outputs.std(axis=0, ddof=1), ends)
            for name, values in zip(groups, noise, strict=True):
                found[name].append(np.median(values))
        return {
            **found,
            "sizes": settings["sizes"],
            "distances": settings["distances"],
            "distance": float(np.abs(x[groups["far"]])[0]),
        }

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        sizes = seeds[0]["sizes"]
        slopes = {name: slope_interval(seeds, name) for name in CURVES}
        wanted = SLOPE - TOLERANCE, SLOPE + TOLERANCE
        holds = every(*(within(slopes[name], *wanted) for name in ("mean", "output")))
        return Judgement(
            holds,
            f"The noise of the batch mean falls with slope {slopes['mean']}, that of the output "
            f"of an example with slope {slopes['output']}.",
            {
                **{f"slope, {label}": slopes[name] for name, label in CURVES.items()},
                "distance of the farthest example from the mean, standard deviations": interval(
                    [seed["distance"] for seed in seeds]
                ),
                **{
                    f"slope, examples {d:g} standard deviations from the mean": slope_interval(
                        seeds, f"at {d}"
                    )
                    for d in seeds[0]["distances"]
                },
                **{
                    f"noise of {label}, m = {size}": interval([seed[name][i] for seed in seeds])
                    for name, label in (("mean", "the batch's mean"), ("output", "an output"))
                    for i, size in enumerate(sizes)
                },
            },
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        figure, (left, right) = plots.new(
            ("batch size m", "noise (std of the unit: 1)"),
            ("distance of the example from the mean", "slope of the noise"),
        )
        sizes = seeds[0]["sizes"]
        for name, colour, marker in (
            ("output", plots.A, "o"),
            ("mean", plots.C, "s"),
            ("far", plots.B, "o"),
        ):
            plots.band(
                left,
                sizes,
                [seed[name] for seed in seeds],
                CURVES[name],
                colour,
                linestyle="-" if name == "far" else "none",
                marker=marker,
            )
        line = np.array(sizes, float)
        left.plot(line, 1 / np.sqrt(line), color=plots.MUTED, linewidth=1, label="1/√m")
        plots.logarithmic(left.xaxis)
        plots.logarithmic(left.yaxis)
        left.set_xticks(sizes, [f"{size}" for size in sizes])
        plots.legend(left, 1)
        distances = seeds[0]["distances"]
        right.axhspan(
            SLOPE - TOLERANCE, SLOPE + TOLERANCE, color=plots.GREY, alpha=0.3, linewidth=0
        )
        plots.band(
            right,
            distances,
            [[slope(sizes, seed[f"at {d}"]) for d in distances] for seed in seeds],
            "examples at a distance",
            plots.A,
        )
        right.plot(
            [seed["distance"] for seed in seeds],
            [slope(sizes, seed["far"]) for seed in seeds],
            color=plots.B,
            linestyle="none",
            marker="o",
            markersize=5,
            label="the farthest",
        )
        right.annotate(
            "−0.5 ± 0.05",
            (0, SLOPE + TOLERANCE),
            (4, 3),
            fontsize=9,
            textcoords="offset points",
            color=plots.MUTED,
        )
        right.margins(x=0.06)
        plots.legend(right, 1)
        return figure


def farthest(x: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the row and the column of the value farthest from 0, each as an array of one."""
    return tuple(np.array([place]) for place in np.unravel_index(np.abs(x).argmax(), x.shape))


def at_distance(x: np.ndarray, distance: float, count: int = 20) -> tuple[np.ndarray, ...]:
    """Return the rows and columns of the `count` values whose size is nearest to `distance`."""
    nearest = np.argpartition(np.abs(np.abs(x) - distance), count, axis=None)[:count]
    return tuple(np.unravel_index(nearest, x.shape))


def drawn(
    x: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    size: int,
    draws: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw batches, and return their means (draws, units) and outputs (draws, pairs). A pair is an
    example, given by its row in x, and a unit, given by its column. In each draw the example takes
    the first place of the batch."""
    means, outputs = [], []
    for _ in range(draws):
        others = x[rng.integers(len(x), size=size)]
        means.append(others.mean(axis=0))
        batch = others[:, columns]
        batch[0] = x[rows, columns]
        outputs.append(normalized(batch)[0])
    return np.array(means), np.array(outputs)


def slope(sizes: Sequence[int], noise: Sequence[float]) -> float:
    """Return the slope of a straight line through the logarithms; NaN if a value has none."""
    values = np.asarray(noise, np.float64)
    if not np.all(np.isfinite(values) & (values > 0)):
        return float("nan")
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def slope_interval(seeds: Sequence[Result], name: str) -> Interval:
    """Return the mean slope of a curve over the seeds, with its interval."""
    return interval([slope(seed["sizes"], seed[name]) for seed in seeds])
