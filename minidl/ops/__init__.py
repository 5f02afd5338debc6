"""The differentiable operations, a file a family.

Each is a function that checks its arguments and applies a `Function`, in which forward and
backward stand together. They call `kernels` for everything that computes, and know nothing of
layers.
"""

from .activation import relu, sigmoid, tanh
from .conv import conv
from .create import (
    arange,
    eye,
    full,
    full_like,
    ones,
    ones_like,
    rand,
    rand_like,
    randn,
    randn_like,
    tensor,
    zeros,
    zeros_like,
)
from .linalg import matmul
from .loss import accuracy, cross_entropy, log_softmax, softmax
from .math import (
    abs,
    add,
    astype,
    clip,
    compare,
    divide,
    exp,
    log,
    maximum,
    minimum,
    multiply,
    negative,
    power,
    sqrt,
    subtract,
    where,
)
from .norm import batch_norm
from .pool import avg_pool, global_avg_pool, max_pool
from .random import dropout
from .reduce import argmax, argmin, max, mean, min, std, sum, var
from .shape import (
    broadcast_to,
    concatenate,
    expand_dims,
    flatten,
    flip,
    getitem,
    pad,
    reshape,
    split,
    squeeze,
    stack,
    transpose,
)

# Operations of one tensor, which are its methods too.
METHODS = frozenset([
    "abs", "argmax", "argmin", "broadcast_to", "clip", "dropout", "exp", "expand_dims",
    "flatten", "flip", "log", "log_softmax", "max", "maximum", "mean", "min", "minimum", "pad",
    "relu", "sigmoid", "softmax", "split", "sqrt", "squeeze", "std", "sum", "tanh", "var",
])

__all__ = [
    "METHODS", "abs", "accuracy", "add", "arange", "argmax", "argmin", "astype", "avg_pool",
    "batch_norm", "broadcast_to", "clip", "compare", "concatenate", "conv", "cross_entropy",
    "divide", "dropout", "exp", "expand_dims", "eye", "flatten", "flip", "full", "full_like",
    "getitem", "global_avg_pool", "log", "log_softmax", "matmul", "max", "max_pool", "maximum",
    "mean", "min", "minimum", "multiply", "negative", "ones", "ones_like", "pad", "power", "rand",
    "rand_like", "randn", "randn_like", "relu", "reshape", "sigmoid", "softmax", "split", "sqrt",
    "squeeze", "stack", "std", "subtract", "sum", "tanh", "tensor", "transpose", "var", "where",
    "zeros", "zeros_like",
]
