"""A program in one file: a safetensors file of its constants, and in its metadata the rest as JSON.

    {"format": 1, "exact": false,
     "values": [{"shape": [{"size": [0, 1]}, 28, 28, 1], "dtype": "float32"}, ...],
     "operations": [{"function": "conv.Conv", "inputs": ..., "options": ..., "outputs": [5]}, ...],
     "inputs": [0], "returned": ..., "batch": null}

Functions are named by the module of `minidl.ops` that they stand in, and only such are loaded.
What JSON has no word for is an object of one entry, named by what it is.
"""

from __future__ import annotations

import importlib
import json
import re
from typing import Any

import numpy as np

from ..files import damaged, read_arrays, write_arrays
from ..graph import Function
from ..ops.operation import Operation as OwnFunction
from ..version import __version__
from .program import Known, Operation, Program, Ref, Size

KEY = "minidl_compiled"
FORMAT = 1
OPS = "minidl.ops."


def save(path: str, program: Program, exact: bool) -> None:
    arrays = {str(k): known.array for k, known in enumerate(program.values)
              if known.array is not None}
    operations = [{"function": _name_of(operation), "inputs": _coded(operation.inputs),
                   "options": _coded(operation.options), "outputs": list(operation.outputs),
                   "name": operation.name} for operation in program.operations]
    values = [{"shape": _coded(list(known.shape)), "dtype": known.dtype.name}
              for known in program.values]
    write_arrays(path, {k: np.ascontiguousarray(a).reshape(a.shape) for k, a in arrays.items()}, {
        KEY: {"format": FORMAT, "version": __version__, "exact": exact, "values": values,
              "operations": operations, "inputs": program.inputs,
              "returned": _coded(program.returned), "batch": program.batch}})


def load(path: str) -> tuple[Program, bool]:
    arrays, metadata = read_arrays(path)
    if KEY not in metadata:
        raise ValueError(f"Compiled.load: {path!r} is no compiled model: its metadata has no {KEY!r}")
    try:
        described = json.loads(metadata[KEY])
        if described["format"] != FORMAT:
            raise ValueError(f"Compiled.load: {path!r} has format {described['format']!r}, of "
                             f"another version of minidl ({described.get('version')}); this one "
                             f"reads {FORMAT}")
        program = _program(described, arrays)
        return program, bool(described["exact"])
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError,
            json.JSONDecodeError) as error:
        raise damaged(path, error) from error


def _program(described: dict[str, Any], arrays: dict[str, np.ndarray]) -> Program:
    values = []
    for k, known in enumerate(described["values"]):
        array = arrays.get(str(k))
        dtype, shape = np.dtype(known["dtype"]), tuple(_decoded(known["shape"]))
        if array is not None and (array.dtype != dtype or array.shape != shape):
            raise TypeError(f"value {k} is {array.dtype} {array.shape}, not {dtype} {shape}")
        if not all(isinstance(n, (int, Size)) for n in shape):
            raise TypeError(f"value {k} has shape {shape}")
        values.append(Known(shape, dtype, array))
    made = {k for k, known in enumerate(values) if known.array is not None}
    made.update(described["inputs"])
    operations = []
    for item in described["operations"]:
        inputs, outputs = tuple(_decoded(item["inputs"])), tuple(item["outputs"])
        _check_numbers(inputs, made)
        made.update(outputs)
        if not all(isinstance(n, int) and 0 <= n < len(values) for n in outputs):
            raise IndexError(f"an operation makes values {outputs}")
        operations.append(Operation(_function(item["function"]), inputs,
                                    dict(_decoded(item["options"])), outputs, item["name"]))
    returned = _decoded(described["returned"])
    _check_numbers(returned, made)
    return Program(values, operations, list(described["inputs"]), returned, described["batch"])


def _check_numbers(x: Any, made: set[int]) -> None:
    from .program import refs_of

    for ref in refs_of(x):
        if ref.number not in made:
            raise IndexError(f"value {ref.number} is used before it is made")


def _name_of(operation: Operation) -> str:
    function = operation.function
    module = function.__module__
    if not module.startswith(OPS) or "<" in function.__qualname__:
        raise TypeError(f"Compiled.save: the operation {function.__name__} is no part of minidl, and "
                        f"cannot be saved")
    return f"{module[len(OPS):]}.{function.__qualname__}"


def _function(name: str) -> type[Function]:
    found = re.fullmatch(r"([a-z_]+)\.(\w+)", name)
    if found is None:
        raise KeyError(f"operation {name!r}")
    try:
        function = getattr(importlib.import_module(OPS + found[1]), found[2])
    except ImportError as error:
        raise KeyError(f"operation {name!r}") from error
    if not (isinstance(function, type) and issubclass(function, OwnFunction)):
        raise KeyError(f"operation {name!r}")
    return function


def _coded(x: Any) -> Any:
    """Arguments as JSON."""
    if isinstance(x, Ref):
        return {"ref": x.number}
    if isinstance(x, Size):
        return {"size": list(x)}
    if isinstance(x, tuple):
        return {"tuple": [_coded(item) for item in x]}
    if isinstance(x, list):
        return [_coded(item) for item in x]
    if isinstance(x, dict):
        return {"dict": [[_coded(key), _coded(item)] for key, item in x.items()]}
    if isinstance(x, slice):
        return {"slice": [_coded(part) for part in (x.start, x.stop, x.step)]}
    if isinstance(x, np.dtype) or (isinstance(x, type) and issubclass(x, np.generic)):
        return {"dtype": np.dtype(x).name}
    if isinstance(x, np.ndarray):
        return {"array": x.tolist(), "dtype": x.dtype.name, "shape": list(x.shape)}
    if isinstance(x, np.ufunc):
        return {"ufunc": x.__name__}
    if isinstance(x, np.generic):
        return {"scalar": x.item(), "dtype": x.dtype.name}
    if x is Ellipsis:
        return {"ellipsis": True}
    if isinstance(x, float) and not np.isfinite(x):
        return {"float": repr(x)}
    if x is None or isinstance(x, (bool, int, float, str)):
        return x
    raise TypeError(f"Compiled.save: {x!r}, an option of an operation, cannot be saved")


def _decoded(x: Any) -> Any:
    if isinstance(x, list):
        return [_decoded(item) for item in x]
    if not isinstance(x, dict):
        return x
    if "ref" in x:
        return Ref(int(x["ref"]))
    if "size" in x:
        return Size(*map(int, x["size"]))
    if "tuple" in x:
        return tuple([_decoded(item) for item in x["tuple"]])
    if "dict" in x:
        return {_decoded(key): _decoded(item) for key, item in x["dict"]}
    if "slice" in x:
        return slice(*[_decoded(part) for part in x["slice"]])
    if "array" in x:
        return np.asarray(x["array"], x["dtype"]).reshape(x["shape"])
    if "scalar" in x:
        return np.dtype(x["dtype"]).type(x["scalar"])
    if "dtype" in x:
        return np.dtype(x["dtype"])
    if "ufunc" in x:
        function = getattr(np, x["ufunc"])
        if not isinstance(function, np.ufunc):
            raise KeyError(f"function {x['ufunc']!r}")
        return function
    if "ellipsis" in x:
        return Ellipsis
    if "float" in x:
        return float(x["float"])
    raise KeyError(f"no meaning is known of {sorted(x)}")
