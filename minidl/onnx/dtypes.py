"""The dtypes of files that minidl computes with."""

from __future__ import annotations

import numpy as np

# The keys are the numbers that TensorProto gives to dtypes.
DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    11: "float64",
    12: "uint32",
    13: "uint64",
}
UNSUPPORTED = {8: "string", 10: "float16", 14: "complex64", 15: "complex128", 16: "bfloat16"}
NUMBER_OF = {name: number for number, name in DTYPES.items()}


def dtype_of(number: int | None) -> np.dtype | None:
    """NumPy's dtype for a number of TensorProto; None for a dtype that is not supported."""
    return np.dtype(DTYPES[number]) if number in DTYPES else None
