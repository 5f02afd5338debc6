"""Count the work of a kernel's call by its shapes: floating point operations, and bytes.

Floating point operations are counted for compute-bound kernels, matrix products and convolutions,
by the textbook's formula: a multiplication and an addition are two operations, and taps on padding
count. Winograd's algorithm does less arithmetic than that, so its rate may exceed the machine's
peak. All other kernels are memory-bound, and only their bytes are counted. Recurrent layers do
both: their products are calls of `matmul`.

Bytes are counted as if each argument were read once and each result written once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Padding = tuple[tuple[int, int], tuple[int, int]]

# The positions of the arguments that a kernel updates in place, which are written as well as read.
CHANGED = {
    "sgd_update": (0, 2),
    "adam_update": (0, 2, 3),
    "rmsprop_update": (0, 2, 3, 4),
    "adagrad_update": (0, 2),
    "lars_update": (0, 2),
    "running_update": (0, 1),
}


def matmul(
    y: np.ndarray, a: np.ndarray, b: Any, transpose_a: bool = False, *_: Any, **__: Any
) -> int:
    """Count a product (M, K) (K, N), or a stack of them: 2 K for each value of the result."""
    return 2 * y.size * a.shape[-2 if transpose_a else -1]


def conv(y: Any, x: Any, w: np.ndarray, *_: Any, **__: Any) -> int:
    """Count a convolution with w (KH, KW, C_in / groups, C_out): 2 KH KW C_in / groups for each
    value of y. A depthwise convolution has one input channel per group."""
    return 2 * first(y).size * math.prod(w.shape[:3])


def input_grad(dx: Any, dy: np.ndarray, w: np.ndarray, *_: Any, **__: Any) -> int:
    """Count the gradient of the input: each value of dy is multiplied by the weights of its output
    channel."""
    return 2 * dy.size * math.prod(w.shape[:3])


def weight_grad(dw: np.ndarray, x: Any, dy: np.ndarray, *_: Any, **__: Any) -> int:
    """Count the gradient of the weights: each value of dy is multiplied by as many inputs as its
    output channel has weights."""
    return 2 * dy.size * math.prod(dw.shape[:3])


def both_grads(results: Any, dy: np.ndarray, x: Any, w: np.ndarray, *_: Any, **__: Any) -> int:
    """Count a kernel that computes the gradients of input and weights."""
    return 2 * input_grad(None, dy, w)


def winograd_conv_pool(
    results: Any,
    x: np.ndarray,
    w: np.ndarray,
    padding: Padding = ((0, 0), (0, 0)),
    *_: Any,
    **__: Any,
) -> int:
    """Count a convolution with a fused pool: all its outputs, of which y has only the maxima."""
    return 2 * positions(x.shape, padding) * math.prod(w.shape)


def winograd_input_grad(
    dx: Any,
    dy: Any,
    w: np.ndarray,
    input_shape: tuple[int, ...],
    padding: Padding = ((0, 0), (0, 0)),
    *_: Any,
    **__: Any,
) -> int:
    """As `input_grad`, by the input's shape: dy may be the smaller gradient of a fused pool."""
    return 2 * positions(input_shape, padding) * math.prod(w.shape)


def winograd_weight_grad(
    dw: np.ndarray, x: np.ndarray, dy: Any, padding: Padding = ((0, 0), (0, 0)), *_: Any, **__: Any
) -> int:
    """As `weight_grad`, by the input's shape: dy may be the smaller gradient of a fused pool."""
    return 2 * positions(x.shape, padding) * math.prod(dw.shape)


def positions(shape: tuple[int, ...], padding: Padding) -> int:
    """Return the number of output positions of a 3x3 convolution of images (N, H, W, C)."""
    (top, bottom), (left, right) = padding
    return shape[0] * (shape[1] + top + bottom - 2) * (shape[2] + left + right - 2)


FLOPS: dict[str, Callable[..., int]] = {
    "matmul": matmul,
    "conv": conv,
    "conv_input_grad": input_grad,
    "conv_weight_grad": weight_grad,
    "depthwise_conv": conv,
    "depthwise_input_grad": input_grad,
    "depthwise_weight_grad": weight_grad,
    "depthwise_backward": both_grads,
    "pointwise_conv": conv,
    "pointwise_backward": both_grads,
    "winograd_conv": conv,
    "winograd_conv_pool": winograd_conv_pool,
    "winograd_input_grad": winograd_input_grad,
    "winograd_weight_grad": winograd_weight_grad,
}


def first(results: Any) -> Any:
    """Return the first of several results, or the only one."""
    return results[0] if type(results) is tuple else results


def bytes_and_shapes(
    name: str, args: tuple[Any, ...], options: dict[str, Any], results: Any
) -> tuple[int, tuple[tuple[int, ...], ...]]:
    """Return the bytes that a kernel's call reads and writes, and the shapes of its arguments."""
    # Both are found in a single loop, because this delays every kernel's call in a profile.
    moved = 0
    shapes: list[tuple[int, ...]] = []
    for x in args:
        kind = type(x)
        if kind is np.ndarray:
            moved += x.nbytes
            shapes.append(x.shape)
        elif kind is tuple or kind is list:
            moved += bytes_of(x)
    for option in options:
        if option != "out":  # it is the result, which is counted below
            x = options[option]
            moved += x.nbytes if type(x) is np.ndarray else bytes_of(x)
    moved += results.nbytes if type(results) is np.ndarray else bytes_of(results)
    if name in CHANGED:
        moved += bytes_of([args[k] for k in CHANGED[name] if k < len(args)])
    return moved, tuple(shapes)


def bytes_of(members: Any) -> int:
    """Return the bytes of the arrays in a tuple or list, at any depth; 0 for anything else."""
    found = 0
    if type(members) in (tuple, list):
        for x in members:
            kind = type(x)
            if kind is np.ndarray:
                found += x.nbytes
            elif kind is tuple or kind is list:
                found += bytes_of(x)
    return found
