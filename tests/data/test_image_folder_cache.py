"""These tests check the cache of ImageFolder, and the memory and threads that decoding takes."""

import os
import pickle
import threading

import numpy as np
import pytest

from minidl import kernels
from minidl.data import ImageFolder, image_folder
from minidl.data import cache as cache_module
from minidl.data.pictures import BrokenPicture
from tests.support.folders import decoded
from tests.support.picture_files import smooth, write, write_folder


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
    shapes = {
        ImageFolder(root, size, channels).images.shape[1:]
        for size in (None, 4, (4, 5))
        for channels in (1, 3)
    }
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
    threads = [
        threading.Thread(target=lambda: found.append(ImageFolder(root).images)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4 and all(np.array_equal(images, other) for other in found)
    assert len(cache_module.entries()) == 1


def test_any_number_of_threads_gives_the_same_bits(root, monkeypatch):
    images, _ = write_folder(root, {"a": 40, "b": 33})
    for threads in (1, 2, 5):
        monkeypatch.setattr(kernels, "get_num_threads", lambda threads=threads: threads)
        assert np.array_equal(ImageFolder(root, cache=False).images, images)


def test_few_pictures_are_in_memory(root, monkeypatch):
    """Threads wait until the pictures that they have decoded are written."""
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
    lengths = [
        image_folder._length([np.empty(8, np.uint8), np.empty(size, np.uint8)]) for size in sizes
    ]
    assert lengths == [16, 16, 3, 1] and image_folder._length([BrokenPicture("no array")]) == 16
