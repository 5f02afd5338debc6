"""These tests check minidl.atomic: links, modes, special files, killed and simultaneous writers.
Errors are in test_atomic_errors.
"""

import errno
import os
import signal
import socket
import stat
import threading

import pytest

from minidl import atomic
from minidl.atomic import replace_file
from tests.support.marks import needs_root
from tests.support.processes import writer

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links and permissions of POSIX")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


# A program that writes a file but never finishes. It prints a line when everything is written but
# the file has not been renamed, and waits.
STUCK = """
real = os.fsync
def stop(handle):
    os.fsync = real
    real(handle)
    print("writing", flush=True)
    sys.stdin.readline()
os.fsync = stop
replace_file(sys.argv[1], "from the other process")
print("done", flush=True)
"""


# ----------------------------------------------------------------------------- content and mode


@pytest.mark.parametrize("content", [b"", b"\x00\xff", "text \u2211\n"])
def test_content(content, tmp_path):
    path = tmp_path / "file"
    for _ in range(2):
        replace_file(path, content)
        assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002, 0o777])
def test_a_new_file_has_the_mode_that_open_gives(mask, tmp_path, monkeypatch):
    before = os.umask(mask)
    try:
        (tmp_path / "plain").write_bytes(b"")
        monkeypatch.setattr(os, "umask", None)  # nothing may change it, not even for a moment
        replace_file(tmp_path / "file", b"x")
    finally:
        monkeypatch.undo()
        os.umask(before)
    assert mode(tmp_path / "file") == mode(tmp_path / "plain") == 0o666 & ~mask


@pytest.mark.parametrize("kept", [0o600, 0o640, 0o644, 0o666, 0o700, 0o755])
def test_a_replaced_file_keeps_its_mode(kept, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(kept)
    replace_file(path, b"new")
    assert path.read_bytes() == b"new" and mode(path) == kept


def test_what_replaces_a_private_file_is_private_from_the_start(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o600)
    modes = []
    real = os.open

    def opened(name, flags, mode=0o777):
        if flags & os.O_CREAT:
            modes.append(mode)
        return real(name, flags, mode)

    monkeypatch.setattr(os, "open", opened)
    replace_file(path, b"new")
    assert modes == [0o600]


@needs_root
def test_owner_and_group_are_kept(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o640)
    os.chown(path, 1234, 2345)
    replace_file(path, b"new")
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 2345, 0o640)


# ---------------------------------------------------------------------- links, and what is no file


@pytest.mark.parametrize("exists", [True, False], ids=["", "no target yet"])
@pytest.mark.parametrize("relative", [True, False], ids=["relative", "absolute"])
def test_a_link_is_followed(exists, relative, tmp_path):
    (tmp_path / "there").mkdir()
    real, link, chain = tmp_path / "there" / "real", tmp_path / "link", tmp_path / "chain"
    if exists:
        real.write_bytes(b"old")
        real.chmod(0o600)
    link.symlink_to("there/real" if relative else real)
    chain.symlink_to("link" if relative else link)
    replace_file(chain, b"new")
    assert chain.is_symlink() and link.is_symlink() and not real.is_symlink()
    assert real.read_bytes() == b"new"
    assert os.listdir(tmp_path / "there") == ["real"]
    if exists:
        assert mode(real) == 0o600


def test_links_in_a_circle(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError) as info:
        replace_file(tmp_path / "a", b"new")
    assert info.value.errno == errno.ELOOP and info.value.filename == str(tmp_path / "a")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_other_hard_links_keep_the_old_content(tmp_path):
    path, other = tmp_path / "file", tmp_path / "other"
    path.write_bytes(b"old")
    other.hardlink_to(path)
    replace_file(path, b"new")
    assert path.read_bytes() == b"new" and other.read_bytes() == b"old"


@pytest.mark.parametrize("through_a_link", [False, True])
@pytest.mark.parametrize("kind", ["folder", "FIFO", "socket", "device"])
def test_what_is_no_file_is_refused(kind, through_a_link, tmp_path):
    path = tmp_path / "it"
    if kind == "folder":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        place = socket.socket(socket.AF_UNIX)
        place.bind(os.path.relpath(path))  # the names of sockets must be short
        place.close()
    else:
        path = type(path)("/dev/null")
    before = path.stat().st_mode
    given = path
    if through_a_link:
        given = tmp_path / "link"
        given.symlink_to(path)
    names = sorted(os.listdir(tmp_path))
    with pytest.raises(IsADirectoryError if kind == "folder" else OSError, match=kind) as info:
        replace_file(given, b"new")
    assert info.value.filename == str(given)
    assert path.stat().st_mode == before and sorted(os.listdir(tmp_path)) == names


