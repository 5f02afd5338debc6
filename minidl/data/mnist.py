"""MNIST and Fashion-MNIST, from the official idx files, with or without .gz.

The idx format: a magic number (0x08 for unsigned bytes, then the number of axes), the length of
each axis, all big-endian 32-bit, then the bytes in C order.
Source: Y. LeCun, C. Cortes, C. Burges, http://yann.lecun.com/exdb/mnist/.
"""

from __future__ import annotations

import math
import os

import numpy as np

from .dataset import ArrayDataset, describe
from .store import DataFileError, Download, Match, check_split, locate, open_stream, read_up_to

IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
PREFIX = {"train": "train", "test": "t10k"}


class _IdxDataset(ArrayDataset):
    """What MNIST and Fashion-MNIST share: everything but the names, hashes and sources."""

    classes: tuple[str, ...]
    _name: str
    _folder: str
    _urls: tuple[str, ...]  # folders of the sources
    _md5: dict[str, str]  # of the files with .gz, as the sources have them

    def __init__(self, root: str | os.PathLike[str] | None = None, split: str = "train") -> None:
        self.split = check_split(split)
        names = [f"{PREFIX[split]}-{IMAGES}", f"{PREFIX[split]}-{LABELS}"]
        downloads = [
            Download(f"{name}.gz", self._md5[name], tuple(f"{url}{name}.gz" for url in self._urls))
            for name in names
        ]
        paths = locate(self._name, self._folder, lambda f: _match(f, names), downloads, root)
        images, labels = (read_images(paths[0]), read_labels(paths[1], len(self.classes)))
        if len(images) != len(labels):
            raise DataFileError(
                f"{paths[0]} holds {len(images)} images but {paths[1]} {len(labels)} labels"
            )
        super().__init__(images, labels, self.classes)

    def __repr__(self) -> str:
        shapes = describe(self.images, self.labels)
        return f"{type(self).__name__}(split={self.split!r}, {shapes})"


class MNIST(_IdxDataset):
    """Handwritten digits: 60,000 to train, 10,000 to test; they ship with the package.

    root:  the folder that holds the files, or its parent (with `mnist/`); then MINIDL_DATA,
           the package, the user's cache and the network are searched
    split: "train" or "test"

    `.images` (N, 28, 28, 1) uint8, `.labels` (N,) int64, `.classes` "0" to "9".
    ValueError for another split; FileNotFoundError where the files cannot be had; DataFileError
    (a ValueError) where one is truncated, corrupt or of another format.
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
        "http://yann.lecun.com/exdb/mnist/",
    )
    _md5 = {
        "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
    }


class FashionMNIST(_IdxDataset):
    """Pictures of clothes in MNIST's format: 60,000 to train, 10,000 to test.

    root:  the folder that holds the files, or its parent (with `fashion-mnist/`); then
           MINIDL_DATA, the user's cache and the network are searched
    split: "train" or "test"

    `.images` (N, 28, 28, 1) uint8, `.labels` (N,) int64, `.classes` ten names. Errors as MNIST's.
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
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    )
    _md5 = {
        "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
    }


def read_images(path: str) -> np.ndarray:
    """An idx file of N images of 28 x 28 bytes as a uint8 array (N, 28, 28, 1)."""
    data, count = _read_idx(path, (28, 28))
    return np.frombuffer(data, np.uint8).reshape(count, 28, 28, 1).copy()


def read_labels(path: str, classes: int) -> np.ndarray:
    """An idx file of N labels below `classes` as an int64 array (N,)."""
    data, _ = _read_idx(path, ())
    labels = np.frombuffer(data, np.uint8).astype(np.int64)
    if len(labels) and labels.max() >= classes:
        at = int(labels.argmax())
        raise DataFileError(
            f"{path}: label {labels[at]} of item {at}; labels are 0 to {classes - 1}"
        )
    return labels


def _read_idx(path: str, shape: tuple[int, ...]) -> tuple[bytearray, int]:
    """The bytes of an idx file whose items have the given shape, and the number of items."""
    expected = 0x0801 + len(shape)
    header_size = 8 + 4 * len(shape)
    with open_stream(path) as stream:
        header = read_up_to(stream, header_size)
        if len(header) < header_size:
            raise DataFileError(
                f"{path}: ends after {len(header)} bytes; an idx header here has {header_size}"
            )
        magic, count, *found = np.frombuffer(header, ">u4").tolist()
        if magic != expected:
            raise DataFileError(f"{path}: magic number {magic:#010x}, expected {expected:#010x}")
        if tuple(found) != shape:
            raise DataFileError(f"{path}: images of {found[0]} x {found[1]}, expected 28 x 28")
        size = count * math.prod(shape)
        # One byte more than there should be: it shows a longer file, and the end of a gzip
        # stream, where its checksum stands, is reached.
        data = read_up_to(stream, size + 1)
    if len(data) != size:
        what = "more" if len(data) > size else f"only {len(data)}"
        raise DataFileError(
            f"{path}: {count} items of {math.prod(shape)} bytes announced, {size} in all; "
            f"the file holds {what}"
        )
    return data, count


def _match(folder: str, names: list[str]) -> Match:
    found, missing = [], []
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            found.append(path)
        elif os.path.isfile(f"{path}.gz"):
            found.append(f"{path}.gz")
        else:
            missing.append(f"{name}[.gz]")
    return Match(found, missing)
