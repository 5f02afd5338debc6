"""ImageFolder: classes, labels, the cache, broken pictures, every error."""

import os
import pickle
import threading
import warnings

import numpy as np
import pytest
from PIL import Image

from minidl import kernels
from minidl.data import MNIST, DataFileError, DataLoader, ImageFolder, image_folder
from minidl.data import cache as cache_module
from minidl.data.pictures import BrokenPicture
from tests.support.picture_files import smooth, write, write_folder


@pytest.fixture
def root(tmp_path):
    return tmp_path / "photos"


def decoded(monkeypatch):
    """A list that gets the name of each file that is decoded."""
    names, read = [], image_folder.read

    def noted(path, *args):
        names.append(os.path.basename(path))
        return read(path, *args)

    monkeypatch.setattr(image_folder, "read", noted)
    return names


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
        pictures.classes[pictures.labels[row]] for row in rows]


def test_hidden_files_others_and_subfolders(root):
    write_folder(root, {"a": 1, "b": 1})
    for name in ("a/.hidden.png", "a/._000.png", "a/notes.txt", ".git/x.png", "readme.md",
                 "a/.thumbs/x.png", "a/Thumbs.db"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"no picture")
    write(root / "b" / "deep" / "er" / "x.PNG", smooth(6, 8))
    data = ImageFolder(root)
    assert [os.path.relpath(path, root) for path in data.paths] == [
        "a/000.png", "b/000.png", "b/deep/er/x.PNG"]
    assert data.labels.tolist() == [0, 1, 1]


def test_links_are_followed_but_not_in_a_circle(root, tmp_path):
    write_folder(root, {"a": 1})
    write(tmp_path / "other" / "x.png", smooth(6, 8))
    (root / "b").symlink_to(tmp_path / "other")
    (root / "a" / "again").symlink_to(root / "a")
    assert ImageFolder(root).labels.tolist() == [0, 1]


@pytest.mark.parametrize("size, shape", [(4, (4, 4)), ((5, 9), (5, 9)), ([5, 9], (5, 9)),
                                         (np.int64(3), (3, 3))])
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


# The cache

def test_decoded_once(root, monkeypatch):
    images, _ = write_folder(root, {"a": 2, "b": 2})
    names = decoded(monkeypatch)
    first = ImageFolder(root)
    assert len(names) == 4
    again = ImageFolder(str(root) + "/", skip_broken=True)
    assert len(names) == 4
    assert np.array_equal(again.images, images) and not again.images.flags.writeable
    assert np.array_equal(first.images, images)
    (entry,) = cache_module.entries()
    assert entry.source == str(root) and os.path.basename(entry.path).startswith("photos-")
    assert np.load(entry.path).shape == (4, 6, 8, 3)


@pytest.mark.parametrize("change", ["time", "size", "name", "more", "fewer", "class"])
def test_a_change_is_seen(root, change):
    write_folder(root, {"a": 3, "b": 2})
    ImageFolder(root)
    path = root / "a" / "000.png"
    new = smooth(6, 8, seed=99)
    if change == "time":
        status = path.stat()
        write(path, new)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1000))
    elif change == "size":
        write(path, new, compress_level=0)
    elif change == "name":
        path.rename(root / "a" / "zzz.png")
    elif change == "more":
        write(root / "a" / "more.png", new)
    elif change == "fewer":
        path.unlink()
    else:
        (root / "a").rename(root / "c")
    assert np.array_equal(ImageFolder(root).images, ImageFolder(root, cache=False).images)


def test_options_have_entries_of_their_own(root):
    write_folder(root, {"a": 1, "b": 1})
    shapes = {ImageFolder(root, size, channels).images.shape[1:]
              for size in (None, 4, (4, 5)) for channels in (1, 3)}
    assert len(shapes) == 6 and len(cache_module.entries()) == 6


@pytest.mark.parametrize("name", ["cut", "foreign", "no list", "bad list", "other shape"])
def test_a_damaged_entry_is_made_again(root, name):
    images, _ = write_folder(root, {"a": 2, "b": 2})
    ImageFolder(root)
    path = cache_module.entries()[0].path
    about = path.removesuffix(".npy") + ".json"
    if name == "cut":
        with open(path, "r+b") as file:
            file.truncate(300)
    elif name == "foreign":
        with open(path, "wb") as file:
            file.write(b"x" * 300)
    elif name == "no list":
        os.unlink(about)
    elif name == "bad list":
        with open(about, "w") as file:
            file.write("[1")
    else:
        np.save(path, np.zeros((1, 6, 8, 3), np.uint8))
    assert np.array_equal(ImageFolder(root).images, images)
    assert np.array_equal(ImageFolder(root).images, images)


