"""This module makes small files of every format that minidl reads, and changes to them that know
the parts of the format.
"""

import bz2
import copy
import gzip
import io
import json
import lzma
import struct
import tarfile
import zlib
from typing import Any

import numpy as np

from .draw import Draw

FORMATS = (
    "idx",
    "labels",
    "cifar",
    "tar",
    "tar",
    "arrays",
    "model",
    "optimizer",
    "optimizer",
    "loader",
    "nested",
)
SAFETENSORS = ("arrays", "model", "optimizer", "loader", "nested")
NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    7,
    255,
    256,
    2**16,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**40,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
    2**64,
    -(2**31),
    -(2**63),
)
ODD = (
    *NUMBERS,
    None,
    True,
    "",
    "x",
    1.5,
    1e308,
    [],
    {},
    [[]],
    [2**62, 2**62],
    "F32",
    "BF16",
    "F64",
    "I64",
    "U8",
    "F16",
    "F8_E4M3",
    "BOOL",
    [0, 0],
    [1, 0],
    {"array": "x"},
    {"value": 1},
    {"number": "x"},
    {"number": "nan"},
    {"dict": []},
    {"list": {}},
    {"tuple": 3},
    "NaN",
)
SIZE = 9 + 28 * 28


def content(form: str, base: dict[str, Any]) -> bytes:
    """Return the content of a valid file."""
    rng, count = np.random.default_rng(base["seed"]), base["count"]
    if form == "idx":
        return _packed(struct.pack(">4I", 0x803, count, 28, 28) + rng.bytes(count * 784), base)
    if form == "labels":
        return _packed(struct.pack(">2I", 0x801, count) + _labels(rng, count), base)
    if form == "cifar":
        return b"".join(_labels(rng, 1) + rng.bytes(3072) for _ in range(count))
    if form == "tar":
        return _packed(
            _tar([("cifar-10-batches-bin/test_batch.bin", content("cifar", base), {})]), base
        )
    from safetensors.numpy import save

    arrays, metadata = _state(form, rng)
    return bytes(save(arrays, metadata))


def _labels(rng: np.random.Generator, count: int) -> bytes:
    return rng.integers(0, 10, count).astype(np.uint8).tobytes()


def _packed(raw: bytes, base: dict[str, Any]) -> bytes:
    pack: Any = {
        "gz": lambda b: gzip.compress(b, mtime=0),
        "bz2": bz2.compress,
        "xz": lzma.compress,
    }.get(base["compress"], bytes)
    return bytes(pack(raw))


def _tar(members: list[tuple[str, bytes, dict[str, Any]]], form: int = tarfile.GNU_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, raw, headers in members:
            member = tarfile.TarInfo(name)
            member.size, member.pax_headers = len(raw), headers
            tar.addfile(member, io.BytesIO(raw))
    return buffer.getvalue()


def _state(form: str, rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, str] | None]:
    """Return (arrays, metadata) as `md.save` writes them."""
    import tempfile

    import minidl as md
    from minidl import nn, optim

    state: Any = {"a": rng.standard_normal((2, 3)), "b": np.arange(4)}
    if form == "model":
        state = nn.Sequential(nn.Dense(3, 4), nn.BatchNorm(4)).state_dict()
    elif form == "optimizer":
        weight = nn.Parameter(np.ones((3, 2), np.float32))
        optimizer = optim.Adam([weight], lr=0.1)
        weight.grad = np.ones((3, 2), np.float32)
        optimizer.step()
        state = optimizer.state_dict()
    elif form == "loader":
        state = {"seed": 1, "epoch": 2, "position": 3}
    elif form == "nested":
        state = {"a": [np.ones(2), {"b": (1, None, "x", 2.5)}], "c": float("nan")}
    from safetensors import safe_open

    with tempfile.NamedTemporaryFile() as file:
        md.save(file.name, state)
        with safe_open(file.name, framework="np") as opened:
            return (
                {name: opened.get_tensor(name) for name in opened.keys()},  # noqa: SIM118
                opened.metadata(),
            )


def mutation(draw: Draw, form: str) -> list[Any]:
    """Return a change: of bytes, or of a part that the format has."""
    kinds = ["flip", "cut", "byte", "word", "insert", "repeat"]
    if form in SAFETENSORS:
        kinds += ["header"] * 8 + ["metadata"] * 12 + ["length"]
    if form == "tar":
        kinds += ["member"] * 8
    if form in ("idx", "labels", "tar"):
        kinds += ["unpacked"] * 3 + ["bomb"]
    kind = draw.pick(*kinds)
    at, number = draw.random.random() ** draw.pick(1, 3), draw.pick(*NUMBERS)
    if kind in ("header", "metadata"):
        return [
            kind,
            draw.integer(0, 400),
            draw.pick("set", "set", "set", "delete", "copy", "deep"),
            draw.pick(*ODD),
        ]
    if kind == "member":
        return [
            kind,
            draw.pick(
                "long", "pax", "size", "sparse", "link", "dir", "twice", "many", "sparse_pax"
            ),
            number,
        ]
    if kind == "unpacked":
        return [kind, mutation(draw, "")]
    if kind == "bomb":
        return [kind, draw.pick("gz", "bz2", "xz")]
    return [kind, at, number]


