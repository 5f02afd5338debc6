"""E31: what does batch normalization cost in training, and at inference after folding?

In evaluation mode a BatchNorm multiplies each channel by a constant and adds another. The
convolution before it can do this by other weights: W' = W gamma / sqrt(var + eps) and
b' = (b - mean) gamma / sqrt(var + eps) + beta. The folded network computes the same outputs. It is
faster unless the additional pass over memory took no time.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import models, nn, optim

from .. import plots, words
from ..experiment import Experiment, Judgement, Result
from ..problems import c6
from ..verdict import Interval, Verdict, below, every, identity, interval

NETWORKS = "C6", "ResNet-20"
SAME = 1e-5  # the largest difference of equal outputs, relative to the largest output


class Overhead(Experiment):
    id = "E31"
    title = "Overhead in training, folding for speed"
    claim = (
        "For inference batch normalization can be folded into the layers before it, which then "
        "compute the same outputs faster."
    )
    notes = "A, D"
    source = "Ioffe & Szegedy 2015, section 3.1 (1502.03167)"
    setup = (
        "C6 and ResNet-20, 32 x 32 images, trained for only 5 steps on random images. Times are "
        "medians of {step rounds} (inference: {rounds}) rounds. In a round both sides of a "
        "comparison are measured, and the order alternates from round to round. They run in one "
        "process that uses all CPUs, while no other experiment runs. Training: the time of a "
        "step of SGD, batch {step batch}, with BatchNorm divided by that without it (where the "
        "convolutions have biases). Memory: the peak of a separate process that takes two such "
        "steps. Inference: the time after nn.fold divided by that of the original network, "
        "batch {sizes}."
    )
    rule = (
        "For each network (1) the outputs for 256 images must agree within 1e-5 of the largest "
        "one, and (2) the interval of the folded network's latency divided by that of the "
        "original one at batch 1 must lie below 1, with the median over the rounds as the value "
        "of a seed. SUPPORTED if all of this holds; REFUTED if outputs differ, or an interval "
        "lies at 1 or above. The overhead in training is measured, but not judged."
    )
    expected = Verdict.SUPPORTED
    explanation = (
        "After training a BatchNorm multiplies each channel by a known number and adds another "
        "one, which the weights and the bias of the layer before it can absorb. The outputs are "
        "equal up to rounding, and a single image takes about half of the time. With 128 images "
        "at once nothing is gained (in a full run the folded networks take 1.02 and 1.06 times "
        "as long). A training step with BatchNorm takes {figure[C6: training step with BatchNorm "
        "over without]:.2f} times as long for C6, and {figure[ResNet-20: training step with "
        "BatchNorm over without]:.2f} times for ResNet-20. Training with BatchNorm takes less "
        "memory here ({figure[C6: peak memory of a training, with BatchNorm, MB]:.0f} MB "
        "compared with {figure[C6: peak memory of a training, without, MB]:.0f} MB for C6). This "
        "is a property of minidl, not of BatchNorm: minidl fuses BatchNorm, the ReLU after it, "
        "and the sum with a shortcut or a max-pooling into one pass, and stores no intermediate "
        "arrays. Without BatchNorm the output of the ReLU before each of C6's two poolings is "
        "stored. With 64 images these arrays have 4.2 and 2.1 MB, which is all of the difference "
        "after a forward pass."
    )
    examination = (
        "At first the rule also required an overhead in training above 1. Trial runs on a busy "
        "machine could not resolve it (intervals from 0.8 to 1.3), and the specification judges "
        "folding alone. Therefore it is measured, but not judged."
    )
    minutes = 0.4
    seeds = 5
    alone = True
    full = {
        "step batch": 64,
        "step rounds": 25,
        "steps": 1,
        "rounds": 15,
        "runs": {"1": 40, "128": 1},
    }
    quick = {"step batch": 32, "step rounds": 8, "rounds": 8, "runs": {"1": 30}}

    omitted = "Inference of 128 images at once is omitted in this quick run."

    def fields(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**settings, "sizes": list(settings["runs"])}

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {name: measured(name, seed, settings) for name in NETWORKS}

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        parts, figures = [], dict[str, Any]()
        worst = float(np.max([seed[name]["difference"] for seed in seeds for name in NETWORKS]))
        parts.append(identity(worst <= SAME))
        for name in NETWORKS:
            folded = ratio(seeds, name, "inference, batch 1")
            step = ratio(seeds, name, "step")
            parts.append(below(folded, 1))
            figures[f"{name}: folded over not, batch 1"] = folded
            figures[f"{name}: training step with BatchNorm over without"] = step
        figures["largest difference of folded outputs, relative to the largest output"] = worst
        for name in NETWORKS:
            for what in seeds[0][name]["times"]:
                if what not in ("step", "inference, batch 1"):
                    figures[f"{name}: folded over not, {what}"] = ratio(seeds, name, what)
                figures |= {
                    f"{name}: {side}, {what}, ms": milliseconds(seeds, name, what, i)
                    for i, side in enumerate(sides(what))
                }
            for side, most in seeds[0][name]["peak MB"].items():
                figures[f"{name}: peak memory of a training, {side}, MB"] = most
        return Judgement(
            every(*parts),
            "; ".join(
                f"{name}: a step takes {ratio(seeds, name, 'step').value:.2f} times as long with "
                f"BatchNorm as without, one image folded "
                f"{ratio(seeds, name, 'inference, batch 1').value:.2f} times as long as unfolded"
                for name in NETWORKS
            )
            + f". Relative to the largest output, the outputs {words.agree(worst)}.",
            figures,
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        figure, axes = plots.new(
            ("a step of training", "time with BatchNorm / without"),
            ("inference, images at once", "time folded / not folded"),
        )
        times = list(seeds[0][NETWORKS[0]]["times"])
        for ax, chosen, colour in zip(
            axes, (times[:1], times[1:]), (plots.B, plots.A), strict=True
        ):
            shown = [(name, what) for what in chosen for name in NETWORKS]
            plots.bars(
                ax,
                [
                    f"{name}\n{what.rpartition('batch ')[2]}" if what != "step" else name
                    for name, what in shown
                ],
                [
                    [float(np.median(ratios(seed, name, what))) for name, what in shown]
                    for seed in seeds
                ],
                [colour] * len(shown),
            )
            ax.axhline(1, color=plots.MUTED, linewidth=1, linestyle=(0, (1, 2)))
        return figure


def measured(name: str, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the times of both sides in each round, the largest difference of the outputs of the
    folded network, and the peak memory."""
    size = settings["step batch"]
    steps = [training_step(name, norm, size, seed) for norm in ("batch", "none")]
    times = {"step": alternate(steps, settings["step rounds"], settings["steps"])}
    model = trained(name, seed)
    images = np.random.default_rng(seed).standard_normal((256, 32, 32, 3), np.float32)
    folded = nn.fold(model, images[:1])
    one, other = (side.predict(images) for side in (folded, model))
    for batch, runs in settings["runs"].items():
        part = images[: int(batch)]
        times[f"inference, batch {batch}"] = alternate(
            [functools.partial(infer, side, part) for side in (folded, model)],
            settings["rounds"],
            runs,
        )
    return {
        "times": times,
        "difference": float(np.abs(one - other).max() / np.abs(other).max()),
        "peak MB": {
            "with BatchNorm": peak(name, "batch", size),
            "without": peak(name, "none", size),
        },
    }


