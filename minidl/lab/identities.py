"""What the experiments on identities share: digits in float64, the activations of a network, errors
and their verdicts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

import minidl as md

from . import problems
from .composed import EPS
from .experiment import Result
from .problems import Arrays, Norm, Stack
from .verdict import Verdict

HIDDEN = ("norm1", "norm2", "norm3")  # the normalizations of the MLP


def digits(count: int, seed: int) -> Arrays:
    """So many training images of MNIST in float64 and their labels, drawn by the seed without
    repetition."""
    images, labels = problems.mnist("train")
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
    with md.no_grad():
        before = itertools.islice(model.steps(images), model.order.index(name))
        outputs = [y for *_, y in before]
    return np.asarray(outputs[-1].data) if outputs else images


def beyond(model: Stack, name: str, x: md.Tensor) -> md.Tensor:
    """What the layer of this name and those after it make of x."""
    *_, (*_, y) = model.steps(x, name)
    return y


def normalized(
    x: np.ndarray, gamma: np.ndarray | None = None, beta: np.ndarray | None = None, eps: float = EPS
) -> np.ndarray:
    """Batch normalization of an array with the statistics of this batch."""
    return md.batch_norm(x, gamma, beta, training=True, eps=eps).data


def relative_error(found: np.ndarray, reference: np.ndarray) -> float:
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
