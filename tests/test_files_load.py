"""These tests load files that `md.save` has not written: other dtypes, damaged, hostile and
unreadable files.
"""

import errno
import json
import os
import struct
import warnings

import numpy as np
import pytest
import safetensors.numpy

import minidl as md
from tests.support.arrays import uniform
from tests.support.marks import needs_root
from tests.support.processes import as_nobody, in_bounded_memory

# ------------------------------------------------------------------------------------- dtypes

# The bits of bfloat16 numbers, and their values.
BFLOAT16 = {
    0x3FC0: 1.5,
    0xC000: -2.0,
    0x0000: 0.0,
    0x8000: -0.0,
    0x7F80: np.inf,
    0x0001: 2.0**-133,
    0x7F7F: (2 - 2.0**-7) * 2.0**127,
}


def write(path, tensors, **metadata):
    """Write a safetensors file of arrays given as (dtype, shape, bytes)."""
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, (dtype, shape, content) in tensors.items():
        offsets = [len(data), len(data) + len(content)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        data += content
    write_raw(path, json.dumps(header).encode(), data)
    return path


def write_raw(path, header, data=b"", length=None):
    length = len(header) if length is None else length
    path.write_bytes(struct.pack("<Q", length) + header + data)


def test_bfloat16_is_read_as_float32(tmp_path):
    bits = np.array(list(BFLOAT16), "<u2")
    path = write(
        tmp_path / "b.safetensors",
        {
            "w": ("BF16", [len(bits)], bits.tobytes()),
            "scalar": ("BF16", [], b"\xc0\x3f"),
            "empty": ("BF16", [0, 3], b""),
            "same": ("F32", [1], struct.pack("<f", 3)),
        },
    )
    with pytest.warns(UserWarning, match=r"of bfloat16 in .*b\.safetensors are read") as record:
        found = md.load(path)
    assert [warning.filename for warning in record] == [__file__]
    assert all(array.dtype == np.float32 and array.flags.writeable for array in found.values())
    values = np.array(list(BFLOAT16.values()), np.float32)
    assert found["w"].tobytes() == values.tobytes()
    assert found["scalar"].shape == () and found["scalar"] == 1.5
    assert found["empty"].shape == (0, 3) and found["same"] == [3]


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
def test_float16_is_read_as_float32(nested, tmp_path):
    array = np.arange(2**16, dtype=np.uint16).view(np.float16)
    state = {"w": array, "matrix": array[:6].reshape(2, 3).T, "f": np.ones(2)}
    md.save(tmp_path / "h", {"in": state, "n": 1} if nested else state)
    with pytest.warns(UserWarning, match="arrays of float16 in") as record:
        found = md.load(tmp_path / "h")
    assert len(record) == 1
    found = found["in"] if nested else found
    for name in ("w", "matrix"):
        assert found[name].dtype == np.float32 and found[name].flags.writeable
        np.testing.assert_array_equal(found[name], state[name].astype(np.float32))
    assert found["f"].dtype == np.float64


def test_other_files_give_no_warning(tmp_path):
    md.save(tmp_path / "f", {"w": np.ones(2, np.float32)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        md.load(tmp_path / "f")


@pytest.mark.parametrize(
    "dtype, shape, size, word",
    [("F8_E4M3", [4], 4, "float8_e4m3"), ("F8_E5M2", [2, 2], 4, "float8_e5m2")],
)
def test_a_dtype_that_cannot_be_read_is_named(dtype, shape, size, word, tmp_path):
    path = write(
        tmp_path / "eight", {"fine": ("F32", [1], bytes(4)), "layer.w": (dtype, shape, bytes(size))}
    )
    with pytest.raises(ValueError) as info:
        md.load(path)
    message = str(info.value)
    for part in (dtype, word, "'layer.w'", str(path)):
        assert part in message
    assert "damaged" not in message


# ------------------------------------------------------------------------- damaged and hostile


def whole_file(folder):
    path = folder / "whole"
    md.save(path, {"model": {"w": uniform(20, 30)}, "epoch": 3})
    return path.read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b"",
        lambda b: b[:5],
        lambda b: b[:40],
        lambda b: b[:-1],
        lambda b: b[:-1000],
        lambda b: b + b"x",
        lambda b: b"\x80\x04" + b[2:],
        lambda b: b"\xff" * 8 + b[8:],
        lambda b: b.replace(b"F32", b"F99"),
        lambda b: b.replace(b"[20,30]", b"[20,31]"),
        lambda b: b"PK\x03\x04" + bytes(100),
        lambda b: b"just some text, nothing of ours at all",
        lambda b: bytes(1000),
    ],
    ids=[
        "empty",
        "in the length",
        "in the header",
        "a byte less",
        "less",
        "a byte more",
        "pickle",
        "huge header",
        "dtype",
        "shape",
        "zip",
        "text",
        "zeros",
    ],
)
def test_a_damaged_file_is_named(damage, tmp_path):
    path = tmp_path / "damaged.safetensors"
    whole = whole_file(tmp_path)
    assert damage(whole) != whole
    path.write_bytes(damage(whole))
    with pytest.raises(ValueError, match=r"damaged\.safetensors"):
        md.load(path)


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "",
        "[]",
        "{}",
        "1",
        "null",
        '"x"',
        '{"array": "nothing"}',
        '{"array": []}',
        '{"number": "x"}',
        '{"list": 3}',
        '{"tuple": null}',
        '{"dict": []}',
        '{"a": 1, "b": 2}',
        '{"other": 3}',
        '{"dict": {"a": 3}}',
    ],
)
def test_foreign_metadata_under_our_name(text, tmp_path):
    path = tmp_path / "foreign.safetensors"
    safetensors.numpy.save_file({"a": np.zeros(2)}, path, {"minidl": text})
    with pytest.raises(ValueError, match=r"foreign\.safetensors"):
        md.load(path)


