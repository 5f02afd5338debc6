"""The files in a tar, read as a stream, in memory that the tar cannot choose.

`tarfile` reads whatever a header announces into memory: a long name, an extended header, the map
of a sparse file. So only single headers are read by it here, and what is announced is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .store import CHUNK, DataFileError, Stream, read_up_to

BLOCK = 512
MAX_MEMBERS = 1_000
MAX_EXTENSION = 1 << 16  # bytes of a long name or an extended header


def regular_files(stream: Stream) -> Iterator[tuple[str, int]]:
    """Yield the name and the size of each regular file in a tar.

    Its content may be read from the stream before the next is asked for. After the last one the
    stream is read to its end, where the checksum of a compressed one stands.
    """
    import tarfile

    long_name = ""
    for _ in range(MAX_MEMBERS):
        block = read_up_to(stream, BLOCK)
        if not block.strip(b"\0"):  # the mark of the end, or the end itself
            break
        try:
            member = tarfile.TarInfo.frombuf(bytes(block), "utf-8", "surrogateescape")
        except (tarfile.TarError, ValueError) as error:
            message = f"{stream.path}: truncated, corrupt or not a tar: {error}"
            raise DataFileError(message) from error
        name, size = long_name or member.name, member.size
        where = f"{stream.path}: {name}"
        if size < 0:
            raise DataFileError(f"{where}: a size of {size}")
        if member.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE,
                           tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE):  # fmt: skip
            if size > MAX_EXTENSION:
                raise DataFileError(f"{where}: a long name or extended header of {size} bytes")
            content = read_up_to(stream, size)
            _skip(stream, -size % BLOCK)
            long_name = _long_name(content, member.type == tarfile.GNUTYPE_LONGNAME) or long_name
            continue
        if member.type == tarfile.GNUTYPE_SPARSE:
            raise DataFileError(f"{where}: a file with holes, which cannot be read")
        long_name = ""
        if member.isreg():
            start = stream.position
            yield name, size
            size -= stream.position - start
        elif member.type in tarfile.SUPPORTED_TYPES:
            continue  # a folder, a link or a device: nothing follows, whatever its size says
        _skip(stream, size + -member.size % BLOCK)
    else:
        raise DataFileError(f"{stream.path}: more than {MAX_MEMBERS} members")
    while stream.read(CHUNK):
        pass


def _long_name(content: bytearray, plain: bool) -> str:
    """The name that an extension gives the next member, if it gives one.

    plain: the content is the name, as GNU's tar writes it; otherwise it is in a list of records
    """
    if plain:
        return content.rstrip(b"\0").decode("utf-8", "surrogateescape")
    record = re.search(rb"\d+ path=([^\n]*)\n", content)
    return record[1].decode("utf-8", "surrogateescape") if record else ""


def _skip(stream: Stream, size: int) -> None:
    while size > 0:
        piece = stream.read(min(CHUNK, size))
        if not piece:
            raise DataFileError(f"{stream.path}: truncated")
        size -= len(piece)
