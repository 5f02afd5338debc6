"""What is measured: every kernel on shapes of the networks, and whole train steps.

A case makes its arrays and returns a function to time. `work` says what one call does: floating
point operations for what computes, bytes that must be read and written for what moves memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import minidl as md
from minidl import data, kernels, models, optim

Run = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """A named piece of work; `make` returns the function to time."""

    name: str
    make: Callable[[], Run]
    work: float
    unit: str           # "GFLOP/s", "GB/s" or "" where neither says much


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def conv_cases(title: str, n: int, size: int, ci: int, co: int, k: int = 3, stride: int = 1,
               input_grad: bool = True) -> list[Case]:
    """A convolution with padding k // 2 and its gradients."""
    pad = k // 2
    geometry: Any = ((stride, stride), ((pad, pad), (pad, pad)))
    out = (size + 2 * pad - k) // stride + 1
    flops = 2.0 * n * out * out * co * ci * k * k

    def arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return normal(n, size, size, ci), normal(k, k, ci, co), normal(n, out, out, co)

    def forward() -> Run:
        x, w, _ = arrays()
        return lambda: kernels.conv(x, w, None, *geometry)

    def input_gradient() -> Run:
        x, w, dy = arrays()
        return lambda: kernels.conv_input_grad(dy, w, x.shape, *geometry)

    def weight_gradient() -> Run:
        x, _, dy = arrays()
        return lambda: kernels.conv_weight_grad(x, dy, (k, k), *geometry)

    cases = [Case(f"conv {title}", forward, flops, "GFLOP/s")]
    if input_grad:
        cases.append(Case(f"conv_input_grad {title}", input_gradient, flops, "GFLOP/s"))
    return [*cases, Case(f"conv_weight_grad {title}", weight_gradient, flops, "GFLOP/s")]


def matmul_cases(m: int, k: int, n: int) -> list[Case]:
    """A dense layer's product and its two gradients."""
    def forward() -> Run:
        a, b = normal(m, k), normal(k, n)
        return lambda: kernels.matmul(a, b)

    def input_gradient() -> Run:
        dy, b = normal(m, n), normal(k, n)
        return lambda: kernels.matmul(dy, b, transpose_b=True)

    def weight_gradient() -> Run:
        a, dy = normal(m, k), normal(m, n)
        return lambda: kernels.matmul(a, dy, transpose_a=True)

    return [Case(f"matmul {name} {m}x{k}x{n}", make, 2.0 * m * k * n, "GFLOP/s")
            for name, make in (("forward", forward), ("input grad", input_gradient),
                               ("weight grad", weight_gradient))]


def norm_cases(*shape: int) -> list[Case]:
    """Batch normalization with its ReLU, and each kernel of it."""
    size, channels = 4.0 * np.prod(shape), shape[-1]
    title = "x".join(map(str, shape))

    def both() -> Run:
        x = md.tensor(normal(*shape), requires_grad=True)
        gamma, beta = (md.tensor(normal(channels), requires_grad=True) for _ in range(2))
        dy = normal(*shape)

        def run() -> None:
            md.relu(md.batch_norm(x, gamma, beta, training=True)).backward(dy)
            x.grad = gamma.grad = beta.grad = None

        return run

    def stats() -> Run:
        x = normal(*shape)
        return lambda: kernels.batch_stats(x)

    def factors_of(x: np.ndarray) -> np.ndarray:
        mean, var = kernels.batch_stats(x)
        return kernels.batch_norm_factors(mean, var, None, None, 1e-5, x.dtype)

    def apply() -> Run:
        x = normal(*shape)
        factors = factors_of(x)
        return lambda: kernels.batch_norm_apply(x, factors, relu=True)

    def backward() -> Run:
        x, dy = normal(*shape), normal(*shape)
        factors = factors_of(x)
        return lambda: kernels.batch_norm_backward(dy, x, factors, relu=True)

    return [Case(f"BatchNorm+ReLU forward+backward {title}", both, 8 * size, "GB/s"),
            Case(f"batch_stats {title}", stats, size, "GB/s"),
            Case(f"batch_norm_apply+relu {title}", apply, 2 * size, "GB/s"),
            Case(f"batch_norm_backward+relu {title}", backward, 5 * size, "GB/s")]


def pool_cases(*shape: int) -> list[Case]:
    size, title = 4.0 * np.prod(shape), "x".join(map(str, shape))

    def pooled(name: str) -> Callable[[], Run]:
        def make() -> Run:
            x = normal(*shape)
            return lambda: getattr(kernels, name)(x, (2, 2), (2, 2))
        return make

    def max_backward() -> Run:
        x = normal(*shape)
        y, argmax = kernels.max_pool(x, (2, 2), (2, 2))
        return lambda: kernels.max_pool_backward(y, argmax, shape, (2, 2), (2, 2))

    def global_avg() -> Run:
        x = normal(*shape)
        return lambda: kernels.global_avg_pool(x)

    return [Case(f"max_pool 2x2 {title}", pooled("max_pool"), 1.3 * size, "GB/s"),
            Case(f"max_pool_backward 2x2 {title}", max_backward, 1.3 * size, "GB/s"),
            Case(f"avg_pool 2x2 {title}", pooled("avg_pool"), 1.25 * size, "GB/s"),
            Case(f"global_avg_pool {title}", global_avg, size, "GB/s")]


