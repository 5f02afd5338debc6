"""These tests check the errors of minidl.atomic, which name the path and leave the old file:
missing folders, a full disk, missing permissions; and the permissions of other users.
"""

import errno
import os
import stat
import tempfile
from pathlib import Path

import pytest

from minidl import atomic
from minidl.atomic import replace_file
from tests.support.marks import needs_root
from tests.support.processes import NOBODY, as_nobody, writer

resource = pytest.importorskip("resource", reason="of POSIX")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="links and permissions of POSIX")


@pytest.fixture
def common():
    """Return a folder that every user can reach, which `tmp_path` is not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError) as info:
        replace_file(tmp_path / "missing" / "file", b"")
    assert info.value.filename == str(tmp_path / "missing")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError) as info:
        replace_file(tmp_path / "file" / "x", b"")
    assert info.value.filename == str(tmp_path / "file" / "x")


@pytest.mark.parametrize("step", ["open", "fdopen", "fsync", "replace"])
@pytest.mark.parametrize(
    "number, kind",
    [(errno.ENOSPC, OSError), (errno.EROFS, OSError), (errno.EACCES, PermissionError)],
)
def test_errors_of_the_system_name_the_path(step, number, kind, tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number), "a temporary name")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(kind) as info:
            replace_file(path, b"new")
    assert info.value.errno == number and info.value.filename == str(path)
    assert "temporary" not in str(info.value) and info.value.__suppress_context__
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_a_full_disk(tmp_path):
    """A limit on the size of files simulates a full disk: the write fails halfway."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    code = """
try:
    replace_file(sys.argv[1], bytes(1 << 20))
except OSError as error:
    print(error.errno, error.filename)
"""
    run = writer(
        code, path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    )
    output, _ = run.communicate(timeout=60)
    assert output == f"{errno.EFBIG} {path}\n"
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


@needs_root
@pytest.mark.parametrize("what, protect", [("file", 0o444), ("folder", 0o555), ("way", 0o600)])
def test_a_missing_permission_is_named(what, protect, common):
    place = common / "way" / "place"
    place.mkdir(parents=True)
    path = place / "file"
    path.write_bytes(b"old")
    for thing in (place.parent, place, path):
        os.chown(thing, NOBODY, NOBODY)
    {"file": path, "folder": place, "way": place.parent}[what].chmod(protect)
    found = as_nobody(
        common,
        """
try:
    atomic.replace_file("way/place/file", "new")
except PermissionError as error:
    print(error.filename)
""",
    )
    assert found == "way/place/file"
    place.parent.chmod(0o755)
    assert path.read_bytes() == b"old" and os.listdir(place) == ["file"]


@needs_root
def test_rights_of_a_group_that_cannot_be_kept_are_not_given_to_another(common):
    place = common / "place"
    place.mkdir()
    path = place / "file"
    path.write_bytes(b"old")
    path.chmod(0o660)
    os.chown(path, NOBODY, 0)
    os.chown(place, NOBODY, NOBODY)
    as_nobody(place, "atomic.replace_file('file', 'new')")
    assert path.read_bytes() == b"new" and stat.S_IMODE(path.stat().st_mode) == 0o600


@needs_root
def test_a_folder_that_can_be_written_but_not_read(common):
    place = common / "place"
    place.mkdir()
    os.chown(place, NOBODY, NOBODY)
    place.chmod(0o300)
    as_nobody(common, "atomic.replace_file('place/file', 'new')")
    assert (place / "file").read_text() == "new"


def test_a_path_of_a_folder_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError) as caught:
        atomic.replace_file(f"{tmp_path}/new/", b"")
    assert caught.value.filename == f"{tmp_path}/new/"
    assert os.listdir(tmp_path) == []
