"""The cases say which rounding errors are measured, on which values; here is how minidl runs each.

A case names a function that is here for minidl and in `torch_accuracy.py` for PyTorch. On the
NumPy backend and float64 arrays the function here gives the value that both are compared with.
Kernels that only copy or compare, or do one operation on each value (add, sqrt, relu, max,
optimizers), are not here: IEEE arithmetic says what their error is.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import minidl as md
from minidl import kernels
from minidl.settings import get_precision

Arrays = np.ndarray | tuple[np.ndarray, ...]

EPS = 1e-5  # the eps of batch normalization


# ------------------------------------------------------------------------------------ inputs

KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "normal": lambda z: z,
    "mean/std 1e2": lambda z: z + 1e2,
    "mean/std 1e4": lambda z: z + 1e4,
    "scale 1e-20": lambda z: z * 1e-20,
    "scale 1e+20": lambda z: z * 1e20,
    "heavy tails": lambda z: np.exp(5 * z),
}


@dataclass(frozen=True)
class Case:
    """A case is a kernel on arrays of these shapes: the first has values of a kind from `KINDS`,
    and the others have normally distributed values.

    `claim` and `pointwise` say what is promised of the error and how it is measured, see
    `accuracy.py`.
    """

    name: str
    function: str
    shapes: tuple[tuple[int, ...], ...]
    options: dict[str, Any] = field(default_factory=dict)
    claim: str = "direct"
    pointwise: bool = False
    positive: bool = False

    def draw(self, kind: str, number: int = 0) -> list[np.ndarray]:
        """Return the inputs in float32, which depend on the case, the kind and the number of the
        draw alone.
        """
        rng = np.random.default_rng((zlib.crc32(f"{self.name} {kind}".encode()), number))
        first, *others = (rng.standard_normal(shape) for shape in self.shapes)
        first = KINDS[kind](first)
        if self.positive:
            first = np.abs(first)
        return [array.astype(np.float32) for array in (first, *others)]


# -------------------------------------------------------------------------------- the kernels


def matmul(a: np.ndarray, b: np.ndarray, transpose_a: bool, transpose_b: bool) -> Arrays:
    return kernels.matmul(a, b, transpose_a, transpose_b)


def around(k: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the padding that all convolutions here have."""
    return (k // 2, k // 2), (k // 2, k // 2)


def conv(x: np.ndarray, w: np.ndarray, how: str, stride: int) -> Arrays:
    if how == "winograd":
        return kernels.winograd_conv(x, w, around(3))
    if how == "depthwise":
        return kernels.depthwise_conv(x, w, (stride, stride), around(3))
    return kernels.conv(x, w, None, (stride, stride), around(len(w)))


def conv_input_grad(
    dy: np.ndarray, w: np.ndarray, how: str, stride: int, input_shape: tuple[int, ...]
) -> Arrays:
    if how == "winograd":
        return kernels.winograd_input_grad(dy, w, input_shape, around(3))
    if how == "depthwise":
        return kernels.depthwise_input_grad(dy, w, input_shape, (stride, stride), around(3))
    return kernels.conv_input_grad(dy, w, input_shape, (stride, stride), around(len(w)))


def conv_weight_grad(x: np.ndarray, dy: np.ndarray, how: str, stride: int, k: int) -> Arrays:
    if how == "winograd":
        return kernels.winograd_weight_grad(x, dy, around(3))
    if how == "depthwise":
        return kernels.depthwise_weight_grad(x, dy, (3, 3), (stride, stride), around(3))
    return kernels.conv_weight_grad(x, dy, (k, k), (stride, stride), around(k))


def public_conv(x: np.ndarray, w: np.ndarray, dy: np.ndarray, precision: str) -> Arrays:
    """Run the operation that users call, and return its result and its gradients."""
    before = get_precision()
    md.set_precision(precision)
    try:
        inputs = [md.tensor(a, requires_grad=True) for a in (x, w)]
        y = md.conv(*inputs, padding=1)
        return y.data, *md.grad(y, inputs, dy)
    finally:
        md.set_precision(before)


def batch_stats(x: np.ndarray) -> Arrays:
    """Return the variances alone, as means are much easier to compute exactly."""
    return kernels.batch_stats(x)[1]


def batch_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> Arrays:
    factors = kernels.batch_norm_factors(*kernels.batch_stats(x), gamma, beta, EPS, x.dtype)
    return kernels.batch_norm_apply(x, factors)


def batch_norm_backward(x: np.ndarray, dy: np.ndarray, gamma: np.ndarray) -> Arrays:
    factors = kernels.batch_norm_factors(*kernels.batch_stats(x), gamma, None, EPS, x.dtype)
    return kernels.batch_norm_backward(dy, x, factors)[:3]


def labels_for(logits: np.ndarray) -> np.ndarray:
    m, classes = logits.shape
    return np.arange(m) % classes


def cross_entropy(logits: np.ndarray) -> Arrays:
    return kernels.cross_entropy(logits, labels_for(logits))[0]


def cross_entropy_backward(logits: np.ndarray, dlosses: np.ndarray) -> Arrays:
    labels = labels_for(logits)
    _, probabilities = kernels.cross_entropy(logits, labels)
    return kernels.cross_entropy_backward(dlosses, probabilities, labels)


def softmax(x: np.ndarray) -> Arrays:
    return kernels.softmax(x)


def softmax_backward(x: np.ndarray, dy: np.ndarray) -> Arrays:
    return kernels.softmax_backward(dy, kernels.softmax(x))


def log_softmax(x: np.ndarray) -> Arrays:
    return kernels.log_softmax(x)


def log_softmax_backward(x: np.ndarray, dy: np.ndarray) -> Arrays:
    return kernels.log_softmax_backward(dy, kernels.log_softmax(x))


def unary(x: np.ndarray, name: str) -> Arrays:
    return getattr(kernels, name)(x)


def sum(x: np.ndarray) -> Arrays:
    """Sum over the middle axis of three."""
    return kernels.sum(x)


def avg_pool(x: np.ndarray) -> Arrays:
    """Pool with windows that overlap and reach over the edge of the image."""
    return kernels.avg_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))


