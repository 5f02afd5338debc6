"""What the experiments on identities share: digits in float64, the activations of a network, and
batch normalization composed from operations, which can be composed wrongly too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import minidl as md
from minidl import nn

from . import problems
from .experiment import Result
from .problems import Arrays, Norm, Stack
from .verdict import Verdict

HIDDEN = ("norm1", "norm2", "norm3")    # the normalizations of the MLP
EPS = 1e-5                              # BatchNorm's


def digits(count: int, seed: int, part: str = "train") -> Arrays:
    """So many images of MNIST in float64 and their labels, drawn by the seed without repetition."""
    images, labels = problems.mnist(part)
    rows = np.random.default_rng(seed).permutation(len(images))[:count]
    return images[rows].astype(np.float64), labels[rows]


def network(seed: int, norm: Norm = "batch") -> Stack:
    """The MLP in float64, as the seed starts it."""
    md.manual_seed(seed)
    model = problems.mlp(norm)
    model.astype(np.float64)
    return model


def into(model: Stack, name: str, images: np.ndarray) -> np.ndarray:
    """What goes into the layer of this name, for a batch of images."""
    x: Any = images
    with md.no_grad():
        for layer in model.order[:model.order.index(name)]:
            x = getattr(model, layer)(x)
    return x.data if isinstance(x, md.Tensor) else x


def beyond(model: Stack, name: str, x: md.Tensor) -> md.Tensor:
    """What the layer of this name and those after it make of x."""
    for layer in model.order[model.order.index(name):]:
        x = getattr(model, layer)(x)
    return x


def normalized(x: np.ndarray, gamma: np.ndarray | None = None, beta: np.ndarray | None = None,
               eps: float = EPS) -> np.ndarray:
    """Batch normalization of an array with the statistics of this batch."""
    return md.batch_norm(x, gamma, beta, training=True, eps=eps).data


class Composed(nn.Layer):
    """Batch normalization of (batch, features) composed from operations, so that it can divide by
    whatever `divisor` makes of the variance: BatchNorm itself refuses a negative eps."""

    def __init__(self, features: int, divisor: Callable[[md.Tensor], md.Tensor]) -> None:
        super().__init__()
        self.gamma = nn.Parameter(np.ones(features, np.float32))
        self.beta = nn.Parameter(np.zeros(features, np.float32))
        self.divisor = divisor

    def forward(self, x: md.Tensor) -> md.Tensor:
        centred = x - x.mean(axis=0)
        var = (centred * centred).mean(axis=0)
        return centred / self.divisor(var) * self.gamma + self.beta


def distance(found: np.ndarray, reference: np.ndarray) -> float:
    """The largest difference, relative to the largest value of the reference."""
    return float(np.abs(found - reference).max() / np.abs(reference).max())


def positive(supports: bool, refutes: bool) -> Verdict:
    """The verdict of an exact figure that has to speak for the sentence or against it: where it
    does neither, as one that is no number, there is none."""
    if supports == refutes:
        return Verdict.INCONCLUSIVE
    return Verdict.SUPPORTED if supports else Verdict.REFUTED


def worst(seeds: Sequence[Result], name: str) -> float:
    """The largest figure of this name among the seeds; NaN if one is."""
    return float(np.max([seed[name] for seed in seeds]))
