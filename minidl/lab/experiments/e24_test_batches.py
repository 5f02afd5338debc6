"""E24: can a network be tested with the statistics of the test batch? Not if the batch is small.

For a single example the mean of a dense layer is that example. Each unit becomes x - x = 0, the
output is the same for every input, and the accuracy is that of guessing. For a few examples the
prediction for each of them depends on the others in its batch. A convolution can average over the
positions of a single image, but the network was not trained with such statistics. (`nn.BatchNorm`
refuses a batch with one value in each channel, so the normalization is composed from operations.)
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

CHUNK = 1024  # the number of images that are predicted at a time; every batch size divides it
KINDS = {"dense": plots.A, "convolution": plots.C}


class OwnStatistics(Experiment):
    id = "E24"
    title = "Testing with the batch's own statistics"
    claim = (
        "Testing needs population statistics: with the statistics of the test batch, a dense "
        "network that gets a single example can only guess."
    )
    notes = "A, B"
    source = "Ioffe & Szegedy 2015, section 3.1 (1502.03167)"
    setup = (
        "The MLP (batch 60, SGD with learning rate {rate[dense]}, {steps[dense]} steps) and C6 "
        "with 8, 16 and 32 channels (batch 60, SGD with learning rate {rate[convolution]}, "
        "{steps[convolution]} steps) are trained with BatchNorm on {images} images of MNIST. "
        "They are tested on {test[dense]} (C6: {test[convolution]}) test images in a random "
        "order, with population statistics (nn.recalibrate over {population} training images), "
        "and with the statistics of test batches of m = {sizes}. Answers that change are those "
        "images whose predicted class differs between two random orders."
    )
    rule = (
        "SUPPORTED if for the dense network the interval of the accuracy at m = 1 lies within 8 "
        "to 12% (chance is 10%), and that with population statistics wholly outside; REFUTED if "
        "the former lies wholly outside, or the latter within."
    )
    expected = Verdict.SUPPORTED
    explanation = (
        "A single example equals the mean of its batch, so that subtracting the mean leaves "
        "nothing of the input of a dense network. Small test batches cost accuracy, and make "
        "the prediction for an image depend on the other images in the batch, which is the "
        "last thing one wants of a prediction. From a few tens of examples on, the statistics "
        "of the batch are nearly as good as those of the population. A convolution can average "
        "over the positions of a single image, but with such statistics C6 is hardly better "
        "than chance: {figure[accuracy, %, convolution, m = 1]:.0f}%. (A likely reason, which "
        "is not tested: its classifier gets averages over the positions, and normalizing each "
        "image removes these.)"
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
            f"The dense network classifies {100 * one.value:.1f}% of single examples correctly "
            f"with their own statistics, and {100 * population.value:.1f}% with those of the "
            f"population.",
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
    """Train one kind of network with BatchNorm, and return its accuracies and the shares of answers
    that change."""
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
    others = rows[rng.permutation(len(rows))]  # the same images, in batches with other images
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
    """Return a new MLP, or a new C6 with few channels."""
    made: dict[str, Callable[[], Stack]] = {
        "dense": lambda: mlp(norm),
        "convolution": lambda: c6(norm, (8, 16, 32), colours=1),
    }
    return made[kind]()


def with_batches_of(size: int, kind: str, model: Stack) -> Stack:
    """Return a copy of the trained model that normalizes every `size` examples by their own
    statistics."""
    alike = build(kind, lambda features: Composed(features, group=size))
    alike.load_state_dict(
        {name: value for name, value in model.state_dict().items() if name in alike.state_dict()}
    )
    return alike.eval()


def answers(model: nn.Layer, images: np.ndarray) -> np.ndarray:
    """Return the classes that a model predicts."""
    with md.no_grad():
        return np.concatenate(
            [
                model(images[start : start + CHUNK]).numpy().argmax(axis=1)
                for start in range(0, len(images), CHUNK)
            ]
        )
