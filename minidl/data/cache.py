"""The cache: what was decoded or unpacked once, as arrays that are mapped into memory.

An entry is `<name>-<key>.npy` with a `.json` beside it, which says what it was made of. The .json
is written first, and each file whole or not at all: an entry that has both is complete, whoever was
killed, and two processes that make the same one write the same bytes. Entries can be made again,
so any of them may be removed at any time; who has one open keeps it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import atomic

# Imported where they are needed, since `import minidl` should not wait for them: hashlib, json,
# shutil, pooch.

__all__ = ["clear", "entries", "folder", "limit"]  # what users need

FORMAT = 1  # goes into all keys: another one makes all entries anew
ENTRIES = "prepared"  # the subfolder of entries; beside it lie downloaded files
UNITS = " kmgt"  # of 1000 bytes each more, or with an i of 1024
DEFAULT_LIMIT = "20 GB"


class Entry(NamedTuple):
    """An entry: its file, its bytes, when it was last used, and what it was made of."""

    path: str
    bytes: int
    used: float
    source: str


def folder() -> str:
    """The folder of the cache: MINIDL_CACHE, or `minidl` in the user's folder of caches.

    Downloaded data sets lie there too, in subfolders of their own.

    >>> isinstance(data.cache.folder(), str)
    True
    """
    if given := os.environ.get("MINIDL_CACHE"):
        return os.path.abspath(os.path.expanduser(given))
    import pooch

    return str(pooch.os_cache("minidl"))


def limit() -> int:
    """Bytes that all entries together may take: MINIDL_CACHE_LIMIT, such as "500 MB"; 20 GB.

    When an entry is made, those that were not used for longest go until the rest fits. The new one
    stays in any case. ValueError for a MINIDL_CACHE_LIMIT that is no number of bytes.

    >>> data.cache.limit() > 0
    True
    """
    given = os.environ.get("MINIDL_CACHE_LIMIT") or DEFAULT_LIMIT
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?))?b?\s*", given.lower())
    if match is None:
        raise ValueError(
            f"MINIDL_CACHE_LIMIT must be a number of bytes such as 500 MB or 20 GB, got {given!r}"
        )
    return int(float(match[1]) * (1024 if match[3] else 1000) ** UNITS.index(match[2] or " "))


def entries() -> list[Entry]:
    """The entries of the cache, the one that was not used for longest first: of each its `path`,
    `bytes`, when it was last `used` (seconds, as `time.time`), and its `source`.

    >>> sum(entry.bytes for entry in data.cache.entries()) >= 0
    True
    """
    found = []
    place = _entries_folder()
    for name in _names(place, ".npy"):
        path = os.path.join(place, name)
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            status = os.stat(path)
            about = _about(path) or {}
            found.append(
                Entry(path, status.st_size, status.st_mtime, str(about.get("source", "unknown")))
            )
    return sorted(found, key=lambda entry: (entry.used, entry.path))


def clear() -> int:
    """Remove all entries, and return how many bytes they took. What killed processes left half
    written goes, too; downloaded files stay.

    OSError where one cannot be removed.

    >>> data.cache.clear()  # doctest: +SKIP
    614400128
    """
    freed = 0
    for entry in entries():
        freed += _remove(entry)
    place = _entries_folder()
    for name in _names(place, ".json"):  # of an entry whose writer was killed
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(place, name))
    atomic.remove_leftovers(place)
    return freed


def key(*parts: Any) -> str:
    """A name for what the parts (numbers, strings, lists of them) determine."""
    import hashlib
    import json

    digest = hashlib.sha256(json.dumps([FORMAT, *parts]).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:32]


def load(name: str, key: str) -> tuple[np.ndarray, dict[str, Any]] | None:
    """The array of an entry, read-only and mapped into memory, and what is said about it; None
    where there is no such entry. It counts as used."""
    path = _path(name, key)
    with _explained(path):
        about = _about(path)
        if about is None:
            return None
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (FileNotFoundError, ValueError, EOFError):  # none, or not as it was written
            return None
    if array.dtype != np.uint8 or list(array.shape) != about.get("shape"):
        return None
    with contextlib.suppress(OSError):  # another user's
        os.utime(path)
    return array.view(np.ndarray), about


def store(
    name: str, key: str, rows: Iterable[np.ndarray], about: dict[str, Any], most: int = 0
) -> tuple[np.ndarray, dict[str, Any]]:
    """Make an entry of uint8 arrays (n, ...), which are asked for one by one and never held
    together, and load it.

    about: what is to be kept with it (a "source", for the list of entries), as JSON; it may be
           added to while `rows` runs
    most:  how many items there will be at most: room for them is made first

    OSError that says what to do where the folder cannot be written to or the disk is full.
    """
    import json

    path = _path(name, key)
    with _explained(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with atomic.replacing(path) as file:
            shape: tuple[int, ...] | None = None
            count = 0
            for row in rows:
                if shape is None:
                    shape = row.shape[1:]
                    _make_room(path, most * row[:1].nbytes)
                    _write_header(file, (most, *shape))
                file.write(np.ascontiguousarray(row, np.uint8).data)
                count += len(row)
            if shape is None:
                raise ValueError(f"nothing to store in {path}")
            file.seek(0)
            _write_header(file, (count, *shape))  # as long as the first: NumPy leaves room
            about = {**about, "shape": [count, *shape]}
            atomic.replace_file(_beside(path), json.dumps(about))
        _make_room(path, 0)
    loaded = load(name, key)
    if loaded is None:
        raise OSError(errno.EIO, "a file that was just written is gone or differs", path)
    return loaded


def _write_header(file: Any, shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    """Errors of the system about the cache say what one can do."""
    try:
        yield
    except OSError as error:
        place = os.path.dirname(path)
        named = None if error.filename is None else os.fsdecode(error.filename)
        if error.errno is None or (
            named is not None
            and named not in (path, _beside(path))
            and not os.path.abspath(place).startswith(named)
        ):
            raise
        hint = (
            "data.cache.clear() removes what is in it, the environment variable MINIDL_CACHE "
            "names another folder, cache=False does without"
        )
        raise OSError(
            error.errno, f"the cache cannot be used: {error.strerror} ({hint})", named or path
        ) from None


def _make_room(path: str, needed: int) -> None:
    """Remove what was not used for longest until the entry at `path`, with `needed` bytes to come,
    is within the limit and on the disk; OSError where the disk is too full for it all the same."""
    import shutil

    most = limit()
    others = [entry for entry in entries() if entry.path != path]
    size = needed or (os.path.getsize(path) if os.path.exists(path) else 0)
    total = size + sum(entry.bytes for entry in others)
    for entry in others:
        free = shutil.disk_usage(os.path.dirname(path)).free
        if total <= most and free >= needed:
            break
        with contextlib.suppress(OSError):  # open, on Windows
            total -= _remove(entry)
    free = shutil.disk_usage(os.path.dirname(path)).free
    if free < needed:
        raise OSError(
            errno.ENOSPC, f"{needed / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free", path
        )


def _remove(entry: Entry) -> int:
    """Remove the array first: an entry without it is none."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(entry.path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_beside(entry.path))
    return entry.bytes


def _entries_folder() -> str:
    return os.path.join(folder(), ENTRIES)


def _names(place: str, ending: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(place) if name.endswith(ending))
    except FileNotFoundError:
        return []


def _path(name: str, key: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:40]
    return os.path.join(_entries_folder(), f"{plain}-{key}.npy")


def _beside(path: str) -> str:
    return path.removesuffix(".npy") + ".json"


def _about(path: str) -> dict[str, Any] | None:
    import json

    try:
        with open(_beside(path), encoding="utf-8") as file:
            about = json.load(file)
    except (FileNotFoundError, ValueError):
        return None
    return about if isinstance(about, dict) else None
