"""These tests read CIFAR-10 from the real tar, and from made-up, damaged and hostile folders and
tars.
"""

import bz2
import gzip
import hashlib
import lzma
import os
import tarfile

import numpy as np
import pytest

from minidl.data import CIFAR10, DataFileError, cifar
from minidl.data import cache as cache_module
from minidl.data.cifar import read_batch, read_tar
from tests.support.data_files import TRAIN, cifar_batch, cifar_files, tar_of

# Files that are made up differ from the official ones.
pytestmark = pytest.mark.filterwarnings("ignore:.* differs from the official file")

FOLDER = "cifar-10-batches-bin"


def expected(split, count=4):
    numbers = range(5) if split == "train" else [5]
    parts = [cifar_batch(count + i, seed=i) for i in numbers]
    images = np.concatenate([images for _, images, _ in parts])
    return images, np.concatenate([labels for _, _, labels in parts])


def check(data, split):
    images, labels = expected(split)
    assert np.array_equal(data.images, images) and data.images.dtype == np.uint8
    assert np.array_equal(data.labels, labels) and data.labels.dtype == np.int64
    for array in (data.images, data.labels):
        assert array.flags.c_contiguous and array.flags.owndata and array.flags.writeable


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("place", ["", "cifar10", FOLDER, f"cifar10/{FOLDER}"])
def test_folder(tmp_path, split, place):
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    for name, content in cifar_files().items():
        (tmp_path / place / name).write_bytes(content)
    check(CIFAR10(tmp_path, split), split)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(
    ("name", "compression"),
    [
        ("cifar-10-binary.tar", ""),
        ("cifar-10-binary.tar.gz", "gz"),
        ("cifar-10-binary.tgz", "gz"),
        ("cifar-10-binary.tar.xz", "xz"),
        ("cifar-10-binary.tar.bz2", "bz2"),
        ("cifar-10-binary.tar.gz", ""),  # it was decompressed by the download, and kept its name
    ],
)
def test_tar(tmp_path, split, name, compression):
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / name).write_bytes(tar_of(cifar_files(), compression))
    check(CIFAR10(tmp_path, split), split)
    check(CIFAR10(tmp_path / "cifar10", split), split)
    assert os.listdir(tmp_path / "cifar10") == [name]


@pytest.mark.parametrize("folder", ["", "./", f"./{FOLDER}/", "/a/b/", "../../"])
def test_tar_in_any_order_and_folder(tmp_path, folder):
    files = dict(reversed(cifar_files().items()))
    files = {"._data_batch_1.bin": b"junk", **files, "readme.html": b"<html>"}
    root = tmp_path / "deep" / "deep" / "root"
    root.mkdir(parents=True)
    (root / "cifar-10-binary.tar").write_bytes(tar_of(files, folder=folder))
    check(CIFAR10(root), "train")
    check(CIFAR10(root, split="test"), "test")
    written = [name for _, _, names in os.walk(tmp_path / "deep") for name in names]
    assert written == ["cifar-10-binary.tar"]


@pytest.mark.parametrize("compression", ["", "gz", "xz", "bz2"])
def test_a_tar_is_unpacked_once(tmp_path, monkeypatch, compression):
    path = tmp_path / "cifar-10-binary.tar"
    path.write_bytes(tar_of(cifar_files(), compression))
    check(CIFAR10(tmp_path), "train")
    assert [entry.source for entry in cache_module.entries()] == [str(path)]
    with monkeypatch.context() as patch:
        patch.setattr(cifar, "read_batches", None)
        for split in ("train", "test"):
            check(CIFAR10(tmp_path, split), split)
    path.write_bytes(tar_of(cifar_files(5), compression))  # the contents of another tar
    assert len(CIFAR10(tmp_path, "test")) == 10
    cache_module.clear()
    assert len(CIFAR10(tmp_path, "test")) == 10


