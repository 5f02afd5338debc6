"""Reading and writing the files of a results folder.

    DIR/lab.json            whether the folder has quick or full results; it never has both
    DIR/seeds/E18-0.json    the result of a finished seed, with its settings and machine
    DIR/results.json        the judged experiments by id: verdict, provisional, why, figures, ...
    DIR/report.html, DIR/report.md, DIR/plots/E18.svg

JSON has no NaN and no infinity, so they are written as the texts "NaN", "Infinity", "-Infinity".
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..atomic import replacing
from .experiment import Experiment

if sys.platform != "win32":
    import fcntl

SEEDS, RESULTS, KIND = "seeds", "results.json", "lab.json"
PARTS = {"settings": dict, "result": dict, "seconds": int | float, "minidl": str, "machine": dict}
NAMES = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@contextlib.contextmanager
def working(folder: str, quick: bool) -> Iterator[None]:
    """Create a results folder if there is none, and lock it within the `with` block.

    Raises ValueError if another run has locked it, if it has results of the other kind of settings
    (quick or full), or if it is a file.
    """
    _check_folder(folder)
    os.makedirs(os.path.join(folder, SEEDS), exist_ok=True)
    with _locked(folder):
        path = os.path.join(folder, KIND)
        if not os.path.exists(path):
            write(path, {"quick": quick})
        if read_kind(folder) != quick:
            kinds = ("quick", "full") if quick else ("full", "quick")
            raise ValueError(
                f"lab: {folder!r} has results of {kinds[1]} settings, which results of {kinds[0]} "
                f"settings would replace: give another --out"
            )
        yield


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Lock a folder within the `with` block, where the system can lock folders. Raises ValueError
    if another process has locked it. The lock is on the folder rather than on a file in it, because
    writing replaces the files by new ones, which would not be locked."""
    if sys.platform == "win32":
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ValueError(
            f"lab: another run is using {folder!r}; wait for it, or give another --out"
        ) from None
    except OSError:  # this file system does not support locks
        pass
    try:
        yield
    finally:
        os.close(handle)


def read_kind(folder: str) -> bool:
    """Return whether a folder has quick results. Raises ValueError if it is not a results folder
    of the lab."""
    _check_folder(folder)
    path = os.path.join(folder, KIND)
    if not os.path.exists(path):
        raise ValueError(
            f"lab: no experiment has been run in {folder!r}; "
            f"minidl lab run E18 --out {folder} runs one"
        )
    known = read(path)
    if not isinstance(known, dict) or not isinstance(known.get("quick"), bool):
        raise ValueError(
            f'lab: {path!r} is damaged: it must be {{"quick": true}}, or false for '
            f"results of full settings"
        )
    return bool(known["quick"])


def seeds_of(folder: str, id: str) -> list[int]:
    """Return the seeds of an experiment that have a file, sorted."""
    try:
        names = os.listdir(os.path.join(folder, SEEDS))
    except FileNotFoundError:
        return []
    found = [re.fullmatch(rf"{re.escape(id)}-(\d+)\.json", name) for name in names]
    return sorted(int(match[1]) for match in found if match)


def seed_path(folder: str, id: str, seed: int) -> str:
    """Return the path of the file of a seed."""
    return os.path.join(folder, SEEDS, f"{id}-{seed}.json")


def read_seed(
    folder: str, experiment: Experiment, seed: int, settings: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the content of a seed's file. Returns None, so that the seed is run again, if there is
    no file, if it is damaged, or if the seed was run with other settings."""
    found = read(seed_path(folder, experiment.id, seed))
    return found if _is_complete(found) and found["settings"] == plain(settings) else None


def left_out(folder: str, experiment: Experiment, settings: Mapping[str, Any]) -> list[str]:
    """Return which files of seeds are ignored, and why, such as "E18-1.json is damaged"."""
    found = []
    for seed in seeds_of(folder, experiment.id):
        if read_seed(folder, experiment, seed, settings) is None:
            path = seed_path(folder, experiment.id, seed)
            why = "was run with other settings" if _is_complete(read(path)) else "is damaged"
            found.append(f"{os.path.basename(path)} {why}")
    return found


def read_results(folder: str) -> dict[str, dict[str, Any]]:
    """Return the entries of `results.json`; {} if there is no readable file. A value that is not an
    entry is skipped."""
    found = read(os.path.join(folder, RESULTS))
    return (
        {id: entry for id, entry in found.items() if isinstance(entry, dict)}
        if isinstance(found, dict)
        else {}
    )


def read(path: str) -> Any:
    """Return the content of a JSON file; None if it cannot be read or is damaged."""
    try:
        with open(path, encoding="utf-8") as file:
            return _names_as_nonfinite(json.load(file))
    except (OSError, ValueError):
        return None


def write(path: str, content: Any, indent: int | None = None) -> None:
    """Write a JSON file. It is replaced at once, so that an interrupted run leaves the old file."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    text = json.dumps(_nonfinite_as_names(plain(content)), indent=indent, allow_nan=False)
    with replacing(path) as file:
        file.write((text + "\n").encode())


def plain(value: Any) -> Any:
    """Convert dataclasses, arrays and tuples to what JSON has: dicts, lists, texts and Python
    numbers. Raises TypeError for any other object."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"lab: a result must consist of numbers, texts, lists and dicts, got {type(value).__name__}"
    )


def _check_folder(folder: str) -> None:
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise ValueError(f"lab: --out must be a folder, but {folder!r} is a file")


def _is_complete(found: Any) -> bool:
    """Return whether the content of a seed's file has all of its parts, with their types."""
    return isinstance(found, dict) and all(
        isinstance(found.get(name), kind) for name, kind in PARTS.items()
    )


def _nonfinite_as_names(value: Any) -> Any:
    """Replace NaN and infinities by their names."""
    if isinstance(value, dict):
        return {key: _nonfinite_as_names(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_nonfinite_as_names(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


def _names_as_nonfinite(value: Any) -> Any:
    """Replace the names of NaN and infinities by the numbers."""
    if isinstance(value, dict):
        return {key: _names_as_nonfinite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_names_as_nonfinite(part) for part in value]
    return NAMES.get(value, value) if isinstance(value, str) else value
