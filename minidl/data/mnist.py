"""MNIST and Fashion-MNIST, read from the official idx files, with or without .gz.

An idx file has a magic number (0x08 for unsigned bytes, then the number of axes) and the length of
each axis, all as big-endian 32-bit integers, and then the bytes in C order.
Source: Y. LeCun, C. Cortes, C. Burges, http://yann.lecun.com/exdb/mnist/.

The hashes of the .gz files are the same as those published by TensorFlow Datasets. For the unpacked
files of Fashion-MNIST, no hashes are published.
"""

from __future__ import annotations

import math
import os

import numpy as np

from .. import checks
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

# This limit protects memory: a small compressed file can unpack to a huge number of items. The
# official files have at most 60,000.
MAX_ITEMS = 300_000

IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
PREFIX = {"train": "train", "test": "t10k"}


class _IdxDataset(ArrayDataset):
    """The base class of MNIST and Fashion-MNIST, which differ in names, hashes and URLs only."""

    classes: tuple[str, ...]
    _name: str
    _folder: str
    _urls: tuple[str, ...]  # the folders on the network that have the files
    _official: dict[str, Official]  # by the files' names without .gz

    def __init__(self, root: str | os.PathLike[str] | None = None, split: str = "train") -> None:
        self.split = checks.choice(split, type(self).__name__, "split", tuple(PREFIX))
        names = [f"{PREFIX[split]}-{IMAGES}", f"{PREFIX[split]}-{LABELS}"]
        official = [self._official[name] for name in names]
        downloads = [
            Download(f"{name}.gz", hashes.packed, tuple(f"{u}{name}.gz" for u in self._urls))
            for name, hashes in zip(names, official, strict=True)
        ]
        paths = locate(self._name, self._folder, lambda f: _match(f, names), downloads, root)
        images = read_images(paths[0], official[0])
        labels = read_labels(paths[1], len(self.classes), official[1])
        if len(images) != len(labels):
            raise DataFileError(
                f"{paths[0]} holds {len(images)} images but {paths[1]} {len(labels)} labels"
            )
        super().__init__(images, labels, self.classes)

    def __repr__(self) -> str:
        shapes = describe(self.images, self.labels)
        return f"{type(self).__name__}(split={self.split!r}, {shapes})"


class MNIST(_IdxDataset):
    """MNIST: handwritten digits of 28 x 28 pixels, 60,000 for training and 10,000 for testing. The
    package contains the files.

    root:  the folder that holds the files, or its parent (with `mnist/`). If it is None or has no
           such files, they are searched in MINIDL_DATA, in the package and in the user's cache, and
           at last downloaded
    split: "train" or "test"

    `.images` (N, 28, 28, 1) uint8, `.labels` (N,) int64, `.classes` "0" to "9". A warning names a
    file that differs from the official one. ValueError for another split; FileNotFoundError if the
    files cannot be found or downloaded; DataFileError (a ValueError) if a file is truncated,
    corrupt or of another format.
    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
    recognition", Proc. IEEE 86(11), 1998.

    >>> data.MNIST(split="test")
    MNIST(split='test', images (10000, 28, 28, 1) uint8, labels (10000,) int64)
    """

    classes = tuple("0123456789")
    _name = "MNIST"
    _folder = "mnist"
    _urls = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    )
    _official = {
        "train-images-idx3-ubyte": Official(
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        "train-labels-idx1-ubyte": Official(
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        "t10k-images-idx3-ubyte": Official(
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        "t10k-labels-idx1-ubyte": Official(
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    }


class FashionMNIST(_IdxDataset):
    """Fashion-MNIST: pictures of clothes in MNIST's format, 60,000 for training and 10,000 for
    testing.

    root:  the folder that holds the files, or its parent (with `fashion-mnist/`). If it is None or
           has no such files, they are searched in MINIDL_DATA and in the user's cache, and at last
           downloaded
    split: "train" or "test"

    `.images` (N, 28, 28, 1) uint8, `.labels` (N,) int64, `.classes` ten names. Warnings and errors
    are those of `MNIST`.
    Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST", arXiv:1708.07747, 2017.

    >>> data.FashionMNIST(split="test")  # doctest: +SKIP
    FashionMNIST(split='test', images (10000, 28, 28, 1) uint8, labels (10000,) int64)
    """

    classes = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    _name = "Fashion-MNIST"
    _folder = "fashion-mnist"
    _urls = (
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    )
    _official = {
        "train-images-idx3-ubyte": Official(
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", None
        ),
        "train-labels-idx1-ubyte": Official(
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", None
        ),
        "t10k-images-idx3-ubyte": Official(
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", None
        ),
        "t10k-labels-idx1-ubyte": Official(
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", None
        ),
    }


def read_images(path: str, official: Official | None = None) -> np.ndarray:
    """Read an idx file of N images of 28 x 28 bytes as a uint8 array (N, 28, 28, 1).

    If `official` is given, a warning says that the file differs from the official one.
    """
    content, count = _read_idx(path, (28, 28), official)
    return np.frombuffer(content, np.uint8, offset=16).reshape(count, 28, 28, 1).copy()


def read_labels(path: str, classes: int, official: Official | None = None) -> np.ndarray:
    """Read an idx file of N labels below `classes` as an int64 array (N,). The warning is that of
    `read_images`."""
    content, _ = _read_idx(path, (), official)
    labels = np.frombuffer(content, np.uint8, offset=8).astype(np.int64)
    if len(labels) and labels.max() >= classes:
        at = int(labels.argmax())
        raise DataFileError(
            f"{path}: label {labels[at]} of item {at}; labels are 0 to {classes - 1}"
        )
    return labels


def _read_idx(
    path: str, shape: tuple[int, ...], official: Official | None
) -> tuple[bytearray, int]:
    """Read an idx file whose items have the given shape. Returns its unpacked content, with the
    header, and the number of items."""
    expected = 0x0801 + len(shape)
    header_size = 8 + 4 * len(shape)
    with open_stream(path) as stream:
        content = read_up_to(stream, header_size)
        if len(content) < header_size:
            raise DataFileError(
                f"{path}: ends after {len(content)} bytes; an idx header here has {header_size}"
            )
        magic, count, *found = np.frombuffer(bytes(content), ">u4").tolist()
        if magic != expected:
            raise DataFileError(f"{path}: magic number {magic:#010x}, expected {expected:#010x}")
        if tuple(found) != shape:
            raise DataFileError(f"{path}: images of {found[0]} x {found[1]}, expected 28 x 28")
        if count > MAX_ITEMS:
            raise DataFileError(
                f"{path}: the header says {count} items, more than the limit of {MAX_ITEMS}"
            )
        size = count * math.prod(shape)
        # One byte more than expected is requested: it detects a file that is too long, and it makes
        # gzip read to the end of its stream, where it verifies the checksum.
        content += read_up_to(stream, size + 1)
    given = len(content) - header_size
    if given != size:
        what = "more" if given > size else f"only {given}"
        raise DataFileError(
            f"{path}: the header says {count} items of {math.prod(shape)} bytes, {size} in all; "
            f"the file holds {what}"
        )
    if official is not None:
        compare_with_official(path, os.path.basename(path), content, official)
    return content, count


def _match(folder: str, names: list[str]) -> Match:
    found, missing = [], []
    for name in names:
        path = os.path.join(folder, name)
        if file := first_file(path, f"{path}.gz"):
            found.append(file)
        else:
            missing.append(f"{name}[.gz]")
    return Match(found, missing)
