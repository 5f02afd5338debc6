"""How PyTorch runs each case (see cases.py).

Train steps and BatchNorm with ReLU run in a mode, which is a memory format and one of "eager" and
"compiled". Two more modes show what rounding does: "nchw" (eager, with every convolution's output
in NCHW) and "float64". Single kernels run on channels-last images, in the form in which PyTorch's
autograd calls them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from . import torch_models, torch_recipe, training_file
from .training_file import LEARNING_RATE, MOMENTUM

Run = Callable[..., Any]
recipe_step = torch_recipe.recipe_step
aten = torch.ops.aten


def images(array: np.ndarray, memory_format: torch.memory_format) -> torch.Tensor:
    """Return an array (N, H, W, C) as a tensor (N, C, H, W) of this memory format, and rows as they
    are.
    """
    x = torch.from_numpy(array)
    return x.permute(0, 3, 1, 2).contiguous(memory_format=memory_format) if x.ndim == 4 else x


def normal(*shape: int, memory_format: torch.memory_format = torch.channels_last) -> torch.Tensor:
    """Return random values of a shape, which is (N, H, W, C) for images."""
    values = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return images(values, memory_format)


def train_step(
    name: str, path: str, memory_format: torch.memory_format, how: str
) -> tuple[Run, Run]:
    weights, batches = training_file.read(path)
    net: Any = torch_models.MODELS[name]()
    torch_models.load(net, weights)
    dtype = torch.float64 if how == "float64" else torch.float32
    net = net.to(memory_format=memory_format, dtype=dtype)
    if how == "nchw":  # images of one channel count as channels-last, and so would their outputs
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_hook(lambda layer, inputs, y: y.contiguous())
    optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    if how == "compiled":
        net = torch.compile(net)

    def feed() -> tuple[torch.Tensor, torch.Tensor]:
        x, labels = batches()
        return images(x, memory_format).to(dtype), torch.from_numpy(labels)

    def run(x: torch.Tensor, labels: torch.Tensor) -> float:
        loss = F.cross_entropy(net(x), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    return feed, run


def batch_norm_relu(*shape: int, memory_format: torch.memory_format, how: str) -> Run:
    x, dy = (normal(*shape, memory_format=memory_format) for _ in range(2))
    x.requires_grad_()
    norm = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    net: Any = nn.Sequential(norm(shape[-1]), nn.ReLU(inplace=True))
    parameters = [x, *net.parameters()]
    if how == "compiled":
        net = torch.compile(net)

    def run() -> None:
        for p in parameters:
            p.grad = None
        net(x).backward(dy)

    return run


def conv_arrays(
    n: int, size: int, ci: int, co: int, k: int, stride: int, groups: int
) -> tuple[torch.Tensor, ...]:
    """Return x, w and dy."""
    out = (size + 2 * (k // 2) - k) // stride + 1
    w = normal(co, k, k, ci // groups)
    return normal(n, size, size, ci), w, normal(n, out, out, co)


def conv(n: int, size: int, ci: int, co: int, k: int, stride: int, groups: int) -> Run:
    x, w, _ = conv_arrays(n, size, ci, co, k, stride, groups)
    return lambda: F.conv2d(x, w, None, stride, k // 2, 1, groups)


def conv_backward(shape: tuple[int, ...], wanted: list[bool]) -> Run:
    x, w, dy = conv_arrays(*shape)
    *_, k, stride, groups = shape
    return lambda: aten.convolution_backward(
        dy, x, w, None, [stride] * 2, [k // 2] * 2, [1, 1], False, [0, 0], groups, wanted
    )


def conv_input_grad(*shape: int) -> Run:
    return conv_backward(shape, [True, False, False])


def conv_weight_grad(*shape: int) -> Run:
    return conv_backward(shape, [False, True, False])


def matmul_forward(m: int, k: int, n: int) -> Run:
    x, w = normal(m, k), normal(n, k)  # nn.Linear's weight is (out, in)
    return lambda: x @ w.T


def matmul_input_grad(m: int, k: int, n: int) -> Run:
    dy, w = normal(m, n), normal(n, k)
    return lambda: dy @ w


def matmul_weight_grad(m: int, k: int, n: int) -> Run:
    x, dy = normal(m, k), normal(m, n)
    return lambda: dy.T @ x


def axes_of(x: torch.Tensor) -> list[int]:
    """Return all axes but that of the channels."""
    return [0, *range(2, x.ndim)]


def batch_stats(*shape: int) -> Run:
    x = normal(*shape)
    return lambda: torch.var_mean(x, axes_of(x), correction=0)


def batch_norm_apply(*shape: int) -> Run:
    x = normal(*shape)
    var, mean = torch.var_mean(x, axes_of(x), correction=0)
    return lambda: F.relu(F.batch_norm(x, mean, var), inplace=True)


def batch_norm_backward(*shape: int) -> Run:
    x, dy = normal(*shape), normal(*shape)
    gamma, beta = torch.ones(shape[-1]), torch.zeros(shape[-1])
    y, mean, rstd = aten.native_batch_norm(x, gamma, beta, None, None, True, 0.1, 1e-5)
    y = F.relu(y)

    def run() -> Any:
        g = aten.threshold_backward(dy, y, 0)
        return aten.native_batch_norm_backward(
            g, x, gamma, None, None, mean, rstd, True, 1e-5, [True, True, True]
        )

    return run


def max_pool_2x2(*shape: int) -> Run:
    x = normal(*shape)
    return lambda: aten.max_pool2d_with_indices(x, [2, 2], [2, 2])


def max_pool_backward_2x2(*shape: int) -> Run:
    x = normal(*shape)
    y, indices = aten.max_pool2d_with_indices(x, [2, 2], [2, 2])
    return lambda: aten.max_pool2d_with_indices_backward(
        y, x, [2, 2], [2, 2], [0, 0], [1, 1], False, indices
    )


def avg_pool_2x2(*shape: int) -> Run:
    x = normal(*shape)
    return lambda: F.avg_pool2d(x, 2)


def global_avg_pool(*shape: int) -> Run:
    x = normal(*shape)
    return lambda: F.adaptive_avg_pool2d(x, 1)


def unary(name: str, n: int) -> Run:
    x = normal(n).abs() + 0.1
    function = getattr(torch, name, None) or getattr(torch.nn.functional, name)
    return lambda: function(x)


def binary(name: str, n: int) -> Run:
    a, b = normal(n), normal(n).abs() + 0.1
    if name == "relu_backward":
        return lambda: aten.threshold_backward(a, b, 0)
    return lambda: getattr(aten if name == "sigmoid_backward" else torch, name)(a, b)


def sum_all(n: int) -> Run:
    x = normal(n)
    return lambda: x.sum()


def sum_columns(n: int) -> Run:
    x = normal(n // 64, 64)
    return lambda: x.sum(0)


def dropout(n: int) -> Run:
    x = normal(n)
    return lambda: F.dropout(x, 0.5)


def to_float(n: int) -> Run:
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, n, dtype=np.uint8))
    return lambda: x.float().div_(255)


def crop_pictures(n: int, side: int) -> Run:
    """Crop and flip one image after the other, because PyTorch has no operation for a batch."""
    x, (tops, lefts) = normal(n, side, side, 3), torch.randint(0, 9, (2, n)).tolist()
    flips = (torch.rand(n) < 0.5).tolist()

    def run() -> None:
        padded = F.pad(x, (4, 4, 4, 4), mode="reflect")
        torch.stack(
            [
                image[:, top : top + side, left : left + side].flip(2)
                if flip
                else image[:, top : top + side, left : left + side]
                for image, top, left, flip in zip(padded, tops, lefts, flips, strict=True)
            ]
        )

    return run


def warp_pictures(n: int, side: int) -> Run:
    x = normal(n, side, side, 3)
    cos, sin = math.cos(0.17), math.sin(0.17)
    maps = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]]).expand(n, 2, 3)
    return lambda: F.grid_sample(x, F.affine_grid(maps, list(x.shape), False), align_corners=False)


def blend_pictures(n: int, side: int) -> Run:
    x, weights = normal(n, side, side, 3), torch.full((side, 4), 0.25)
    pixels = torch.arange(side).clamp(0, side - 4)[:, None] + torch.arange(4)
    return lambda: torch.einsum("nchkw,hk->nchw", x[:, :, pixels], weights)


def cross_entropy(m: int, classes: int) -> Run:
    logits, labels, ones = normal(m, classes), torch.arange(m) % classes, torch.ones(m)

    def run() -> Any:
        log_p = F.log_softmax(logits, 1)
        _, weight = aten.nll_loss_forward(log_p, labels, None, 0, -100)
        g = aten.nll_loss_backward(ones, log_p, labels, None, 0, -100, weight)
        return aten._log_softmax_backward_data(g, log_p, 1, torch.float32)

    return run


def softmax(m: int, classes: int) -> Run:
    x = normal(m, classes)
    return lambda: F.softmax(x, 1)


def recurrent(kind: str, n: int, steps: int, features: int, hidden: int) -> Run:
    layer, dy = getattr(nn, kind)(features, hidden, batch_first=True), normal(n, steps, hidden)
    x = normal(n, steps, features).requires_grad_()

    def run() -> None:
        x.grad = None
        layer.zero_grad()
        layer(x)[0].backward(dy)

    return run


def lstm_cell(n: int, hidden: int) -> Run:
    x, q, c = normal(n, 4 * hidden), normal(n, 4 * hidden), normal(n, hidden)

    def run() -> Any:
        i, f, g, o = (x + q).chunk(4, 1)
        new = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * new.tanh(), new

    return run


def gru_cell(n: int, hidden: int) -> Run:
    x, q, h, bias = normal(n, 3 * hidden), normal(n, 3 * hidden), normal(n, hidden), normal(hidden)

    def run() -> Any:
        r, z = (x[:, : 2 * hidden] + q[:, : 2 * hidden]).sigmoid().chunk(2, 1)
        new = (x[:, 2 * hidden :] + r * (q[:, 2 * hidden :] + bias)).tanh()
        return new + z * (h - new)

    return run


def with_gradients(network: str) -> list[nn.Parameter]:
    parameters = list(torch_models.MODELS[network]().parameters())
    for p in parameters:
        p.grad = torch.randn_like(p)
    return parameters


def sgd_update(network: str) -> Run:
    return torch.optim.SGD(with_gradients(network), lr=1e-6, momentum=0.9, weight_decay=5e-4).step


def adam_update(network: str) -> Run:
    return torch.optim.Adam(with_gradients(network), lr=1e-6).step
