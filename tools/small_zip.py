"""This module rewrites a zip archive so that it is smaller: it compresses the members by Zopfli,
which takes long.

Any program that reads zip archives can read the result. Python's zipfile cannot use another
compressor, so the few structures of the format are written here (PKWARE's APPNOTE, 4.3).
"""

import struct
import zipfile
import zlib
from pathlib import Path

import zopfli.zlib

LOCAL = struct.Struct("<4s5H3L2H")
CENTRAL = struct.Struct("<4s6H3L5H2L")
END = struct.Struct("<4s4H2LH")
VERSION, UNIX, UTF8 = 20, 3, 0x800
STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def rewrite(path: Path) -> None:
    """Replace an archive by a smaller one that has the same members in the same order.

    Raises ValueError for an archive with encrypted members or with members of four gigabytes.
    """
    out, directory = bytearray(), bytearray()
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for member in members:
            if member.flag_bits & 1 or member.file_size >> 32 or len(out) >> 32:
                raise ValueError(f"{path}: {member.filename} is encrypted or too large")
            offset, name = len(out), member.filename.encode()
            method, packed = _packed(archive.read(member))
            year, month, day, hour, minute, second = member.date_time
            described = (
                VERSION,
                UTF8,
                method,
                hour << 11 | minute << 5 | second // 2,
                (year - 1980) << 9 | month << 5 | day,
                member.CRC,
                len(packed),
                member.file_size,
                len(name),
            )
            out += LOCAL.pack(b"PK\3\4", *described, 0) + name + packed
            directory += (
                CENTRAL.pack(
                    b"PK\1\2",
                    UNIX << 8 | VERSION,
                    *described,
                    0,
                    0,
                    0,
                    0,
                    member.external_attr,
                    offset,
                )
                + name
            )
    end = END.pack(b"PK\5\6", 0, 0, len(members), len(members), len(directory), len(out), 0)
    path.write_bytes(out + directory + end)


def _packed(data: bytes) -> tuple[int, bytes]:
    """Return the method and the bytes of a member. It is stored if deflate does not make it
    smaller.
    """
    if len(zlib.compress(data[: 1 << 16], 1)) > 0.99 * len(data[: 1 << 16]):
        return STORED, data
    return DEFLATED, zopfli.zlib.compress(data)[2:-4]  # without the header and the checksum of zlib
