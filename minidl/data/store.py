"""Where the files of a data set are found, and how their bytes are read.

A data set asks `locate` for its files: in `root`, in the folder that MINIDL_DATA names, in the
package itself, in the user's cache, and at last on the network (each download is checked
against the known hash). What the bytes mean is left to the reader of each format.

A small compressed file can unpack to more than memory holds. So there are limits, above what the
official files need: MAX_UNPACKED for the bytes that are read of one file, and those that each
reader says for the numbers of what is in it.
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
MAX_UNPACKED = 256 << 20  # the largest official one, CIFAR-10's tar, has 176 << 20

# What has been compared with the official hashes: path, size and time of change of a file, and
# the name of the part of it.
_compared: set[tuple[str, int, int, str]] = set()


class DataFileError(ValueError):
    """A data file is truncated, corrupt or not what its name says; the message names it. A
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
    """SHA-256 of an official file: as it is downloaded, and of what it unpacks to, where known.

    What it unpacks to is better compared: people unpack files, and compress them again.
    """

    packed: str
    unpacked: str | None


class Match(NamedTuple):
    """What a folder holds of the files looked for: full paths, and the names of the others."""

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

    dataset:   its name, for messages
    folder:    the folder that holds its files in MINIDL_DATA, the package and the cache
    match:     looks into one folder and says what is there and what is missing
    downloads: what to fetch, in order, where no place has the files
    root:      a folder that holds the files, or its parent; comes before all other places

    All files are taken from one place. FileNotFoundError where `root` does not exist, where a
    place holds only some of the files, or where they are nowhere to be had; PermissionError and
    IsADirectoryError where there is something that cannot be read. A `root` that holds none of
    the files gives a warning, since the data then come from elsewhere.
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
    """The first of the paths that is a file; None where none exists.

    What is no file, such as a folder that has a file's name, is an error: nobody should train
    with data from elsewhere because of it. So is a place that must not be searched.
    """
    odd = None
    for path in paths:
        try:
            mode = os.stat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISREG(mode):
            return path
        odd = odd or (path, stat.S_ISDIR(mode))
    if odd is None:
        return None
    path, is_folder = odd
    if is_folder:
        raise IsADirectoryError(errno.EISDIR, "expected a file, found a folder", path)
    raise OSError(errno.EINVAL, "expected a regular file, found something else", path)


def compare_with_official(path: str, name: str, content: Any, official: Official) -> None:
    """Warn where a file is not the official one; once for each file in a process.

    name:    which part of the file was read, for a tar; the file's own name otherwise
    content: the bytes that were read, unpacked

    A warning and no error: one may have data of one's own in the official format. The package's
    own files are not compared, nor is a file of which no hash is known as it is.
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
    """The files of the first place that has them; [] where none has any."""
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
    """The files of MNIST and Fashion-MNIST have the same names: the subfolder goes first."""
    if root is None:
        return []
    root = os.path.expanduser(root)
    if not os.path.exists(root):
        raise FileNotFoundError(f"root must be an existing folder; there is no {root!r}")
    if not os.path.isdir(root):
        raise NotADirectoryError(f"root must be a folder; {root!r} is a file")
    return [os.path.join(root, folder), root]


def _places_of_all(folder: str) -> list[str]:
    """Places that hold many data sets, each in its subfolder; the cache follows in `locate`."""
    data = os.environ.get("MINIDL_DATA")
    places = [os.path.join(os.path.expanduser(data), folder)] if data else []
    return [*places, os.path.join(PACKAGED, folder)]


def _fetch(downloads: Sequence[Download], cache: str) -> list[str]:
    """Download the files into the cache; return what went wrong, one line a URL.

    A file appears in the cache only when it is complete and its hash is right.
    """
    import pooch

    failures: list[str] = []
    for name, sha256, urls in downloads:
        for url in urls:
            try:
                pooch.retrieve(url, f"sha256:{sha256}", fname=name, path=cache)
                break
            except (OSError, ValueError) as error:  # OSError covers those of requests
                failures.append(f"{url}: {error}")
        else:
            break  # the others are of no use without this one
    return failures


class Stream:
    """What is read of a file, unpacked: a DataFileError after MAX_UNPACKED bytes."""

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
    """Open a file to read, decompressing gzip, bzip2 or xz as its first bytes say.

    The first bytes, not the name: some browsers decompress a file and keep its name.
    A damaged stream is a DataFileError wherever in the `with` block it shows, and so is one of
    which more than MAX_UNPACKED bytes are read.
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
        except MemoryError as error:  # xz says itself how much memory it wants
            raise DataFileError(f"{path}: needs more memory than there is") from error
        except OSError as error:
            if error.errno is not None:  # the system's, not the decompressor's
                raise
            raise DataFileError(f"{path}: truncated or corrupt: {error}") from error


def _decompressor(
    start: bytes,
) -> tuple[Callable[[IO[bytes]], AbstractContextManager[Any]], tuple[type[Exception], ...]]:
    """What opens a file that begins like this, and what it raises besides OSError on damage."""
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
    """Read `size` bytes, fewer where the stream ends before.

    In pieces: a size that a damaged header claims must not allocate memory at once.
    """
    data = bytearray()
    while len(data) < size and (piece := stream.read(min(CHUNK, size - len(data)))):
        data += piece
    return data
