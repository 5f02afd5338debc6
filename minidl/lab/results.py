"""What was found: verdicts from the seeds' files, and `results.json`."""

from __future__ import annotations

import dataclasses
import os
import traceback
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from . import store
from .experiment import Experiment, Judgement, Result
from .registry import all_experiments
from .verdict import Verdict


@dataclasses.dataclass(frozen=True)
class Found:
    """The outcome of an experiment, and the seeds that it comes from."""

    experiment: Experiment
    judgement: Judgement
    provisional: bool               # fewer seeds or smaller settings than the verdict needs
    seeds: Sequence[Result]
    settings: Mapping[str, Any]
    seconds: float                  # of all seeds, each in a process
    version: str                    # of minidl, that measured
    machine: Mapping[str, str]
    missing: Sequence[str] = ()     # data sets that it needs and that are not there
    error: str = ""                 # of seeds that crashed
    fault: str = ""                 # of its judgement or plot

    @property
    def verdict(self) -> Verdict:
        return self.judgement.verdict

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
            "minidl": self.version, **({"missing": list(self.missing)} if self.missing else {}),
            **({"error": self.error} if self.error else {})}


def collect(folder: str, experiment: Experiment, quick: bool, missing: Collection[str] = (),
            error: str = "") -> Found:
    """Judge an experiment by all of its seeds that are finished."""
    settings = experiment.settings(quick)
    files = [found for seed in store.seeds_of(folder, experiment.id)
             if (found := store.read_seed(folder, experiment, seed, settings)) is not None]
    seeds = [file["result"] for file in files]
    lacking = [name for name in experiment.needs if name in missing]
    judgement, fault = None, ""
    if seeds:
        try:
            judgement = experiment.judge(seeds)
        except ImportError:
            raise
        except Exception:       # a fault of one experiment is told, and ends no other
            fault = traceback.format_exc()
    if judgement is None:
        why = ("It crashed." if error or fault
               else f"The data set {' and '.join(lacking)} is missing on this machine." if lacking
               else "It has not been run.")
        judgement = Judgement(Verdict.INCONCLUSIVE, why, {})
    provisional = (len(seeds) < experiment.seeds
                   or store.plain(settings) != store.plain(experiment.settings(False)))
    first: dict[str, Any] = files[0] if files else {"minidl": "", "machine": {}}
    return Found(experiment, judgement, provisional, seeds, settings,
                 sum(file["seconds"] for file in files), first["minidl"], first["machine"],
                 lacking, error, fault)


def collect_all(folder: str) -> list[Found]:
    """All experiments of a folder, by the files that are there; ValueError where there are none."""
    quick = store.read_kind(folder)
    entries = store.read_results(folder)
    found = []
    for id, experiment in all_experiments().items():
        entry = entries.get(id, {})
        if entry or store.seeds_of(folder, id):
            found.append(collect(folder, experiment, quick, entry.get("missing", ()),
                                 entry.get("error", "")))
    if not found:
        raise ValueError(f"lab: no experiment has been run in {folder!r}; "
                         f"minidl lab run E18 --out {folder} runs one")
    return found


def write_results(folder: str, found: Mapping[str, Found]) -> None:
    """Write `results.json`: what was found, and the entries of others that are there already."""
    path = os.path.join(folder, store.RESULTS)
    entries = {**store.read_results(folder), **{id: one.entry() for id, one in found.items()}}
    store.write(path, dict(sorted(entries.items())), indent=1)
