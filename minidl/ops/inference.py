"""Convolutions whose weights nobody can write to: those of a model that `nn.fold` made, as long as
nobody makes its arrays writable again.

They can wait for their first use, to be computed together with what follows, the residual and the
ReLU of a residual block; and what their kernels make of the weights is kept.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from .. import kernels

BUFFER = type(kernels.empty(4096).base)     # of the pool, which nobody else can write to

# By the id of a weight: the weight, for whose life it is kept; the backend; what that made of it.
_transformed: dict[int, tuple[weakref.ref[np.ndarray], str, np.ndarray]] = {}


def read_only(*arrays: Any) -> bool:
    """Whether nobody can write to any of these, neither through the array nor through another one
    that it is a view of, nor through memory of another kind."""
    for a in arrays:
        while isinstance(a, np.ndarray):
            if a.flags.writeable:
                return False
            a = a.base
        if a is not None and type(a) is not BUFFER:
            return False
    return True


def winograd_weights(weight: np.ndarray) -> Any:
    """The transformed weights of a read-only weight; made once."""
    found = _transformed.get(id(weight))
    if found is None or found[0]() is not weight or found[1] != kernels.backend():
        key = id(weight)
        reference = weakref.ref(weight, lambda _: _transformed.pop(key, None))
        found = reference, kernels.backend(), kernels.winograd_weights(weight)
        _transformed[key] = found
    return found[2]
