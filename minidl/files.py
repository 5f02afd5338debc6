"""Saving and loading state as safetensors files, which are written whole or not at all; pickle is
never used.

A flat dict of arrays becomes a plain safetensors file that any reader understands. Anything else
in a state (nested dicts and lists, numbers, strings, None) goes into the file's metadata as JSON,
in which arrays are named. How a file is replaced is in `atomic`.
"""

from __future__ import annotations

import errno
import os
from typing import Any

import numpy as np

from . import checks
from .atomic import replace_file, status
from .ops.common import warn
from .tensor import Tensor

_KEY = "minidl"

# The format's names for the dtypes that are read as they are, and for those read as float32.
_SAME = {"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F32", "F64"}
_NARROW = {"F16": "float16", "BF16": "bfloat16"}

# How deep a state may be nested: json and the functions below call themselves at every level.
_MAX_DEPTH = 100

# The most bytes of names, shapes and metadata that the safetensors package accepts when it reads.
_MAX_HEADER = 100_000_000


def save(path: str | os.PathLike[str], state: Any) -> None:
    """Write a state: arrays, tensors, numbers, strings and None in dicts and lists of any nesting.

    The file appears whole or not at all: it is written beside `path`, flushed to disk, and
    renamed. A symbolic link stays, and the file that it leads to is written. A file that is
    replaced keeps its mode, and its owner and group where the system allows it; its other hard
    links keep the old content. If a save is killed, the next save to the same path removes its
    temporary file.

    TypeError names what cannot be saved; ValueError for a state that holds itself, is nested more
    than 100 deep, or has text that is not Unicode. FileNotFoundError names a folder that does not
    exist; IsADirectoryError, PermissionError and OSError (a device, FIFO or socket, a full disk)
    name `path`. After an error the old file is there, untouched.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     md.save(folder + "/state.safetensors", {"weight": np.ones(2), "epoch": 3})
    ...     md.load(folder + "/state.safetensors")
    {'weight': array([1., 1.]), 'epoch': 3}
    """
    if isinstance(state, (str, os.PathLike)) and not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(f"save: path comes first: save({state!r}, {type(path).__name__})")
    path = checks.path(path, "save")
    arrays: dict[str, np.ndarray] = {}
    tree = _describe(state, "", arrays, ())
    flat = isinstance(state, dict) and tree["dict"] == {k: {"array": k} for k in state}
    write_arrays(path, arrays, {} if flat else {_KEY: tree})


def load(path: str | os.PathLike[str]) -> Any:
    """Read the state that `save` wrote; any other safetensors file gives its dict of arrays.

    Arrays of float16 and bfloat16 are read as float32, with a warning. FileNotFoundError if there
    is no such file, IsADirectoryError for a folder, PermissionError for a file that must not be
    read, ValueError for a file that is not safetensors, is damaged, or holds an array of a dtype
    that is not supported (float8, complex numbers); all of them name `path`.

    >>> import tempfile
    >>> layer = nn.Dense(4, 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     md.save(folder + "/dense.safetensors", layer.state_dict())
    ...     layer.load_state_dict(md.load(folder + "/dense.safetensors"))
    """
    import json

    path = checks.path(path, "load")
    arrays, metadata = read_arrays(path)
    if _KEY not in metadata:
        return arrays
    try:
        return _rebuild(json.loads(metadata[_KEY]), arrays)
    except RecursionError:
        raise ValueError(f"load: the metadata of {path} is nested too deep to be read") from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise damaged(path, error) from None


