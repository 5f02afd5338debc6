"""These tests give ImageFolder broken pictures, and files that cannot be read."""

import os
import pickle
import warnings

import numpy as np
import pytest

from minidl.data import DataFileError, ImageFolder, image_folder
from minidl.data import cache as cache_module
from tests.support.folders import decoded
from tests.support.picture_files import write_folder


@pytest.fixture
def broken(root):
    images, labels = write_folder(root, {"a": 3, "b": 3})
    content = (root / "a" / "001.png").read_bytes()
    (root / "a" / "001.png").write_bytes(content[: len(content) // 2])
    (root / "b" / "000.png").write_bytes(b"")
    return images[[0, 2, 4, 5]], labels[[0, 2, 4, 5]]


@pytest.mark.parametrize("cached", [True, False])
def test_broken_pictures_are_named(root, broken, cached):
    for _ in range(2):
        with pytest.raises(DataFileError) as info:
            ImageFolder(root, cache=cached)
        message = str(info.value)
        assert "2 pictures" in message and "skip_broken=True" in message
        assert "a/001.png: " in message and "b/000.png: " in message


@pytest.mark.parametrize("cached", [True, False])
def test_broken_pictures_are_left_out(root, broken, cached):
    images, labels = broken
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"left out: 2 pictures .*a/001\.png.*b/000\.png"):
            data = ImageFolder(root, cache=cached, skip_broken=True)
        assert np.array_equal(data.images, images) and np.array_equal(data.labels, labels)
        assert [os.path.basename(path) for path in data.paths] == [
            "000.png",
            "002.png",
            "001.png",
            "002.png",
        ]
        assert data.broken == (str(root / "a" / "001.png"), str(root / "b" / "000.png"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy = pickle.loads(pickle.dumps(data))
    assert np.array_equal(copy.images, images)


@pytest.mark.parametrize("cached", [True, False])
def test_a_link_to_no_file_is_a_broken_picture(root, cached):
    write_folder(root, {"a": 3, "b": 3})
    os.symlink(root / "gone.png", root / "a" / "link.png")
    with pytest.raises(DataFileError, match=r"a/link\.png: a link to a file that does not exist"):
        ImageFolder(root, cache=cached)
    with pytest.warns(UserWarning, match=r"left out: 1 picture .*a/link\.png"):
        assert len(ImageFolder(root, cache=cached, skip_broken=True)) == 6
    (root / "gone.png").write_bytes((root / "a" / "000.png").read_bytes())
    os.rename(root / "gone.png", root / "b" / "there.png")
    os.unlink(root / "a" / "link.png")
    os.symlink(root / "b" / "there.png", root / "a" / "link.png")
    assert len(ImageFolder(root, cache=cached)) == 8


def test_pictures_are_not_decoded_again_after_an_error_about_broken_ones(root, broken, monkeypatch):
    with pytest.raises(DataFileError):
        ImageFolder(root)
    names = decoded(monkeypatch)
    with pytest.warns(UserWarning):
        ImageFolder(root, skip_broken=True)
    assert names == []


def test_many_broken_pictures(root):
    write_folder(root, {"a": 1})
    for i in range(15):
        (root / "a" / f"x{i:02}.png").write_bytes(b"")
    with pytest.raises(DataFileError, match=r"15 pictures.*x09\.png: [^;]*; and 5 more"):
        ImageFolder(root)


def test_a_class_of_broken_pictures(root):
    write_folder(root, {"a": 1})
    (root / "b").mkdir()
    (root / "b" / "x.png").write_bytes(b"")
    with pytest.raises(DataFileError, match=r"no picture of the class 'b'.*b/x\.png"):
        ImageFolder(root, skip_broken=True)
    (root / "a" / "000.png").write_bytes(b"")
    with pytest.raises(DataFileError, match=r"2 pictures.*no other"):
        ImageFolder(root, skip_broken=True)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="who may read everything")
def test_a_file_that_may_not_be_read_is_an_error_of_the_system(root):
    write_folder(root, {"a": 2})
    (root / "a" / "001.png").chmod(0)
    with pytest.raises(PermissionError, match=r"001\.png"):
        ImageFolder(root, skip_broken=True)


def test_a_file_that_vanishes_is_an_error_of_the_system(root, monkeypatch):
    write_folder(root, {"a": 2})
    read = image_folder.read

    def removing(path, *args):
        if path.endswith("001.png"):
            os.unlink(path)
        return read(path, *args)

    monkeypatch.setattr(image_folder, "read", removing)
    with pytest.raises(FileNotFoundError) as info:
        ImageFolder(root)
    assert info.value.filename.endswith("001.png")
    assert cache_module.entries() == []
