"""The summary of the report: sentences on what batch normalization does, does not do, and when it
fails. Each sentence names the claims that it rests on, and the verdicts on them that it requires.

A sentence is printed if all of its claims have been run. If a verdict of the run contradicts it,
the report says so behind it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from .results import Found
from .verdict import Verdict

Needs = Mapping[str, tuple[Verdict, ...]]
S, R = (Verdict.SUPPORTED,), (Verdict.REFUTED,)
NOT_REFUTED = (Verdict.SUPPORTED, Verdict.INCONCLUSIVE)

# (sentence, {claim: the verdicts that agree with the sentence})
DOES: tuple[tuple[str, Needs], ...] = (
    (
        "It gives the values of each unit mean 0 and variance 1 over the batch. Two learned "
        "parameters of the unit, gamma and beta, can scale and shift them again.",
        {"E01": S, "E06": S},
    ),
    (
        "It makes the output of a network independent of the scale of the weights, and gives "
        "larger weights smaller gradients.",
        {"E07": S},
    ),
    (
        "It therefore allows learning rates many times as high, and initial weights of very "
        "different scales, though not of any scale.",
        {"E13": S, "E15": S},
    ),
    ("It trains a deep network of sigmoids that does not train without it.", {"E14": S}),
    (
        "After the first few hundred steps of a training, it makes the loss vary less along most "
        "steps.",
        {"E17": S},
    ),
    ("The statistics of a batch are noisy, and this noise regularises.", {"E10": S, "E19": S}),
    (
        "At inference it costs nothing, because it can be folded into the layer before it.",
        {"E31": S},
    ),
)
DOES_NOT: tuple[tuple[str, Needs], ...] = (
    (
        "It neither makes the values normally distributed nor whitens them. It only shifts and "
        "scales them.",
        {"E04": R, "E05": R},
    ),
    (
        "Measurements do not confirm that it helps by reducing internal covariate shift, although "
        "the inputs of the layers do drift less.",
        {"E16": R},
    ),
    (
        "It does not reduce the number of steps by a fixed factor, and it does not always halve "
        "how far distributions drift: both depend on the learning rate.",
        {"E11": R, "E12": R},
    ),
    (
        "It does not make gradients flow better at initialization: in a deep network of ReLUs it "
        "makes them explode.",
        {"E18": R},
    ),
    (
        "Random initial values of gamma and beta are not better in general: it depends on the "
        "network.",
        {"E27": R},
    ),
    (
        "It is not generally better to normalize before the nonlinearity than after it: it depends "
        "on the network.",
        {"E29": R},
    ),
    (
        "The other normalizations do not allow its high learning rates. With a warm-up, during "
        "which the learning rate rises slowly, they come closer to them.",
        {"E32": R},
    ),
)
FAILS: tuple[tuple[str, Needs], ...] = (
    (
        "With batches of 2 images it is less accurate than with batches of 32. GroupNorm, which is "
        "less accurate at 32, does not lose accuracy.",
        {"E21": S},
    ),
    (
        "With batches that have only one or two classes it learns in training mode, but fails in "
        "evaluation mode.",
        {"E25": S},
    ),
    (
        "For testing it needs the mean and the variance of the training data, computed with the "
        "final weights. The statistics of a test batch are no substitute.",
        {"E22": S, "E24": S},
    ),
    (
        "Dropout before it makes these statistics wrong, because they are computed with dropout "
        "and used without it.",
        {"E20": S},
    ),
    (
        "On images of another kind than the training images, the activations do not diverge, but "
        "the accuracy falls.",
        {"E26": R},
    ),
    (
        "In a recurrent network it needs large batches and several precautions; LayerNorm needs "
        "neither.",
        {"E30b": NOT_REFUTED},
    ),
)
GROUPS = (("What it does", DOES), ("What it does not do", DOES_NOT), ("When it fails", FAILS))

# Statements of the specification that the lab does not test, and why.
NOT_HERE = (
    "The figures on ImageNet of Ioffe & Szegedy (2015), 4.9% validation and 4.82% test error of an "
    "ensemble of six networks, cannot be reproduced on two cores of a CPU. The tutorial "
    "docs/batchnorm.md has an analogue, the average of six networks on MNIST. It shows that "
    "averaging helps, but nothing about ImageNet.",
    "“One module, one issue” is advice rather than a claim.",
)


@dataclasses.dataclass(frozen=True)
class Line:
    """A sentence, the claims that it rests on, and the claims whose verdicts contradict it."""

    sentence: str
    claims: Sequence[Found]
    contradicting: Sequence[Found]


def summary(found: Sequence[Found]) -> list[tuple[str, list[Line]]]:
    """Return the sentences whose claims have all been run, as (title, lines) of each group that has
    any."""
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
