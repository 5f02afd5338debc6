"""Files written whole or not at all: whoever is killed while writing leaves the old file as it was.

A file is written beside its place, flushed to disk and renamed. While it is written it is locked,
and a lock ends with its process: so the next writer can tell what a killed one has left behind
from what another is still writing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from typing import IO

if sys.platform != "win32":     # nobody can remove a file there that somebody has open
    import fcntl

BEGINNING = ".minidl-"      # of the names of temporaries

# What cannot be replaced by a file, in words.
_KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
          stat.S_IFBLK: "a device"}


def status(path: str | os.PathLike[str]) -> os.stat_result | None:
    """The status of a regular file, links followed; None where there is none.

    IsADirectoryError for a folder, OSError for a FIFO, socket or device and for links in a circle,
    PermissionError where a folder on the way cannot be searched; all of them name `path`.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "expected a file, found a folder", os.fspath(path))
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise OSError(errno.EINVAL, f"expected a regular file, found {kind}", os.fspath(path))
    return found


def replace_file(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write a file, or replace it, whole or not at all. Text is written as UTF-8.

    A symbolic link stays, and the file that it leads to is written. A new file has the mode that
    `open` would give it; one that is replaced keeps its mode, and its owner and group where the
    system lets it. Other hard links of it keep the old content: what is whole or not at all has
    to be another file. What a killed writer of this path left behind is removed.

    The errors of the system name `path`: as those of `status`, FileNotFoundError names the folder
    that does not exist, PermissionError for a write-protected file or folder, OSError for a full
    disk. After an error the old file is there, untouched.
    """
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """`replace_file` for what is too large to be held in memory: a file that takes the place of
    `path` when the block ends, and is removed when it ends with an error.

    Errors of other files, whose names they bear, pass through the block as they are.
    """
    old = status(path)
    if os.fsdecode(path).endswith(os.sep):      # as `open` does; realpath would drop it
        raise IsADirectoryError(errno.EISDIR, "expected a file, not a folder", os.fspath(path))
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", folder)
    foreign: OSError | None = None
    try:
        if old is not None:     # a folder that may be changed can hold a file that may not
            os.close(os.open(path, os.O_WRONLY))
        with _written(target, _prefix(name), old) as file:
            try:
                yield file
            except OSError as error:
                foreign = None if error.filename is None else error
                raise
    except OSError as error:
        if error.errno is None or error is foreign:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None


def _prefix(name: str) -> str:
    """How the names of a file's temporaries begin.

    The file's own name would make them longer than a name may be.
    """
    return f"{BEGINNING}{zlib.crc32(os.fsencode(name)):08x}-"


@contextlib.contextmanager
def _written(target: str, prefix: str, old: os.stat_result | None) -> Iterator[IO[bytes]]:
    folder = os.path.dirname(target)
    remove_leftovers(folder, prefix)       # first: they may be what fills the disk
    # The system applies the umask: a process cannot ask for its own without changing it. What
    # replaces a private file is private from its first byte on.
    handle, temporary = _create(folder, prefix, 0o666 if old is None else 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            if old is not None:
                _take_owner_and_mode(handle, old)
            yield file
            file.flush()
            os.fsync(handle)
            if sys.platform == "win32":     # does not rename an open file
                file.close()
            os.replace(temporary, target)       # still locked, or another would remove it
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def _create(folder: str, prefix: str, mode: int) -> tuple[int, str]:
    """A new file, open and locked, and its path."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        temporary = os.path.join(folder, prefix + os.urandom(8).hex())
        handle = os.open(temporary, flags, mode)
        # Another writer may have taken the file for a leftover before it was locked.
        taken = False
        try:
            _lock(handle)
        except BlockingIOError:
            taken = True
        except OSError:     # the file system knows no locks: nothing is taken for a leftover
            pass
        if not taken and os.path.exists(temporary):
            return handle, temporary
        os.close(handle)


def _lock(handle: int) -> None:
    """Lock an open file until it is closed; BlockingIOError if another has locked it.

    `flock`, not `lockf`: that would not keep the threads of one process apart.
    """
    if sys.platform != "win32":
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_leftovers(folder: str, prefix: str = BEGINNING) -> None:
    """Remove the temporaries of a folder that nobody writes any more. (Windows unlinks no file that
    is open: there they stay.)"""
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        names = [name for name in os.listdir(folder) if name.startswith(prefix)]
    except (PermissionError, FileNotFoundError):    # it may be writable, but not readable
        return
    for name in names:
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError):      # in use, another user's, or gone
            handle = os.open(path, flags)
            try:
                _lock(handle)
                os.unlink(path)
            finally:
                os.close(handle)


def _take_owner_and_mode(handle: int, old: os.stat_result) -> None:
    if sys.platform == "win32":
        return
    mode = stat.S_IMODE(old.st_mode) & 0o777
    new = os.fstat(handle)
    if new.st_uid != old.st_uid:
        with contextlib.suppress(OSError):      # only the superuser gives files away
            os.fchown(handle, old.st_uid, -1)
    if new.st_gid != old.st_gid:
        try:
            os.fchown(handle, -1, old.st_gid)
        except OSError:
            # The rights of the old group are not for the new one: it gets what everybody has.
            mode = mode & 0o707 | (mode & 0o007) << 3
    with contextlib.suppress(PermissionError):      # file systems without modes
        os.fchmod(handle, mode)


def _sync_folder(folder: str) -> None:
    """Flush the rename itself, where folders can be opened and flushed."""
    if os.name != "posix":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:     # a folder may be writable, but not readable
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