def build(name: str, norm: str) -> nn.Layer:
    """Return a new network by its name."""
    return c6(norm) if name == "C6" else models.create("resnet20", norm=norm)


def training_step(name: str, norm: str, size: int, seed: int) -> Callable[[], None]:
    """Return a function that takes a training step, always on the same random images."""
    md.manual_seed(seed)
    model = build(name, norm)
    optimizer = optim.SGD(model.parameters(), 0.01, 0.9)
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((size, 32, 32, 3), np.float32)
    labels = rng.integers(10, size=size)

    def step() -> None:
        loss = md.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def trained(name: str, seed: int) -> nn.Layer:
    """Return a network in evaluation mode whose statistics, gamma and beta have been trained for a
    few steps, because folding their initial values would be trivial."""
    md.manual_seed(seed)
    model = build(name, "batch")
    optimizer = optim.SGD(model.parameters(), 0.1, 0.9)
    rng = np.random.default_rng(seed)
    for _ in range(5):
        images = 1 + 2 * rng.standard_normal((16, 32, 32, 3), np.float32)
        loss = md.cross_entropy(model(images), rng.integers(10, size=16))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def infer(model: nn.Layer, images: np.ndarray) -> None:
    with md.no_grad():
        model(images).numpy()


def alternate(sides: Sequence[Callable[[], None]], rounds: int, runs: int) -> list[list[float]]:
    """Return, for each round, the median time of a run of each side in seconds. The order of the
    sides alternates, because the second one may find warm caches or a lower CPU clock."""
    found = []
    places = list(range(len(sides)))
    for round in range(-1, rounds):  # round -1 warms up and is not recorded
        times = [0.0] * len(sides)
        for place in places if round % 2 else reversed(places):
            each = []
            for _ in range(runs):
                start = time.perf_counter()
                sides[place]()
                each.append(time.perf_counter() - start)
            times[place] = float(np.median(each))
        if round >= 0:
            found.append(times)
    return found


def peak(name: str, norm: str, size: int) -> float:
    """Return the peak memory in MB of a process that takes two training steps; NaN if the system
    does not report it."""
    code = f"from {__name__} import print_peak; print_peak({name!r}, {norm!r}, {size})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, check=True, text=True
    )
    return float(found.stdout)


def print_peak(name: str, norm: str, size: int) -> None:
    """Take two training steps and print the peak memory of this process. `peak` runs this in a
    process of its own."""
    step = training_step(name, norm, size, 0)
    step()
    step()
    try:
        # Not by getrusage: its peak is at least that of the process that has started this one.
        with open("/proc/self/status", encoding="utf-8") as file:
            print(int(file.read().split("VmHWM:")[1].split()[0]) / 2**10)
    except (OSError, IndexError):  # only Linux has this file
        print("nan")


def ratios(seed: Result, name: str, what: str) -> list[float]:
    """Return the time of the first side divided by that of the second one, for each round."""
    return [one / other for one, other in seed[name]["times"][what]]


def ratio(seeds: Sequence[Result], name: str, what: str) -> Interval:
    """Return the ratio of times over the seeds. The value of a seed is the median of its rounds, as
    rounds in one process are not independent enough to count as seeds."""
    return interval([float(np.median(ratios(seed, name, what))) for seed in seeds])


def milliseconds(seeds: Sequence[Result], name: str, what: str, side: int) -> Interval:
    """Return the time of one side over the seeds, from the median of the rounds of each seed."""
    return interval(
        [
            1000 * float(np.median([times[side] for times in seed[name]["times"][what]]))
            for seed in seeds
        ]
    )


def sides(what: str) -> tuple[str, str]:
    return ("with BatchNorm", "without") if what == "step" else ("folded", "not folded")
