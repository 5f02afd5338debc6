"""This module records how much each fuzzer has run on this machine, in build/fuzz/state.json, so
that the hours add up.
"""

import json
import os
import threading
from typing import Any

from .process import ROOT

PATH = ROOT / "build" / "fuzz" / "state.json"
_lock = threading.Lock()
_counted: dict[tuple[str, int], int] = {}  # the cases of this run that are in the file already


def read() -> dict[str, Any]:
    """Return {fuzzer: {"seconds", "cases", "seed"}}: the totals of all runs, and the next seed."""
    try:
        return dict(json.loads(PATH.read_text()))
    except (OSError, ValueError):
        return {}


def take_seed(fuzzer: str) -> int:
    """Return a seed that this fuzzer has not used on this machine."""
    with _lock:
        totals = read()
        own = totals.setdefault(fuzzer, {"seconds": 0.0, "cases": 0, "seed": 0})
        own["seed"] += 1
        _write(totals)
        return int(own["seed"] - 1)


def add(fuzzer: str, seconds: float, cases: int, seed: int) -> None:
    """Add the time and the number of cases that a run has reached so far."""
    with _lock:
        totals = read()
        own = totals.setdefault(fuzzer, {"seconds": 0.0, "cases": 0, "seed": 0})
        own["seconds"] += seconds
        own["cases"] += cases - _counted.get((fuzzer, seed), 0)
        _counted[fuzzer, seed] = cases
        _write(totals)


def table() -> str:
    """Return the totals as lines."""
    return "\n".join(
        f"{name:9} {own['seconds'] / 60:8.1f} minutes {own['cases']:10} cases in all"
        for name, own in sorted(read().items())
    )


def _write(totals: dict[str, Any]) -> None:
    PATH.parent.mkdir(parents=True, exist_ok=True)
    temporary = PATH.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(totals, indent=1))
    os.replace(temporary, PATH)
