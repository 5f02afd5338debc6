"""What was found: verdicts from the seeds' files, and `results.json`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence, Set
from typing import Any

from ..version import __version__
from . import store
from .experiment import Experiment, Judgement, Result
from .verdict import Verdict


@dataclasses.dataclass(frozen=True)
class Found:
    """The outcome of an experiment, and the seeds that it comes from."""

    experiment: Experiment
    judgement: Judgement
    provisional: bool
    seeds: Sequence[Result]
    settings: Mapping[str, Any]
    seconds: float                  # of all seeds
    machine: Mapping[str, str]
    error: str = ""                 # of seeds that crashed

    @property
    def verdict(self) -> Verdict:
        return self.judgement.verdict

    @property
    def as_expected(self) -> bool:
        """Whether the verdict is the one that the specification expects."""
        return self.verdict is self.experiment.expected

    def entry(self) -> dict[str, Any]:
        """The entry of `results.json`."""
        experiment = self.experiment
        return {
            "verdict": str(self.verdict), "provisional": self.provisional,
            "why": self.judgement.why, "figures": store.plain(self.judgement.figures),
            "claim": experiment.claim, "title": experiment.title, "rule": experiment.rule,
            "expected": str(experiment.expected), "paper": experiment.paper,
            "seeds": len(self.seeds), "settings": store.plain(self.settings),
            "seconds": round(self.seconds, 1), "machine": dict(self.machine),
            "minidl": __version__, **({"error": self.error} if self.error else {})}


def collect(folder: str, experiment: Experiment, quick: bool, count: int,
            missing: Set[str] = frozenset(), error: str = "") -> Found:
    """Judge an experiment by the files of its first `count` seeds."""
    settings = experiment.settings(quick)
    files = [found for seed in range(count)
             if (found := store.read_seed(folder, experiment, seed, settings)) is not None]
    seeds = [file["result"] for file in files]
    lacking = sorted(missing & set(experiment.needs))
    if seeds:
        judgement = experiment.judge(seeds)
    elif lacking:
        judgement = Judgement(Verdict.INCONCLUSIVE,
                              f"The data set {' and '.join(lacking)} is missing on this machine.",
                              {})
    else:
        judgement = Judgement(Verdict.INCONCLUSIVE,
                              "It crashed." if error else "It has not been run.", {})
    short = len(seeds) < experiment.seeds
    return Found(experiment, judgement, short or settings != experiment.settings(False), seeds,
                 settings, sum(file["seconds"] for file in files),
                 files[0]["machine"] if files else {}, error)


def write_results(folder: str, found: Mapping[str, Found]) -> None:
    """Write `results.json`: what was found, and the entries of others that are there already."""
    path = os.path.join(folder, store.RESULTS)
    entries = {**(store.read(path) or {}), **{id: one.entry() for id, one in found.items()}}
    store.write(path, dict(sorted(entries.items())))
