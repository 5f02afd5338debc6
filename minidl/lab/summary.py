"""What the claims come to: a dozen sentences on what batch normalization does, does not do, and
when it fails, each with the claims that it rests on and the verdicts that it needs.

A sentence is printed where its claims have been run, and says so where one of them came out
otherwise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from .results import Found
from .verdict import Verdict

Needs = Mapping[str, tuple[Verdict, ...]]
S, R = (Verdict.SUPPORTED,), (Verdict.REFUTED,)
NOT_REFUTED = (Verdict.SUPPORTED, Verdict.INCONCLUSIVE)

# (sentence, {claim: the verdicts that the sentence goes with})
DOES: tuple[tuple[str, Needs], ...] = (
    (
        "It gives each unit's values mean 0 and variance 1 over the batch; two learned numbers a "
        "unit, gamma and beta, may move and stretch them again.",
        {"E01": S, "E06": S},
    ),
    (
        "It takes the scale of the weights out of what a network computes: larger weights get "
        "smaller gradients.",
        {"E07": S},
    ),
    (
        "So a training stands learning rates many times as high, and initial weights of sizes from "
        "very small to rather large, but not any.",
        {"E13": S, "E15": S},
    ),
    ("It trains a deep stack of sigmoids that does not train without it.", {"E14": S}),
    ("After the first hundreds of steps the loss varies less along most steps.", {"E17": S}),
    ("Its statistics are noisy, and the noise regularises.", {"E10": S, "E19": S}),
    ("After the training it costs nothing: it folds into the layer before it.", {"E31": S}),
)
DOES_NOT: tuple[tuple[str, Needs], ...] = (
    (
        "It does not make values normally distributed, and does not whiten them: it shifts and "
        "scales.",
        {"E04": R, "E05": R},
    ),
    (
        "That it helps by less internal covariate shift does not stand up to measurement, though "
        "the inputs of layers do drift less.",
        {"E16": R},
    ),
    (
        "It does not save a fixed factor of steps, nor always halve how far distributions wander: "
        "both depend on the learning rate.",
        {"E11": R, "E12": R},
    ),
    (
        "It does not make gradients flow better at the start: in a deep network of ReLUs they "
        "explode.",
        {"E18": R},
    ),
    (
        "A random start of gamma and beta is not better in general: it depends on the network.",
        {"E27": R},
    ),
    (
        "It is not better in general before the nonlinearity than after it: it depends on the "
        "network.",
        {"E29": R},
    ),
    (
        "It does not share its high rates with the other normalizations; with a warm-up, rates "
        "that rise slowly at first, they come closer.",
        {"E32": R},
    ),
)
FAILS: tuple[tuple[str, Needs], ...] = (
    (
        "From batches of 32 images to 2 it loses accuracy; GroupNorm, which starts lower, does "
        "not.",
        {"E21": S},
    ),
    ("With batches of one or two classes it learns, and fails in evaluation.", {"E25": S}),
    (
        "For testing it needs mean and variance of the training data, taken with the final "
        "weights: the batch's own will not do.",
        {"E22": S, "E24": S},
    ),
    (
        "Dropout before it makes these statistics wrong: they are taken with dropout, and used "
        "without.",
        {"E20": S},
    ),
    (
        "On pictures of another kind than those it was trained on, activations do not diverge, but "
        "accuracy falls.",
        {"E26": R},
    ),
    (
        "In a recurrent network it needs large batches and some care; LayerNorm needs neither.",
        {"E30b": NOT_REFUTED},
    ),
)
GROUPS = (("What it does", DOES), ("What it does not do", DOES_NOT), ("When it fails", FAILS))

# What the claims have that this lab does not.
NOT_HERE = (
    "The figures on ImageNet of Ioffe & Szegedy (2015), 4.9% validation and 4.82% test error of an "
    "ensemble of six networks, cannot be repeated on two cores of a CPU. An analogue, six averaged "
    "networks on MNIST, is part of the tutorial docs/batchnorm.md: it shows that averaging helps, "
    "and nothing about ImageNet.",
    "“One module, one issue” is advice, not a claim.",
)


@dataclasses.dataclass(frozen=True)
class Line:
    """A sentence, the claims it rests on, and those of them that came out otherwise."""

    sentence: str
    claims: Sequence[Found]
    otherwise: Sequence[Found]


def summary(found: Sequence[Found]) -> list[tuple[str, list[Line]]]:
    """The sentences whose claims have all been run, by group; groups without any are left out."""
    known = {one.experiment.id: one for one in found if one.seeds}
    groups = []
    for title, rows in GROUPS:
        lines = [
            Line(
                sentence,
                [known[id] for id in needs],
                [known[id] for id in needs if known[id].verdict not in needs[id]],
            )
            for sentence, needs in rows
            if set(needs) <= set(known)
        ]
        if lines:
            groups.append((title, lines))
    return groups