def write_arrays(path: str, arrays: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
    """Write a safetensors file of contiguous arrays, whole or not at all. Each entry of `metadata`
    is written as JSON. The errors are those of `save`."""
    import json

    from safetensors import SafetensorError
    from safetensors.numpy import save as to_bytes

    try:
        texts = {name: json.dumps(value) for name, value in metadata.items()}
        content = to_bytes(arrays, texts or None)
        if int.from_bytes(content[:8], "little") > _MAX_HEADER:
            raise ValueError("header too large")  # newer versions of the package raise this
    except (SafetensorError, ValueError) as error:  # ValueError: an int of 5,000 digits
        raise ValueError(f"save: this state does not fit a safetensors file: {error}") from None
    replace_file(path, content)


def read_arrays(path: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a safetensors file, by name, and its metadata. Errors and warnings are those of
    `load`."""
    from safetensors import SafetensorError, safe_open

    if status(path) is None:
        raise FileNotFoundError(errno.ENOENT, "load: there is no such file", path)
    with open(path, "rb"):  # the package would not name a file that must not be read
        pass
    try:
        with safe_open(path, framework="np") as file:
            dtypes = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
            arrays = {
                name: file.get_tensor(name) for name, dtype in dtypes.items() if dtype in _SAME
            }
            arrays |= {
                name: file.get_tensor(name).astype(np.float32)
                for name, dtype in dtypes.items()
                if dtype == "F16"
            }
        if "BF16" in dtypes.values():
            arrays |= _bfloat16_arrays(path)
        unreadable = sorted(dtypes.keys() - arrays.keys())
    except (
        SafetensorError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
    ) as error:
        raise damaged(path, error) from None
    if unreadable:
        name = unreadable[0]
        raise ValueError(
            f"load: cannot read {name!r} of {path}: its dtype is "
            f"{_dtype_name(dtypes[name])}; convert it to float32 first"
        )
    narrow = sorted({_NARROW[dtype] for dtype in dtypes.values() if dtype in _NARROW})
    if narrow:
        warn(f"load: arrays of {' and '.join(narrow)} in {path} are read as float32")
    return {name: arrays[name] for name in dtypes}, metadata


def damaged(path: str, error: object) -> ValueError:
    """The error for a file that cannot be read as a state."""
    if path.lower().endswith(".onnx"):
        return ValueError(f"load: {path} is not a safetensors file: md.onnx.load reads ONNX files")
    return ValueError(
        f"load: {path} is not a safetensors file of minidl's, or it is damaged: {error}"
    )


def _describe(value: Any, name: str, arrays: dict[str, np.ndarray], within: tuple[int, ...]) -> Any:
    """Describe a value in JSON. Its arrays are put into `arrays`, each under a name of its own.

    `within` are the ids of the dicts, lists and tuples that hold the value.
    """
    if isinstance(value, Tensor):
        value = value.data
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiub" or value.dtype.itemsize > 8:
            raise TypeError(f"save: cannot save an array of {value.dtype.name} ({name or 'state'})")
        name = _unused(name, arrays)
        arrays[name] = np.asarray(value, dtype=value.dtype.newbyteorder("="), order="C")
        return {"array": name}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return {"number": ("-" if np.signbit(value) else "") + str(abs(value))}
    if isinstance(value, str):
        return {"value": _checked_text(value, name)}
    if value is None or isinstance(value, bool | int | float):
        return {"value": value}
    if not isinstance(value, dict | list | tuple):
        hint = "; of it state_dict() can be saved" if hasattr(value, "state_dict") else ""
        raise TypeError(f"save: cannot save a {type(value).__name__} ({name or 'state'}){hint}")
    if id(value) in within:
        raise ValueError(f"save: a {type(value).__name__} holds itself ({_shortened(name)})")
    if len(within) == _MAX_DEPTH:
        raise ValueError(
            f"save: the state is nested more than {_MAX_DEPTH} deep ({_shortened(name)})"
        )
    within = (*within, id(value))
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"save: keys must be strings, got {key!r} in {name or 'state'}")
        return {
            "dict": {
                _checked_text(k, name): _describe(v, f"{name}.{k}" if name else k, arrays, within)
                for k, v in value.items()
            }
        }
    kind = "list" if isinstance(value, list) else "tuple"
    return {
        kind: [
            _describe(v, f"{name}.{i}" if name else str(i), arrays, within)
            for i, v in enumerate(value)
        ]
    }


def _unused(name: str, arrays: dict[str, np.ndarray]) -> str:
    """The name itself, or the name and a number, because two paths in a state may read the same."""
    free, number = name, len(arrays)
    while free in arrays or free in ("", "__metadata__"):  # safetensors uses the latter
        free, number = f"{name}#{number}", number + 1
    return free


def _checked_text(text: str, name: str) -> str:
    """The text itself; a ValueError if it has lone surrogates, which JSON would join to pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"save: {text!r} in {name or 'state'} is not Unicode text") from None
    return text


def _shortened(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:60]}..."


def _rebuild(tree: Any, arrays: dict[str, np.ndarray]) -> Any:
    ((kind, value),) = tree.items()
    if kind == "array":
        return arrays[value]
    if kind == "number":
        return float(value)
    if kind == "dict":
        return {k: _rebuild(v, arrays) for k, v in value.items()}
    if kind == "list":
        return [_rebuild(v, arrays) for v in value]
    if kind == "tuple":
        return tuple(_rebuild(v, arrays) for v in value)
    if kind == "value":
        return value
    raise ValueError(f"unknown kind of value {kind!r}")


def _bfloat16_arrays(path: str) -> dict[str, np.ndarray]:
    """The bfloat16 arrays of a file as float32: a bfloat16 is the upper half of a float32."""
    from safetensors import deserialize

    with open(path, "rb") as file:
        content = file.read()
    arrays = {}
    for name, entry in deserialize(content):
        if entry["dtype"] == "BF16":
            bits = np.frombuffer(entry["data"], "<u2").astype(np.uint32) << 16
            arrays[name] = bits.view(np.float32).reshape(entry["shape"])
    return arrays


def _dtype_name(code: str) -> str:
    """The format's name for a dtype and, for floats, the usual one: F8_E4M3 (float8_e4m3)."""
    return f"{code} (float{code[1:].lower()})" if code.startswith("F") else code
