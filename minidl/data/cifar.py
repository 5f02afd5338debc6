"""CIFAR-10, read from the official binary batches, in a folder or in the official tar.

A batch is a sequence of records of 3073 bytes: the label, then 32 x 32 bytes each of red, green and
blue. A tar of any compression is read as a stream, and only once: its contents are kept in the
cache. Source: https://www.cs.toronto.edu/~kriz/cifar.html.
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
FOLDER = "cifar-10-batches-bin"  # the folder in the tar
TAR = "cifar-10-binary.t"  # the prefix of .tar, .tar.gz, .tgz, .tar.xz ...

# This limit protects memory: a small compressed file can unpack to huge batches. The official
# batches have 10,000 images.
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
    """CIFAR-10: colour pictures of 32 x 32 pixels in ten classes, 50,000 for training and 10,000
    for testing.

    root:  a folder with the batches, with `cifar-10-batches-bin/` or with the tar,
           `cifar-10-binary.tar` in any compression; or the parent of such a folder `cifar10/`. If
           it is None or has no such files, they are searched in MINIDL_DATA and in the user's
           cache, and at last downloaded
    split: "train" or "test"

    `.images` (N, 32, 32, 3) uint8, `.labels` (N,) int64, `.classes` ten names. A tar is unpacked
    into the cache (`data.cache`) the first time, which takes seconds. A warning names a batch that
    differs from the official one. ValueError for another split; FileNotFoundError if the files
    cannot be found or downloaded; DataFileError (a ValueError) if a file is truncated, corrupt or
    of another format.
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
    """Read a file of N records as a uint8 array (N, 3073)."""
    return _records(np.fromfile(path, np.uint8, count=MAX_IMAGES * RECORD + 1), path)


def read_tar(path: str, names: list[str]) -> list[np.ndarray]:
    """Read the named batches of a tar, in the order of `names`, each as a uint8 array (N, 3073)."""
    return _chosen(read_batches(path, names), path, names)


def read_batches(path: str, names: list[str]) -> dict[str, np.ndarray]:
    """Read those of the named batches that a tar has. Returns uint8 arrays (N, 3073) by name.

    The folders in the tar are ignored, as are all other files.
    """
    batches: dict[str, np.ndarray] = {}
    with open_stream(path) as stream:
        for full_name, size in regular_files(stream):
            where = f"{path}: {full_name}"
            name = full_name.rpartition("/")[2]
            if name not in names:
                continue
            if name in batches:
                raise DataFileError(f"{where}: the tar has two batches of this name")
            if size > MAX_IMAGES * RECORD:
                raise DataFileError(f"{where}: {size} bytes, more than {MAX_IMAGES} images")
            content = read_up_to(stream, size)
            if len(content) < size:
                raise DataFileError(f"{where}: truncated after {len(content)} of {size} bytes")
            batches[name] = _records(np.frombuffer(content, np.uint8), where)
    return batches


def _chosen(batches: dict[str, np.ndarray], path: str, names: list[str]) -> list[np.ndarray]:
    if missing := [name for name in names if name not in batches]:
        raise DataFileError(f"{path}: the tar has no {', '.join(missing)}")
    return [batches[name] for name in names]


def _unpacked(path: str, names: list[str]) -> list[np.ndarray]:
    """Return the same as `read_tar`, by way of the cache, to which all batches of a tar are
    written."""
    status = os.stat(path)
    key = cache.key("cifar10", os.path.realpath(path), status.st_size, status.st_mtime_ns)
    try:
        loaded = cache.load("cifar-10", key)
    except (OSError, ImportError):  # the data set can be read without a cache as well
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
        warn(f"{path} will be unpacked again next time: {error}")
    return chosen


def decode(batches: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Convert records (N, 3073) of several batches to images (N, 32, 32, 3) and int64 labels
    (N,)."""
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
    """Find the batches in a folder, or else a tar of them, which takes longer to read."""
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
