"""These tests check tools.small_zip: the new archive has the same members, for any reader."""

import zipfile
import zlib

import numpy as np
import pytest

pytest.importorskip("zopfli")
from tools import small_zip

WORDS = b"".join(b"%d squared is %d\n" % (n, n * n) for n in range(2000))
NOISE = np.random.default_rng(0).bytes(5000)
MEMBERS = {"a/text.txt": WORDS, "a/empty": b"", "noise.gz": NOISE, "größe.py": b"x = 1\n"}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "some.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (name, data) in enumerate(MEMBERS.items()):
            member = zipfile.ZipInfo(name, (1980 + number, 2, 28, 23, 59, 58))
            member.external_attr = (0o100755 if number else 0o100644) << 16
            archive.writestr(member, data, zipfile.ZIP_DEFLATED)
    return path


def described(path):
    with zipfile.ZipFile(path) as archive:
        return [
            (info.filename, info.date_time, info.external_attr, info.CRC, archive.read(info))
            for info in archive.infolist()
        ]


def test_members_are_the_same_and_smaller(path):
    before, size = described(path), path.stat().st_size
    small_zip.rewrite(path)
    assert described(path) == before
    assert path.stat().st_size < size
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        methods = {info.filename: info.compress_type for info in archive.infolist()}
        assert methods["a/text.txt"] == zipfile.ZIP_DEFLATED
        assert methods["noise.gz"] == zipfile.ZIP_STORED
        assert archive.getinfo("a/text.txt").compress_size < len(zlib.compress(WORDS, 9))


def test_headers_of_members_agree_with_the_directory(path):
    """A reader of streams sees the headers only."""
    small_zip.rewrite(path)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            fields = small_zip.LOCAL.unpack_from(content, info.header_offset)
            assert fields[0] == b"PK\3\4"
            assert fields[6:9] == (info.CRC, info.compress_size, info.file_size)
            start = info.header_offset + small_zip.LOCAL.size
            assert content[start : start + fields[9]].decode() == info.filename


def test_an_encrypted_member_is_refused(path):
    content = bytearray(path.read_bytes())
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(mark) + place] |= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"text\.txt is encrypted"):
        small_zip.rewrite(path)
    assert path.read_bytes() == content
