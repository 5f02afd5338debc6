"""These tests check ImageFolder: classes, labels, sizes, unsuitable folders and arguments."""

import os

import numpy as np
import pytest
from PIL import Image

from minidl import kernels
from minidl.data import MNIST, DataLoader, ImageFolder
from minidl.data import cache as cache_module
from tests.support.picture_files import smooth, write, write_folder


@pytest.mark.parametrize("cached", [True, False])
def test_a_folder(root, cached):
    images, labels = write_folder(root, {"dog": 3, "cat": 2, "ant": 1})
    data = ImageFolder(root, cache=cached)
    assert data.classes == ("ant", "cat", "dog") and len(data) == 6
    assert data.images.dtype == np.uint8 and np.array_equal(data.images, images)
    assert data.labels.dtype == np.int64 and np.array_equal(data.labels, labels)
    assert data.paths[1] == str(root / "cat" / "000.png") and len(data.paths) == 6
    assert data[3][1] == 2 and np.array_equal(data[3][0], images[3])
    assert repr(data) == "ImageFolder(images (6, 6, 8, 3) uint8, labels (6,) int64, 3 classes)"
    assert data.images.flags.writeable != cached
    for batch, found in DataLoader(data, 4):
        assert batch.shape[1:] == (6, 8, 3) and len(found) in (4, 2)


def test_pictures_of_mnist_come_back(root):
    digits = MNIST(split="test")
    first = {name: np.flatnonzero(digits.labels == int(name))[:20] for name in digits.classes}
    for name, rows in first.items():
        for row in rows:
            write(root / name / f"{row:05}.png", digits.images[row])
    data = ImageFolder(root, channels=None)
    rows = np.concatenate(list(first.values()))
    assert np.array_equal(data.images, digits.images[rows])
    assert np.array_equal(data.labels, digits.labels[rows]) and data.classes == digits.classes


def test_pictures_of_cifar_come_back(root, real_data):
    from minidl.data import CIFAR10

    pictures = CIFAR10(real_data, "test")
    for row in range(60):
        write(root / pictures.classes[pictures.labels[row]] / f"{row:05}.png", pictures.images[row])
    data = ImageFolder(root)
    rows = [int(os.path.basename(path)[:5]) for path in data.paths]
    assert np.array_equal(data.images, pictures.images[rows])
    assert [data.classes[label] for label in data.labels] == [
        pictures.classes[pictures.labels[row]] for row in rows
    ]


def test_hidden_files_others_and_subfolders(root):
    write_folder(root, {"a": 1, "b": 1})
    for name in (
        "a/.hidden.png",
        "a/._000.png",
        "a/notes.txt",
        ".git/x.png",
        "readme.md",
        "a/.thumbs/x.png",
        "a/Thumbs.db",
    ):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"no picture")
    write(root / "b" / "deep" / "er" / "x.PNG", smooth(6, 8))
    data = ImageFolder(root)
    assert [os.path.relpath(path, root) for path in data.paths] == [
        "a/000.png",
        "b/000.png",
        "b/deep/er/x.PNG",
    ]
    assert data.labels.tolist() == [0, 1, 1]


def test_links_are_followed_but_not_in_a_circle(root, tmp_path):
    write_folder(root, {"a": 1})
    write(tmp_path / "other" / "x.png", smooth(6, 8))
    (root / "b").symlink_to(tmp_path / "other")
    (root / "a" / "again").symlink_to(root / "a")
    assert ImageFolder(root).labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    "size, shape", [(4, (4, 4)), ((5, 9), (5, 9)), ([5, 9], (5, 9)), (np.int64(3), (3, 3))]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_size_and_channels(root, size, shape, channels):
    write_folder(root, {"a": 1})
    write(root / "b" / "large.jpg", smooth(40, 30))
    write(root / "b" / "grey.png", smooth(7, 9, 1))
    assert ImageFolder(root, size, channels).images.shape == (3, *shape, channels)


def test_channels_none(root):
    write_folder(root, {"a": 2, "b": 1}, channels=1)
    assert ImageFolder(root, channels=None).images.shape[-1] == 1
    write(root / "b" / "colour.png", smooth(6, 8))
    assert ImageFolder(root, channels=None).images.shape[-1] == 3


