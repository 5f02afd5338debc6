"""The data sets and the networks that several experiments share.

The networks are the MLP and C6 of the specification. Like those of `minidl.models` they take the
normalization by a name, or as a function that makes a layer for a number of features.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import data, nn
from ..tensor import Tensor

Norm = str | Callable[[int], nn.Layer]
# The mean and the standard deviation of each colour over the training images of CIFAR-10.
MEAN = np.array([0.4914, 0.4822, 0.4465], np.float32)
STD = np.array([0.2470, 0.2435, 0.2616], np.float32)
Arrays = tuple[np.ndarray, np.ndarray]


class MissingData(Exception):
    """Raised with the name of a data set that is not on this machine and cannot be downloaded."""


@functools.cache
def mnist(part: str) -> Arrays:
    """Return the "train" or the "test" part of MNIST: images (N, 28, 28, 1) in float32 from 0 to 1,
    and labels (N,)."""
    return _arrays("mnist", data.MNIST, part)


@functools.cache
def cifar10(part: str) -> Arrays:
    """Return the "train" or the "test" part of CIFAR-10: images (N, 32, 32, 3) in float32, which
    are standardized by the mean and the standard deviation of each colour over the training images,
    and labels (N,)."""
    images, labels = _arrays("cifar10", data.CIFAR10, part)
    images -= MEAN  # in place, as the array takes half a gigabyte
    images /= STD
    return images, labels


def require(name: str) -> None:
    """Raise MissingData if the data set "mnist" or "cifar10" is not available."""
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
    """Return the first `count` items. The data sets are in random order, so this is a random
    subset."""
    return arrays[0][:count], arrays[1][:count]


def subsets(source: Callable[[str], Arrays], sizes: Mapping[str, Any]) -> tuple[Arrays, Arrays]:
    """Return the first sizes["images"] items of a data set's training part, and the first
    sizes["test"] items of its test part. `source` is `mnist` or `cifar10`."""
    return subset(source("train"), sizes["images"]), subset(source("test"), sizes["test"])


def batches(arrays: Arrays, size: int, seed: int) -> Iterator[Arrays]:
    """Yield batches without end. Each epoch has a new random order, and a smaller last batch is
    dropped."""
    images, labels = arrays
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(images))
        for start in range(0, len(order) - size + 1, size):
            rows = order[start : start + size]
            yield images[rows], labels[rows]


# ------------------------------------------------------------------------------------ the networks


class Stack(nn.Layer):
    """Layers that are called in a given order and are attributes by their names: `stack.act2`."""

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
        """Call one layer after the other, from `first` on, and yield (name, layer, input, output).
        A layer is called only when the iteration gets to it."""
        for name in self.order[self.order.index(first) if first else 0 :]:
            layer = getattr(self, name)
            y = layer(x)
            yield name, layer, x, y
            x = y


def norm_layer(norm: Norm, features: int) -> nn.Layer:
    """Return a new normalization layer for a number of features: "none", "batch", "layer" (over the
    features of each position), "group" (8 groups), "instance" (with gamma and beta), or what the
    given function makes."""
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
    """Return a function that makes Batch Renormalization layers for a training of `steps` steps.

    Its limits r and d open after 5% of the steps and reach those of Ioffe (2017, 1702.03275), 3 and
    5, after 25%.
    """
    limits = nn.Renorm(3, 5, warmup=steps // 20, r_ramp=steps // 5, d_ramp=steps // 5)
    return lambda features: nn.BatchNorm(features, momentum=momentum, renorm=limits)


def mlp(
    norm: Norm = "batch",
    widths: tuple[int, ...] = (784, 100, 100, 100, 10),
    activation: Callable[[], nn.Layer] = nn.Sigmoid,
    after: bool = False,
    std: float | None = None,
) -> Stack:
    """Return an MLP that maps images to logits, with the layers `dense1`, `norm1`, `act1`, ...

    Each hidden layer has a normalization before its activation, or after it with `after`. The
    weights are drawn from a normal distribution with standard deviation `std`, or without one from
    the uniform distribution of Glorot & Bengio (2010).
    """
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
    """Return C6, a network of six convolutions with the layers `conv1`, `norm1`, `act1`, ...
    `head`.

    It has two 3x3 convolutions of each width, a 2x2 max-pooling between the widths, a global
    average pooling and a dense layer. `colours` is the number of input channels, 1 for MNIST.
    """
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
    """Return a normalization and an activation by name, in the order in which they are called."""
    parts = {f"norm{place}": norm_layer(norm, features), f"act{place}": activation()}
    return dict(reversed(parts.items())) if after else parts