def test_a_tar_of_some_batches(tmp_path):
    files = cifar_files()
    path = tmp_path / "cifar-10-binary.tar"
    path.write_bytes(tar_of({"test_batch.bin": files["test_batch.bin"]}))
    for _ in range(2):
        check(CIFAR10(tmp_path, "test"), "test")
        with pytest.raises(DataFileError, match=r"the tar has no data_batch_1\.bin"):
            CIFAR10(tmp_path)


def test_a_cache_that_cannot_be_written_is_no_reason_to_have_no_data(tmp_path, monkeypatch):
    path = tmp_path / "cifar-10-binary.tar"
    path.write_bytes(tar_of(cifar_files()))
    monkeypatch.setenv("MINIDL_CACHE", str(path / "below a file"))
    with pytest.warns(
        UserWarning, match="will be unpacked again next time: .*cache cannot be used"
    ):
        check(CIFAR10(tmp_path), "train")


def test_folder_goes_before_tar(tmp_path):
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"not read")
    (tmp_path / "test_batch.bin").write_bytes(cifar_files()["test_batch.bin"])
    check(CIFAR10(tmp_path, split="test"), "test")
    with pytest.raises(DataFileError, match=r"cifar-10-binary\.tar\.gz: .*not a tar"):
        CIFAR10(tmp_path)


def test_interface(tmp_path):
    (tmp_path / "test_batch.bin").write_bytes(cifar_files()["test_batch.bin"])
    data = CIFAR10(tmp_path, split="test")
    images, labels = expected("test")
    assert len(data) == 9
    assert np.array_equal(data[3][0], images[3]) and data[3][1] == labels[3]
    assert np.array_equal(data[2:4][0], images[2:4])
    assert data.classes[0] == "airplane" and data.classes[9] == "truck" and len(data.classes) == 10
    assert repr(data) == "CIFAR10(split='test', images (9, 32, 32, 3) uint8, labels (9,) int64)"


def test_split():
    with pytest.raises(ValueError, match='CIFAR10: split must be "train" or "test", got \'valid\''):
        CIFAR10(split="valid")


def test_a_batch_is_missing(tmp_path):
    files = cifar_files()
    del files["data_batch_3.bin"]
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(FileNotFoundError, match=r"lacks data_batch_3\.bin"):
        CIFAR10(tmp_path)
    path = tmp_path / "some.tar"
    path.write_bytes(tar_of(files))
    with pytest.raises(DataFileError, match=r"some\.tar: the tar has no data_batch_3\.bin"):
        read_tar(str(path), TRAIN)


BATCH = cifar_batch(3)[0]
DAMAGED = {
    "empty": (b"", "0 bytes; a batch has one or more records of 3073 bytes"),
    "cut": (BATCH[:-1], "9218 bytes; a batch has"),
    "trailing": (BATCH + b"\0", "9220 bytes; a batch has"),
    "label": (BATCH[:3073] + b"\x0a" + BATCH[3074:], "label 10 of image 1; labels are 0 to 9"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_batch(tmp_path, damage):
    content, message = DAMAGED[damage]
    path = tmp_path / "test_batch.bin"
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=message) as info:
        read_batch(str(path))
    assert str(info.value).startswith(f"{path}: ")

    path = tmp_path / "a.tar.gz"
    path.write_bytes(tar_of({"test_batch.bin": content}, "gz"))
    with pytest.raises(DataFileError, match=message) as info:
        read_tar(str(path), ["test_batch.bin"])
    assert str(info.value).startswith(f"{path}: {FOLDER}/test_batch.bin: ")


@pytest.mark.parametrize("compression", ["gz", "xz", "bz2"])
def test_damaged_stream(tmp_path, compression):
    """A stream that was cut, flipped or has garbage at its end is detected, even beyond the batch
    that is wanted.
    """
    compress = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}[compression]
    plain = tar_of({"test_batch.bin": BATCH, "readme.html": os.urandom(30_000)})
    plain += bytes(3 << 20)  # a reader that stops at the end of the tar does not see the checksum
    good = compress(plain)
    path = tmp_path / "a.tar"
    path.write_bytes(good)
    assert len(read_tar(str(path), ["test_batch.bin"])[0]) == 3
    middle = len(good) // 2
    for bad in (good[:-1], good[:middle], good[:middle] + b"\xaa" * 99 + good[middle + 99 :]):
        path.write_bytes(bad)
        with pytest.raises(DataFileError) as info:
            read_tar(str(path), ["test_batch.bin"])
        assert str(info.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    "content", [b"", b"x" * 99, b"x" * 20_000, gzip.compress(b"x" * 20_000, mtime=0)]
)
def test_not_a_tar(tmp_path, content):
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=r"a\.tar: "):
        read_tar(str(path), ["test_batch.bin"])