def changed(raw: bytes, mutations: list[Any], form: str) -> bytes:
    """Return the content after all changes."""
    for change in mutations:
        try:
            raw = _changed(raw, change, form)
        except (
            ValueError,
            KeyError,
            TypeError,
            IndexError,
            EOFError,
            OSError,
            struct.error,
            lzma.LZMAError,
            zlib.error,
            RecursionError,
            ZeroDivisionError,
        ):
            continue  # an earlier change has left nothing to change
    return raw[: 1 << 26]


def _changed(raw: bytes, change: list[Any], form: str) -> bytes:
    kind, *how = change
    if kind in ("header", "metadata", "length"):
        return _in_header(raw, kind, how)
    if kind == "member":
        return _with_member(raw, *how)
    if kind == "unpacked":
        for opened, packed in (
            (gzip.decompress, gzip.compress),
            (bz2.decompress, bz2.compress),
            (lzma.decompress, lzma.compress),
        ):
            try:
                inner = opened(raw)
            except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error):
                continue
            return packed(_changed(inner, how[0], form))
        return _changed(raw, how[0], form)
    if kind == "bomb":  # a small file that announces and unpacks to a lot
        size = 3 << 28
        head = struct.pack(">4I", 0x803, size // 784, 28, 28) if form == "idx" else raw[:512]
        pack: Any = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[how[0]]
        return bytes(pack(head + bytes(1 << 24)))
    at, number = int(how[0] * max(0, len(raw) - 1)), int(how[1])
    if kind == "flip":
        return raw[:at] + bytes([raw[at] ^ (1 << number % 8)]) + raw[at + 1 :]
    if kind == "byte":
        return raw[:at] + bytes([number % 256]) + raw[at + 1 :]
    if kind == "word":
        at -= at % 4
        return raw[:at] + struct.pack(">I", number % 2**32) + raw[at + 4 :]
    if kind == "cut":
        return raw[:at]
    if kind == "insert":
        return raw[:at] + bytes(number % 5000) + raw[at:]
    return raw + raw[at:]


def _in_header(raw: bytes, kind: str, how: list[Any]) -> bytes:
    """Return a change of safetensors' header, or of minidl's tree in its metadata."""
    size = struct.unpack("<Q", raw[:8])[0]
    if kind == "length":
        return struct.pack("<Q", int(how[1]) % 2**64) + raw[8:]
    header = json.loads(raw[8 : 8 + size])
    if kind == "metadata":
        tree = json.loads(header["__metadata__"]["minidl"])
        header["__metadata__"]["minidl"] = json.dumps(_edited(tree, *how))
    else:
        header = _edited(header, *how)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + raw[8 + size :]


def _edited(tree: Any, number: int, how: str, value: Any) -> Any:
    """Change the part of a JSON tree that has this number (modulo the number of parts)."""
    tree = copy.deepcopy(tree)
    parts: list[tuple[Any, Any]] = []

    def collect(node: Any) -> None:
        items = (
            node.items()
            if isinstance(node, dict)
            else (enumerate(node) if isinstance(node, list) else ())
        )
        for key, item in items:
            parts.append((node, key))
            collect(item)

    collect(tree)
    node, key = parts[number % len(parts)]
    if how == "delete":
        del node[key]
    elif how == "copy":
        other, from_key = parts[(number * 7 + 1) % len(parts)]
        node[key] = copy.deepcopy(other[from_key])
    elif how == "deep":
        deep: Any = node[key]
        for _ in range(4000):
            deep = {"list": [deep]}
        node[key] = "x" if number % 2 else deep
    else:
        node[key] = value
    return tree


def _with_member(raw: bytes, what: str, number: int) -> bytes:
    """Put an odd member before the others of the tar."""
    name = "cifar-10-batches-bin/test_batch.bin"
    size = abs(number) % 2**36
    if what == "long":
        return _tar([("a/" * min(size, 5 << 20), b"x", {})]) + raw
    if what == "pax":
        return _tar([(name, b"x", {"comment": "x" * min(size, 5 << 20)})], tarfile.PAX_FORMAT) + raw
    if what in ("size", "sparse_pax"):
        headers = (
            {"size": str(number)}
            if what == "size"
            else {
                "GNU.sparse.major": "1",
                "GNU.sparse.minor": "0",
                "GNU.sparse.realsize": str(number),
                "GNU.sparse.name": name,
                "GNU.sparse.map": f"0,{number}",
            }
        )
        return _tar([(name, b"1\n0\n512\n" + bytes(1000), headers)], tarfile.PAX_FORMAT) + raw
    member = tarfile.TarInfo(name)
    member.size = size
    member.type = {
        "sparse": tarfile.GNUTYPE_SPARSE,
        "link": tarfile.LNKTYPE,
        "dir": tarfile.DIRTYPE,
    }.get(what, tarfile.REGTYPE)
    if what == "many":
        member.size = 0
        return member.tobuf() * 3000 + raw
    return member.tobuf(tarfile.GNU_FORMAT) + raw
