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
    ("It gives each unit mean 0 and variance 1 over the batch; two learned numbers a unit, gamma "
     "and beta, can undo that.", {"E01": S, "E06": S}),
    ("It takes the scale of the weights out of what a network computes: larger weights get smaller "
     "gradients.", {"E07": S}),
    ("So a training stands learning rates many times as high, and initial weights of nearly any "
     "size.", {"E13": S, "E15": S}),
    ("It trains a deep stack of sigmoids that does not train without it.", {"E14": S}),
    ("In a training that is long enough, the loss varies less along each step.", {"E17": S}),
    ("Its statistics are noisy, and the noise regularises.", {"E10": S, "E19": S}),
    ("After the training it costs nothing: it folds into the layer before it.", {"E31": S}),
)
DOES_NOT: tuple[tuple[str, Needs], ...] = (
    ("It does not make values normally distributed, and does not whiten them: it shifts and "
     "scales.", {"E04": R, "E05": R}),
    ("That it helps by less internal covariate shift does not stand up to measurement.",
     {"E16": R}),
    ("It does not save a fixed factor of steps, nor keep the distributions still: both depend on "
     "the learning rate.", {"E11": R, "E12": R}),
    ("It does not make gradients flow better at the start: in a deep network they explode.",
     {"E18": R}),
    ("A random start of gamma and beta is no better.", {"E27": R}),
    ("It is not better in general before the nonlinearity than after it.", {"E29": R}),
    ("It does not share its high rates with the other normalizations, unless they get a warm-up.",
     {"E32": R}),
)
FAILS: tuple[tuple[str, Needs], ...] = (
    ("With batches of a few images it loses accuracy that GroupNorm keeps.", {"E21": S}),
    ("With batches of one or two classes it learns, and fails in evaluation.", {"E25": S}),
    ("For testing it needs statistics of the training data, fresh ones: the batch's own will not "
     "do.", {"E22": S, "E24": S}),
    ("Dropout before it makes these statistics wrong.", {"E20": S}),
    ("On other data than it was trained on, activations do not diverge, but accuracy falls.",
     {"E26": R}),
    ("In a recurrent network it needs large batches and some care; LayerNorm needs neither.",
     {"E30b": NOT_REFUTED}),
)
GROUPS = (("What it does", DOES), ("What it does not do", DOES_NOT), ("When it fails", FAILS))

# What the claims have that this lab does not.
NOT_HERE = (
    "The figures on ImageNet of Ioffe & Szegedy (2015), 4.9% validation and 4.82% test error of an "
    "ensemble of six networks, cannot be repeated on two cores of a CPU. An analogue, six averaged "
    "networks on MNIST, is part of the tutorial docs/batchnorm.md: it shows that averaging helps, "
    "and nothing about ImageNet.",
    "“One module, one issue” is advice, not a claim.")


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
        lines = [Line(sentence, [known[id] for id in needs],
                      [known[id] for id in needs if known[id].verdict not in needs[id]])
                 for sentence, needs in rows if set(needs) <= set(known)]
        if lines:
            groups.append((title, lines))
    return groups