def test_cut_tar(tmp_path):
    plain = tar_of({"test_batch.bin": BATCH})
    path = tmp_path / "a.tar"
    for length in range(0, 512 + len(BATCH), 100):
        path.write_bytes(plain[:length])
        with pytest.raises(DataFileError, match=r"a\.tar: "):
            read_tar(str(path), ["test_batch.bin"])


def hostile(**fields):
    """Return a tar whose test_batch.bin has a header with these fields."""
    member = tarfile.TarInfo("test_batch.bin")
    for name, value in fields.items():
        setattr(member, name, value)
    return member.tobuf(tarfile.GNU_FORMAT) + bytes(10240)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (hostile(size=3073 * 10**9), "more than 20000 images"),
        (hostile(size=3073 * 10**4), "truncated after 10240 of 30730000 bytes"),
        (hostile(size=-512), "test_batch"),
        (hostile(type=tarfile.SYMTYPE, linkname="/etc/passwd"), r"the tar has no test_batch\.bin"),
        (hostile(type=tarfile.LNKTYPE, linkname="other"), r"the tar has no test_batch\.bin"),
        (hostile(type=tarfile.FIFOTYPE), r"the tar has no test_batch\.bin"),
        (tar_of({"test_batch.bin": BATCH, "./test_batch.bin": BATCH}), "two batches of this name"),
    ],
)
def test_hostile_tar(tmp_path, content, message):
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=message) as info:
        read_tar(str(path), ["test_batch.bin"])
    assert str(info.value).startswith(f"{path}: ")


def test_damaged_headers(tmp_path):
    """A flipped byte in a header gives the batch as it is, or a DataFileError, and nothing else."""
    plain = tar_of({"readme.html": b"x" * 600, "test_batch.bin": BATCH})
    rng = np.random.default_rng(0)
    path = tmp_path / "a.tar"
    found = 0
    for _ in range(300):
        damaged = bytearray(plain)
        start = rng.choice([0, 3 * 512])  # one of the two headers
        for at in rng.integers(start, start + 512, 2):
            damaged[at] = rng.integers(256)
        # The checksum is made right again, so that the fields count.
        block = damaged[start : start + 512]
        block[148:156] = b" " * 8
        damaged[start + 148 : start + 156] = b"%06o\0 " % sum(block)
        path.write_bytes(damaged)
        try:
            batches = read_tar(str(path), ["test_batch.bin"])
        except DataFileError as error:
            assert str(error).startswith(f"{path}: ")
            found += 1
        else:
            assert batches[0].tobytes() == BATCH
    assert 0 < found < 300


# The sha256 of the real images (N, 32, 32, 3), and of the labels as bytes.
REAL = {
    "train": (
        "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
        "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
    ),
    "test": (
        "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
        "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
    ),
}


@pytest.mark.parametrize("split", ["train", "test"])
def test_real(real_data, split):
    data = CIFAR10(real_data, split)
    images, labels = REAL[split]
    assert hashlib.sha256(data.images.tobytes()).hexdigest() == images
    assert hashlib.sha256(data.labels.astype(np.uint8).tobytes()).hexdigest() == labels
    assert data.images.shape == ({"train": 50000, "test": 10000}[split], 32, 32, 3)
    assert np.bincount(data.labels).tolist() == [len(data) // 10] * 10
    if split == "train":  # the means that the literature gives
        means = data.images.mean(axis=(0, 1, 2)) / 255
        assert np.allclose(means, [0.4914, 0.4822, 0.4465], atol=5e-5)
