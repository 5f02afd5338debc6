"""The differentiable operations, one file for each family.

Each operation is a function that checks its arguments and applies a `Function`, which has forward
and backward next to each other. Operations call `kernels` to compute, and know nothing of layers.
"""

from .activation import elu, gelu, leaky_relu, relu, sigmoid, silu, softplus, tanh
from .attention import scaled_dot_product_attention
from .batch_norm import batch_norm
from .conv import conv
from .conv1d import avg_pool1d, conv1d, max_pool1d
from .conv_transpose import conv_transpose
from .create import (
    arange,
    eye,
    from_dlpack,
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
from .einsum import einsum
from .embedding import embedding, one_hot
from .indexing import getitem
from .layer_norm import filter_response_norm, group_norm, instance_norm, layer_norm, rms_norm, tlu
from .linalg import matmul
from .logic import all, any, bitwise, compare, floor_divide
from .loss import accuracy, cross_entropy, nll_loss
from .math import (
    abs,
    add,
    divide,
    exp,
    log,
    maximum,
    minimum,
    multiply,
    negative,
    power,
    remainder,
    sqrt,
    subtract,
)
from .order import argsort, cumsum, sort, topk
from .pool import avg_pool, global_avg_pool, max_pool
from .random import dropout
from .reduce import argmax, argmin, max, mean, min, std, sum, var
from .regression import binary_cross_entropy_with_logits, huber_loss, l1_loss, mse_loss
from .resample import adaptive_avg_pool, resize
from .select import astype, clip, where
from .shape import (
    broadcast_to,
    concatenate,
    expand_dims,
    flatten,
    flip,
    pad,
    reshape,
    split,
    squeeze,
    stack,
    transpose,
)
from .softmax import log_softmax, logsumexp, softmax
from .trigonometry import cos, sin
from .weight import weight_norm, weight_standardization

__all__ = [
    "abs",
    "accuracy",
    "adaptive_avg_pool",
    "add",
    "all",
    "any",
    "arange",
    "argmax",
    "argmin",
    "argsort",
    "astype",
    "avg_pool",
    "avg_pool1d",
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "bitwise",
    "broadcast_to",
    "clip",
    "compare",
    "concatenate",
    "conv",
    "conv1d",
    "conv_transpose",
    "cos",
    "cross_entropy",
    "cumsum",
    "divide",
    "dropout",
    "einsum",
    "elu",
    "embedding",
    "exp",
    "expand_dims",
    "eye",
    "filter_response_norm",
    "flatten",
    "flip",
    "floor_divide",
    "from_dlpack",
    "full",
    "full_like",
    "gelu",
    "getitem",
    "global_avg_pool",
    "group_norm",
    "huber_loss",
    "instance_norm",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "log",
    "log_softmax",
    "logsumexp",
    "matmul",
    "max",
    "max_pool",
    "max_pool1d",
    "maximum",
    "mean",
    "min",
    "minimum",
    "mse_loss",
    "multiply",
    "negative",
    "nll_loss",
    "one_hot",
    "ones",
    "ones_like",
    "pad",
    "power",
    "rand",
    "rand_like",
    "randn",
    "randn_like",
    "relu",
    "remainder",
    "reshape",
    "resize",
    "rms_norm",
    "scaled_dot_product_attention",
    "sigmoid",
    "silu",
    "sin",
    "softmax",
    "softplus",
    "sort",
    "split",
    "sqrt",
    "squeeze",
    "stack",
    "std",
    "subtract",
    "sum",
    "tanh",
    "tensor",
    "tlu",
    "topk",
    "transpose",
    "var",
    "weight_norm",
    "weight_standardization",
    "where",
    "zeros",
    "zeros_like",
]
