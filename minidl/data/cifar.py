"""CIFAR-10, from the official binary batches: in a folder, or in the tar they come in.

A batch is a run of records of 3073 bytes: the label, then 32 x 32 bytes of red, of green and of
blue. A tar of any compression is read as a stream, once: what is in it is kept in the cache.
Source: https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import os

import numpy as np

from .. import checks
from ..ops.common import warn
from . import cache
from .dataset import ArrayDataset, describe
from .store import (
    DataFileError,
    Download,
    Match,
    Official,
    compare_with_official,
    first_file,
    locate,
    open_stream,
    read_up_to,
)
from .tar import regular_files

SIDE, CHANNELS = 32, 3
RECORD = 1 + CHANNELS * SIDE * SIDE
BATCHES = {
    "train": [f"data_batch_{number}.bin" for number in range(1, 6)],
    "test": ["test_batch.bin"],
}
FOLDER = "cifar-10-batches-bin"  # the one folder in the tar
TAR = "cifar-10-binary.t"  # .tar, .tar.gz, .tgz, .tar.xz ...

# A file of some megabytes can claim batches larger than memory. The official ones have 10,000.
MAX_IMAGES = 20_000

DOWNLOAD = Download(
    "cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)

# SHA-256 of the official batches.
OFFICIAL = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}


class CIFAR10(ArrayDataset):
    """Small colour pictures of ten kinds of things: 50,000 to train, 10,000 to test.

    root:  the folder that holds the batches (or `cifar-10-batches-bin/`, or the tar,
           `cifar-10-binary.tar` with any compression), or its parent (with `cifar10/`); then
           MINIDL_DATA, the user's cache and the network are searched
    split: "train" or "test"

    `.images` (N, 32, 32, 3) uint8, `.labels` (N,) int64, `.classes` ten names.
    A tar is unpacked once, into the cache (`data.cache`), which takes seconds.
    A warning where a batch differs from the official one.
    ValueError for another split; FileNotFoundError where the files cannot be had; DataFileError
    (a ValueError) where one is truncated, corrupt or of another format.
    Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.

    >>> data.CIFAR10(split="test")  # doctest: +SKIP
    CIFAR10(split='test', images (10000, 32, 32, 3) uint8, labels (10000,) int64)
    """

    classes: tuple[str, ...] = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )

    def __init__(self, root: str | os.PathLike[str] | None = None, split: str = "train") -> None:
        self.split = checks.choice(split, type(self).__name__, "split", tuple(BATCHES))
        names = BATCHES[split]
        paths = locate("CIFAR-10", "cifar10", lambda f: _match(f, names), [DOWNLOAD], root)
        if os.path.basename(paths[0]).startswith(TAR):
            batches = _unpacked(paths[0], names)
            paths = paths * len(names)
        else:
            batches = [read_batch(path) for path in paths]
        for path, name, batch in zip(paths, names, batches, strict=True):
            compare_with_official(path, name, batch, Official("", OFFICIAL[name]))
        super().__init__(*decode(batches), self.classes)

    def __repr__(self) -> str:
        return f"CIFAR10(split={self.split!r}, {describe(self.images, self.labels)})"


def read_batch(path: str) -> np.ndarray:
    """A file of N records as a uint8 array (N, 3073)."""
    return _records(np.fromfile(path, np.uint8, count=MAX_IMAGES * RECORD + 1), path)


def read_tar(path: str, names: list[str]) -> list[np.ndarray]:
    """The named batches of a tar, in the order of `names`, each a uint8 array (N, 3073)."""
    return _chosen(read_batches(path, names), path, names)


def read_batches(path: str, names: list[str]) -> dict[str, np.ndarray]:
    """Those of the named batches that are in a tar, by name, each a uint8 array (N, 3073).

    The folders in the tar are ignored, and so is all that is not one of the batches.
    """
    batches: dict[str, np.ndarray] = {}
    with open_stream(path) as stream:
        for full_name, size in regular_files(stream):
            where = f"{path}: {full_name}"
            name = full_name.rpartition("/")[2]
            if name not in names:
                continue
            if name in batches:
                raise DataFileError(f"{where}: a second batch of this name")
            if size > MAX_IMAGES * RECORD:
                raise DataFileError(f"{where}: {size} bytes, more than {MAX_IMAGES} images")
            content = read_up_to(stream, size)
            if len(content) < size:
                raise DataFileError(f"{where}: truncated after {len(content)} of {size} bytes")
            batches[name] = _records(np.frombuffer(content, np.uint8), where)
    return batches


def _chosen(batches: dict[str, np.ndarray], path: str, names: list[str]) -> list[np.ndarray]:
    if missing := [name for name in names if name not in batches]:
        raise DataFileError(f"{path}: {', '.join(missing)} not in this tar")
    return [batches[name] for name in names]


def _unpacked(path: str, names: list[str]) -> list[np.ndarray]:
    """`read_tar`, but all batches of a tar are read at once and kept in the cache."""
    status = os.stat(path)
    key = cache.key("cifar10", os.path.realpath(path), status.st_size, status.st_mtime_ns)
    try:
        loaded = cache.load("cifar-10", key)
    except (OSError, ImportError):  # no cache is no reason to have no data
        loaded = None
    if loaded is not None:
        records, about = loaded
        ends = np.cumsum([0, *about["counts"]])
        parts = {
            name: records[start:end]
            for name, start, end in zip(about["names"], ends[:-1], ends[1:], strict=True)
        }
        return _chosen(parts, path, names)
    batches = read_batches(path, [*BATCHES["train"], *BATCHES["test"]])
    chosen = _chosen(batches, path, names)
    counts = [len(batch) for batch in batches.values()]
    about = {"source": path, "names": list(batches), "counts": counts}
    try:
        cache.store("cifar-10", key, batches.values(), about, sum(counts))
    except (OSError, ImportError) as error:
        warn(f"{path} is unpacked again next time: {error}")
    return chosen


def decode(batches: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Records (N, 3073) of several batches as images (N, 32, 32, 3) and int64 labels (N,)."""
    count = sum(map(len, batches))
    images = np.empty((count, SIDE, SIDE, CHANNELS), np.uint8)
    labels = np.empty(count, np.int64)
    start = 0
    for batch in batches:
        stop = start + len(batch)
        labels[start:stop] = batch[:, 0]
        planes = batch[:, 1:].reshape(-1, CHANNELS, SIDE, SIDE)
        images[start:stop] = planes.transpose(0, 2, 3, 1)
        start = stop
    return images, labels


