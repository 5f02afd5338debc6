"""Where the files of a data set are found, and how their bytes are read.

A data set asks `locate` for its files: in `root`, in the folder that MINIDL_DATA names, in the
package itself, in the user's cache, and at last on the network (each download is checked
against the known hash). What the bytes mean is left to the reader of each format.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO, Any, NamedTuple

PACKAGED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "files")

CHUNK = 1 << 20


class DataFileError(ValueError):
    """A data file is truncated, corrupt or not what its name says; the message names it. A
    ValueError.

    >>> issubclass(data.DataFileError, ValueError)
    True
    """


class Download(NamedTuple):
    """A file on the network: its name in the cache, its md5 and the URLs to try in turn."""

    name: str
    md5: str
    urls: tuple[str, ...]


class Match(NamedTuple):
    """What a folder holds of the files looked for: full paths, and the names of the others."""

    found: list[str]
    missing: list[str]


def check_split(split: str) -> str:
    """Return `split` if it is "train" or "test"; else ValueError."""
    if split not in ("train", "test"):
        raise ValueError(f'split must be "train" or "test", not {split!r}')
    return split


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
    place holds only some of the files, or where they are nowhere to be had. A `root` that holds
    none of them gives a warning, since the data then come from elsewhere.
    """
    looked = _places_in_root(folder, root)
    found = _search(dataset, match, looked)
    if found:
        return found
    if looked:
        warnings.warn(
            f"root {os.fspath(looked[-1])!r} holds no {dataset} files; searching other places",
            stacklevel=3,  # the line that makes the data set
        )
    others = _places_of_all(folder)
    found = _search(dataset, match, others)
    if found:
        return found
    looked += others

    failures = []
    try:
        import pooch
    except ImportError:
        failures.append("the user cache and downloads need the package pooch (pip install pooch)")
    else:
        cache = os.path.join(pooch.os_cache("minidl"), folder)
        looked.append(cache)
        if not match(cache).missing:
            return match(cache).found
        failures = _fetch(downloads, cache)
        if not match(cache).missing:
            return match(cache).found

    missing = match(looked[-1]).missing
    raise FileNotFoundError(
        "\n".join(
            [
                f"{dataset}: {', '.join(missing)} not found. Looked in:",
                *(f"  {place}" for place in looked),
                "Not downloaded:",
                *(f"  {failure}" for failure in failures),
                f"Put the files into a folder and give it as root, or into the folder {folder} of "
                "the folder that the environment variable MINIDL_DATA names. They come from:",
                *(f"  {download.urls[0]}" for download in downloads),
            ]
        )
    )


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


def _places_in_root(folder: str, root: str | os.PathLike[str] | None) -> list[str]:
    """The files of MNIST and Fashion-MNIST have the same names: the subfolder goes first."""
    if root is None:
        return []
    root = os.path.expanduser(os.fspath(root))
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
    for name, md5, urls in downloads:
        for url in urls:
            try:
                pooch.retrieve(url, f"md5:{md5}", fname=name, path=cache)
                break
            except (OSError, ValueError) as error:  # OSError covers those of requests
                failures.append(f"{url}: {error}")
        else:
            break  # the others are of no use without this one
    return failures


@contextmanager
def open_stream(path: str) -> Iterator[IO[bytes]]:
    """Open a file to read, decompressing gzip, bzip2 or xz as its first bytes say.

    The first bytes, not the name: some browsers decompress a file and keep its name.
    A damaged stream is a DataFileError wherever in the `with` block it shows.
    """
    with open(path, "rb") as raw:
        start = raw.read(6)
        raw.seek(0)
        decompress, damage = _decompressor(start)
        try:
            with decompress(raw) as stream:
                yield stream
        except damage as error:
            raise DataFileError(f"{path}: truncated or corrupt: {error}") from error
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


def read_up_to(stream: IO[bytes], size: int) -> bytearray:
    """Read `size` bytes, fewer where the stream ends before.

    In pieces: a size that a damaged header claims must not allocate memory at once.
    """
    data = bytearray()
    while len(data) < size and (piece := stream.read(min(CHUNK, size - len(data)))):
        data += piece
    return data
