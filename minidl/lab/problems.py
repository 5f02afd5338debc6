"""The data and the networks that several experiments share.

The MLP, C6 and the LSTM of the specification; each takes the normalization by a name, or as a
function of the number of features, as `minidl.models` does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import data, nn
from ..tensor import Tensor

Norm = str | Callable[[int], nn.Layer]
# Of each colour in the training part of CIFAR-10.
MEAN = np.array([0.4914, 0.4822, 0.4465], np.float32)
STD = np.array([0.2470, 0.2435, 0.2616], np.float32)
Arrays = tuple[np.ndarray, np.ndarray]


class MissingData(Exception):
    """A data set that is not on this machine, by its name."""


@functools.cache
def mnist(part: str) -> Arrays:
    """MNIST's "train" or "test": images (N, 28, 28, 1) float32 in 0..1 and labels (N,)."""
    return _arrays("mnist", data.MNIST, part)


@functools.cache
def cifar10(part: str) -> Arrays:
    """CIFAR-10's "train" or "test": images (N, 32, 32, 3) float32, standardized by the mean and
    the standard deviation of each colour in the training part, and labels (N,)."""
    images, labels = _arrays("cifar10", data.CIFAR10, part)
    images -= MEAN  # in place: this is half a gigabyte
    images /= STD
    return images, labels


def require(name: str) -> None:
    """MissingData where a data set, "mnist" or "cifar10", cannot be had."""
    {"mnist": mnist, "cifar10": cifar10}[name]("test")


def _arrays(name: str, kind: Callable[..., Any], part: str) -> Arrays:
    try:
        found = kind(split=part)
    except OSError as error:
        raise MissingData(name) from error
    images = found.images.astype(np.float32)
    images /= 255
    return images, found.labels


def subset(arrays: Arrays, count: int) -> Arrays:
    """The first `count` items: data sets are in random order."""
    return arrays[0][:count], arrays[1][:count]


def batches(arrays: Arrays, size: int, seed: int) -> Iterator[Arrays]:
    """Batches without end, each epoch in a new random order, a smaller last batch left out."""
    images, labels = arrays
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(images))
        for start in range(0, len(order) - size + 1, size):
            rows = order[start : start + size]
            yield images[rows], labels[rows]


# ------------------------------------------------------------------------------------ the networks


class Stack(nn.Layer):
    """Layers with names, one after the other; `stack.act2` is one of them."""

    def __init__(self, layers: Mapping[str, nn.Layer]) -> None:
        super().__init__()
        self.order = tuple(layers)
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Any) -> Tensor:
        for name in self.order:
            x = getattr(self, name)(x)
        return x

    def steps(
        self, x: Any, first: str | None = None
    ) -> Iterator[tuple[str, nn.Layer, Any, Tensor]]:
        """One layer after the other: its name, itself, what goes into it and what comes out. It
        begins with the layer `first`, and computes as far as it is asked."""
        for name in self.order[self.order.index(first) if first else 0 :]:
            layer = getattr(self, name)
            y = layer(x)
            yield name, layer, x, y
            x = y


def norm_layer(norm: Norm, features: int) -> nn.Layer:
    """The normalization of so many features: "none", "batch", "layer" (over the features of each
    position), "group" (8 groups), "instance" (with gamma and beta), or what a function makes."""
    if not isinstance(norm, str):
        return norm(features)
    return NORMS[norm](features)


NORMS: dict[str, Callable[[int], nn.Layer]] = {
    "none": lambda features: nn.Identity(),
    "batch": nn.BatchNorm,
    "layer": nn.LayerNorm,
    "group": lambda features: nn.GroupNorm(8, features),
    "instance": lambda features: nn.InstanceNorm(features, affine=True),
}


def renorm(steps: int, momentum: float = 0.1) -> Callable[[int], nn.Layer]:
    """Batch Renormalization for a training of so many steps: its limits open from 5% of them on,
    and are those of the paper, 3 and 5, from 25% on."""
    limits = nn.Renorm(3, 5, warmup=steps // 20, r_ramp=steps // 5, d_ramp=steps // 5)
    return lambda features: nn.BatchNorm(features, momentum=momentum, renorm=limits)


def mlp(
    norm: Norm = "batch",
    widths: tuple[int, ...] = (784, 100, 100, 100, 10),
    activation: Callable[[], nn.Layer] = nn.Sigmoid,
    after: bool = False,
    std: float | None = None,
) -> Stack:
    """Dense layers to logits, with a normalization before (or after) the activation of each hidden
    one: `dense1`, `norm1`, `act1`, ... Weights are normal of standard deviation `std`, or Glorot's
    (2010) uniform ones."""
    parts: dict[str, nn.Layer] = {"flatten": nn.Flatten()}
    last = len(widths) - 1
    for i in range(1, last + 1):
        dense = nn.Dense(widths[i - 1], widths[i], bias=i == last or norm == "none" or after)
        shape = dense.weight.shape
        dense.weight.data = (
            nn.init.xavier_uniform(shape) if std is None else nn.init.normal(shape, std)
        )
        parts[f"dense{i}"] = dense
        if i < last:
            parts |= _normalized(i, norm, widths[i], activation, after)
    return Stack(parts)


def c6(
    norm: Norm = "batch",
    widths: tuple[int, int, int] = (16, 32, 64),
    classes: int = 10,
    activation: Callable[[], nn.Layer] = nn.ReLU,
    after: bool = False,
    colours: int = 3,
) -> Stack:
    """C6: two 3x3 convolutions of each width, 2x2 max-pooling between the widths, the average over
    all positions, a dense layer: `conv1`, `norm1`, `act1`, ... `head`. `colours`: 1 for MNIST."""
    parts: dict[str, nn.Layer] = {}
    channels = colours
    for i in range(6):
        width = widths[i // 2]
        parts[f"conv{i + 1}"] = nn.Conv(channels, width, 3, padding=1, bias=norm == "none" or after)
        parts |= _normalized(i + 1, norm, width, activation, after)
        if i in (1, 3):
            parts[f"pool{i // 2 + 1}"] = nn.MaxPool(2)
        channels = width
    return Stack({**parts, "mean": nn.GlobalAvgPool(), "head": nn.Dense(channels, classes)})


def _normalized(
    place: int, norm: Norm, features: int, activation: Callable[[], nn.Layer], after: bool
) -> dict[str, nn.Layer]:
    """A normalization and the activation that it stands before, or after."""
    parts = {f"norm{place}": norm_layer(norm, features), f"act{place}": activation()}
    return dict(reversed(parts.items())) if after else parts