def elementwise_cases(n: int) -> list[Case]:
    def unary(name: str) -> Callable[[], Run]:
        def make() -> Run:
            x = np.abs(normal(n)) + np.float32(0.1)
            return lambda: getattr(kernels, name)(x)
        return make

    def binary(name: str) -> Callable[[], Run]:
        def make() -> Run:
            a, b = normal(n), np.abs(normal(n)) + np.float32(0.1)
            return lambda: getattr(kernels, name)(a, b)
        return make

    def total() -> Run:
        x = normal(1, n, 1)
        return lambda: kernels.sum(x)

    def columns() -> Run:
        x = normal(1, n // 64, 64)
        return lambda: kernels.sum(x)

    def dropout() -> Run:
        x = normal(n)
        return lambda: kernels.dropout(x, 0.5, 1)

    def to_float() -> Run:
        x = np.random.default_rng(0).integers(0, 256, n, dtype=np.uint8)
        return lambda: kernels.to_float(x)

    title = f"{n // 2**20}M"
    return [*(Case(f"{f} {title}", unary(f), 8.0 * n, "GB/s")
              for f in ("exp", "log", "sqrt", "tanh", "sigmoid", "relu")),
            *(Case(f"{f} {title}", binary(f), 12.0 * n, "GB/s")
              for f in ("add", "multiply", "maximum", "relu_backward", "sigmoid_backward")),
            Case(f"sum {title}", total, 4.0 * n, "GB/s"),
            Case(f"sum of columns {title}", columns, 4.0 * n, "GB/s"),
            Case(f"dropout {title}", dropout, 8.0 * n, "GB/s"),
            Case(f"to_float {title}", to_float, 5.0 * n, "GB/s")]


def loss_cases(m: int, classes: int) -> list[Case]:
    def forward_backward() -> Run:
        logits, labels = normal(m, classes), np.arange(m) % classes
        ones = np.ones(m, np.float32)

        def run() -> None:
            _, p = kernels.cross_entropy(logits, labels)
            kernels.cross_entropy_backward(ones, p, labels)

        return run

    def softmax() -> Run:
        logits = normal(m, classes)
        return lambda: kernels.softmax(logits)

    title = f"{m}x{classes}"
    return [Case(f"cross_entropy forward+backward {title}", forward_backward, 0, ""),
            Case(f"softmax {title}", softmax, 0, "")]


def optimizer_cases() -> list[Case]:
    shapes = [p.shape for p in models.MnistCNN().parameters()]
    count = float(sum(np.prod(s) for s in shapes))

    def sgd() -> Run:
        p, g, v = ([normal(*s) for s in shapes] for _ in range(3))
        return lambda: kernels.sgd_update(p, g, v, 1e-6, 0.9, False, 5e-4)

    def adam() -> Run:
        p, g, m = ([normal(*s) for s in shapes] for _ in range(3))
        q = [np.abs(a) for a in m]
        return lambda: kernels.adam_update(p, g, m, q, 1e-6, 0.9, 0.999, 1e-8, 0.0, False, 10)

    return [Case("sgd_update mnist-cnn", sgd, 20 * count, "GB/s"),
            Case("adam_update mnist-cnn", adam, 28 * count, "GB/s")]


def train_case(name: str, model: Callable[[], Any]) -> Case:
    """A train step at batch 128 on MNIST; the timed function returns the loss."""
    def make() -> Run:
        md.manual_seed(0)
        net = model()
        optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        batches = list(data.DataLoader(data.MNIST(split="test"), 128, shuffle=True, seed=0,
                                       drop_last=True))[:20]
        step = 0

        def run() -> float:
            nonlocal step
            images, labels = batches[step % len(batches)]
            step += 1
            loss = md.cross_entropy(net(images), labels)
            net.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.item()

        return run

    return Case(f"train step {name}", make, 0, "")


def all_cases() -> list[Case]:
    """Every case, train steps first."""
    return [
        train_case("mlp-bn", models.MLP), train_case("mnist-cnn", models.MnistCNN),
        *norm_cases(128, 28, 28, 32), *norm_cases(128, 8, 8, 256),
        *conv_cases("3x3 1→32 28²", 128, 28, 1, 32, input_grad=False),
        *conv_cases("3x3 32→64 14²", 128, 14, 32, 64),
        *conv_cases("3x3 16→32 32² stride 2", 128, 32, 16, 32, stride=2),
        *conv_cases("1x1 32→64 32²", 128, 32, 32, 64, k=1),
        *matmul_cases(128, 784, 256), *matmul_cases(128, 3136, 128),
        *pool_cases(128, 28, 28, 32), *elementwise_cases(2**22),
        *loss_cases(128, 10), *loss_cases(128, 1000), *optimizer_cases(),
    ]