def test_sizes_that_differ(root):
    write_folder(root, {"a": 3})
    write(root / "b" / "x.png", smooth(5, 9))
    write(root / "b" / "y.jpg", smooth(5, 9))
    write(root / "b" / "z.png", smooth(50, 9))
    with pytest.raises(ValueError, match="several sizes") as info:
        ImageFolder(root)
    for part in (
        "3 of 6 x 8 (first: a/000.png)",
        "2 of 5 x 9 (first: b/x.png)",
        "1 of 50 x 9 (first: b/z.png)",
        "size=",
    ):
        assert part in str(info.value)
    assert cache_module.entries() == []


def test_many_sizes(root):
    for i in range(15):
        write(root / "a" / f"{i:02}.png", smooth(5 + i, 9))
    with pytest.raises(ValueError, match="and 5 more sizes"):
        ImageFolder(root)


def test_folders_that_do_not_fit(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="root must be an existing folder"):
        ImageFolder(root)
    root.mkdir()
    with pytest.raises(ValueError, match=r"is empty; it must have a folder for each class: photos"):
        ImageFolder(root)
    (root / "notes.txt").write_text("no picture")
    with pytest.raises(ValueError, match="holds no folders"):
        ImageFolder(root)
    with pytest.raises(NotADirectoryError, match="root must be a folder"):
        ImageFolder(root / "notes.txt")
    (root / "a").mkdir()
    with pytest.raises(ValueError, match=r"no pictures \(\.png, .*in the folder 'a'"):
        ImageFolder(root)
    write(root / "b" / "x.png", smooth(4, 4))
    (root / "c").mkdir()
    with pytest.raises(ValueError, match="in the folders 'a', 'c'"):
        ImageFolder(root)
    write(root / "loose.png", smooth(4, 4))
    with pytest.raises(ValueError, match=r"a picture in .* itself \(loose\.png\), of which"):
        ImageFolder(root)


def test_parts_of_a_data_set_are_no_classes(root):
    for part in ("train", "test"):
        write_folder(root / part, {"a": 1, "b": 1})
    with pytest.raises(ValueError, match=r"holds test, train, which are parts.*photos/test"):
        ImageFolder(root)
    assert ImageFolder(root / "train").classes == ("a", "b")


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"size": 0}, ValueError, "ImageFolder: size must be an int"),
        ({"size": 2.5}, TypeError, "ImageFolder: size"),
        ({"size": (1, 2, 3)}, ValueError, "ImageFolder: size must be an int or a pair"),
        ({"channels": 2}, ValueError, "ImageFolder: channels must be 3, 1 or None, got 2"),
        ({"channels": "RGB"}, TypeError, "ImageFolder: channels"),
        ({"cache": "no"}, TypeError, "ImageFolder: cache must be True or False"),
        ({"skip_broken": 2}, TypeError, "ImageFolder: skip_broken must be True or False"),
        ({"image_size": 3}, TypeError, r"ImageFolder\(\) got an unexpected .*it takes root, size"),
        ({"root": 3}, TypeError, "ImageFolder: root must be a str or a path"),
    ],
)
def test_bad_arguments_are_refused(root, options, error, message):
    with pytest.raises(error, match=message):
        ImageFolder(**{"root": root, **options})


def test_a_folder_beyond_memory_without_cache(root, monkeypatch):
    write_folder(root, {"a": 1})

    def refuse(where, shape, dtype):
        raise MemoryError(f"{where} {shape}")

    monkeypatch.setattr(kernels, "check_shape", refuse)
    with pytest.raises(MemoryError, match="ImageFolder: the pictures"):
        ImageFolder(root, cache=False)


def test_without_pillow(root, monkeypatch):
    import sys

    write_folder(root, {"a": 1})
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install 'minidl\[images\]'"):
        ImageFolder(root)


def test_items_of_pillow_in_a_loader():
    """Pillow's pictures are items of data sets of other libraries."""
    items = [(Image.fromarray(smooth(4, 5, seed=i)), i) for i in range(3)]
    images, labels = next(iter(DataLoader(items, 3)))
    assert np.array_equal(images.numpy() * 255, np.stack([smooth(4, 5, seed=i) for i in range(3)]))
    assert labels.tolist() == [0, 1, 2]
    grey = [Image.fromarray(smooth(4, 5, 1)[..., 0])] * 2
    assert next(iter(DataLoader(grey, 2))).shape == (2, 4, 5, 1)
