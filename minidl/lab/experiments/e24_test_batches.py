"""E24: can one test with the statistics of the test batch? Not with small ones, nor with one.

With a single example a dense layer's mean is that example: every unit is x - x = 0, the output is
the same for every input, and the accuracy that of guessing. With a few examples the answer to one
of them depends on which others are beside it. A convolution has something left to average in a
single image, its positions, but that is not what the network was trained with. (`nn.BatchNorm`
refuses a batch of one value a channel, so that the normalization is composed from operations here.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import nn, optim

from .. import plots
from ..composed import Composed
from ..experiment import Experiment, Judgement, Result
from ..problems import Norm, Stack, batches, c6, mlp, mnist, subset
from ..training import CHANCE, diverged, train
from ..verdict import Verdict, every, interval, opposite, within

CHUNK = 1024  # images at a time; every batch size divides it
KINDS = {"dense": plots.A, "convolution": plots.C}


class OwnStatistics(Experiment):
    id = "E24"
    title = "Testing with the batch's own statistics"
    claim = (
        "Testing needs population statistics: with those of the test batch, a dense network "
        "that gets a single example can only guess."
    )
    notes = "A, B"
    source = "Ioffe & Szegedy 2015, section 3.1 (1502.03167)"
    setup = (
        "{images} images of MNIST, the MLP (batch 60, SGD {rate[dense]}, {steps[dense]} "
        "steps) and C6 with 8, 16 and 32 channels (one colour; batch 60, SGD "
        "{rate[convolution]}, {steps[convolution]} steps), trained with BatchNorm. Tested on "
        "{test[dense]} (C6: {test[convolution]}) test images in a random order with their "
        "population statistics (nn.recalibrate over {population} training images), and with "
        "those of test batches of m = {sizes}. Answers that change: the images whose class "
        "differs between two random orders."
    )
    rule = (
        "Dense: the interval of the accuracy at m = 1 within 8 to 12% (chance is 10%), and "
        "that with population statistics wholly outside: SUPPORTED; the former wholly outside, "
        "or the latter within: REFUTED."
    )
    expected = Verdict.SUPPORTED
    explanation = (
        "A batch of one is all mean and no deviation: a dense network then sees nothing "
        "of its input. Small test batches cost accuracy, and make the answer depend on "
        "the company that an image is in, which is what one wants least of a "
        "prediction. From some tens of examples on the statistics of the batch do "
        "nearly as well. A convolution has the positions of a single image left to "
        "average over, but C6 is hardly better than chance with them: {figure[accuracy, "
        "%, convolution, m = 1]:.0f}%. (A likely reason, not tested: its classifier "
        "sees averages over the positions, and they are what is taken away.)"
    )
    needs = ("mnist",)
    minutes = 0.2
    full = {
        "sizes": [1, 2, 4, 8, 16, 32, 64, 128],
        "images": 20_000,
        "population": 5000,
        "steps": {"dense": 2000, "convolution": 200},
        "rate": {"dense": 0.5, "convolution": 0.1},
        "test": {"dense": 9216, "convolution": 2048},
    }
    quick = {
        "sizes": [1, 2, 8, 32, 128],
        "steps": {"dense": 1000, "convolution": 60},
        "test": {"dense": 4096, "convolution": 1024},
        "population": 2000,
    }

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "sizes": settings["sizes"],
            **{kind: tested(kind, seed, settings) for kind in KINDS},
        }

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        sizes = [str(size) for size in seeds[0]["sizes"]]
        one, population = (
            interval([get(seed["dense"]) for seed in seeds])
            for get in (lambda found: found["accuracy"]["1"], lambda found: found["population"])
        )
        figures: dict[str, Any] = {
            "accuracy, %, dense, m = 1": 100 * one,
            "accuracy, %, dense, population": 100 * population,
        }
        for kind in KINDS:
            figures[f"accuracy, %, {kind}, population"] = 100 * interval(
                [seed[kind]["population"] for seed in seeds]
            )
            for what, name in (("accuracy", "accuracy, %"), ("changed", "answers that change, %")):
                figures |= {
                    f"{name}, {kind}, m = {size}": 100
                    * interval([seed[kind][what][size] for seed in seeds])
                    for size in sizes
                }
        verdict = every(within(one, 0.08, 0.12), opposite(within(population, 0.08, 0.12)))
        return Judgement(
            verdict,
            f"A dense network is right on {100 * one.value:.1f}% of single examples "
            f"with their own statistics, and on {100 * population.value:.1f}% with "
            f"those of the population.",
            figures,
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        figure, (left, right) = plots.new(
            ("examples in a test batch", "test accuracy (%)"),
            ("examples in a test batch", "answers that change (%)"),
        )
        sizes = seeds[0]["sizes"]
        for kind, colour in KINDS.items():
            for ax, what in ((left, "accuracy"), (right, "changed")):
                plots.band(
                    ax,
                    sizes,
                    [[100 * seed[kind][what][str(size)] for size in sizes] for seed in seeds],
                    kind,
                    colour,
                )
            level = 100 * float(np.mean([seed[kind]["population"] for seed in seeds]))
            left.axhline(
                level, color=colour, linewidth=1, linestyle=(0, (4, 2)), label=f"{kind}, population"
            )
        plots.guide(left, 10, "chance")
        left.set_ylim(0, 102)
        for ax in (left, right):
            plots.logarithmic(ax.xaxis)
            plots.legend(ax)
        return figure


def tested(kind: str, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracies of one kind of network, trained with BatchNorm."""
    train_set = subset(mnist("train"), settings["images"])
    images, labels = subset(mnist("test"), 10_000)
    md.manual_seed(seed)
    model = build(kind, "batch")
    losses = train(
        model,
        optim.SGD(model.parameters(), settings["rate"][kind]),
        batches(train_set, 60, seed),
        settings["steps"][kind],
    )
    if diverged(losses):
        sizes = [str(size) for size in settings["sizes"]]
        return {
            "population": CHANCE,
            "accuracy": dict.fromkeys(sizes, CHANCE),
            "changed": dict.fromkeys(sizes, 0.0),
        }
    nn.recalibrate(model, [subset(train_set, settings["population"])[0]], quiet=True)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(images))[: settings["test"][kind]]
    others = rows[rng.permutation(len(rows))]  # the same images in other company
    found: dict[str, Any] = {
        "population": float((answers(model.eval(), images[rows]) == labels[rows]).mean()),
        "accuracy": {},
        "changed": {},
    }
    for size in settings["sizes"]:
        alike = with_batches_of(size, kind, model)
        guesses = np.zeros((2, len(images)), np.int64)
        for guess, order in zip(guesses, (rows, others), strict=True):
            guess[order] = answers(alike, images[order])
        found["accuracy"][str(size)] = float((guesses[0][rows] == labels[rows]).mean())
        found["changed"][str(size)] = float((guesses[0][rows] != guesses[1][rows]).mean())
    return found


def build(kind: str, norm: Norm) -> Stack:
    """The MLP, or a small C6."""
    made: dict[str, Callable[[], Stack]] = {
        "dense": lambda: mlp(norm),
        "convolution": lambda: c6(norm, (8, 16, 32), colours=1),
    }
    return made[kind]()


def with_batches_of(size: int, kind: str, model: Stack) -> Stack:
    """The trained model, but each `size` examples are normalized with their own statistics."""
    alike = build(kind, lambda features: Composed(features, group=size))
    alike.load_state_dict(
        {name: value for name, value in model.state_dict().items() if name in alike.state_dict()}
    )
    return alike.eval()


def answers(model: nn.Layer, images: np.ndarray) -> np.ndarray:
    """The classes that a model decides for."""
    with md.no_grad():
        return np.concatenate(
            [
                model(images[start : start + CHUNK]).numpy().argmax(axis=1)
                for start in range(0, len(images), CHUNK)
            ]
        )