def _records(data: np.ndarray, where: str) -> np.ndarray:
    if len(data) > MAX_IMAGES * RECORD:
        raise DataFileError(f"{where}: more than {MAX_IMAGES} images")
    if len(data) == 0 or len(data) % RECORD:
        raise DataFileError(
            f"{where}: {len(data)} bytes; a batch has one or more records of {RECORD} bytes"
        )
    records = data.reshape(-1, RECORD)
    labels = records[:, 0]
    if labels.max() >= len(CIFAR10.classes):
        at = int(labels.argmax())
        raise DataFileError(f"{where}: label {labels[at]} of image {at}; labels are 0 to 9")
    return records


def _match(folder: str, names: list[str]) -> Match:
    """Batches go before a tar: they load faster."""
    partial = Match([], [*names[:-1], f"{names[-1]} (or {DOWNLOAD.name})"])
    for place in (folder, os.path.join(folder, FOLDER)):
        files = [first_file(os.path.join(place, name)) for name in names]
        missing = [name for name, file in zip(names, files, strict=True) if not file]
        found = [file for file in files if file]
        if not missing:
            return Match(found, [])
        if found:
            partial = Match(found, missing)
    if os.path.isdir(folder):
        tars = [name for name in sorted(os.listdir(folder)) if name.startswith(TAR)]
        if tar := first_file(*(os.path.join(folder, name) for name in tars)):
            return Match([tar], [])
    return partial