def test_a_copy_opens_the_cache(root):
    images, _ = write_folder(root, {"a": 2, "b": 2})
    for data in (ImageFolder(root), ImageFolder(root, cache=False)):
        content = pickle.dumps(data)
        copy = pickle.loads(content)
        assert np.array_equal(copy.images, images) and copy.paths == data.paths
        assert copy.classes == data.classes and type(copy) is ImageFolder
    assert len(pickle.dumps(ImageFolder(root))) < 1000
    content = pickle.dumps(ImageFolder(root))
    cache_module.clear()
    assert np.array_equal(pickle.loads(content).images, images)
    (root / "a" / "000.png").unlink()
    with pytest.raises(ValueError, match="have changed"):
        pickle.loads(content)


def test_threads_that_make_one_entry(root):
    images, _ = write_folder(root, {"a": 20, "b": 20})
    found = []
    threads = [threading.Thread(target=lambda: found.append(ImageFolder(root).images))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4 and all(np.array_equal(images, other) for other in found)
    assert len(cache_module.entries()) == 1


def test_threads_do_not_matter(root, monkeypatch):
    images, _ = write_folder(root, {"a": 40, "b": 33})
    for threads in (1, 2, 5):
        monkeypatch.setattr(kernels, "get_num_threads", lambda threads=threads: threads)
        assert np.array_equal(ImageFolder(root, cache=False).images, images)


def test_few_pictures_are_in_memory(root, monkeypatch):
    """Threads wait until what they have decoded is written."""
    write_folder(root, {"a": 200}, size=(4, 4))
    names = decoded(monkeypatch)
    ahead = []
    store = cache_module.store

    def slow(name, key, rows, *args):
        def watched():
            for written, row in enumerate(rows):
                ahead.append(len(names) - written)
                yield row
        return store(name, key, watched(), *args)

    monkeypatch.setattr(image_folder.cache_module, "store", slow)
    monkeypatch.setattr(kernels, "get_num_threads", lambda: 2)
    assert len(ImageFolder(root)) == 200
    assert max(ahead) <= 7 * image_folder.MOST_IN_GROUP


def test_groups_of_large_pictures_are_small():
    sizes = [0, 1000, image_folder.MOST_BYTES_IN_GROUP // 3, image_folder.MOST_BYTES_IN_GROUP + 1]
    lengths = [image_folder._length([np.empty(8, np.uint8), np.empty(size, np.uint8)])
               for size in sizes]
    assert lengths == [16, 16, 3, 1] and image_folder._length([BrokenPicture("no array")]) == 16


# Broken pictures

@pytest.fixture
def broken(root):
    images, labels = write_folder(root, {"a": 3, "b": 3})
    content = (root / "a" / "001.png").read_bytes()
    (root / "a" / "001.png").write_bytes(content[:len(content) // 2])
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
            "000.png", "002.png", "001.png", "002.png"]
        assert data.broken == (str(root / "a" / "001.png"), str(root / "b" / "000.png"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy = pickle.loads(pickle.dumps(data))
    assert np.array_equal(copy.images, images)


def test_who_was_told_of_broken_pictures_need_not_decode_again(root, broken, monkeypatch):
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


# Folders that are none of classes

def test_sizes_that_differ(root):
    write_folder(root, {"a": 3})
    write(root / "b" / "x.png", smooth(5, 9))
    write(root / "b" / "y.jpg", smooth(5, 9))
    write(root / "b" / "z.png", smooth(50, 9))
    with pytest.raises(ValueError, match="several sizes") as info:
        ImageFolder(root)
    for part in ("3 of 6 x 8 (first: a/000.png)", "2 of 5 x 9 (first: b/x.png)",
                 "1 of 50 x 9 (first: b/z.png)", "size="):
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


@pytest.mark.parametrize("options, error, message", [
    ({"size": 0}, ValueError, "ImageFolder: size must be an int"),
    ({"size": 2.5}, TypeError, "ImageFolder: size"),
    ({"size": (1, 2, 3)}, ValueError, "ImageFolder: size must be an int or a pair"),
    ({"channels": 2}, ValueError, "ImageFolder: channels must be 3, 1 or None, got 2"),
    ({"channels": "RGB"}, TypeError, "ImageFolder: channels"),
    ({"cache": "no"}, TypeError, "ImageFolder: cache must be True or False"),
    ({"skip_broken": 2}, TypeError, "ImageFolder: skip_broken must be True or False"),
    ({"image_size": 3}, TypeError, r"ImageFolder\(\) got an unexpected .*it takes root, size"),
    ({"root": 3}, TypeError, "ImageFolder: root must be a str or a path"),
])
def test_arguments(root, options, error, message):
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
    """As data sets of other libraries give them."""
    items = [(Image.fromarray(smooth(4, 5, seed=i)), i) for i in range(3)]
    images, labels = next(iter(DataLoader(items, 3)))
    assert np.array_equal(images.numpy() * 255, np.stack([smooth(4, 5, seed=i) for i in range(3)]))
    assert labels.tolist() == [0, 1, 2]
    grey = [Image.fromarray(smooth(4, 5, 1)[..., 0])] * 2
    assert next(iter(DataLoader(grey, 2))).shape == (2, 4, 5, 1)
