"""These tests check the cache: its place, its limit, that entries are complete or absent, and what
removes them.
"""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from minidl import atomic
from minidl.data.cache import ENTRIES, clear, entries, folder, key, limit, load, store


def rows(count, seed=0, shape=(2, 3, 1)):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def made(name, array, most=0, **about):
    return store(name, key(name), (row[None] for row in array), {"source": name, **about}, most)


def names(cache):
    place = cache / ENTRIES
    return sorted(os.listdir(place)) if place.exists() else []


def test_the_folder(monkeypatch, tmp_path, cache):
    assert folder() == str(cache)
    monkeypatch.setenv("MINIDL_CACHE", "")
    assert folder() == str(cache)
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "there"))
    assert folder() == str(tmp_path / "there")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MINIDL_CACHE", "~/mine")
    assert folder() == str(tmp_path / "mine")
    made("x", rows(2))
    assert os.listdir(tmp_path / "mine") == [ENTRIES]


@pytest.mark.parametrize(
    "text, value",
    [
        ("", 20 * 10**9),
        ("1000", 1000),
        ("500 MB", 500 * 10**6),
        ("1.5g", 1_500_000_000),
        ("2 GiB", 2 << 30),
        ("3B", 3),
        ("0", 0),
    ],
)
def test_the_limit(monkeypatch, text, value):
    monkeypatch.setenv("MINIDL_CACHE_LIMIT", text)
    assert limit() == value


@pytest.mark.parametrize("text", ["much", "-5", "5 XB", "1e3"])
def test_a_limit_that_is_none(monkeypatch, text):
    monkeypatch.setenv("MINIDL_CACHE_LIMIT", text)
    with pytest.raises(ValueError, match="MINIDL_CACHE_LIMIT must be a number of bytes such as"):
        limit()


def test_an_entry(cache):
    array = rows(5)
    assert load("x", key("x")) is None
    stored, about = made("x", array, most=9, broken=["a"])
    assert np.array_equal(stored, array) and not stored.flags.writeable
    assert about == {"source": "x", "broken": ["a"], "shape": [5, 2, 3, 1]}
    again, said = load("x", key("x"))
    assert np.array_equal(again, array) and said == about
    base = again
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    assert names(cache) == [f"x-{key('x')}.json", f"x-{key('x')}.npy"]
    assert np.array_equal(np.load(entries()[0].path), array)


@pytest.mark.parametrize("count, most", [(1, 10**9), (99, 100), (100, 99), (7, 0)])
def test_fewer_than_there_might_have_been(monkeypatch, count, most):
    monkeypatch.setattr(shutil, "disk_usage", Disk(10**12))
    assert made("x", rows(count), most)[0].shape == (count, 2, 3, 1)


class Disk:
    def __init__(self, free):
        self.free = free

    def __call__(self, path):
        return self


def test_names_that_no_file_can_have(cache):
    made("a/b \0 c*" * 20, rows(1))
    assert all(
        len(name) < 90 and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")
        for name in names(cache)
    )


def test_keys():
    assert len({key("a", 1), key("a", 2), key("a1"), key(["a", 1]), key("\udcff")}) == 5
    assert key("a", [1, (2, 3)]) == key("a", [1, [2, 3]])


def test_the_list_and_its_order():
    assert entries() == [] and clear() == 0
    for seconds, name in enumerate("bca"):
        made(name, rows(4))
        os.utime(entries()[-1].path, (1000 + seconds, 1000 + seconds))
    found = entries()
    assert [entry.source for entry in found] == ["b", "c", "a"]
    assert all(entry.bytes == os.path.getsize(entry.path) for entry in found)
    load("b", key("b"))
    assert [entry.source for entry in entries()] == ["c", "a", "b"]
    assert abs(entries()[-1].used - time.time()) < 100


def test_clear(cache):
    first, _ = made("a", rows(4))
    made("b", rows(4))
    (cache / "cifar10").mkdir()
    (cache / "cifar10" / "download").write_bytes(b"stays")
    (cache / ENTRIES / "left.json").write_bytes(b"")
    total = sum(entry.bytes for entry in entries())
    assert clear() == total > 0
    assert entries() == [] and names(cache) == []
    assert (cache / "cifar10" / "download").exists()
    assert np.array_equal(first, rows(4))  # a process that has it open keeps it


