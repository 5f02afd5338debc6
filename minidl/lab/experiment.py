"""What an experiment is: a claim, how it is tried, the rule that judges it, and its plot.

Each file of `minidl.lab.experiments` has one, or a small family, all of this shape:

    class Example(Experiment):
        id, title = "E99", "Bigger is better"
        ...                                     # the claim and where it comes from, in words
        full, quick = {"sizes": [8, 64]}, {"sizes": [8, 16]}

        def run(self, seed, settings): ...      # all arms of one seed: plain numbers
        def judge(self, seeds): ...             # the rule: from the numbers of all seeds
        def plot(self, seeds): ...              # what one sees
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from . import words
from .verdict import Interval, Verdict

Result = Mapping[str, Any]  # what `run` returns: numbers, texts, lists and dicts of them
Figure = Interval | float | int | str | Sequence[float]


@dataclasses.dataclass(frozen=True)
class Judgement:
    """A verdict, the sentence that says what it follows from, and the figures behind it.

    `figures`: by their names, as the report lists them; the first ones are those that the verdict
    rests on.
    """

    verdict: Verdict
    why: str
    figures: Mapping[str, Figure]


class Experiment:
    """One claim about batch normalization, and the experiment that it can fail in.

    The attributes say what the report prints. The numbers of `setup` and `rule` are fields that
    the settings of a run fill in, as "{steps}", and those of `explanation` and `examination` that
    are not from other trials are fields of its figures, as "{figure[name]}" (see `words.filled`):
    so texts and runs cannot disagree.

    `run` has all arms of one seed, so that they are paired: the same data in the same order, the
    same start where the shapes are the same. Its result is what JSON can hold, NaN and infinity
    included. `judge` and `plot` see nothing but the results of the seeds, in their order, so that
    they can be repeated without training.
    """

    id: str  # "E18"
    title: str  # a few words
    claim: str  # the sentence that is judged
    notes: str  # which of the notes say it: "A, B"
    source: str  # the paper
    setup: str  # model, data, rates, steps: what the verdict depends on
    omitted: str = ""  # what --quick leaves out of it
    rule: str  # from which figures which verdict follows
    paper: str = "–"  # the paper's figure, to stand beside ours
    expected: Verdict  # what the specification expects
    examination: str = ""  # what was looked at where verdict or figure is another
    explanation: str = ""  # what one learns from it: a paragraph
    needs: tuple[str, ...] = ()  # data sets: "mnist", "cifar10"
    minutes: float  # one seed on one thread, full settings
    seeds: int = 3
    quick_seeds: int = 2
    alone: bool = False  # it measures time: nothing may run beside it
    full: Mapping[str, Any] = {}
    quick: Mapping[str, Any] = {}  # what differs with --quick, and what only that has

    def settings(self, quick: bool) -> dict[str, Any]:
        """The settings of a run."""
        return {**self.full, **(self.quick if quick else {})}

    def fields(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the fields of `setup` and `rule` stand for: the settings, and what follows from
        them."""
        return settings

    def setup_of(self, settings: Mapping[str, Any]) -> str:
        """The set-up of a run with these settings, and what it leaves out."""
        text = words.filled(self.setup, self.fields(settings))
        return f"{text} {self.omitted}" if self.omitted and settings != self.full else text

    def rule_of(self, settings: Mapping[str, Any]) -> str:
        """The rule of a run with these settings."""
        return words.filled(self.rule, self.fields(settings))

    def explanation_of(self, figures: Mapping[str, Figure]) -> str:
        """The explanation, with the figures of a run."""
        return words.filled(self.explanation, {"figure": words.Figures(figures)})

    def examination_of(self, figures: Mapping[str, Figure]) -> str:
        """The examination, with the figures of a run."""
        return words.filled(self.examination, {"figure": words.Figures(figures)})

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        """All arms with one seed."""
        raise NotImplementedError

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        """The verdict of one or more seeds' results."""
        raise NotImplementedError

    def plot(self, seeds: Sequence[Result]) -> Any:
        """A matplotlib figure made with `minidl.lab.plots`, readable without any text beside it."""
        raise NotImplementedError
