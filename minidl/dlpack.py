"""DLPack, the protocol by which libraries hand arrays to each other without a copy, both ways.

NumPy's own `__dlpack__` and `from_dlpack` make and read the capsules. This module decides who may
write to the shared memory, and turns errors into ones that say what to do. Users call
`Tensor.__dlpack__` and `md.from_dlpack`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import checks

CPU = (1, 0)
# DLPack numbers the kinds of devices. HOST are those whose memory the CPU can read: its own memory,
# and host memory that CUDA or ROCm has allocated.
HOST = (1, 3, 11, 13)
DEVICES = {
    2: "CUDA",
    4: "OpenCL",
    7: "Vulkan",
    8: "Metal",
    9: "VPI",
    10: "ROCm",
    12: "a device",
    14: "oneAPI",
    15: "WebGPU",
    16: "Hexagon",
    17: "MAIA",
}

# NumPy 2.0 makes and reads capsules of the first version only, and takes no options.
_OPTIONS = np.lib.NumpyVersion(np.__version__) >= "2.1.0"


def exported(array: np.ndarray, stream: Any, max_version: Any, dl_device: Any, copy: Any) -> Any:
    """Make the capsule of an array for another library.

    That library may write to the memory, and few libraries respect that an array is read-only. So
    a read-only array, the result of an operation, is copied unless `copy` is False.
    """
    if stream is not None:
        raise ValueError(checks.message("__dlpack__", "stream", "None on a CPU", stream))
    if dl_device is not None and not (isinstance(dl_device, tuple) and dl_device == CPU):
        raise BufferError(f"__dlpack__: dl_device must be {CPU}, the CPU, or None, got {dl_device}")
    if copy is not None:
        copy = checks.flag(copy, "__dlpack__", "copy")
    if copy or (copy is None and not array.flags.writeable):
        array = array.copy()
    elif not array.flags.writeable and not (_OPTIONS and max_version and max_version[0] >= 1):
        raise BufferError(
            "__dlpack__: the tensor is the result of an operation and read-only, "
            "which the protocol can say from version 1.0 on: with copy=False ask "
            "for max_version=(1, 0)"
        )
    return array.__dlpack__(max_version=max_version) if _OPTIONS else array.__dlpack__()


def imported(x: Any, device: Any, copy: Any) -> np.ndarray:
    """The array that another library gives, C-contiguous. It shares the memory if `copy` is not
    True and the memory can be used as it is."""
    if not (hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__")):
        raise TypeError(
            checks.message("from_dlpack", "x", "an array with __dlpack__ and __dlpack_device__", x)
        )
    checks.choice(device, "from_dlpack", "device", ("cpu", None))
    if copy is not None:
        copy = checks.flag(copy, "from_dlpack", "copy")
    given = f"from_dlpack: x is a {type(x).__module__}.{type(x).__qualname__}"
    try:
        kind, number = x.__dlpack_device__()
        if int(kind) not in HOST:
            raise BufferError(
                f"{given} on {DEVICES.get(int(kind), f'device kind {int(kind)}')} "
                f"({int(kind)}, {number}), and everything is computed on the CPU "
                f"here: move it there first"
            )
        array = np.from_dlpack(x)
    except Exception as error:  # each library has errors of its own
        raise _explained(error, x, given) from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{given} of {array.dtype}: needs numbers (float, integer or bool)")
    plain = array.flags.c_contiguous and array.flags.aligned
    if copy is False and not plain:
        raise BufferError(f"{given} that is not C-contiguous, and copy=False: tensors always are")
    return np.array(array, order="C") if copy or not plain else array


def _explained(error: Exception, x: Any, given: str) -> Exception:
    """An error of another library, or of NumPy, with what was given put before its text."""
    text = str(error)
    if text.startswith(given):
        return error
    if getattr(x, "requires_grad", False):
        return TypeError(
            f"{given} that requires a gradient; detach() it first: gradients do not "
            f"pass from one library to the other"
        )
    if "dtype" in text or "bfloat16" in text:
        return TypeError(
            f"{given} of {getattr(x, 'dtype', 'a dtype')}, which cannot be shared: "
            f"convert it first, to float32 for one"
        )
    return BufferError(f"{given} that cannot be shared: {text}")
