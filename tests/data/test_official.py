"""These tests check the hashes and addresses of official files, and the comparison of files on disk
with them.
"""

import gzip
import hashlib
import os
import re
import warnings

import numpy as np
import pytest

from minidl.data import CIFAR10, MNIST, FashionMNIST, cifar, store
from minidl.data.store import Official, compare_with_official
from tests.support.data_files import cifar_files, tar_of, write_mnist

DIFFERS = "differs from the official file"


def test_downloads_are_by_sha256_and_https():
    sets = (MNIST, FashionMNIST)
    urls = [*cifar.DOWNLOAD.urls, *(url for dataset in sets for url in dataset._urls)]
    assert len(urls) == 5 and all(url.startswith("https://") for url in urls)
    known = [official for dataset in sets for official in dataset._official.values()]
    hashes = [cifar.DOWNLOAD.sha256, *cifar.OFFICIAL.values()]
    hashes += [h for official in known for h in official if h is not None]
    assert len(hashes) == len(set(hashes)) == 7 + 8 + 4
    assert all(re.fullmatch("[0-9a-f]{64}", h) for h in hashes)


@pytest.mark.parametrize("name", list(MNIST._official))
def test_the_shipped_files_unpack_to_the_official_ones(name):
    with gzip.open(os.path.join(store.PACKAGED, "mnist", f"{name}.gz")) as file:
        assert hashlib.sha256(file.read()).hexdigest() == MNIST._official[name].unpacked


@pytest.mark.parametrize("split", ["train", "test"])
def test_real_files_are_official(real_data, split):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CIFAR10(real_data, split)
        MNIST(real_data, split)
        MNIST(split=split)


def official(folder, monkeypatch, dataset=MNIST):
    """Return a function that makes the files of a folder the official ones, by what they unpack
    to.
    """
    known = {}
    for path in folder.iterdir():
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        known[path.name.removesuffix(".gz")] = Official("", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(dataset, "_official", known)


@pytest.mark.parametrize("compress", [True, False])
def test_mnist_is_compared_by_what_it_unpacks_to(compress, tmp_path, monkeypatch):
    write_mnist(tmp_path, compress=compress)
    official(tmp_path, monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MNIST(tmp_path)
    labels = tmp_path / f"train-labels-idx1-ubyte{'.gz' if compress else ''}"
    content = gzip.decompress(labels.read_bytes()) if compress else labels.read_bytes()
    content = content[:-1] + bytes([(content[-1] + 1) % 10])
    labels.write_bytes(gzip.compress(content) if compress else content)
    with pytest.warns(UserWarning, match=f"{re.escape(str(labels))} {DIFFERS}") as record:
        MNIST(tmp_path)
    assert len(record) == 1 and record[0].filename == __file__


def test_a_file_is_compared_once(tmp_path, monkeypatch):
    write_mnist(tmp_path, 3, "test")
    with pytest.warns(UserWarning, match=DIFFERS) as record:
        MNIST(tmp_path, split="test")
    assert len(record) == 2
    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("error")
        patch.setattr(hashlib, "sha256", None)  # no file is hashed again
        MNIST(tmp_path, split="test")
    write_mnist(tmp_path, 4, "test")  # other files under the same names
    with pytest.warns(UserWarning, match=DIFFERS):
        MNIST(tmp_path, split="test")


def test_fashion_mnist_is_compared_as_it_is_downloaded(tmp_path, monkeypatch):
    """There is no published hash of the unpacked official files."""
    write_mnist(tmp_path)
    known = {
        path.stem: Official(hashlib.sha256(path.read_bytes()).hexdigest(), None)
        for path in tmp_path.iterdir()
    }
    with pytest.warns(UserWarning, match=DIFFERS) as record:
        FashionMNIST(tmp_path)
    assert len(record) == 2
    monkeypatch.setattr(FashionMNIST, "_official", known)
    monkeypatch.setattr(store, "_compared", set())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FashionMNIST(tmp_path)
        plain = tmp_path / "plain"
        write_mnist(plain, compress=False)  # nothing is known of uncompressed files
        FashionMNIST(plain)


@pytest.mark.parametrize("in_a_tar", [True, False])
def test_batches_of_cifar_are_compared_each(in_a_tar, tmp_path, monkeypatch):
    files = cifar_files()
    known = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    known["data_batch_3.bin"] = "0" * 64
    monkeypatch.setattr(cifar, "OFFICIAL", known)
    if in_a_tar:
        (tmp_path / "cifar-10-binary.tar.xz").write_bytes(tar_of(files, "xz"))
    else:
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
    with pytest.warns(UserWarning, match=rf"data_batch_3\.bin {DIFFERS}") as record:
        CIFAR10(tmp_path)
    assert len(record) == 1 and record[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CIFAR10(tmp_path, split="test")


def test_files_of_the_package_are_not_compared(monkeypatch):
    monkeypatch.setattr(hashlib, "sha256", None)
    path = os.path.join(store.PACKAGED, "mnist", "t10k-labels-idx1-ubyte.gz")
    compare_with_official(path, "t10k-labels-idx1-ubyte.gz", np.zeros(1), Official("", ""))
