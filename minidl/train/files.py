"""The files of checkpoints: a format version, a sum over all that is in them, and the last good one
of a folder."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..files import load, save
from ..ops.common import warn
from ..version import __version__

FORMAT = 1
LAST = "last.safetensors"
BEST = "best.safetensors"
_NEW = "new.safetensors"
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


class Damaged(ValueError):
    """A file that is no checkpoint, or no longer what was written."""


def write(path: str, state: dict[str, Any]) -> None:
    """Write the state of a training, whole or not at all. OSError names a disk that is full."""
    with naming_a_full_disk(path):
        save(path, {"format": FORMAT, "minidl": __version__, "sum": _sum(state), "state": state})


def read(path: str) -> dict[str, Any]:
    """The state in a checkpoint. Damaged (a ValueError) for a file that is none or is damaged,
    ValueError for one of a newer format; FileNotFoundError where there is no file."""
    try:
        content = load(path)
    except ValueError as error:
        raise Damaged(str(error)) from None
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise Damaged(f"{path} is no checkpoint of a training")
    if content["format"] > FORMAT:
        raise ValueError(
            f"{path} has the format {content['format']} of checkpoints, written by "
            f"minidl {content.get('minidl')}; this is minidl {__version__}, which "
            f"reads up to {FORMAT}"
        )
    if not isinstance(content.get("state"), dict) or content.get("sum") != _sum(content["state"]):
        raise Damaged(f"{path} is damaged: its content is not what was written")
    return content["state"]


def names(keep: int) -> list[str]:
    """The files of a folder, the newest first."""
    return [LAST, *(f"last-{i}.safetensors" for i in range(1, keep))]


def existing(folder: str) -> list[str]:
    """The paths of a folder's checkpoints, the newest first; after all others one that was complete
    when its process was killed, before it got its name."""
    older = [
        name
        for name in (os.listdir(folder) if os.path.isdir(folder) else ())
        if name.startswith("last-") and name[5:-12].isdigit() and name.endswith(".safetensors")
    ]
    ordered = [LAST, *sorted(older, key=lambda name: int(name[5:-12])), _NEW]
    return [path for name in ordered if os.path.exists(path := os.path.join(folder, name))]


def newest(folder: str) -> tuple[str, dict[str, Any]] | None:
    """(path, state) of a folder's newest good checkpoint; None if it has none.

    A warning names each newer one that is damaged; ValueError if all of them are.
    """
    bad = []
    for path in existing(folder):
        try:
            state = read(path)
        except Damaged as error:
            bad.append(str(error))
            continue
        for text in bad:
            warn(f"resume: {text}; {path}, the one before it, is used")
        return path, state
    if bad:
        raise ValueError(f"resume: every checkpoint in {folder} is damaged: {'; '.join(bad)}")
    return None


def push(folder: str, state: dict[str, Any], keep: int, alone: bool) -> str:
    """Write a folder's newest checkpoint; the ones before it become older by one, and only `keep`
    stay (with `alone` this one only). Returns its path.

    At every instant there is a good file under one of the names: the new one is complete before any
    name changes, and a hard link keeps the last one under its own name until it is replaced.
    """
    with naming_a_full_disk(folder):
        os.makedirs(folder, exist_ok=True)
    new, last = os.path.join(folder, _NEW), os.path.join(folder, LAST)
    try:
        write(new, state)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise
    paths = [os.path.join(folder, name) for name in names(keep)]
    if not alone:
        for older, newer in zip(paths[:1:-1], paths[-2:0:-1], strict=True):
            if os.path.exists(newer):
                os.replace(newer, older)
        if keep > 1 and os.path.exists(last):
            _copy_name(last, paths[1])
    os.replace(new, last)
    for path in existing(folder):
        if path not in paths[: 1 if alone else keep]:
            os.unlink(path)
    return last


def _copy_name(path: str, other: str) -> None:
    """Give a file another name too, in place of whatever has that; where the file system has no
    hard links, move it there."""
    link = f"{other}.link"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(link)
    try:
        os.link(path, link)
    except OSError:
        os.replace(path, other)
        return
    os.replace(link, other)
    with contextlib.suppress(FileNotFoundError):  # two names of one file: nothing was renamed
        os.unlink(link)


@contextlib.contextmanager
def naming_a_full_disk(path: str) -> Iterator[None]:
    """An OSError of a full disk says which, and that what was written before is still there."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        folder = os.path.dirname(os.path.abspath(path))
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        import shutil

        free = shutil.disk_usage(folder).free / 1e6
        raise OSError(
            error.errno,
            f"the disk of {folder} is full ({free:,.1f} MB are free): the "
            f"checkpoint is not written, the ones before it are kept",
            path,
        ) from None


def _sum(value: Any) -> str:
    """SHA-256 over a state: all arrays, numbers, texts, and how they are nested."""
    import hashlib  # it loads slowly

    found = hashlib.sha256()
    _feed(found, value)
    return found.hexdigest()


def _feed(found: Any, value: Any) -> None:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        found.update(f"array {value.dtype.name} {value.shape}".encode())
        found.update(np.ascontiguousarray(value).data)
    elif isinstance(value, Mapping):
        found.update(f"dict {len(value)}".encode())
        for key, inner in value.items():
            found.update(f"key {key}".encode())
            _feed(found, inner)
    elif isinstance(value, (list, tuple)):
        found.update(f"{'list' if isinstance(value, list) else 'tuple'} {len(value)}".encode())
        for inner in value:
            _feed(found, inner)
    else:
        found.update(f"{type(value).__name__} {value!r}".encode())