def test_the_limit_removes_what_was_not_used_for_longest(monkeypatch):
    size = 128 + 4 * 6
    monkeypatch.setenv("MINIDL_CACHE_LIMIT", str(3 * size))
    for seconds, name in enumerate("abc"):
        made(name, rows(4))
        os.utime(entries()[-1].path, (1000 + seconds, 1000 + seconds))
    load("a", key("a"))
    made("d", rows(4))
    assert sorted(entry.source for entry in entries()) == ["a", "c", "d"]
    monkeypatch.setenv("MINIDL_CACHE_LIMIT", "1")
    made("e", rows(4))
    assert [entry.source for entry in entries()] == ["e"]  # the new entry stays in any case


def test_room_is_made_before_anything_is_written(monkeypatch):
    made("old", rows(50))
    written = []

    def more():
        for row in rows(3):
            written.append([entry.source for entry in entries()])
            yield row[None]

    monkeypatch.setenv("MINIDL_CACHE_LIMIT", "10")
    store("new", key("new"), more(), {"source": "new"}, 3)
    assert written == [["old"], [], []]


# Errors: a half-written entry is never used


def test_an_error_while_rows_are_made(cache):
    def failing():
        yield rows(1)
        raise LookupError("broken")

    with pytest.raises(LookupError, match="broken"):
        store("x", key("x"), failing(), {})
    assert names(cache) == [] and load("x", key("x")) is None


def test_no_rows(cache):
    with pytest.raises(ValueError, match="nothing to store"):
        store("x", key("x"), iter([]), {})
    assert names(cache) == []


def test_a_full_disk_is_seen_before(monkeypatch, cache):
    monkeypatch.setattr(shutil, "disk_usage", Disk(5))
    with pytest.raises(OSError, match=r"cache cannot be used: .* are needed") as info:
        made("x", rows(4), most=4)
    assert info.value.errno == errno.ENOSPC and "MINIDL_CACHE" in str(info.value)
    assert names(cache) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a disk that is full")
def test_a_disk_that_becomes_full(monkeypatch, cache):
    create = atomic._create

    def full(*args):
        handle, path = create(*args)
        os.dup2(os.open("/dev/full", os.O_WRONLY), handle)
        return handle, path

    monkeypatch.setattr(atomic, "_create", full)
    with pytest.raises(OSError, match=r"cache cannot be used.*cache\.clear\(\).*cache=False"):
        made("x", rows(10_000))
    assert names(cache) == [] and load("x", key("x")) is None


def test_a_folder_that_cannot_be(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match=r"cannot be used.*MINIDL_CACHE sets another folder"):
        made("x", rows(1))
    with pytest.raises(OSError, match=r"cannot be used.*MINIDL_CACHE sets another folder"):
        load("x", key("x"))


def test_an_entry_that_lacks_one_of_its_files():
    array = rows(3)
    for ending in (".npy", ".json"):
        made("x", array)
        os.unlink(entries()[0].path.removesuffix(".npy") + ending)
        assert load("x", key("x")) is None
        assert np.array_equal(made("x", array)[0], array)


@pytest.mark.parametrize("about", ["[]", "{}", '{"shape": [4, 2, 3, 1]}', "\udcff", ""])
def test_descriptions_that_do_not_fit(about):
    made("x", rows(3))
    with open(entries()[0].path.removesuffix(".npy") + ".json", "wb") as file:
        file.write(about.encode("utf-8", "surrogateescape"))
    assert load("x", key("x")) is None
    assert len(entries()) == 1


PROGRAM = textwrap.dedent("""
    import sys, time
    import numpy as np
    from minidl.data import cache

    def rows():
        for i in range(200):
            time.sleep(0.001)
            if i == 3:
                print("writing", flush=True)
            yield np.full((1, 50, 50, 3), i, np.uint8)

    array, _ = cache.store("x", cache.key("x"), rows(), {"source": "x"}, 200)
    assert (array == np.arange(200).reshape(-1, 1, 1, 1)).all()
    print("whole", flush=True)
""")


def start(cache):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "MINIDL_CACHE": str(cache)},
    )


def test_two_processes_and_a_killed_one(cache):
    victim = start(cache)
    assert victim.stdout.readline() == "writing\n"
    time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    victim.wait(30)
    victim.stdout.close()
    assert load("x", key("x")) is None
    both = [start(cache) for _ in range(2)]
    for process in both:
        assert process.communicate(timeout=60)[0] == "writing\nwhole\n" and process.returncode == 0
    array, about = load("x", key("x"))
    assert array.shape == (200, 50, 50, 3) and about["shape"] == [200, 50, 50, 3]
    assert (array == np.arange(200).reshape(-1, 1, 1, 1)).all()
    assert len(names(cache)) == 2  # what the killed process left is removed
    with open(entries()[0].path.removesuffix(".npy") + ".json") as file:
        assert json.load(file)["source"] == "x"
