"""The cases say what is measured: kernels on the shapes of the networks, and whole train steps.

A case says what is done, not how. `minidl_cases.py` and `torch_cases.py` each have a function with
the name of its kind, which takes its arguments and returns what to time. Nothing that only one side
has is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from .training_file import BATCH

# the numbers of parameters of the networks on which the optimizers are measured
PARAMETERS = {"mnist-cnn": 421_866, "resnet20": 272_474}


@dataclass(frozen=True)
class Case:
    """A case is a named piece of work.

    `work` is what one run does. For what computes, it is the number of floating point operations in
    the textbook formula (Winograd needs fewer); for what moves memory, the bytes that must be read
    and written.
    """

    name: str
    kind: str
    arguments: tuple[Any, ...]
    work: float = 0
    unit: str = ""  # "GFLOP/s", "GB/s", or "" where neither means much


def train_cases(names: list[str], folder: Path) -> list[Case]:
    """Return the train steps whose files are in `folder` (see workloads.py)."""
    return [
        Case(f"train step {name}", "train_step", (name, str(folder / f"{name}.npz")))
        for name in names
    ]


def conv_cases(
    size: int, ci: int, co: int, k: int = 3, stride: int = 1, depthwise: bool = False
) -> list[Case]:
    """Return a convolution with padding k // 2 and its gradients, at the networks' batch size.

    The first layer of a network has no case for the gradient of its input, which nobody needs.
    """
    title = (
        f"{'depthwise ' if depthwise else ''}{k}x{k} {ci}→{co} {size}²"
        f"{f' stride {stride}' if stride > 1 else ''}"
    )
    arguments = (BATCH, size, ci, co, k, stride, ci if depthwise else 1)
    out = (size + 2 * (k // 2) - k) // stride + 1
    if depthwise:  # it computes little for each value that it moves
        work, unit = 4.0 * BATCH * (size * size * ci + out * out * co), "GB/s"
    else:
        work, unit = 2.0 * BATCH * out * out * co * ci * k * k, "GFLOP/s"
    kinds = ["conv", "conv_input_grad", "conv_weight_grad"]
    if ci < 16:
        kinds.remove("conv_input_grad")
    return [Case(f"{kind} {title}", kind, arguments, work, unit) for kind in kinds]


def matmul_cases(k: int, n: int) -> list[Case]:
    """Return the product of a dense layer and its two gradients."""
    return [
        Case(
            f"{title} {BATCH}x{k}x{n}",
            title.replace(" ", "_"),
            (BATCH, k, n),
            2.0 * BATCH * k * n,
            "GFLOP/s",
        )
        for title in ("matmul forward", "matmul input grad", "matmul weight grad")
    ]


def norm_cases(*shape: int) -> list[Case]:
    """Return batch normalization with its ReLU, and each kernel of it.

    The least traffic of both passes together: the statistics read x; the output reads x and writes
    y; the sums of the backward pass read x and dy, and so does its output, which writes dx.
    """
    size, title = 4.0 * prod(shape), "x".join(map(str, shape))
    return [
        Case(f"{name} {title}", kind, shape, passes * size, "GB/s")
        for name, kind, passes in (
            ("BatchNorm+ReLU forward+backward", "batch_norm_relu", 8),
            ("batch_stats", "batch_stats", 1),
            ("batch_norm_apply+relu", "batch_norm_apply", 2),
            ("batch_norm_backward+relu", "batch_norm_backward", 5),
        )
    ]


def pool_cases(*shape: int) -> list[Case]:
    size, title = 4.0 * prod(shape), "x".join(map(str, shape))
    return [
        Case(f"{kind.replace('_2x2', ' 2x2')} {title}", kind, shape, passes * size, "GB/s")
        for kind, passes in (
            ("max_pool_2x2", 1.3),
            ("max_pool_backward_2x2", 1.3),
            ("avg_pool_2x2", 1.25),
            ("global_avg_pool", 1),
        )
    ]


def elementwise_cases(n: int) -> list[Case]:
    title = f"{n // 2**20}M"
    return [
        *(
            Case(f"{f} {title}", "unary", (f, n), 8.0 * n, "GB/s")
            for f in ("exp", "log", "sqrt", "tanh", "sigmoid", "relu", "silu")
        ),
        *(
            Case(f"{f} {title}", "binary", (f, n), 12.0 * n, "GB/s")
            for f in ("add", "multiply", "maximum", "relu_backward", "sigmoid_backward")
        ),
        Case(f"sum {title}", "sum_all", (n,), 4.0 * n, "GB/s"),
        Case(f"sum of columns {title}", "sum_columns", (n,), 4.0 * n, "GB/s"),
        Case(f"dropout {title}", "dropout", (n,), 8.0 * n, "GB/s"),
        Case(f"to_float {title}", "to_float", (n,), 5.0 * n, "GB/s"),
    ]


def picture_cases(n: int, side: int) -> list[Case]:
    title, size = f"{n}x{side}x{side}x3", 8.0 * n * side * side * 3
    return [
        Case(f"{kind} {title}", f"{kind}_pictures", (n, side), size, "GB/s")
        for kind in ("crop", "warp", "blend")
    ]


def loss_cases(m: int, classes: int) -> list[Case]:
    return [
        Case(f"cross_entropy forward+backward {m}x{classes}", "cross_entropy", (m, classes)),
        Case(f"softmax {m}x{classes}", "softmax", (m, classes)),
    ]


def cell_cases(n: int, hidden: int) -> list[Case]:
    """Return a step of a recurrent layer without its products: the sums of gates, and the
    states.
    """
    size = 4.0 * n * hidden
    return [
        Case(f"lstm_cell {n}x{hidden}", "lstm_cell", (n, hidden), 15 * size, "GB/s"),
        Case(f"gru_cell {n}x{hidden}", "gru_cell", (n, hidden), 11 * size, "GB/s"),
    ]


def sequence_cases(n: int, steps: int, features: int, hidden: int) -> list[Case]:
    """Return complete recurrent layers: forward and backward over sequences (N, T, C)."""
    return [
        Case(
            f"{kind} forward+backward {n}x{steps}x{features}→{hidden}",
            "recurrent",
            (kind, n, steps, features, hidden),
        )
        for kind in ("RNN", "GRU", "LSTM")
    ]


def optimizer_cases(network: str) -> list[Case]:
    count = PARAMETERS[network]
    return [
        Case(f"sgd_update {network}", "sgd_update", (network,), 20.0 * count, "GB/s"),
        Case(f"adam_update {network}", "adam_update", (network,), 28.0 * count, "GB/s"),
    ]


def sample_cases() -> list[Case]:
    """Return one or two shapes of each kernel."""
    return [
        *norm_cases(128, 28, 28, 32),
        *norm_cases(128, 8, 8, 256),
        *conv_cases(28, 1, 32),
        *conv_cases(14, 32, 64),
        *conv_cases(32, 16, 32, stride=2),
        *conv_cases(32, 32, 64, k=1),
        *matmul_cases(784, 256),
        *matmul_cases(3136, 128),
        *pool_cases(128, 28, 28, 32),
        *elementwise_cases(2**22),
        *loss_cases(128, 10),
        *loss_cases(128, 1000),
        *cell_cases(128, 256),
        *picture_cases(128, 32),
        *sequence_cases(100, 28, 28, 100),
        *optimizer_cases("mnist-cnn"),
    ]


def network_cases() -> list[Case]:
    """Return the layers of all five networks, and the rest of the kernels."""
    return [
        *conv_cases(28, 1, 32),
        *conv_cases(14, 32, 64),  # mnist-cnn
        *conv_cases(32, 3, 16),
        *conv_cases(32, 16, 16),  # resnet20
        *conv_cases(32, 16, 32, stride=2),
        *conv_cases(32, 16, 32, k=1, stride=2),
        *conv_cases(16, 32, 32),
        *conv_cases(16, 32, 64, stride=2),
        *conv_cases(16, 32, 64, k=1, stride=2),
        *conv_cases(8, 64, 64),
        *conv_cases(32, 3, 64),
        *conv_cases(32, 64, 64),  # vgg8-bn
        *conv_cases(16, 64, 128),
        *conv_cases(16, 128, 128),
        *conv_cases(8, 128, 256),
        *conv_cases(8, 256, 256),
        *conv_cases(32, 3, 32),
        *conv_cases(32, 32, 32, depthwise=True),  # mobile
        *conv_cases(32, 32, 64, k=1),
        *conv_cases(32, 64, 64, stride=2, depthwise=True),
        *conv_cases(16, 64, 128, k=1),
        *conv_cases(16, 128, 128, depthwise=True),
        *conv_cases(16, 128, 128, k=1),
        *conv_cases(16, 128, 128, stride=2, depthwise=True),
        *conv_cases(8, 128, 256, k=1),
        *conv_cases(8, 256, 256, depthwise=True),
        *conv_cases(8, 256, 256, k=1),
        *matmul_cases(784, 256),
        *matmul_cases(3136, 128),
        *matmul_cases(4096, 10),
        *matmul_cases(256, 10),
        *matmul_cases(128, 10),
        *matmul_cases(64, 10),
        *norm_cases(128, 256),
        *norm_cases(128, 28, 28, 32),
        *norm_cases(128, 32, 32, 16),
        *norm_cases(128, 32, 32, 64),
        *norm_cases(128, 8, 8, 256),
        *pool_cases(128, 28, 28, 32),
        *pool_cases(128, 32, 32, 64),
        *pool_cases(128, 8, 8, 256),
        *elementwise_cases(2**22),
        *loss_cases(128, 10),
        *loss_cases(128, 1000),
        *cell_cases(128, 256),
        *picture_cases(128, 32),
        *sequence_cases(100, 28, 28, 100),
        *optimizer_cases("mnist-cnn"),
        *optimizer_cases("resnet20"),
    ]
