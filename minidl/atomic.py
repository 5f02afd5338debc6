"""Files that are written whole or not at all: a process that is killed while it writes leaves the
old file as it was.

The content goes to a temporary file in the same folder, which is flushed to disk and renamed. The
temporary is locked while it is written, and a lock ends with its process. So the next writer can
tell a temporary that a killed process has left from one that another process is still writing.
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

if sys.platform != "win32":  # nobody can remove a file there that somebody has open
    import fcntl

BEGINNING = ".minidl-"  # how the names of temporaries begin

# Words for the kinds of files that cannot be replaced.
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def status(path: str | os.PathLike[str]) -> os.stat_result | None:
    """The status of a regular file, after following links; None if there is no such file.

    IsADirectoryError for a folder, OSError for a FIFO, socket or device and for links in a circle,
    PermissionError if a folder on the path cannot be searched; all of them name `path`.
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
    `open` would give it; a file that is replaced keeps its mode, and its owner and group where the
    system allows it. Its other hard links keep the old content, because the rename puts a new file
    in its place. Temporaries that a killed writer of this path has left are removed.

    Errors are those of `status`; FileNotFoundError, which names the folder that does not exist;
    PermissionError for a write-protected file or folder; and OSError for a full disk. All but
    FileNotFoundError name `path`. After an error the old file is there, untouched.
    """
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Do as `replace_file` does for content that is too large for memory: the block writes to a
    file, which takes the place of `path` when the block ends, and is removed if it ends with an
    error.

    Errors that name other files pass through as they are.
    """
    old = status(path)
    if os.fsdecode(path).endswith(os.sep):  # realpath would drop the separator
        raise IsADirectoryError(errno.EISDIR, "expected a file, not a folder", os.fspath(path))
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", folder)
    foreign: OSError | None = None
    try:
        if old is not None:  # the file may be write-protected although the folder is not
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
    """The beginning of the names of a file's temporaries.

    It holds a checksum of the file's name, because the name itself could make it too long.
    """
    return f"{BEGINNING}{zlib.crc32(os.fsencode(name)):08x}-"


@contextlib.contextmanager
def _written(target: str, prefix: str, old: os.stat_result | None) -> Iterator[IO[bytes]]:
    folder = os.path.dirname(target)
    remove_leftovers(folder, prefix)  # leftovers go first, because they may fill the disk
    # `open` applies the umask to 0o666: a process cannot read its umask without changing it. The
    # temporary for a private file is private from its first byte on.
    handle, temporary = _create(folder, prefix, 0o666 if old is None else 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            if old is not None:
                _take_owner_and_mode(handle, old)
            yield file
            file.flush()
            os.fsync(handle)
            if sys.platform == "win32":  # Windows does not rename an open file
                file.close()
            # The file is still locked here, else another writer could remove it as a leftover.
            os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def _create(folder: str, prefix: str, mode: int) -> tuple[int, str]:
    """Create a temporary file; return its handle, open and locked, and its path."""
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
        except OSError:  # a file system without locks; nobody takes the file for a leftover
            pass
        if not taken and os.path.exists(temporary):
            return handle, temporary
        os.close(handle)


def _lock(handle: int) -> None:
    """Lock an open file until it is closed; BlockingIOError if another has locked it.

    It uses `flock`, because a lock of `lockf` does not hold between the threads of one process.
    """
    if sys.platform != "win32":
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_leftovers(folder: str, prefix: str = BEGINNING) -> None:
    """Remove the temporaries of a folder that nobody writes any more. On Windows they stay, because
    it does not remove a file that is open."""
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        names = [name for name in os.listdir(folder) if name.startswith(prefix)]
    except (PermissionError, FileNotFoundError):  # a folder may be writable, but not readable
        return
    for name in names:
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError):  # the file is in use, another user's, or gone
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
        with contextlib.suppress(OSError):  # only the superuser gives files away
            os.fchown(handle, old.st_uid, -1)
    if new.st_gid != old.st_gid:
        try:
            os.fchown(handle, -1, old.st_gid)
        except OSError:
            # The new group must not get the rights of the old one: it gets those of everybody.
            mode = mode & 0o707 | (mode & 0o007) << 3
    with contextlib.suppress(PermissionError):  # a file system without modes
        os.fchmod(handle, mode)


def _sync_folder(folder: str) -> None:
    """Flush the rename itself, where folders can be opened and flushed."""
    if os.name != "posix":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder may be writable, but not readable
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
