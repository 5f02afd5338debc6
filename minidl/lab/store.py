"""The files of the lab: one for each seed that is finished, and what follows from them.

    DIR/lab.json            whether the settings are the quick ones: a folder has one kind
    DIR/seeds/E18-0.json    what a seed has measured, with its settings and machine
    DIR/results.json        by id: verdict, provisional, why, figures, ...
    DIR/report.html, DIR/report.md, DIR/plots/E18.svg

JSON has no NaN and no infinity: in the files they are the texts "NaN", "Infinity", "-Infinity".
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
    """Make a folder, or go on with one, that nobody else works in meanwhile.

    ValueError where somebody does, where it holds results of the other kind, and where it is a
    file.
    """
    _check_folder(folder)
    os.makedirs(os.path.join(folder, SEEDS), exist_ok=True)
    with _alone(folder):
        path = os.path.join(folder, KIND)
        if not os.path.exists(path):
            write(path, {"quick": quick})
        if read_kind(folder) != quick:
            kinds = ("quick", "full") if quick else ("full", "quick")
            raise ValueError(
                f"lab: {folder!r} holds results of {kinds[1]} settings, which those "
                f"of {kinds[0]} ones would replace: give another --out"
            )
        yield


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Lock a folder, where folders can be locked; ValueError if somebody else has locked it. It is
    the folder that is locked, as the files in it are replaced by others of their names."""
    if sys.platform == "win32":
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ValueError(
            f"lab: another run works in {folder!r}; wait for it, or give another --out"
        ) from None
    except OSError:  # the file system knows no locks
        pass
    try:
        yield
    finally:
        os.close(handle)


def read_kind(folder: str) -> bool:
    """Whether a folder's settings are the quick ones; ValueError where it is none of the lab's."""
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
    """The seeds of an experiment that have a file."""
    try:
        names = os.listdir(os.path.join(folder, SEEDS))
    except FileNotFoundError:
        return []
    found = [re.fullmatch(rf"{re.escape(id)}-(\d+)\.json", name) for name in names]
    return sorted(int(match[1]) for match in found if match)


def seed_path(folder: str, id: str, seed: int) -> str:
    """The file of a seed."""
    return os.path.join(folder, SEEDS, f"{id}-{seed}.json")


def read_seed(
    folder: str, experiment: Experiment, seed: int, settings: Mapping[str, Any]
) -> dict[str, Any] | None:
    """What is stored of a seed that was run with these settings; None if nothing is, or a file that
    no run has written: such a seed is run again."""
    found = read(seed_path(folder, experiment.id, seed))
    return found if _whole(found) and found["settings"] == plain(settings) else None


def left_out(folder: str, experiment: Experiment, settings: Mapping[str, Any]) -> list[str]:
    """The files of seeds that do not count, and why: "E18-1.json is damaged"."""
    found = []
    for seed in seeds_of(folder, experiment.id):
        if read_seed(folder, experiment, seed, settings) is None:
            path = seed_path(folder, experiment.id, seed)
            why = "was run with other settings" if _whole(read(path)) else "is damaged"
            found.append(f"{os.path.basename(path)} {why}")
    return found


def read_results(folder: str) -> dict[str, dict[str, Any]]:
    """The entries of `results.json`; none where there is no such file, or what is none of them."""
    found = read(os.path.join(folder, RESULTS))
    return (
        {id: entry for id, entry in found.items() if isinstance(entry, dict)}
        if isinstance(found, dict)
        else {}
    )


def read(path: str) -> Any:
    """The content of a file; None where there is none that can be read, or a damaged one."""
    try:
        with open(path, encoding="utf-8") as file:
            return _numbers(json.load(file))
    except (OSError, ValueError):
        return None


def write(path: str, content: Any, indent: int | None = None) -> None:
    """Write a file, whole or not at all."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    text = json.dumps(_named(plain(content)), indent=indent, allow_nan=False)
    with replacing(path) as file:
        file.write((text + "\n").encode())


def plain(value: Any) -> Any:
    """The same of dicts, lists, texts and Python's numbers alone."""
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
        f"lab: a result must be numbers, texts, lists and dicts of them, got {type(value).__name__}"
    )


def _check_folder(folder: str) -> None:
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise ValueError(f"lab: --out must be a folder, and {folder!r} is a file")


def _whole(found: Any) -> bool:
    """Whether the content of a seed's file has all of its parts."""
    return isinstance(found, dict) and all(
        isinstance(found.get(name), kind) for name, kind in PARTS.items()
    )


def _named(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _named(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_named(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_numbers(part) for part in value]
    return NAMES.get(value, value) if isinstance(value, str) else value
