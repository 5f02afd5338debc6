"""These tests check `minidl cache` and `minidl cache clear`."""

from minidl import data
from tests.support.picture_files import coloured
from tests.support.processes import python


def test_the_entries_are_listed(minidl, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "cache"))
    empty = minidl("cache")
    assert empty.code == 0 and len(empty.out.splitlines()) == 1
    assert str(tmp_path / "cache") in empty.out and "0.0 MB" in empty.out
    coloured(tmp_path / "photos", {"blue": 3, "red": 3}, size=(100, 100))
    first = data.ImageFolder(tmp_path / "photos")
    data.ImageFolder(tmp_path / "photos", size=50)
    said = minidl("cache")
    *entries, total = said.out.splitlines()
    assert len(entries) == 2 and all(str(tmp_path / "photos") in line for line in entries)
    assert ["0.0 MB" in entries[1], "0.2 MB" in entries[0]] == [True, True]
    assert str(tmp_path / "cache") in total
    cleared = minidl("cache", "clear")
    assert cleared.code == 0 and "0.2 MB freed" in cleared.out
    assert minidl("cache").out == empty.out
    assert data.cache.entries() == [] and (first.images[0] == first.images[0]).all()


def test_an_empty_cache_can_be_cleared(minidl, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "none"))
    said = minidl("cache", "clear")
    assert said.code == 0 and "0.0 MB freed" in said.out


def test_what_another_process_left_half_written_goes_too(minidl, tmp_path, monkeypatch):
    """The other process was killed while it decoded."""
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "cache"))
    coloured(tmp_path / "photos", {"blue": 3, "red": 3})
    python(f"""
        import os, signal
        from minidl import data
        from minidl.data import image_folder
        def killed(*args): os.kill(os.getpid(), signal.SIGKILL)
        image_folder.read = killed
        data.ImageFolder({str(tmp_path / "photos")!r}, size=8)
    """)
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(left) == 1
    assert minidl("cache", "clear").code == 0
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_an_invalid_limit_is_refused(minidl, monkeypatch):
    monkeypatch.setenv("MINIDL_CACHE_LIMIT", "much")
    said = minidl("cache")
    assert said.code == 1 and "MINIDL_CACHE_LIMIT" in said.err and "much" in said.err


def test_wrong_calls_are_refused(refused):
    refused("cache", "empty", words=["empty"])
