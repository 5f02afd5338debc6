"""How PyTorch runs each case of `accuracy_cases.py`, in float32 on the CPU.

The functions take and return arrays in our layouts. Inside, images are channels-last, as in
PyTorch's fastest mode.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from .accuracy_cases import EPS, Arrays, labels_for

aten = torch.ops.aten


def there(array: np.ndarray) -> torch.Tensor:
    """Return images (N, H, W, C) as (N, C, H, W) in the same memory, and other arrays as they
    are.
    """
    tensor = torch.from_numpy(array)
    return tensor.permute(0, 3, 1, 2) if array.ndim == 4 else tensor


def weight(array: np.ndarray) -> torch.Tensor:
    """Return a weight (KH, KW, in, out) as (out, in, KH, KW)."""
    return torch.from_numpy(array).permute(3, 2, 0, 1)


def back(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor).numpy()


def matmul(a: np.ndarray, b: np.ndarray, transpose_a: bool, transpose_b: bool) -> Arrays:
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    return back((x.T if transpose_a else x) @ (y.T if transpose_b else y))


def conv(x: np.ndarray, w: np.ndarray, how: str, stride: int) -> Arrays:
    groups = x.shape[-1] if how == "depthwise" else 1
    return back(F.conv2d(there(x), weight(w), None, stride, len(w) // 2, 1, groups))


def conv_backward(
    dy: np.ndarray, x: torch.Tensor, w: torch.Tensor, how: str, stride: int, wanted: list[bool]
) -> Any:
    groups = x.shape[1] if how == "depthwise" else 1
    return aten.convolution_backward(
        there(dy),
        x,
        w,
        None,
        [stride] * 2,
        [w.shape[2] // 2] * 2,
        [1, 1],
        False,
        [0, 0],
        groups,
        [*wanted, False],
    )


def conv_input_grad(
    dy: np.ndarray, w: np.ndarray, how: str, stride: int, input_shape: tuple[int, ...]
) -> Arrays:
    x = there(np.zeros(input_shape, np.float32))
    return back(conv_backward(dy, x, weight(w), how, stride, [True, False])[0])


def conv_weight_grad(x: np.ndarray, dy: np.ndarray, how: str, stride: int, k: int) -> Arrays:
    inputs = 1 if how == "depthwise" else x.shape[-1]
    w = weight(np.zeros((k, k, inputs, dy.shape[-1]), np.float32))
    dw = conv_backward(dy, there(x), w, how, stride, [False, True])[1]
    return dw.permute(2, 3, 1, 0).numpy()


def public_conv(x: np.ndarray, w: np.ndarray, dy: np.ndarray, precision: str) -> Arrays:
    inputs = there(x).requires_grad_(), weight(w).requires_grad_()
    y = F.conv2d(*inputs, padding=1)
    dx, dw = torch.autograd.grad(y, inputs, there(dy))
    return back(y), back(dx), dw.permute(2, 3, 1, 0).numpy()


def batch_stats(x: np.ndarray) -> Arrays:
    """Return the variances that PyTorch's batch normalization computes. It keeps unbiased ones,
    which are converted to biased ones.
    """
    mean, var = torch.zeros(x.shape[-1]), torch.ones(x.shape[-1])
    F.batch_norm(there(x), mean, var, training=True, momentum=1.0)
    m = x.size // x.shape[-1]
    return var.numpy().astype(np.float64) * (m - 1) / m


def batch_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> Arrays:
    return back(F.batch_norm(there(x), None, None, there(gamma), there(beta), True, 0.1, EPS))


def batch_norm_backward(x: np.ndarray, dy: np.ndarray, gamma: np.ndarray) -> Arrays:
    inputs = [there(a).requires_grad_() for a in (x, gamma, np.zeros_like(gamma))]
    y = F.batch_norm(inputs[0], None, None, *inputs[1:], True, 0.1, EPS)
    return tuple(map(back, torch.autograd.grad(y, inputs, there(dy))))


def cross_entropy(logits: np.ndarray) -> Arrays:
    labels = torch.from_numpy(labels_for(logits))
    return back(F.cross_entropy(there(logits), labels, reduction="none"))


def gradient(y: torch.Tensor, x: torch.Tensor, dy: np.ndarray) -> Arrays:
    return back(torch.autograd.grad(y, x, there(dy))[0])


def cross_entropy_backward(logits: np.ndarray, dlosses: np.ndarray) -> Arrays:
    x = there(logits).requires_grad_()
    labels = torch.from_numpy(labels_for(logits))
    return gradient(F.cross_entropy(x, labels, reduction="none"), x, dlosses)


def softmax(x: np.ndarray) -> Arrays:
    return back(F.softmax(there(x), 1))


def softmax_backward(x: np.ndarray, dy: np.ndarray) -> Arrays:
    t = there(x).requires_grad_()
    return gradient(F.softmax(t, 1), t, dy)


def log_softmax(x: np.ndarray) -> Arrays:
    return back(F.log_softmax(there(x), 1))


def log_softmax_backward(x: np.ndarray, dy: np.ndarray) -> Arrays:
    t = there(x).requires_grad_()
    return gradient(F.log_softmax(t, 1), t, dy)


def unary(x: np.ndarray, name: str) -> Arrays:
    return back(getattr(torch, name)(there(x)))


def sum(x: np.ndarray) -> Arrays:
    return back(there(x).sum(1))


def avg_pool(x: np.ndarray) -> Arrays:
    return back(F.avg_pool2d(there(x), 3, 2, 1))


def avg_pool_backward(dy: np.ndarray, input_shape: tuple[int, ...]) -> Arrays:
    x = there(np.zeros(input_shape, np.float32)).requires_grad_()
    return gradient(F.avg_pool2d(x, 3, 2, 1), x, dy)


def global_avg_pool(x: np.ndarray) -> Arrays:
    return back(there(x).mean((2, 3)))


def global_avg_pool_backward(dy: np.ndarray, input_shape: tuple[int, ...]) -> Arrays:
    x = there(np.zeros(input_shape, np.float32)).requires_grad_()
    return gradient(x.mean((2, 3)), x, dy)
