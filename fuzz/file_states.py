"""This module makes random nested states, and compares a loaded state with the saved one."""

from typing import Any

import numpy as np

from .draw import Draw, Value

KEYS = (
    "a",
    "b",
    "x",
    "x.y",
    "x.y#2",
    "#1",
    "0",
    "1",
    "",
    ".",
    "__metadata__",
    "minidl",
    "ä",
    "\n",
    "a.0",
    "array",
    "dict",
    "value",
    "a/b",
    "\U0001f600",
    "a" * 300,
)
LEAVES = (
    None,
    True,
    0,
    -1,
    2**63,
    2**70,
    -(2**80),
    1.5,
    1e308,
    {"number": "nan"},
    {"number": "inf"},
    {"number": "-inf"},
    -0.0,
    5e-324,
    "",
    "text",
    "ä\u2028\U0001f600",
    "\x00",
    {"tuple": []},
    [],
    {"dict": {}},
    {"scalar": "float32", "value": 1.5},
    {"scalar": "int64", "value": -3},
    {"scalar": "uint64", "value": 2**64 - 1},
    {"scalar": "bool", "value": 1},
    {"object": 0},
    {"complex": 1},
    {"bytes": "ab"},
)
DTYPES = (
    "float32",
    "float64",
    "float16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
    "complex64",
    ">f4",
    ">i8",
    "U2",
    "object",
)
ORDERS = ("plain", "plain", "strided", "reversed", "fortran", "unaligned", "readonly", "broadcast")


def random_state(draw: Draw) -> Value:
    """Return a dict or a list of anything, which is rarely deep."""
    if draw.chance(0.03):
        value: Value = 1
        for _ in range(draw.pick(50, 300, 900, 1500, 5000)):
            value = [value] if draw.chance(0.5) else {"dict": {"a": value}}
        return value
    return _value(draw, draw.integer(1, 4), top=True)


def _value(draw: Draw, depth: int, top: bool = False) -> Value:
    kind = (
        draw.pick("dict", "dict", "list")
        if top
        else draw.pick("dict", "list", "tuple", "array", "array", "array", "leaf", "leaf")
    )
    if depth == 0 and kind in ("dict", "list", "tuple"):
        kind = "leaf"
    if kind == "dict":
        return {
            "dict": {draw.pick(*KEYS): _value(draw, depth - 1) for _ in range(draw.integer(0, 4))}
        }
    if kind in ("list", "tuple"):
        items = [_value(draw, depth - 1) for _ in range(draw.integer(0, 3))]
        return items if kind == "list" else {"tuple": items}
    if kind == "array":
        shape = draw.shape(draw.integer(0, 3), 40)
        return draw.array(shape, draw.pick(*DTYPES), "special", memory=draw.pick(*ORDERS))
    return draw.pick(*LEAVES)


def same(a: Any, b: Any) -> bool:
    """Return whether b is a, with arrays compared bit by bit. NumPy's scalars may become Python's
    numbers, and float16 float32, as the documentation of `load` says.
    """
    if isinstance(a, np.ndarray):
        if not isinstance(b, np.ndarray) or a.shape != b.shape:
            return False
        dtype = np.dtype(np.float32) if a.dtype == np.float16 else a.dtype.newbyteorder("=")
        return dtype == b.dtype and np.array_equal(a, b, equal_nan=True)
    if isinstance(a, np.generic):
        a = a.item()
    if isinstance(a, float):
        return isinstance(b, float) and (repr(a) == repr(b))
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return set(a) == set(b) and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)
