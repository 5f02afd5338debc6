"""These tests read MNIST and Fashion-MNIST from real, made-up and damaged files."""

import gzip
import hashlib
import struct

import numpy as np
import pytest

from minidl.data import MNIST, DataFileError, FashionMNIST
from minidl.data.mnist import read_images, read_labels
from tests.support.data_files import idx, write_mnist

# Files that are made up differ from the official ones.
pytestmark = pytest.mark.filterwarnings("ignore:.* differs from the official file")

COUNTS = {
    "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
}
# The md5 of the official files without .gz: images, labels.
MD5 = {
    "train": ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
    "test": ("2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
}


@pytest.fixture(scope="module", params=["train", "test"])
def shipped(request):
    return MNIST(split=request.param)


def test_shipped_mnist_is_the_official_one(shipped):
    images, labels = MD5[shipped.split]
    assert hashlib.md5(idx(shipped.images[..., 0])).hexdigest() == images
    assert hashlib.md5(idx(shipped.labels)).hexdigest() == labels
    assert np.bincount(shipped.labels).tolist() == COUNTS[shipped.split]


def test_arrays(shipped):
    count = sum(COUNTS[shipped.split])
    assert len(shipped) == count
    assert shipped.images.shape == (count, 28, 28, 1) and shipped.images.dtype == np.uint8
    assert shipped.labels.shape == (count,) and shipped.labels.dtype == np.int64
    assert shipped.classes == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    for array in (shipped.images, shipped.labels):
        assert array.flags.c_contiguous and array.flags.owndata and array.flags.writeable


def test_repr(shipped):
    assert repr(shipped) == (
        f"MNIST(split='{shipped.split}', images ({len(shipped)}, 28, 28, 1) uint8, "
        f"labels ({len(shipped)},) int64)"
    )


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(("dataset", "folder"), [(MNIST, "mnist"), (FashionMNIST, "fashion-mnist")])
@pytest.mark.parametrize("inside", [True, False])
def test_reads_a_folder(tmp_path, dataset, folder, split, compress, inside):
    images, labels = write_mnist(tmp_path / folder, 5, split, compress=compress)
    data = dataset(tmp_path / folder if inside else tmp_path, split=split)
    assert np.array_equal(data.images, images[..., None])
    assert np.array_equal(data.labels, labels)
    assert len(data.classes) == 10


def test_two_data_sets_under_one_root(tmp_path):
    _, digits = write_mnist(tmp_path / "mnist", seed=1)
    _, clothes = write_mnist(tmp_path / "fashion-mnist", seed=2)
    assert np.array_equal(MNIST(tmp_path).labels, digits)
    assert np.array_equal(FashionMNIST(str(tmp_path)).labels, clothes)
    write_mnist(tmp_path, seed=3)
    assert np.array_equal(FashionMNIST(tmp_path).labels, clothes)


def test_no_images(tmp_path):
    write_mnist(tmp_path, 0)
    data = MNIST(tmp_path)
    assert len(data) == 0 and data.images.shape == (0, 28, 28, 1)


def test_a_browser_may_decompress_and_keep_the_name(tmp_path):
    _, labels = write_mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.decompress(path.read_bytes()))
    assert np.array_equal(MNIST(tmp_path).labels, labels)


def test_indexing(tmp_path):
    images, labels = write_mnist(tmp_path, 6)
    data = MNIST(tmp_path)
    image, label = data[2]
    assert image.shape == (28, 28, 1) and np.array_equal(image[..., 0], images[2])
    assert label == labels[2]
    assert data[-1][1] == labels[5]
    for index in (slice(1, 5, 2), np.array([4, 0, 4]), labels > 4):
        some, their = data[index]
        assert np.array_equal(some[..., 0], images[index])
        assert np.array_equal(their, labels[index])
    with pytest.raises(IndexError):
        data[6]
    assert [label for _, label in data] == labels.tolist()


