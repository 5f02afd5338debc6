"""A program in one file: a safetensors file of its constants, and in its metadata the rest as JSON.

    {"format": 1, "exact": false,
     "values": [{"shape": [{"size": [0, 1]}, 28, 28, 1], "dtype": "float32", "repeated": false},
                ...],
     "operations": [{"function": "conv.Conv", "inputs": ..., "options": ..., "outputs": [5]}, ...],
     "inputs": [0], "returned": ..., "batch": null}

A function is named by its module in `minidl.ops`, and no other function is loaded. A value that
JSON has no type for is an object whose key says what it is. Nothing that a file says is trusted:
loading computes its operations, and the shapes in the file must be those of the results.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import checks
from ..files import damaged, read_arrays, write_arrays
from ..graph import Function
from ..ops.operation import Operation as OwnFunction
from ..version import __version__
from .program import Known, Operation, Program, Ref, Size, at, computed, refs_of

KEY = "minidl_compiled"
FORMAT = 1
# Where operations live that a file may name, and what their names begin with there.
HOMES = {"": "minidl.ops.", "onnx.": "minidl.onnx.operators."}
# Loading computes a program for these sizes of the batch. A size in a shape is base + step * batch:
# results for one batch would leave one of the two numbers unchecked.
BATCHES = (1, 2)


def save(path: str, program: Program, exact: bool) -> None:
    arrays = {
        str(k): array
        for k, known in enumerate(program.values)
        for array in (known.array, known.entry)
        if array is not None
    }
    operations = [
        {
            "function": _name_of(operation),
            "inputs": _coded(operation.inputs),
            "options": _coded(operation.options),
            "outputs": list(operation.outputs),
            "name": operation.name,
        }
        for operation in program.operations
    ]
    values = [
        {
            "shape": _coded(list(known.shape)),
            "dtype": known.dtype.name,
            "repeated": known.entry is not None,
        }
        for known in program.values
    ]
    content = {
        "format": FORMAT,
        "version": __version__,
        "exact": exact,
        "values": values,
        "operations": operations,
        "inputs": program.inputs,
        "returned": _coded(program.returned),
        "batch": program.batch,
    }
    rows = {k: np.ascontiguousarray(a).reshape(a.shape) for k, a in arrays.items()}
    write_arrays(path, rows, {KEY: content})


def load(path: str) -> tuple[Program, bool]:
    arrays, metadata = read_arrays(path)
    if KEY not in metadata:
        raise ValueError(
            f"Compiled.load: {path!r} is no compiled model: its metadata has no {KEY!r}"
        )
    with refusing(path):
        described = json.loads(metadata[KEY])
        form = described["format"]
    if form != FORMAT:
        raise ValueError(
            f"Compiled.load: {path!r} has format {form!r}, of another version of "
            f"minidl ({described.get('version')}); this one reads {FORMAT}"
        )
    with refusing(path):
        program = _program(described, arrays)
        for batch in BATCHES if program.batch is None else (program.batch,):
            _try(program, batch)
        return program, checks.flag(described["exact"], "", "exact")


@contextlib.contextmanager
def refusing(path: str) -> Iterator[None]:
    """Blame the file for any error inside the block, except a lack of memory."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error


def _program(described: dict[str, Any], arrays: dict[str, np.ndarray]) -> Program:
    values = []
    for k, known in enumerate(described["values"]):
        array = arrays.get(str(k))
        dtype, shape = _dtype(known["dtype"]), tuple(_decoded(known["shape"]))
        repeated = checks.flag(known["repeated"], "", "repeated")
        if not all(type(n) is Size or (type(n) is int and n >= 0) for n in shape):
            raise TypeError(f"value {k} has shape {shape}")
        held = tuple([1 if type(n) is Size else n for n in shape]) if repeated else shape
        if (array is None and repeated) or (
            array is not None and (array.dtype != dtype or array.shape != held)
        ):
            raise TypeError(f"value {k} is another array than one of {dtype} {held}")
        values.append(Known(shape, dtype, None, array) if repeated else Known(shape, dtype, array))
    made = {
        k for k, known in enumerate(values) if known.array is not None or known.entry is not None
    }
    inputs = _new_numbers(described["inputs"], made, len(values))
    if not inputs:
        raise ValueError("it has no input")
    operations = []
    for item in described["operations"]:
        given = tuple(_decoded(item["inputs"]))
        _check_numbers(given, made)
        outputs = tuple(_new_numbers(item["outputs"], made, len(values)))
        operations.append(
            Operation(
                _function(item["function"]),
                given,
                dict(_decoded(item["options"])),
                outputs,
                str(item["name"]),
            )
        )
    returned = _decoded(described["returned"])
    _check_numbers(returned, made)
    batch = described["batch"]
    if batch is not None:
        batch = checks.integer(batch, "", "batch", 0)
    return Program(values, operations, inputs, returned, batch)


def _new_numbers(numbers: Any, made: set[int], count: int) -> list[int]:
    """The numbers of values that an item makes. IndexError for one that there is not, or that was
    made before."""
    for n in numbers:
        if type(n) is not int or not 0 <= n < count or n in made:
            raise IndexError(f"value {n!r} cannot be made")
        made.add(n)
    return list(numbers)


def _check_numbers(x: Any, made: set[int]) -> None:
    """IndexError for a Ref to a value that is not made yet."""
    for ref in refs_of(x):
        if ref.number not in made:
            raise IndexError(f"value {ref.number} is used before it is made")


def _try(program: Program, batch: int) -> None:
    """Compute all operations for inputs of zeros. The results must have the shapes and dtypes that
    the file says, since plans are made from these: a wrong one would make a kernel leave its
    arrays."""
    shapes = [tuple(at(known.shape, batch)) for known in program.values]
    arrays: dict[int, Any] = {k: known.constant(batch) for k, known in enumerate(program.values)}
    for number in program.inputs:
        arrays[number] = np.zeros(shapes[number], program.values[number].dtype)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for operation in program.operations:
            made = computed(operation, arrays, batch)
            for number, array in zip(operation.outputs, made, strict=True):
                if array.shape != shapes[number] or array.dtype != program.values[number].dtype:
                    raise ValueError(
                        f"value {number} is {array.dtype} {array.shape}, not "
                        f"{program.values[number].dtype} {shapes[number]}"
                    )
                arrays[number] = array


def _name_of(operation: Operation) -> str:
    function = operation.function
    for prefix, home in HOMES.items():
        if function.__module__.startswith(home) and "<" not in function.__qualname__:
            return f"{prefix}{function.__module__.removeprefix(home)}.{function.__qualname__}"
    raise TypeError(
        f"Compiled.save: the operation {function.__name__} is no part of minidl, "
        f"and cannot be saved"
    )


def _function(name: str) -> type[Function]:
    found = re.fullmatch(r"(onnx\.|)([a-z]\w*)\.(\w+)", name)
    if found is None:
        raise KeyError(f"operation {name!r}")
    try:
        function = getattr(importlib.import_module(HOMES[found[1]] + found[2]), found[3])
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


def _dtype(name: Any) -> np.dtype:
    dtype = np.dtype(str(name))
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise TypeError(f"{name!r} is no dtype of numbers")
    return dtype


def _decoded(x: Any) -> Any:
    """The inverse of `_coded`."""
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
        return np.asarray(x["array"], _dtype(x["dtype"])).reshape(x["shape"])
    if "scalar" in x:
        return _dtype(x["dtype"]).type(x["scalar"])
    if "dtype" in x:
        return _dtype(x["dtype"])
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
