"""The base class of all experiments: a claim, its test, the rule that judges it, and its plot.

Each file of `minidl.lab.experiments` defines one experiment, of this form:

    class Example(Experiment):
        id, title = "E99", "Bigger is better"
        ...                                     # texts: the claim, its source, the rule
        full, quick = {"sizes": [8, 64]}, {"sizes": [8, 16]}

        def run(self, seed, settings): ...      # trains all arms with one seed; returns numbers
        def judge(self, seeds): ...             # applies the rule to the numbers of all seeds
        def plot(self, seeds): ...              # draws these numbers
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from . import words
from .verdict import Interval, Verdict

Result = Mapping[str, Any]  # what `run` returns: numbers and texts, in lists and dicts
Figure = Interval | float | int | str | Sequence[float]


@dataclasses.dataclass(frozen=True)
class Judgement:
    """A verdict, the sentence that justifies it, and the measured figures.

    `figures` maps the names that the report prints to the figures. The verdict rests on the first
    ones; the others are additional information.
    """

    verdict: Verdict
    why: str
    figures: Mapping[str, Figure]


class Experiment:
    """A claim about batch normalization, and an experiment that can refute it.

    The text attributes are printed in the report. So that a text cannot contradict the run, its
    numbers are fields (see `words.filled`): `setup` and `rule` refer to the settings of the run, as
    in "{steps}", and `explanation` and `examination` to its figures, as in "{figure[name]}". A
    number that is written out in them comes from another trial.

    `run` trains all arms with one seed, so that they are paired: they see the same data in the same
    order, and start from the same weights where the shapes agree. Its result must be storable as
    JSON; NaN and infinity are allowed. `judge` and `plot` get only the results of the seeds, in the
    order of the seeds, so that they can be repeated without another training.
    """

    id: str  # "E18"
    title: str  # a few words
    claim: str  # the sentence that is judged
    notes: str  # the study notes that state the claim, by their letters in CLAIMS.md: "A, B"
    source: str  # the papers
    setup: str  # all that the verdict depends on: model, data, learning rates, steps
    omitted: str = ""  # a sentence on the parts of the set-up that --quick omits
    rule: str  # which figures lead to which verdict
    paper: str = "–"  # the figures that the papers report, for comparison
    expected: Verdict  # the verdict that the specification expects
    examination: str = ""  # how an unexpected verdict or figure was investigated
    explanation: str = ""  # a paragraph on what the experiment teaches
    needs: tuple[str, ...] = ()  # names of data sets: "mnist", "cifar10"
    minutes: float  # the time of one seed with the full settings on one thread
    seeds: int = 3
    quick_seeds: int = 2
    alone: bool = False  # whether it measures time, so that nothing may run at the same time
    full: Mapping[str, Any] = {}
    quick: Mapping[str, Any] = {}  # the settings in which --quick differs from `full`

    def settings(self, quick: bool) -> dict[str, Any]:
        """Return the settings of a run, full or quick."""
        return {**self.full, **(self.quick if quick else {})}

    def fields(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the values of the fields of `setup` and `rule`: the settings, and in subclasses
        what is computed from them."""
        return settings

    def setup_of(self, settings: Mapping[str, Any]) -> str:
        """Return the text of the set-up for a run with these settings, with what it omits."""
        text = words.filled(self.setup, self.fields(settings))
        return f"{text} {self.omitted}" if self.omitted and settings != self.full else text

    def rule_of(self, settings: Mapping[str, Any]) -> str:
        """Return the text of the rule for a run with these settings."""
        return words.filled(self.rule, self.fields(settings))

    def explanation_of(self, figures: Mapping[str, Figure]) -> str:
        """Return the text of the explanation with the figures of a run."""
        return words.filled(self.explanation, {"figure": words.Figures(figures)})

    def examination_of(self, figures: Mapping[str, Figure]) -> str:
        """Return the text of the examination with the figures of a run."""
        return words.filled(self.examination, {"figure": words.Figures(figures)})

    def run(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Train and measure all arms with one seed, and return the numbers."""
        raise NotImplementedError

    def judge(self, seeds: Sequence[Result]) -> Judgement:
        """Apply the rule to the results of one or more seeds."""
        raise NotImplementedError

    def plot(self, seeds: Sequence[Result]) -> Any:
        """Return a matplotlib figure made with `minidl.lab.plots`. It must be readable without the
        texts of the report."""
        raise NotImplementedError