def avg_pool_backward(dy: np.ndarray, input_shape: tuple[int, ...]) -> Arrays:
    return kernels.avg_pool_backward(dy, input_shape, (3, 3), (2, 2), ((1, 1), (1, 1)))


def global_avg_pool(x: np.ndarray) -> Arrays:
    return kernels.global_avg_pool(x)


def global_avg_pool_backward(dy: np.ndarray, input_shape: tuple[int, ...]) -> Arrays:
    return kernels.global_avg_pool_backward(dy, input_shape)


# ---------------------------------------------------------------------------------- the cases


def matmul_cases(m: int, k: int, n: int) -> list[Case]:
    cases = []
    for ta in (False, True):
        for tb in (False, True):
            title = f"matmul {'Aᵀ' if ta else 'A'}{'Bᵀ' if tb else 'B'} {m}x{k}x{n}"
            shapes = ((k, m) if ta else (m, k), (n, k) if tb else (k, n))
            cases.append(Case(title, "matmul", shapes, {"transpose_a": ta, "transpose_b": tb}))
    return cases


def conv_cases(
    n: int, size: int, ci: int, co: int, k: int = 3, stride: int = 1, how: str = "direct"
) -> list[Case]:
    """Yield the three passes of a convolution. The values of a kind are those of x, or of dy."""
    title = f"{how} conv {k}x{k} {ci}→{co} {size}²{f' stride {stride}' if stride > 1 else ''}"
    x, w = (n, size, size, ci), (k, k, 1 if how == "depthwise" else ci, co)
    out = (size + 2 * (k // 2) - k) // stride + 1
    dy = (n, out, out, co)
    claim = "winograd" if how == "winograd" else "direct"
    options = {"how": how, "stride": stride}
    return [
        Case(title, "conv", (x, w), options, claim),
        Case(f"{title}, dx", "conv_input_grad", (dy, w), options | {"input_shape": x}, claim),
        Case(f"{title}, dw", "conv_weight_grad", (x, dy), options | {"k": k}, claim),
    ]


def public_cases(n: int, size: int, ci: int, co: int) -> list[Case]:
    shapes = ((n, size, size, ci), (3, 3, ci, co), (n, size, size, co))
    return [
        Case(
            f'md.conv 3x3 {ci}→{co} {size}², "{precision}": y, dx, dw',
            "public_conv",
            shapes,
            {"precision": precision},
            claim,
        )
        for precision, claim in (("default", "winograd"), ("high", "direct"))
    ]


def norm_cases(*shape: int) -> list[Case]:
    title, channels = "x".join(map(str, shape)), shape[-1:]
    return [
        Case(f"variance {title}", "batch_stats", (shape,), {}, "variance", pointwise=True),
        Case(f"batch norm {title}", "batch_norm", (shape, channels, channels)),
        Case(
            f"batch norm {title}: dx, dgamma, dbeta",
            "batch_norm_backward",
            (shape, shape, channels),
        ),
    ]


def loss_cases(m: int, classes: int) -> list[Case]:
    shape = (m, classes)
    return [
        Case(f"softmax {m}x{classes}", "softmax", (shape,)),
        Case(f"softmax {m}x{classes}, dx", "softmax_backward", (shape, shape)),
        Case(f"log_softmax {m}x{classes}", "log_softmax", (shape,)),
        Case(f"log_softmax {m}x{classes}, dx", "log_softmax_backward", (shape, shape)),
        Case(f"cross_entropy {m}x{classes}", "cross_entropy", (shape,)),
        Case(f"cross_entropy {m}x{classes}, dx", "cross_entropy_backward", (shape, (m,))),
    ]


def elementwise_cases(n: int) -> list[Case]:
    return [
        Case(
            f"{name} {n}", "unary", ((n,),), {"name": name}, pointwise=True, positive=name == "log"
        )
        for name in ("exp", "log", "tanh", "sigmoid")
    ]


def pool_cases(n: int, size: int, channels: int) -> list[Case]:
    x, half = (n, size, size, channels), (size - 1) // 2 + 1
    title, back = f"{size}²x{channels}", {"input_shape": x}
    return [
        Case(f"avg_pool 3x3 stride 2 {title}", "avg_pool", (x,)),
        Case(
            f"avg_pool 3x3 stride 2 {title}, dx",
            "avg_pool_backward",
            ((n, half, half, channels),),
            back,
        ),
        Case(f"global_avg_pool {title}", "global_avg_pool", (x,)),
        Case(f"global_avg_pool {title}, dx", "global_avg_pool_backward", ((n, channels),), back),
    ]


def all_cases() -> list[Case]:
    return [
        *matmul_cases(128, 784, 256),
        *matmul_cases(128, 3136, 128),
        *conv_cases(16, 32, 3, 32),
        *conv_cases(16, 32, 16, 32, stride=2),
        *conv_cases(8, 16, 64, 128, k=1),
        *conv_cases(8, 8, 256, 256),
        *conv_cases(16, 32, 16, 16, how="winograd"),
        *conv_cases(8, 16, 64, 64, how="winograd"),
        *conv_cases(8, 8, 256, 256, how="winograd"),
        *public_cases(8, 15, 64, 64),
        *conv_cases(16, 32, 32, 32, how="depthwise"),
        *conv_cases(16, 16, 128, 128, stride=2, how="depthwise"),
        *norm_cases(128, 256),
        *norm_cases(64, 28, 28, 32),
        *loss_cases(128, 10),
        *loss_cases(128, 1000),
        *elementwise_cases(2**18),
        Case("sum of rows 64x16384", "sum", ((64, 2**14, 1),)),
        Case("sum of columns 16384x64", "sum", ((1, 2**14, 64),)),
        *pool_cases(16, 32, 32),
    ]