@pytest.mark.parametrize("split", ["valid", "Train", "", None, 0])
@pytest.mark.parametrize("dataset", [MNIST, FashionMNIST])
def test_split(dataset, split):
    error = ValueError if isinstance(split, str) else TypeError
    with pytest.raises(error, match=r'MNIST: split must be "train" or "test", got '):
        dataset(split=split)


def test_images_and_labels_disagree(tmp_path):
    write_mnist(tmp_path, 6)
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(idx(np.zeros(5)))
    with pytest.raises(DataFileError, match=r"images-idx3.*holds 6 images but .*idx1.* 5 labels"):
        MNIST(tmp_path)


GOOD = idx(np.arange(3 * 784).reshape(3, 28, 28))
DAMAGED_IMAGES = {
    "empty": (b"", "ends after 0 bytes"),
    "header cut": (GOOD[:15], "ends after 15 bytes"),
    "cut": (GOOD[:-1], r"header says 3 items of 784 bytes, 2352 in all; the file holds only 2351"),
    "trailing byte": (GOOD + b"\0", "2352 in all; the file holds more"),
    "labels": (idx(np.zeros(99)), "magic number 0x00000801, expected 0x00000803"),
    "floats": (idx(np.zeros((1, 28, 28)), magic=0x0D03), "magic number 0x00000d03"),
    "foreign": (b"<!DOCTYPE html><html></html>", "magic number 0x3c21444f"),
    "size": (idx(np.zeros((2, 32, 32))), "images of 32 x 32, expected 28 x 28"),
    "count": (struct.pack(">4I", 0x803, 300_000, 28, 28), "the file holds only 0"),
    "huge count": (struct.pack(">4I", 0x803, 2**32 - 1, 28, 28), "4294967295 items, more.* 300000"),
    "gzip cut": (gzip.compress(GOOD, mtime=0)[:-9], "truncated or corrupt"),
    "gzip checksum": (
        gzip.compress(GOOD, mtime=0)[:-8] + b"\0\0\0\0" + gzip.compress(GOOD, mtime=0)[-4:],
        "truncated or corrupt: CRC check failed",
    ),
    "gzip garbage": (gzip.compress(GOOD, mtime=0)[:20] + b"\xff" * 99, "images.*: "),
    "gzip header": (b"\x1f\x8b" + bytes(30), "truncated or corrupt"),
    "gzip trailing garbage": (gzip.compress(GOOD, mtime=0) + b"garbage", "truncated or corrupt"),
    "gzip of a cut file": (gzip.compress(GOOD[:-1], mtime=0), "the file holds only 2351"),
    "gzip of nothing": (gzip.compress(b"", mtime=0), "ends after 0 bytes"),
}


@pytest.mark.parametrize("name", ["images", "images.gz"])
@pytest.mark.parametrize("damage", DAMAGED_IMAGES)
def test_damaged_images(tmp_path, damage, name):
    content, message = DAMAGED_IMAGES[damage]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=message) as info:
        read_images(str(path))
    assert str(info.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "ends after 0 bytes; an idx header here has 8"),
        (idx(np.zeros(5))[:-1], "header says 5 items of 1 bytes, 5 in all; the file holds only 4"),
        (idx(np.zeros(5)) + b"\0", "the file holds more"),
        (GOOD, "magic number 0x00000803, expected 0x00000801"),
        (idx([1, 9, 10, 3]), "label 10 of item 2; labels are 0 to 9"),
        (gzip.compress(idx([1, 2, 3]), mtime=0)[:-1], "truncated or corrupt"),
    ],
)
def test_damaged_labels(tmp_path, content, message):
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=message) as info:
        read_labels(str(path), 10)
    assert str(info.value).startswith(f"{path}: ")


def test_every_truncation_is_found(tmp_path):
    content = gzip.compress(idx(np.arange(784).reshape(1, 28, 28)), mtime=0)
    path = tmp_path / "images.gz"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(DataFileError):
            read_images(str(path))


def test_an_unreadable_file_is_not_called_corrupt(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_images(str(tmp_path / "gone"))
