"""Find the files of a data set and read their bytes.

A data set calls `locate` to find its files: in `root`, in the folder that MINIDL_DATA names, in the
package, in the user's cache, and at last on the network (the hash of each download is verified).
Each format has its own reader, which interprets the bytes.

A small compressed file can unpack to more than fits into memory. Limits above the needs of the
official files protect against that: MAX_UNPACKED for the bytes that are read from one file, and
each reader's own limit for the number of items.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO, Any, NamedTuple

from .. import checks
from ..ops.common import warn
from .cache import folder as cache_folder

PACKAGED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "files")

CHUNK = 1 << 20
MAX_UNPACKED = 256 << 20  # the largest official file, CIFAR-10's tar, has 176 << 20

# The files that were compared with the official hashes: path, size, time of modification, and the
# name of the part in a tar.
_compared: set[tuple[str, int, int, str]] = set()


class DataFileError(ValueError):
    """A data file is truncated, corrupt or of another format; the message names the file. It is a
    ValueError.

    >>> issubclass(data.DataFileError, ValueError)
    True
    """


class Download(NamedTuple):
    """A file on the network: its name in the cache, its SHA-256 and the URLs to try in turn."""

    name: str
    sha256: str
    urls: tuple[str, ...]


class Official(NamedTuple):
    """The SHA-256 of an official file as it is downloaded, and of its unpacked content if known.

    Comparing the unpacked content is better, because users may unpack files or compress them anew.
    """

    packed: str
    unpacked: str | None


class Match(NamedTuple):
    """The result of a search in a folder: paths of the files found, and names of missing ones."""

    found: list[str]
    missing: list[str]


def locate(
    dataset: str,
    folder: str,
    match: Callable[[str], Match],
    downloads: Sequence[Download],
    root: str | os.PathLike[str] | None = None,
) -> list[str]:
    """Find the files of a data set and return their paths.

    dataset:   the name of the data set, for messages
    folder:    the subfolder with its files in MINIDL_DATA, in the package and in the cache
    match:     searches one folder and returns a Match
    downloads: the files to download, in order, if no folder has them
    root:      a folder that holds the files, or its parent; it is searched first

    All files are taken from the same folder. FileNotFoundError if `root` does not exist, if a
    folder has only some of the files, or if they cannot be found or downloaded; PermissionError and
    IsADirectoryError if something in a folder cannot be read. If `root` has none of the files, a
    warning says that they are searched elsewhere.
    """
    looked = _places_in_root(folder, None if root is None else checks.path(root, dataset, "root"))
    found = _search(dataset, match, looked)
    if found:
        return found
    if looked:
        warn(f"root {os.fspath(looked[-1])!r} holds no {dataset} files; searching other places")
    others = _places_of_all(folder)
    found = _search(dataset, match, others)
    if found:
        return found
    looked += others

    failures = []
    try:
        import pooch  # noqa: F401
    except ImportError:
        failures.append("the user cache and downloads need the package pooch (pip install pooch)")
    else:
        cache = os.path.join(cache_folder(), folder)
        looked.append(cache)
        if not match(cache).missing:
            return match(cache).found
        failures = _fetch(downloads, cache)
        if not match(cache).missing:
            return match(cache).found

    missing = match(looked[-1]).missing
    lines = [
        f"{dataset}: {', '.join(missing)} not found. Looked in:",
        *(f"  {place}" for place in looked),
        "Not downloaded:",
        *(f"  {failure}" for failure in failures),
        f"Put the files into a folder and give it as root, or into the folder {folder} of the "
        "folder that the environment variable MINIDL_DATA names. They come from:",
        *(f"  {download.urls[0]}" for download in downloads),
    ]
    raise FileNotFoundError("\n".join(lines))


def first_file(*paths: str) -> str | None:
    """Return the first of the paths that is a file; None if none exists.

    A path that is not a file, such as a folder with the file's name, raises an error: ignoring it
    would silently use data from elsewhere. A path that may not be accessed raises PermissionError.
    """
    not_a_file = None
    for path in paths:
        try:
            mode = os.stat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISREG(mode):
            return path
        not_a_file = not_a_file or (path, stat.S_ISDIR(mode))
    if not_a_file is None:
        return None
    path, is_folder = not_a_file
    if is_folder:
        raise IsADirectoryError(errno.EISDIR, "expected a file, found a folder", path)
    raise OSError(errno.EINVAL, "expected a regular file, found something else", path)


def compare_with_official(path: str, name: str, content: Any, official: Official) -> None:
    """Warn if a file is not the official one, once for each file in a process.

    name:    the name of the part that was read from a tar, or the name of the file
    content: the unpacked bytes that were read

    It is a warning and not an error, because users may have other data in the official format. The
    package's own files are not compared, nor are files for whose form no hash is known.
    """
    packed = official.unpacked is None
    if path.startswith(PACKAGED + os.sep) or (packed and not path.endswith(".gz")):
        return
    found = os.stat(path)
    key = (os.path.abspath(path), found.st_size, found.st_mtime_ns, name)
    if key in _compared:
        return
    _compared.add(key)
    import hashlib

    if packed:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    else:
        digest = hashlib.sha256(content)
    if digest.hexdigest() != (official.packed if packed else official.unpacked):
        part = "" if name == os.path.basename(path) else f": {name}"
        warn(f"{path}{part} differs from the official file (by its SHA-256)")


def _search(dataset: str, match: Callable[[str], Match], places: list[str]) -> list[str]:
    """Return the files of the first folder that has them; [] if no folder has any of them."""
    for place in places:
        found, missing = match(place)
        if not missing:
            return found
        if found:
            names = ", ".join(os.path.basename(path) for path in found)
            raise FileNotFoundError(
                f"{dataset}: {place} holds {names} but lacks {', '.join(missing)}"
            )
    return []


def _places_in_root(folder: str, root: str | None) -> list[str]:
    """Return the folders to search in `root`. The data set's subfolder comes first, because the
    files of MNIST and Fashion-MNIST have the same names."""
    if root is None:
        return []
    root = os.path.expanduser(root)
    if not os.path.exists(root):
        raise FileNotFoundError(f"root must be an existing folder; there is no {root!r}")
    if not os.path.isdir(root):
        raise NotADirectoryError(f"root must be a folder; {root!r} is a file")
    return [os.path.join(root, folder), root]


def _places_of_all(folder: str) -> list[str]:
    """Return the data set's folders in MINIDL_DATA and in the package; `locate` adds the cache."""
    data = os.environ.get("MINIDL_DATA")
    places = [os.path.join(os.path.expanduser(data), folder)] if data else []
    return [*places, os.path.join(PACKAGED, folder)]


