"""Support for convolutions whose weights nobody can write to. `nn.fold` makes such models; they
stay so as long as nobody makes their arrays writable again.

The result of such a convolution may be a Lazy, which is then computed together with the residual
and the ReLU that follow, and the transformed weights of Winograd's algorithm are made only once.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from .. import kernels

BUFFER = type(kernels.empty(4096).base)  # the pool's memory, which nobody else can write to

# By the id of a weight: a reference to the weight, the backend, and the weights that it has
# transformed. An entry is removed when its weight dies.
_transformed: dict[int, tuple[weakref.ref[np.ndarray], str, np.ndarray]] = {}


def read_only(*arrays: Any) -> bool:
    """Whether nobody can write to any of these arrays: neither through the array itself, nor
    through an array that it is a view of, nor through another object that owns the memory."""
    for a in arrays:
        while isinstance(a, np.ndarray):
            if a.flags.writeable:
                return False
            a = a.base
        if a is not None and type(a) is not BUFFER:
            return False
    return True


def winograd_weights(weight: np.ndarray) -> Any:
    """Winograd's transform of a read-only weight, which is computed once and kept."""
    found = _transformed.get(id(weight))
    if found is None or found[0]() is not weight or found[1] != kernels.backend():
        key = id(weight)
        reference = weakref.ref(weight, lambda _: _transformed.pop(key, None))
        found = reference, kernels.backend(), kernels.winograd_weights(weight)
        _transformed[key] = found
    return found[2]
