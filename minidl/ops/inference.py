"""Convolutions of weights that nobody can write to, as those of a model that `nn.fold` made (and
whose read-only flags nobody takes away).

They can wait for their first use, to be computed together with what follows, the shortcut and the
ReLU of a residual block; and what their kernels make of the weights is kept.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from .. import kernels

# By the id of a weight: the weight, for whose life it is kept; the backend; what that made of it.
_transformed: dict[int, tuple[weakref.ref[np.ndarray], str, np.ndarray]] = {}


def read_only(*arrays: Any) -> bool:
    """Whether nobody can write to any of these, neither through the array nor through another one
    that it is a view of."""
    for a in arrays:
        while isinstance(a, np.ndarray):
            if a.flags.writeable:
                return False
            a = a.base
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