def entry(shape, offsets, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


HOSTILE = {
    "length of the header": (b"{}", b"", 2**63),
    "longest header": (b"{}", b"", 2**64 - 1),
    "header of 99 MB": (b"{}", b"", 99_000_000),
    "deep header": (b"[" * 50_000, b"", None),
    "deep shape": (b'{"a":{"dtype":"F32","shape":' + b"[" * 50_000, b"", None),
    "negative shape": ({"a": entry([-1], [0, 4])}, bytes(4), None),
    "shape that overflows": ({"a": entry([2**33, 2**33], [0, 0])}, b"", None),
    "huge shape of nothing": ({"a": entry([2**63, 0], [0, 0])}, b"", None),
    "huge bfloat16 of nothing": ({"a": entry([2**63, 0], [0, 0], "BF16")}, b"", None),
    "huge float16 of nothing": ({"a": entry([0, 2**64 - 1], [0, 0], "F16")}, b"", None),
    "70 axes": ({"a": entry([1] * 70, [0, 4])}, bytes(4), None),
    "shape without data": ({"a": entry([2**40], [0, 0])}, b"", None),
    "offsets behind the end": ({"a": entry([1], [0, 2**63])}, bytes(4), None),
    "offsets that lie": ({"a": entry([2**30], [0, 2**32])}, bytes(4), None),
    "offsets backwards": ({"a": entry([1], [4, 0])}, bytes(4), None),
    "one place for two": ({"a": entry([1], [0, 4]), "b": entry([1], [0, 4])}, bytes(4), None),
    "overlapping": ({"a": entry([1], [0, 4]), "b": entry([1], [2, 6])}, bytes(6), None),
    "a gap": ({"a": entry([1], [0, 4]), "b": entry([1], [8, 12])}, bytes(12), None),
    "more data": ({"a": entry([1], [0, 4])}, bytes(8), None),
}


def write_hostile(case, path):
    header, data, length = HOSTILE[case]
    write_raw(
        path, header if isinstance(header, bytes) else json.dumps(header).encode(), data, length
    )


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_header_is_named(case, tmp_path):
    path = tmp_path / "hostile.safetensors"
    write_hostile(case, path)
    with pytest.raises(ValueError, match=r"hostile\.safetensors"):
        md.load(path)


def test_hostile_headers_take_no_memory(tmp_path):
    for case in HOSTILE:
        write_hostile(case, tmp_path / case)
    in_bounded_memory(
        """
for name in os.listdir(sys.argv[1]):
    try:
        md.load(os.path.join(sys.argv[1], name))
    except ValueError:
        continue
    raise AssertionError(name)
""",
        tmp_path,
        megabytes=64,
    )


@pytest.mark.parametrize("depth", [600, 3_000, 100_000])
@pytest.mark.parametrize(
    "opening, closing",
    [('{"list":[', "]}"), ('{"dict":{"a":', "}}"), ('{"value":[', "]}"), ("[", "]")],
)
def test_deep_metadata(opening, closing, depth, tmp_path):
    text = opening * depth + '{"value":1}' + closing * depth
    path = write(tmp_path / "deep.safetensors", {}, minidl=text)
    with pytest.raises(ValueError, match=r"deep\.safetensors"):
        md.load(path)


@pytest.mark.parametrize(
    "text",
    [f'{{"value":{"9" * 6_000}}}', f'{{"number":{"9" * 4_000}}}'],
    ids=["many digits", "no float"],
)
def test_numbers_that_python_does_not_take(text, tmp_path):
    path = write(tmp_path / "digits.safetensors", {}, minidl=text)
    with pytest.raises(ValueError, match=r"digits\.safetensors"):
        md.load(path)


def test_any_flipped_bytes(tmp_path):
    """The result is a state, or a ValueError that names the file, and nothing else."""
    path = tmp_path / "flipped.safetensors"
    md.save(path, {"m": {"w": np.arange(6.0).reshape(2, 3), "n": np.ones(2)}, "e": 3, "l": [1, 2]})
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(500):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), rng.integers(1, 4)):
            damaged[at] = rng.choice([rng.integers(256), *b'0123456789[]{}",:-'])
        path.write_bytes(damaged)
        try:
            md.load(path)
        except ValueError as error:
            assert "flipped.safetensors" in str(error)
            found += 1
    assert 0 < found < 500


# -------------------------------------------------------------------------------- unreadable


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError) as info:
        md.load(tmp_path / "nothing")
    assert info.value.filename == str(tmp_path / "nothing") and info.value.errno == errno.ENOENT
    with pytest.raises(IsADirectoryError) as info:
        md.load(tmp_path)
    assert info.value.filename == str(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="files of POSIX")
def test_what_would_never_end_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", "/dev/zero"):
        with pytest.raises(OSError, match=r"expected a regular file, found a (FIFO|device)"):
            md.load(path)


@needs_root
def test_a_missing_permission_is_named(tmp_path):
    path = tmp_path / "private"
    md.save(path, {})
    path.chmod(0o600)
    # The folder of a test is private, too. Whichever is found first, the path is named.
    found = as_nobody(
        tmp_path,
        """
try:
    md.load("private")
except PermissionError as error:
    print(error.filename)
""",
    )
    assert found == "private"