def _fetch(downloads: Sequence[Download], cache: str) -> list[str]:
    """Download the files into the cache. Returns the errors, one line for each URL.

    A file appears in the cache only after it is complete and its hash is verified.
    """
    import pooch

    failures: list[str] = []
    for name, sha256, urls in downloads:
        for url in urls:
            try:
                pooch.retrieve(url, f"sha256:{sha256}", fname=name, path=cache)
                break
            except (OSError, ValueError) as error:  # the errors of requests are OSErrors
                failures.append(f"{url}: {error}")
        else:
            break  # the data set is unusable without this file, so the others are not fetched
    return failures


class Stream:
    """The unpacked content of a file; it raises a DataFileError after MAX_UNPACKED bytes."""

    def __init__(self, stream: IO[bytes], path: str) -> None:
        self._stream = stream
        self.path = path
        self.position = 0

    def read(self, size: int) -> bytes:
        piece = self._stream.read(size)
        self.position += len(piece)
        if self.position > MAX_UNPACKED:
            raise DataFileError(f"{self.path}: unpacks to more than {MAX_UNPACKED >> 20} MB")
        return piece


@contextmanager
def open_stream(path: str) -> Iterator[Stream]:
    """Open a file for reading, and decompress gzip, bzip2 or xz, detected by its first bytes.

    The name is not used, because some browsers decompress a file and keep its name. DataFileError,
    at any point of the `with` block, if the stream is damaged or more than MAX_UNPACKED bytes are
    read.
    """
    with open(path, "rb") as raw:
        start = raw.read(6)
        raw.seek(0)
        decompress, damage = _decompressor(start)
        try:
            with decompress(raw) as stream:
                yield Stream(stream, path)
        except damage as error:
            raise DataFileError(f"{path}: truncated or corrupt: {error}") from error
        except MemoryError as error:  # the header of an xz file demands an amount of memory
            raise DataFileError(f"{path}: needs more memory than there is") from error
        except OSError as error:
            if error.errno is not None:  # decompressors raise OSErrors without a number
                raise
            raise DataFileError(f"{path}: truncated or corrupt: {error}") from error


def _decompressor(
    start: bytes,
) -> tuple[Callable[[IO[bytes]], AbstractContextManager[Any]], tuple[type[Exception], ...]]:
    """Return the function that opens a file with these first bytes, and the errors besides OSError
    that it raises for a damaged file."""
    if start.startswith(b"\x1f\x8b"):
        import gzip
        import zlib

        return gzip.open, (EOFError, zlib.error)
    if start.startswith(b"BZh"):
        import bz2

        return bz2.open, (EOFError,)
    if start == b"\xfd7zXZ\x00":
        import lzma

        return lzma.open, (EOFError, lzma.LZMAError)
    return nullcontext, ()


def read_up_to(stream: Stream, size: int) -> bytearray:
    """Read `size` bytes, or fewer if the stream ends before.

    They are read in pieces, so that a wrong size in a damaged header does not allocate memory.
    """
    data = bytearray()
    while len(data) < size and (piece := stream.read(min(CHUNK, size - len(data)))):
        data += piece
    return data