# --------------------------------------------------------------------------------------- names


LONG = ["x" * 255, "\u2211" * 85, "a" * 244 + ".safetensors"[:11], os.fsdecode(b"\xff" * 255)]


@pytest.mark.parametrize("name", [*LONG, " ", "-", "new\nline"])
def test_names_of_any_length(name, tmp_path):
    path = tmp_path / name
    for content in (b"1", b"2"):
        replace_file(path, content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == [name]


def test_a_name_that_is_too_long_is_named(tmp_path):
    with pytest.raises(OSError) as info:
        replace_file(tmp_path / ("x" * 256), b"")
    assert info.value.errno == errno.ENAMETOOLONG
    assert info.value.filename == str(tmp_path / ("x" * 256))


# ----------------------------------------------------------------------- killed and simultaneous


def test_what_a_killed_writer_leaves_is_removed_by_the_next(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with writer(STUCK, path) as killed:
        assert killed.stdout.readline() == "writing\n"
        killed.send_signal(signal.SIGKILL)
    assert len(os.listdir(tmp_path)) == 2 and path.read_bytes() == b"old"
    replace_file(tmp_path / "another", b"")  # it must not remove this one's
    assert len(os.listdir(tmp_path)) == 3
    replace_file(path, b"new")
    assert sorted(os.listdir(tmp_path)) == ["another", "file"] and path.read_bytes() == b"new"


def test_what_another_process_is_writing_stays(tmp_path):
    path = tmp_path / "file"
    with writer(STUCK, path) as other:
        assert other.stdout.readline() == "writing\n"
        replace_file(path, b"meanwhile")
        assert path.read_bytes() == b"meanwhile" and len(os.listdir(tmp_path)) == 2
        other.stdin.write("go on\n")
        other.stdin.flush()
        assert other.stdout.readline() == "done\n"
    assert path.read_text() == "from the other process" and os.listdir(tmp_path) == ["file"]


def test_what_another_thread_is_writing_stays(tmp_path, monkeypatch):
    path = tmp_path / "file"
    real, written, go_on = os.fsync, threading.Event(), threading.Event()

    def stop(handle):
        real(handle)
        if threading.current_thread() is thread and not written.is_set():
            written.set()
            assert go_on.wait(60)

    monkeypatch.setattr(os, "fsync", stop)
    thread = threading.Thread(target=replace_file, args=(path, b"from the thread"))
    thread.start()
    assert written.wait(60)
    replace_file(path, b"meanwhile")
    assert path.read_bytes() == b"meanwhile"
    go_on.set()
    thread.join()
    assert path.read_bytes() == b"from the thread" and os.listdir(tmp_path) == ["file"]


def test_a_temporary_that_is_taken_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    """Between its creation and its lock a temporary file looks like one that was left behind."""
    real = atomic._lock
    taken = []

    def lock(handle):
        if not taken:
            taken.extend(os.listdir(tmp_path))
            for name in taken:
                (tmp_path / name).unlink()
        real(handle)

    monkeypatch.setattr(atomic, "_lock", lock)
    replace_file(tmp_path / "file", b"new")
    assert len(taken) == 1 and (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_file_systems_without_locks(number, tmp_path, monkeypatch):
    """Files are written as usual, and a temporary file that may be in use is not removed."""
    left = tmp_path / (atomic._prefix("file") + "0" * 16)
    left.write_bytes(b"")

    def lock(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic, "_lock", lock)
    replace_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new" and left.exists()


def test_simultaneous_writers_leave_one_content_whole(tmp_path):
    path = tmp_path / "file"
    contents = [bytes([i]) * 200_000 for i in range(4)]
    errors = []

    def write(content):
        try:
            for _ in range(10):
                replace_file(path, content)
                assert path.read_bytes() in contents
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert path.read_bytes() in contents and os.listdir(tmp_path) == ["file"]
