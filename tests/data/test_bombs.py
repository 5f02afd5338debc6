"""These tests read small files that unpack to gigabytes. The error must name the file, and memory
must be bounded.
"""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zlib

import pytest

from minidl.data import DataFileError
from minidl.data.cifar import read_batch, read_tar
from minidl.data.mnist import read_images, read_labels
from tests.support.data_files import cifar_batch, tar_of
from tests.support.processes import in_bounded_memory

BATCH = cifar_batch(3)[0]
HUGE = 1 << 30
ZEROS = {}


def zeros(compression, size):
    """Yield `size` zeros, compressed as streams of 64 MB, one after the other."""
    part = 64 << 20
    if compression not in ZEROS:
        compress = {
            "gz": lambda data: gzip.compress(data, 1),
            "bz2": bz2.compress,
            "xz": lambda data: lzma.compress(data, preset=0),
        }[compression]
        ZEROS[compression] = compress(bytes(part))
    return ZEROS[compression] * (size // part)


def header(name="test_batch.bin", size=0, kind=tarfile.REGTYPE):
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def sparse(blocks):
    """Yield the header of a sparse file, and blocks of its map each of which says that another
    follows.
    """
    start = bytearray(header(size=512, kind=tarfile.GNUTYPE_SPARSE))
    start[482] = 1
    start[148:156] = b" " * 8
    start[148:156] = b"%06o\0 " % sum(start)
    return bytes(start) + (b"7" * 504 + b"\x01" + bytes(7)) * blocks


def xz_of_large_dictionary():
    """Return an xz stream whose block wants a dictionary of almost 4 GB."""
    small = bytearray(lzma.compress(b"x" * 100, preset=0))
    # The size of the block's header, whose last 4 bytes are its checksum.
    size = (small[12] + 1) * 4
    at = small.index(b"\x21\x01", 12) + 2
    small[at] = 40
    small[12 + size - 4 : 12 + size] = struct.pack("<I", zlib.crc32(small[12 : 12 + size - 4]))
    return bytes(small)


def gz(head, size=HUGE):
    return gzip.compress(head) + zeros("gz", size)


IDX = {
    "count of images": lambda: gz(struct.pack(">4I", 0x803, 2**32 - 1, 28, 28)),
    "count of labels": lambda: gz(struct.pack(">2I", 0x801, 2**32 - 1)),
    "more than said": lambda: gz(struct.pack(">4I", 0x803, 10, 28, 28)),
    "more labels than said": lambda: gz(struct.pack(">2I", 0x801, 10)),
    "as much as may be": lambda: gz(struct.pack(">4I", 0x803, 300_000, 28, 28)),
    "only zeros": lambda: zeros("gz", HUGE),
    "xz dictionary": xz_of_large_dictionary,
}
TAR = {
    "only zeros": lambda: zeros("gz", HUGE),
    "zeros of bzip2": lambda: zeros("bz2", HUGE),
    "zeros of xz": lambda: zeros("xz", HUGE),
    "padding after the end": lambda: gz(tar_of({"test_batch.bin": BATCH})),
    "size of the batch": lambda: gz(header(size=HUGE)),
    "as much as may be": lambda: gz(header(size=20_000 * 3073)),
    "size of another member": lambda: gz(header("readme", size=HUGE)),
    "long name": lambda: gz(header(size=HUGE, kind=tarfile.GNUTYPE_LONGNAME)),
    "long link": lambda: gz(header(size=HUGE, kind=tarfile.GNUTYPE_LONGLINK)),
    "extended header": lambda: gz(header(size=HUGE, kind=tarfile.XHDTYPE)),
    "global header": lambda: gz(header(size=HUGE, kind=tarfile.XGLTYPE)),
    "sparse": lambda: gz(sparse(10_000)),
    "sparse that never ends": lambda: gz(sparse(1), 64 << 20),
    "members": lambda: gz(header("x") * 5_000, 0),
    "long names": lambda: gz((header(size=512, kind=tarfile.XHDTYPE) + bytes(512)) * 5_000, 0),
    "xz dictionary": xz_of_large_dictionary,
}


def write(table, folder):
    for name, make in table.items():
        content = make()
        assert len(content) < 8 << 20
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    "table, read",
    [
        (IDX, "read_images(path)"),
        (IDX, "read_labels(path, 10)"),
        (TAR, "read_tar(path, ['test_batch.bin'])"),
    ],
    ids=["images", "labels", "tar"],
)
def test_memory_is_bounded(table, read, tmp_path):
    write(table, tmp_path)
    in_bounded_memory(
        f"""
from minidl.data import DataFileError
from minidl.data.cifar import read_tar
from minidl.data.mnist import read_images, read_labels
for name in os.listdir(sys.argv[1]):
    path = os.path.join(sys.argv[1], name)
    try:
        {read}
    except DataFileError as error:
        assert str(error).startswith(path + ": "), error
    else:
        raise AssertionError(name)
""",
        tmp_path,
        megabytes=500,
    )


def test_a_file_with_holes(tmp_path):
    """A sparse file on disk can be very large and take no space."""
    path = tmp_path / "test_batch.bin"
    with open(path, "wb") as file:
        file.truncate(3073 << 30)
    with pytest.raises(DataFileError, match="more than 20000 images"):
        read_batch(str(path))
    with pytest.raises(DataFileError, match="unpacks to more than 256 MB"):
        read_tar(str(path), ["test_batch.bin"])
    for read in (read_images, lambda path: read_labels(path, 10)):
        with pytest.raises(DataFileError, match="magic number 0x00000000"):
            read(str(path))


@pytest.mark.parametrize(
    "case, message",
    [
        ("members", "more than 1000 members"),
        ("long name", "extended header of 1073741824"),
        ("sparse", "a file with holes"),
        ("padding after the end", "unpacks to more than 256 MB"),
        ("size of another member", "unpacks to more than 256 MB"),
        ("size of the batch", "1073741824 bytes, more than 20000 images"),
    ],
)
def test_the_error_says_what_is_wrong(case, message, tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(TAR[case]())
    with pytest.raises(DataFileError, match=message):
        read_tar(str(path), ["test_batch.bin"])


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize(
    "folder", ["a" * 90 + "/", "b/" * 60, "c" * 120 + "/", "d/" * 1000, "\u2211/"]
)
def test_long_names_of_every_format(folder, format, tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format, encoding="utf-8") as tar:
        for name, content in (("readme", b"x" * 700), ("test_batch.bin", BATCH), ("more", b"")):
            member = tarfile.TarInfo(folder + name)
            member.size = len(content)
            try:
                tar.addfile(member, io.BytesIO(content))
            except ValueError:
                assert format == tarfile.USTAR_FORMAT  # this format has no room for such names
                return
    path = tmp_path / "a.tar"
    path.write_bytes(buffer.getvalue())
    (batch,) = read_tar(str(path), ["test_batch.bin"])
    assert batch.tobytes() == BATCH
