"""The cache of decoded pictures and unpacked archives, as memory-mapped arrays.

An entry is a file `<name>-<key>.npy` and a `.json` of the same name with its metadata, such as the
source. The .json is written first, and each file is written completely or not at all. So an entry
that has both files is complete even if its process was killed, and two processes that write the
same entry write the same bytes. All entries can be made again, so any of them may be removed at any
time; a process that has an entry open can still read it.
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

# hashlib, json, shutil and pooch are imported inside of functions to keep `import minidl` fast.

__all__ = ["clear", "entries", "folder", "limit"]  # the public functions

FORMAT = 1  # a part of all keys, so that another format invalidates all entries
ENTRIES = "prepared"  # the subfolder of entries; downloaded files are in other subfolders
UNITS = " kmgt"  # powers of 1000 bytes, or of 1024 with an i
DEFAULT_LIMIT = "20 GB"


class Entry(NamedTuple):
    """An entry of the cache: its file, its size in bytes, the time at which it was last used (in
    seconds, like `time.time`), and the path that it was made from."""

    path: str
    bytes: int
    used: float
    source: str


def folder() -> str:
    """Return the folder of the cache: MINIDL_CACHE, or `minidl` in the user's cache folder.

    Downloaded data sets are kept there as well, each in its own subfolder.

    >>> isinstance(data.cache.folder(), str)
    True
    """
    if given := os.environ.get("MINIDL_CACHE"):
        return os.path.abspath(os.path.expanduser(given))
    import pooch

    return str(pooch.os_cache("minidl"))


def limit() -> int:
    """Return the cache's limit in bytes: that of MINIDL_CACHE_LIMIT, such as "500 MB", or 20 GB.

    When an entry is added, the least recently used ones are removed until all fit. The new entry is
    kept in any case. ValueError if MINIDL_CACHE_LIMIT is not a number of bytes.

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
    """Return the entries of the cache, the least recently used first. Each has `path`, `bytes`,
    `used` (the time of its last use in seconds, like `time.time`) and `source`.

    >>> sum(entry.bytes for entry in data.cache.entries()) >= 0
    True
    """
    found = []
    place = _entries_folder()
    for name in _names(place, ".npy"):
        path = os.path.join(place, name)
        with contextlib.suppress(FileNotFoundError):  # another process may have removed it
            status = os.stat(path)
            about = _about(path) or {}
            found.append(
                Entry(path, status.st_size, status.st_mtime, str(about.get("source", "unknown")))
            )
    return sorted(found, key=lambda entry: (entry.used, entry.path))


def clear() -> int:
    """Remove all entries, and return their size in bytes. Incomplete files of killed processes are
    removed as well; downloaded files are kept.

    OSError if an entry cannot be removed.

    >>> data.cache.clear()  # doctest: +SKIP
    614400128
    """
    freed = 0
    for entry in entries():
        freed += _remove(entry)
    place = _entries_folder()
    for name in _names(place, ".json"):  # left by processes that were killed before the array
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(place, name))
    atomic.remove_leftovers(place)
    return freed


def key(*parts: Any) -> str:
    """Return the key of an entry that the parts (numbers, strings, lists of them) determine."""
    import hashlib
    import json

    digest = hashlib.sha256(json.dumps([FORMAT, *parts]).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:32]


def load(name: str, key: str) -> tuple[np.ndarray, dict[str, Any]] | None:
    """Return the array of an entry, read-only and memory-mapped, and its metadata; None if there is
    no such entry. The time of its last use is updated."""
    path = _path(name, key)
    with _explained(path):
        about = _about(path)
        if about is None:
            return None
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (FileNotFoundError, ValueError, EOFError):  # it is missing or damaged
            return None
    if array.dtype != np.uint8 or list(array.shape) != about.get("shape"):
        return None
    with contextlib.suppress(OSError):  # the file may belong to another user
        os.utime(path)
    return array.view(np.ndarray), about


def store(
    name: str, key: str, rows: Iterable[np.ndarray], about: dict[str, Any], most: int = 0
) -> tuple[np.ndarray, dict[str, Any]]:
    """Write an entry, and load it.

    rows:  uint8 arrays (n, ...), which are concatenated. They are written one by one, so that the
           whole does not have to fit into memory
    about: the metadata as JSON values, with a "source" for the list of entries. The caller may add
           to it while `rows` is iterated
    most:  an upper bound of the number of items, for which room is made first

    OSError, with a hint what to do, if the folder cannot be written to or the disk is full.
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
            # This header is as long as the first one: NumPy pads it for larger shapes.
            _write_header(file, (count, *shape))
            about = {**about, "shape": [count, *shape]}
            atomic.replace_file(_metadata_path(path), json.dumps(about))
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
    """Within the block, an OSError about the cache gets a hint what the user can do."""
    try:
        yield
    except OSError as error:
        place = os.path.dirname(path)
        named = None if error.filename is None else os.fsdecode(error.filename)
        if error.errno is None or (
            named is not None
            and named not in (path, _metadata_path(path))
            and not os.path.abspath(place).startswith(named)
        ):
            raise
        hint = (
            "data.cache.clear() empties it, the environment variable MINIDL_CACHE sets another "
            "folder, cache=False disables it"
        )
        raise OSError(
            error.errno, f"the cache cannot be used: {error.strerror} ({hint})", named or path
        ) from None


def _make_room(path: str, needed: int) -> None:
    """Remove the least recently used entries until the entry at `path` fits into the limit and onto
    the disk. `needed` is its size if it is not written yet, else 0. OSError if the disk is too
    full even without all other entries."""
    import shutil

    most = limit()
    others = [entry for entry in entries() if entry.path != path]
    size = needed or (os.path.getsize(path) if os.path.exists(path) else 0)
    total = size + sum(entry.bytes for entry in others)
    for entry in others:
        free = shutil.disk_usage(os.path.dirname(path)).free
        if total <= most and free >= needed:
            break
        with contextlib.suppress(OSError):  # Windows does not remove an open file
            total -= _remove(entry)
    free = shutil.disk_usage(os.path.dirname(path)).free
    if free < needed:
        raise OSError(
            errno.ENOSPC, f"{needed / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free", path
        )


def _remove(entry: Entry) -> int:
    """Remove an entry and return its size in bytes. The array goes first, because a lone .json does
    not count as an entry."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(entry.path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_metadata_path(entry.path))
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


def _metadata_path(path: str) -> str:
    return path.removesuffix(".npy") + ".json"


def _about(path: str) -> dict[str, Any] | None:
    """Return the metadata of an entry; None if they are missing or damaged."""
    import json

    try:
        with open(_metadata_path(path), encoding="utf-8") as file:
            about = json.load(file)
    except (FileNotFoundError, ValueError):
        return None
    return about if isinstance(about, dict) else None
