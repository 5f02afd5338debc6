"""These tests check where data files are looked for, and downloads, from a server in this
process.
"""

import functools
import gzip
import hashlib
import http.server
import os
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pooch
import pytest

from minidl.data import CIFAR10, MNIST, DataFileError, FashionMNIST
from minidl.data import cifar as cifar_module
from minidl.data.store import DataFileError as FromStore
from minidl.data.store import Download, Official, open_stream, read_up_to
from tests.support.data_files import TRAIN, cifar_files, tar_of, write_mnist
from tests.support.marks import needs_root
from tests.support.processes import as_nobody, printed

# Files that are made up differ from the official ones.
pytestmark = pytest.mark.filterwarnings("ignore:.* differs from the official file")

RETRIEVE = pooch.retrieve  # the fixture `cache` replaces it


def test_order_of_the_places(tmp_path, monkeypatch, cache):
    """Each of root, MINIDL_DATA and the cache hides those after it."""
    counts = {"root": 1, "env": 2, "cache": 3}
    write_mnist(cache / "fashion-mnist", counts["cache"])
    assert len(FashionMNIST()) == counts["cache"]
    write_mnist(tmp_path / "env" / "fashion-mnist", counts["env"])
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path / "env"))
    assert len(FashionMNIST()) == counts["env"]
    write_mnist(tmp_path / "root", counts["root"])
    assert len(FashionMNIST(tmp_path / "root")) == counts["root"]


def test_the_cache_is_where_minidl_cache_says(tmp_path, monkeypatch):
    write_mnist(tmp_path / "mine" / "fashion-mnist", 5)
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "mine"))
    assert len(FashionMNIST()) == 5


def test_package_goes_before_cache_and_after_environment(tmp_path, monkeypatch, cache):
    write_mnist(cache / "mnist", 3, "test")
    assert len(MNIST(split="test")) == 10_000
    write_mnist(tmp_path / "env" / "mnist", 2, "test")
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path / "env"))
    assert len(MNIST(split="test")) == 2
    monkeypatch.setenv("MINIDL_DATA", "")
    assert len(MNIST(split="test")) == 10_000


def test_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write_mnist(tmp_path / "there" / "mnist", 2)
    assert len(MNIST("~/there")) == 2
    monkeypatch.setenv("MINIDL_DATA", "~/there")
    assert len(MNIST()) == 2


def test_root_must_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"root must be an existing folder.*/nowhere"):
        MNIST(tmp_path / "nowhere")
    path = tmp_path / "file"
    path.write_bytes(b"")
    with pytest.raises(NotADirectoryError, match=r"root must be a folder; '.*/file' is a file"):
        CIFAR10(path)


def test_a_root_without_the_files_is_named(tmp_path):
    with pytest.warns(UserWarning, match=r"root '.*' holds no MNIST files") as record:
        data = MNIST(tmp_path, split="test")
    assert len(data) == 10_000
    assert record[0].filename == __file__


def test_half_of_the_files(tmp_path):
    write_mnist(tmp_path)
    os.remove(tmp_path / "train-labels-idx1-ubyte.gz")
    message = r"holds train-images-idx3-ubyte\.gz but lacks train-labels-idx1-ubyte\[\.gz\]"
    with pytest.raises(FileNotFoundError, match=message):
        MNIST(tmp_path)


def test_files_that_cannot_be_had(tmp_path, monkeypatch, cache):
    """The message says what was looked for, in which places, and what to do."""
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path / "env"))
    with (
        pytest.warns(UserWarning, match="holds no Fashion-MNIST files"),
        pytest.raises(FileNotFoundError) as info,
    ):
        FashionMNIST(tmp_path, split="test")
    message = str(info.value)
    places = [tmp_path / "fashion-mnist", tmp_path, tmp_path / "env" / "fashion-mnist"]
    for place in (*places, cache / "fashion-mnist"):
        assert f"\n  {place}\n" in message
    assert "t10k-images-idx3-ubyte[.gz], t10k-labels-idx1-ubyte[.gz] not found" in message
    assert "t10k-images-idx3-ubyte.gz: no network in tests" in message
    assert "environment variable MINIDL_DATA" in message

    with pytest.raises(FileNotFoundError, match=r"data_batch_5\.bin \(or cifar-10-binary\.tar"):
        CIFAR10()


def test_without_pooch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)  # its import fails
    assert len(MNIST(split="test")) == 10_000
    with pytest.raises(FileNotFoundError, match="pip install pooch"):
        CIFAR10()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Provide a server on this machine: the folder that it serves, and its address."""
    monkeypatch.setattr(pooch, "retrieve", RETRIEVE)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()
        thread.join()


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def hashes(folder):
    """Return the hashes of a folder's files with .gz, in the form in which data sets have them."""
    return {path.stem: Official(sha256(path), None) for path in folder.iterdir()}


