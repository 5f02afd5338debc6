"""CIFAR-10, from the official binary batches: in a folder, or in the tar they come in.

A batch is a run of records of 3073 bytes: the label, then 32 x 32 bytes of red, of green and of
blue. A tar of any compression is read as a stream, once, and nothing of it is written to disk.
Source: https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import os

import numpy as np

from .dataset import ArrayDataset, describe
from .store import (
    CHUNK,
    DataFileError,
    Download,
    Match,
    check_split,
    locate,
    open_stream,
    read_up_to,
)

SIDE, CHANNELS = 32, 3
RECORD = 1 + CHANNELS * SIDE * SIDE
BATCHES = {
    "train": [f"data_batch_{number}.bin" for number in range(1, 6)],
    "test": ["test_batch.bin"],
}
FOLDER = "cifar-10-batches-bin"  # the one folder in the tar
TAR = "cifar-10-binary.t"  # .tar, .tar.gz, .tgz, .tar.xz ...

# A small compressed file can hold a batch larger than memory. The official ones have 10,000.
MAX_IMAGES = 1_000_000

DOWNLOAD = Download(
    "cifar-10-binary.tar.gz",
    "c32a1d4ab5d03f1284b67883e8d87530",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)


class CIFAR10(ArrayDataset):
    """Small colour pictures of ten kinds of things: 50,000 to train, 10,000 to test.

    root:  the folder that holds the batches (or `cifar-10-batches-bin/`, or the tar,
           `cifar-10-binary.tar` with any compression), or its parent (with `cifar10/`); then
           MINIDL_DATA, the user's cache and the network are searched
    split: "train" or "test"

    `.images` (N, 32, 32, 3) uint8, `.labels` (N,) int64, `.classes` ten names.
    A tar is decompressed each time, which takes seconds: unpack it to load in a fraction of one.
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
        self.split = check_split(split)
        names = BATCHES[split]
        paths = locate("CIFAR-10", "cifar10", lambda f: _match(f, names), [DOWNLOAD], root)
        if os.path.basename(paths[0]).startswith(TAR):
            batches = read_tar(paths[0], names)
        else:
            batches = [read_batch(path) for path in paths]
        super().__init__(*decode(batches), self.classes)

    def __repr__(self) -> str:
        return f"CIFAR10(split={self.split!r}, {describe(self.images, self.labels)})"


def read_batch(path: str) -> np.ndarray:
    """A file of N records as a uint8 array (N, 3073)."""
    return _records(np.fromfile(path, np.uint8), path)


def read_tar(path: str, names: list[str]) -> list[np.ndarray]:
    """The named batches of a tar, in the order of `names`, each a uint8 array (N, 3073).

    The folders in the tar are ignored, and so is all that is not one of the batches.
    """
    import tarfile

    batches: dict[str, np.ndarray] = {}
    with open_stream(path) as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r|", bufsize=CHUNK) as tar:
                for member in tar:
                    name = member.name.rpartition("/")[2]
                    if name not in names or not member.isreg():
                        continue
                    where = f"{path}: {member.name}"
                    if name in batches:
                        raise DataFileError(f"{where}: a second batch of this name")
                    if member.size > MAX_IMAGES * RECORD:
                        raise DataFileError(
                            f"{where}: {member.size} bytes, more than {MAX_IMAGES} images"
                        )
                    content = tar.extractfile(member)
                    assert content is not None  # a regular file has content
                    data = read_up_to(content, member.size)
                    batches[name] = _records(np.frombuffer(data, np.uint8), where)
            while stream.read(CHUNK):  # to the checksum at the end of a compressed stream
                pass
        except DataFileError:
            raise
        except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
            raise DataFileError(f"{path}: truncated, corrupt or not a tar: {error}") from error
    if missing := [name for name in names if name not in batches]:
        raise DataFileError(f"{path}: {', '.join(missing)} not in this tar")
    return [batches[name] for name in names]


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
        paths = [os.path.join(place, name) for name in names]
        found = [path for path in paths if os.path.isfile(path)]
        missing = [name for name in names if os.path.join(place, name) not in found]
        if not missing:
            return Match(found, [])
        if found:
            partial = Match(found, missing)
    if os.path.isdir(folder):
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            if name.startswith(TAR) and os.path.isfile(path):
                return Match([path], [])
    return partial
