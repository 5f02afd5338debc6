"""The files of checkpoints: writing and reading them with a format version and a checksum, keeping
the newest few of a folder, and finding the newest undamaged one."""

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
    """The file is not a checkpoint, or its content is not what was written."""


def write(path: str, state: dict[str, Any]) -> None:
    """Write the state of a training, completely or not at all. OSError names a full disk."""
    with naming_a_full_disk(path):
        save(path, {"format": FORMAT, "minidl": __version__, "sum": _sum(state), "state": state})


def read(path: str) -> dict[str, Any]:
    """Return the state in a checkpoint. Damaged (a ValueError) if the file is damaged or not a
    checkpoint, ValueError if it has a newer format, FileNotFoundError if it does not exist."""
    try:
        content = load(path)
    except ValueError as error:
        raise Damaged(str(error)) from None
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise Damaged(f"{path} is not a checkpoint of a training")
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
    """Return the names of a folder's `keep` checkpoints, the newest first."""
    return [LAST, *(f"last-{i}.safetensors" for i in range(1, keep))]


def existing(folder: str) -> list[str]:
    """Return the paths of a folder's checkpoints, the newest first. The last one may be a temporary
    file, which a process that was killed had written but not yet renamed."""
    older = [
        name
        for name in (os.listdir(folder) if os.path.isdir(folder) else ())
        if name.startswith("last-") and name[5:-12].isdigit() and name.endswith(".safetensors")
    ]
    ordered = [LAST, *sorted(older, key=lambda name: int(name[5:-12])), _NEW]
    return [path for name in ordered if os.path.exists(path := os.path.join(folder, name))]


def newest(folder: str) -> tuple[str, dict[str, Any]] | None:
    """Return (path, state) of a folder's newest undamaged checkpoint; None if it has no checkpoint.

    A warning names each newer checkpoint that is damaged; ValueError if all are damaged.
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


def push(folder: str, state: dict[str, Any], keep: int, remove_older: bool) -> str:
    """Write a folder's newest checkpoint and return its path. Older checkpoints are renumbered, and
    all but the newest `keep` are removed (with `remove_older` all older ones).

    At every moment one of the names has a complete file: the new file is complete before any file
    is renamed, and a hard link keeps `last.safetensors` in place until it is replaced.
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
    if not remove_older:
        for older, newer in zip(paths[:1:-1], paths[-2:0:-1], strict=True):
            if os.path.exists(newer):
                os.replace(newer, older)
        if keep > 1 and os.path.exists(last):
            _link_or_move(last, paths[1])
    os.replace(new, last)
    for path in existing(folder):
        if path not in paths[: 1 if remove_older else keep]:
            os.unlink(path)
    return last


def _link_or_move(path: str, other: str) -> None:
    """Make `other` a hard link to the file at `path`, replacing what is there; move the file if the
    file system has no hard links."""
    link = f"{other}.link"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(link)
    try:
        os.link(path, link)
    except OSError:
        os.replace(path, other)
        return
    os.replace(link, other)
    # A rename does nothing if both names are links to the same file: the link is still there then.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(link)


@contextlib.contextmanager
def naming_a_full_disk(path: str) -> Iterator[None]:
    """Within the block, an OSError for a full disk names the disk and says that the checkpoints
    written before are kept."""
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
    """Return the SHA-256 of a state: of all arrays, numbers and strings, and of their nesting."""
    import hashlib  # imported here to keep `import minidl` fast

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
