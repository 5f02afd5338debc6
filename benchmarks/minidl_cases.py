"""How minidl runs each case (see cases.py), with the native kernels or with their NumPy twins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minidl as md
from minidl import kernels, lazy, models, nn, optim
from minidl.ops.conv import Conv
from minidl.train import recipes

from . import training_file
from .training_file import LEARNING_RATE, MOMENTUM
from .workloads import WORKLOADS

Run = Callable[..., Any]


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def train_step(name: str, path: str) -> tuple[training_file.Feed, Run]:
    weights, feed = training_file.read(path)
    net = WORKLOADS[name][0]()
    net.load_state_dict(weights)
    optimizer = optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def run(images: np.ndarray, labels: np.ndarray) -> float:
        loss = md.cross_entropy(net(images), labels)
        net.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return feed, run


def recipe_step(path: str, batch: int) -> tuple[training_file.Feed, Run]:
    """Return a step of the recipe cifar10-fast (see recipe.py)."""
    weights, images, labels = training_file.load(path)
    recipe = recipes.create("cifar10-fast", batch_size=batch)
    model = models.create("cifar-fast")
    model.load_state_dict(weights)
    optimizer, loss_of = recipe.optimizer(model), recipe.loss()
    step = -1

    def feed() -> tuple[np.ndarray, np.ndarray]:
        nonlocal step
        step += 1
        start = step * batch % len(images)
        return images[start : start + batch], labels[start : start + batch]

    def run(x: np.ndarray, target: np.ndarray) -> float:
        loss = loss_of(model(x), target)
        model.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return feed, run


def convolve(
    n: int, size: int, ci: int, co: int, k: int, stride: int, groups: int
) -> tuple[Conv, Run]:
    """Return a node of the graph and its forward. The node chooses the kernel that suits the
    shapes. Its forward may put off the work until the values are asked for, so the returned
    function asks for them.
    """
    x, w = normal(n, size, size, ci), normal(k, k, ci // groups, co)
    node = Conv()
    node.needs_grad = (True, True, False)
    arguments = x, w, None, (stride, stride), ((k // 2, k // 2),) * 2, (1, 1), groups
    return node, lambda: lazy.computed(node.forward(*arguments))


def conv(*shape: int) -> Run:
    return convolve(*shape)[1]


def conv_backward(shape: tuple[int, ...], wanted: tuple[bool, bool, bool]) -> Run:
    node, forward = convolve(*shape)
    dy = normal(*forward().shape)
    node.needs_grad = wanted
    return lambda: node.backward(dy)


def conv_input_grad(*shape: int) -> Run:
    return conv_backward(shape, (True, False, False))


def conv_weight_grad(*shape: int) -> Run:
    return conv_backward(shape, (False, True, False))


def matmul_forward(m: int, k: int, n: int) -> Run:
    a, b = normal(m, k), normal(k, n)
    return lambda: kernels.matmul(a, b)


def matmul_input_grad(m: int, k: int, n: int) -> Run:
    dy, b = normal(m, n), normal(k, n)
    return lambda: kernels.matmul(dy, b, transpose_b=True)


def matmul_weight_grad(m: int, k: int, n: int) -> Run:
    a, dy = normal(m, k), normal(m, n)
    return lambda: kernels.matmul(a, dy, transpose_a=True)


def computed(y: md.Tensor) -> md.Tensor:
    """Return y with its values computed. The backward pass of a normalization does not need them
    and nobody else here does, so that they would never be computed.
    """
    y.data  # noqa: B018
    return y


def batch_norm_relu(*shape: int) -> Run:
    x, dy = md.tensor(normal(*shape), requires_grad=True), normal(*shape)
    bn = nn.BatchNorm(shape[-1])

    def run() -> None:
        x.grad = None
        bn.zero_grad()
        computed(md.relu(bn(x))).backward(dy)

    return run


# The options of BatchNorm, and the masks by the positions that they count.
NORM_OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "ghost_batch=32": {"ghost_batch": 32},
    "ghost_batch=4": {"ghost_batch": 4},
    "renorm": {"renorm": True},
    "unbiased=False, momentum=None": {"unbiased": False, "momentum": None},
    "mask, ends of images": {"mask": "ends"},
    "mask, at random": {"mask": "random"},
}


def norm_option(name: str, *shape: int) -> Run:
    """Return relu(bn(x) + shortcut), forward and backward."""
    options = dict(NORM_OPTIONS[name])
    mask = None
    if "mask" in options:
        mask = np.random.default_rng(0).random(shape[:-1]) < 0.9
        if options.pop("mask") == "ends":
            mask = np.sort(mask.reshape(shape[0], -1))[:, ::-1].reshape(shape[:-1])
    x, shortcut = (md.tensor(normal(*shape), requires_grad=True) for _ in range(2))
    dy, bn = normal(*shape), nn.BatchNorm(shape[-1], **options)

    def run() -> None:
        x.grad = shortcut.grad = None
        bn.zero_grad()
        computed(md.relu(bn(x, mask) + shortcut)).backward(dy)

    return run


def batch_stats(*shape: int) -> Run:
    x = normal(*shape)
    return lambda: kernels.batch_stats(x)


def factors_of(x: np.ndarray) -> np.ndarray:
    mean, var = kernels.batch_stats(x)
    return kernels.batch_norm_factors(mean, var, None, None, 1e-5, x.dtype)


def batch_norm_apply(*shape: int) -> Run:
    x = normal(*shape)
    factors = factors_of(x)
    return lambda: kernels.batch_norm_apply(x, factors, relu=True)


def batch_norm_backward(*shape: int) -> Run:
    x, dy = normal(*shape), normal(*shape)
    factors = factors_of(x)
    return lambda: kernels.batch_norm_backward(dy, x, factors, relu=True)


def max_pool_2x2(*shape: int) -> Run:
    x = normal(*shape)
    return lambda: kernels.max_pool(x, (2, 2), (2, 2))


def max_pool_backward_2x2(*shape: int) -> Run:
    y, argmax = kernels.max_pool(normal(*shape), (2, 2), (2, 2))
    return lambda: kernels.max_pool_backward(y, argmax, shape, (2, 2), (2, 2))


def avg_pool_2x2(*shape: int) -> Run:
    x = normal(*shape)
    return lambda: kernels.avg_pool(x, (2, 2), (2, 2))


def global_avg_pool(*shape: int) -> Run:
    x = normal(*shape)
    return lambda: kernels.global_avg_pool(x)


def unary(name: str, n: int) -> Run:
    x = np.abs(normal(n)) + np.float32(0.1)
    return lambda: getattr(kernels, name)(x)


def binary(name: str, n: int) -> Run:
    a, b = normal(n), np.abs(normal(n)) + np.float32(0.1)
    return lambda: getattr(kernels, name)(a, b)


def sum_all(n: int) -> Run:
    x = normal(1, n, 1)
    return lambda: kernels.sum(x)


def sum_columns(n: int) -> Run:
    x = normal(1, n // 64, 64)
    return lambda: kernels.sum(x)


def dropout(n: int) -> Run:
    x = normal(n)
    return lambda: kernels.dropout(x, 0.5, 1)


def to_float(n: int) -> Run:
    x = np.random.default_rng(0).integers(0, 256, n, dtype=np.uint8)
    return lambda: kernels.to_float(x)


def crop_pictures(n: int, side: int) -> Run:
    """Return crops at random places within a padding of 4, half of them mirrored."""
    x, rng = normal(n, side, side, 3), np.random.default_rng(0)
    tops, lefts = rng.integers(-4, 5, (2, n))
    flips = rng.integers(0, 2, n).astype(np.uint8)
    return lambda: kernels.crop(x, (side, side), tops, lefts, flips, "reflect")


def warp_pictures(n: int, side: int) -> Run:
    """Return a rotation by 10 degrees."""
    x, cos, sin = normal(n, side, side, 3), np.cos(0.17), np.sin(0.17)
    maps = np.tile([cos, sin, -2.0, -sin, cos, 2.0], (n, 1))
    return lambda: kernels.warp(x, (side, side), maps)


def blend_pictures(n: int, side: int) -> Run:
    """Return a resampling of one axis to the same length, from four pixels for each."""
    x, weights = normal(n, side, side, 3), np.full((1, side, 4), 0.25, np.float32)
    starts = np.arange(side)[None].clip(0, side - 4)
    return lambda: kernels.blend(x, starts, weights)


def cross_entropy(m: int, classes: int) -> Run:
    logits, labels, ones = normal(m, classes), np.arange(m) % classes, np.ones(m, np.float32)

    def run() -> None:
        _, p = kernels.cross_entropy(logits, labels)
        kernels.cross_entropy_backward(ones, p, labels)

    return run


def softmax(m: int, classes: int) -> Run:
    x = normal(m, classes)
    return lambda: kernels.softmax(x)


def recurrent(kind: str, n: int, steps: int, features: int, hidden: int) -> Run:
    layer, dy = getattr(nn, kind)(features, hidden), normal(n, steps, hidden)
    x = md.tensor(normal(n, steps, features), requires_grad=True)

    def run() -> None:
        x.grad = None
        layer.zero_grad()
        layer(x)[0].backward(dy)

    return run


def lstm_cell(n: int, hidden: int) -> Run:
    x, q, c = normal(n, 4 * hidden), normal(n, 4 * hidden), normal(n, hidden)
    return lambda: kernels.lstm_cell(x, q, c)


def gru_cell(n: int, hidden: int) -> Run:
    x, q, h, bias = normal(n, 3 * hidden), normal(n, 3 * hidden), normal(n, hidden), normal(hidden)
    return lambda: kernels.gru_cell(x, q, bias, h)


def parameters_of(network: str, copies: int) -> list[list[np.ndarray]]:
    """Return a list of arrays with the shapes of a network's parameters."""
    shapes = [p.shape for p in WORKLOADS[network][0]().parameters()]
    return [[normal(*shape) for shape in shapes] for _ in range(copies)]


def sgd_update(network: str) -> Run:
    p, g, v = parameters_of(network, 3)
    return lambda: kernels.sgd_update(p, g, v, 1e-6, 0.9, False, 5e-4)


def adam_update(network: str) -> Run:
    p, g, m, s = parameters_of(network, 4)
    s = [np.abs(a) for a in s]
    return lambda: kernels.adam_update(p, g, m, s, 1e-6, 0.9, 0.999, 1e-8, 0.0, False, 10)
