"""Saving and loading state: safetensors files, written whole or not at all, never pickle.

A flat dict of arrays becomes a plain safetensors file that any reader understands. Anything else
in a state (nested dicts and lists, numbers, strings, None) goes into the file's metadata as JSON,
in which arrays are named.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from .tensor import Tensor

_KEY = "minidl"


def save(path: str | os.PathLike[str], state: Any) -> None:
    """Write a state: a dict (or list), of any nesting, of arrays, tensors, numbers, strings, None.

    The file appears whole or not at all: it is written beside `path`, flushed to disk, and
    renamed. TypeError names what cannot be saved.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     md.save(folder + "/state.safetensors", {"weight": np.ones(2), "epoch": 3})
    ...     md.load(folder + "/state.safetensors")
    {'weight': array([1., 1.]), 'epoch': 3}
    """
    import tempfile

    from safetensors.numpy import save as to_bytes

    arrays: dict[str, np.ndarray] = {}
    tree = _describe(state, "", arrays)
    flat = isinstance(state, dict) and set(arrays) == set(state)
    metadata = None if flat else {_KEY: json.dumps(tree)}
    content = to_bytes(arrays, metadata)
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)      # mkstemp's files are private
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(path.parent)


def load(path: str | os.PathLike[str]) -> Any:
    """Read what `save` wrote; of another safetensors file, its dict of arrays.

    FileNotFoundError if there is no such file, ValueError if it is not safetensors or is damaged.

    >>> import tempfile
    >>> layer = nn.Dense(4, 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     md.save(folder + "/dense.safetensors", layer.state_dict())
    ...     layer.load_state_dict(md.load(folder + "/dense.safetensors"))
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"load: there is no file {path}")
    try:
        with safe_open(str(path), framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _rebuild(json.loads(metadata[_KEY]), arrays) if _KEY in metadata else arrays
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"load: {path} is not a safetensors file of minidl's, or it is "
                         f"damaged: {error}") from None


def _describe(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON, its arrays put into `arrays` under their names."""
    if isinstance(value, Tensor):
        value = value.data
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiub" or value.dtype.itemsize > 8:
            raise TypeError(f"save: cannot save an array of {value.dtype.name} ({name or 'state'})")
        if name in arrays or name in ("", "__metadata__"):      # the last is safetensors' own
            name = f"{name}#{len(arrays)}"
        arrays[name] = np.asarray(value, dtype=value.dtype.newbyteorder("="), order="C")
        return {"array": name}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return {"number": ("-" if np.signbit(value) else "") + str(abs(value))}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"save: keys must be strings, got {key!r} in {name or 'state'}")
        return {"dict": {k: _describe(v, f"{name}.{k}" if name else k, arrays)
                         for k, v in value.items()}}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_describe(v, f"{name}.{i}" if name else str(i), arrays)
                       for i, v in enumerate(value)]}
    raise TypeError(f"save: cannot save a {type(value).__name__} ({name or 'state'})")


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


def _sync_folder(folder: Path) -> None:
    """Flush the rename itself, where folders can be opened."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
