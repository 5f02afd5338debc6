"""What was found: verdicts from the seeds' files, and `results.json`."""

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
    provisional: bool  # fewer seeds or smaller settings than the verdict needs
    seeds: Sequence[Result]
    settings: Mapping[str, Any]
    seconds: float  # of all seeds, each in a process
    version: str  # of minidl, that measured
    machine: Mapping[str, str]
    missing: Sequence[str] = ()  # data sets that it needs and that are not there
    error: str = ""  # of seeds that crashed
    fault: str = ""  # of its judgement or plot
    left_out: Sequence[str] = ()  # files of seeds that do not count, and why

    @property
    def verdict(self) -> Verdict:
        return self.judgement.verdict

    @property
    def surprising(self) -> bool:
        """Whether the verdict is another than the specification expects."""
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
        """The settings themselves, and the seeds."""
        settings = words.listed(self.settings)
        return "; ".join(filter(None, (settings, words.counted(len(self.seeds), "seed"))))

    @property
    def explanation(self) -> str:
        """What one learns, with the figures of this run; nothing where it has none."""
        figures = self.judgement.figures
        return self.experiment.explanation_of(figures) if figures else ""

    @property
    def examination(self) -> str:
        """What was looked at where the verdict is another than expected: it is never silent."""
        text = self.experiment.examination_of(self.judgement.figures)
        if text or not (self.surprising and self.seeds):
            return text
        expected = str(self.experiment.expected).lower()
        if self.provisional:
            return (
                f"Expected was {expected}. With these settings or so few seeds this verdict is "
                f"provisional, and was not looked into; that of "
                f"`minidl lab run {self.experiment.id}` counts."
            )
        return (
            f"Expected was {expected}, and so it came out where these texts were written: what "
            "is different here, seeds, machine or version, stands beside it."
        )

    def entry(self) -> dict[str, Any]:
        """The entry of `results.json`."""
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
    """Judge an experiment by all of its seeds that are finished."""
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
        except Exception:  # a fault of one experiment is told, and ends no other
            fault = traceback.format_exc()
    if judgement is None:
        if error or fault:
            why = "It crashed."
        elif lacking:
            why = f"The data set {' and '.join(lacking)} is missing on this machine."
        elif left_out:
            why = f"No seed counts: {'; '.join(left_out)}."
        else:
            why = "It has not been run."
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
    """The judgement, which says why one seed does not decide where that is so."""
    if (
        count == 1
        and judgement.verdict is Verdict.INCONCLUSIVE
        and any(isinstance(figure, Interval) for figure in judgement.figures.values())
    ):
        return dataclasses.replace(
            judgement,
            why=f"{judgement.why} One seed gives no interval, without which there is no verdict.",
        )
    return judgement


def collect_all(folder: str) -> list[Found]:
    """All experiments of a folder, by the files that are there; ValueError where there are none."""
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
    """Write `results.json`: what was found, and the entries of others that are there already."""
    path = os.path.join(folder, store.RESULTS)
    entries = {**store.read_results(folder), **{id: one.entry() for id, one in found.items()}}
    store.write(path, dict(sorted(entries.items())), indent=1)