def test_download(server, monkeypatch, cache):
    """The second source serves where the first one fails, and afterwards the cache does."""
    folder, url = server
    images, labels = write_mnist(folder)
    monkeypatch.setattr(FashionMNIST, "_urls", (f"{url}gone/", url))
    monkeypatch.setattr(FashionMNIST, "_official", hashes(folder))
    data = FashionMNIST()
    assert np.array_equal(data.images[..., 0], images) and np.array_equal(data.labels, labels)
    for path in folder.iterdir():
        path.unlink()
    assert len(FashionMNIST()) == len(labels)
    names = sorted(path.name for path in (cache / "fashion-mnist").iterdir())
    assert names == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]


def test_download_goes_on_where_it_stopped(server, monkeypatch, cache):
    folder, url = server
    write_mnist(folder)
    monkeypatch.setattr(FashionMNIST, "_urls", (url,))
    monkeypatch.setattr(FashionMNIST, "_official", hashes(folder))
    labels = folder / "train-labels-idx1-ubyte.gz"
    content = labels.read_bytes()
    labels.unlink()
    with pytest.raises(FileNotFoundError, match=r"train-labels-idx1-ubyte\.gz: 404"):
        FashionMNIST()
    labels.write_bytes(content)
    (folder / "train-images-idx3-ubyte.gz").unlink()  # the file is already in the cache
    assert len(FashionMNIST()) == 7


def test_a_wrong_hash_leaves_nothing(server, monkeypatch, cache):
    folder, url = server
    (folder / "cifar-10-binary.tar.gz").write_bytes(tar_of(cifar_files(), "gz"))
    link = f"{url}cifar-10-binary.tar.gz"
    download = Download("cifar-10-binary.tar.gz", "0" * 64, (link,))
    monkeypatch.setattr(cifar_module, "DOWNLOAD", download)
    with pytest.raises(FileNotFoundError, match=r"hash of downloaded file.*does not match"):
        CIFAR10()
    assert list((cache / "cifar10").iterdir()) == []
    matching = download._replace(sha256=sha256(folder / "cifar-10-binary.tar.gz"))
    monkeypatch.setattr(cifar_module, "DOWNLOAD", matching)
    assert len(CIFAR10()) == sum(4 + i for i in range(len(TRAIN)))


def test_damaged_file_in_the_cache_is_named(cache):
    write_mnist(cache / "fashion-mnist")
    path = cache / "fashion-mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataFileError, match=r"cache.*train-images-idx3-ubyte\.gz: truncated"):
        FashionMNIST()


def test_error_type():
    assert FromStore is DataFileError and issubclass(DataFileError, ValueError)


def test_errors_of_the_system_pass(tmp_path):
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(b"content", mtime=0))
    with pytest.raises(PermissionError), open_stream(str(path)):
        raise PermissionError(13, "not allowed")
    with pytest.raises(DataFileError, match=r"file\.gz: truncated"), open_stream(str(path)):
        raise EOFError


@pytest.mark.skipif(os.name != "posix", reason="files of POSIX")
@pytest.mark.parametrize("name", ["train-labels-idx1-ubyte", "train-labels-idx1-ubyte.gz"])
def test_what_is_no_file_is_named(name, tmp_path):
    """It is not passed over in favour of data in another place."""
    write_mnist(tmp_path)
    given = tmp_path / "train-labels-idx1-ubyte.gz"
    content = given.read_bytes()
    given.unlink()
    path = tmp_path / name
    path.mkdir()
    with pytest.raises(IsADirectoryError) as info:
        MNIST(tmp_path)
    assert info.value.filename == str(path)
    if name != given.name:  # every other file can be read
        given.write_bytes(content)
        assert len(MNIST(tmp_path)) == 7
        given.unlink()
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(OSError, match="expected a regular file") as info:
        MNIST(tmp_path)
    assert info.value.filename == str(path)


@needs_root
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_missing_permission_is_named(what):
    with tempfile.TemporaryDirectory() as common:
        os.chmod(common, 0o755)
        folder = Path(common) / "mnist"
        write_mnist(folder)
        path = folder / "train-images-idx3-ubyte.gz"
        (path if what == "file" else folder).chmod(0o600)
        found = as_nobody(
            common,
            """
try:
    md.data.MNIST(".")
except PermissionError as error:
    print(error.filename)
""",
        )
        # If the folder cannot be searched, the first name that was looked for is reported.
        assert found == f"./mnist/{path.name if what == 'file' else path.stem}"


def test_read_up_to(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(10)))
    with open_stream(str(path)) as stream:
        assert read_up_to(stream, 4) == bytes(range(4))
        assert read_up_to(stream, 2**40) == bytes(range(4, 10))
        assert read_up_to(stream, 1) == b""


def test_import_is_light():
    """Modules that only some users need are imported when they are needed."""
    code = (
        "import sys, minidl.data; "
        "print([m for m in ('pooch', 'requests', 'tarfile', 'gzip') if m in sys.modules])"
    )
    assert printed(code) == ["[]"]
