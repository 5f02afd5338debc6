"""Judging experiments from the files of their seeds, and writing `results.json`."""

from __future__ import annotations

import dataclasses
import os
import traceback
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from . import store, words
from .experiment import Experiment, Judgement, Result
from .registry import all_experiments
from .verdict import Interval, Verdict


@dataclasses.dataclass(frozen=True)
class Found:
    """The outcome of an experiment, and the seeds that it comes from."""

    experiment: Experiment
    judgement: Judgement
    provisional: bool  # whether it has fewer seeds or smaller settings than a verdict needs
    seeds: Sequence[Result]
    settings: Mapping[str, Any]
    seconds: float  # the total time of all seeds
    version: str  # the version of minidl that ran the seeds
    machine: Mapping[str, str]
    missing: Sequence[str] = ()  # data sets that the experiment needs and this machine lacks
    error: str = ""  # what the processes of crashed seeds have written to stderr
    fault: str = ""  # the traceback of an exception in its `judge` or `plot`
    left_out: Sequence[str] = ()  # the files of seeds that are ignored, each with the reason

    @property
    def verdict(self) -> Verdict:
        return self.judgement.verdict

    @property
    def surprising(self) -> bool:
        """Whether the verdict differs from the one that the specification expects."""
        return self.verdict is not self.experiment.expected

    @property
    def setup(self) -> str:
        """The set-up with the settings of this run."""
        return self.experiment.setup_of(self.settings)

    @property
    def rule(self) -> str:
        """The rule with the settings of this run."""
        return self.experiment.rule_of(self.settings)

    @property
    def settings_line(self) -> str:
        """The settings of this run and its number of seeds, in one line."""
        settings = words.listed(self.settings)
        return "; ".join(filter(None, (settings, words.counted(len(self.seeds), "seed"))))

    @property
    def explanation(self) -> str:
        """The explanation with the figures of this run; empty if there are no figures."""
        figures = self.judgement.figures
        return self.experiment.explanation_of(figures) if figures else ""

    @property
    def examination(self) -> str:
        """How an unexpected verdict was examined. A surprising run whose experiment has no such
        text gets a standard one, so that no surprise is passed over in silence."""
        text = self.experiment.examination_of(self.judgement.figures)
        if text or not (self.surprising and self.seeds):
            return text
        expected = str(self.experiment.expected).lower()
        if self.provisional:
            return (
                f"The expected verdict was {expected}. With these settings or so few seeds the "
                f"verdict is provisional, and it has not been examined. The verdict that counts is "
                f"that of `minidl lab run {self.experiment.id}`."
            )
        return (
            f"The expected verdict was {expected}, which is also what the run gave for which these "
            "texts were written. This run differs from it in its seeds, machine or version, which "
            "are listed with it."
        )

    def entry(self) -> dict[str, Any]:
        """Return the entry of this experiment in `results.json`."""
        experiment = self.experiment
        return {
            "verdict": str(self.verdict),
            "provisional": self.provisional,
            "why": self.judgement.why,
            "figures": store.plain(self.judgement.figures),
            "claim": experiment.claim,
            "title": experiment.title,
            "rule": self.rule,
            "expected": str(experiment.expected),
            "paper": experiment.paper,
            "seeds": len(self.seeds),
            "settings": store.plain(self.settings),
            "seconds": round(self.seconds, 1),
            "machine": dict(self.machine),
            "minidl": self.version,
            **({"missing": list(self.missing)} if self.missing else {}),
            **({"error": self.error} if self.error else {}),
            **({"left out": list(self.left_out)} if self.left_out else {}),
        }


def collect(
    folder: str, experiment: Experiment, quick: bool, missing: Collection[str] = (), error: str = ""
) -> Found:
    """Judge an experiment by all of its finished seeds in a folder."""
    settings = experiment.settings(quick)
    files = [
        found
        for seed in store.seeds_of(folder, experiment.id)
        if (found := store.read_seed(folder, experiment, seed, settings)) is not None
    ]
    left_out = store.left_out(folder, experiment, settings)
    seeds = [file["result"] for file in files]
    lacking = [name for name in experiment.needs if name in missing]
    judgement, fault = None, ""
    if seeds:
        try:
            judgement = _of_one(experiment.judge(seeds), len(seeds))
        except ImportError:
            raise
        except Exception:  # the report shows the error; the other experiments go on
            fault = traceback.format_exc()
    if judgement is None:
        why = (
            "It crashed."
            if error or fault
            else f"The data set {' and '.join(lacking)} is missing on this machine."
            if lacking
            else f"There is no usable seed: {'; '.join(left_out)}."
            if left_out
            else "It has not been run."
        )
        judgement = Judgement(Verdict.INCONCLUSIVE, why, {})
    provisional = len(seeds) < experiment.seeds or store.plain(settings) != store.plain(
        experiment.settings(False)
    )
    first: dict[str, Any] = files[0] if files else {"minidl": "", "machine": {}}
    return Found(
        experiment,
        judgement,
        provisional,
        seeds,
        settings,
        sum(file["seconds"] for file in files),
        first["minidl"],
        first["machine"],
        lacking,
        error,
        fault,
        left_out,
    )


def _of_one(judgement: Judgement, count: int) -> Judgement:
    """Return the judgement. If it is inconclusive only because there is one seed, it says so."""
    if (
        count == 1
        and judgement.verdict is Verdict.INCONCLUSIVE
        and any(isinstance(figure, Interval) for figure in judgement.figures.values())
    ):
        return dataclasses.replace(
            judgement, why=f"{judgement.why} A verdict needs an interval, and one seed gives none."
        )
    return judgement


def collect_all(folder: str) -> list[Found]:
    """Judge all experiments that have files in a folder. Raises ValueError if there are none."""
    quick = store.read_kind(folder)
    entries = store.read_results(folder)
    found = []
    for id, experiment in all_experiments().items():
        entry = entries.get(id, {})
        if entry or store.seeds_of(folder, id):
            found.append(
                collect(folder, experiment, quick, entry.get("missing", ()), entry.get("error", ""))
            )
    if not found:
        raise ValueError(
            f"lab: no experiment has been run in {folder!r}; "
            f"minidl lab run E18 --out {folder} runs one"
        )
    return found


def write_results(folder: str, found: Mapping[str, Found]) -> None:
    """Write `results.json`. Entries of experiments that are not in `found` are kept."""
    path = os.path.join(folder, store.RESULTS)
    entries = {**store.read_results(folder), **{id: one.entry() for id, one in found.items()}}
    store.write(path, dict(sorted(entries.items())), indent=1)
