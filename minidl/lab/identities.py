"""Functions that the experiments on identities (E01 to E10) share.

They check formulas in float64 on real activations: here are the images, the network, its
activations at a layer, relative errors, and verdicts on exact figures.
"""

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

HIDDEN = ("norm1", "norm2", "norm3")  # the names of the MLP's normalization layers


def digits(count: int, seed: int) -> Arrays:
    """Draw `count` different training images of MNIST by the seed, and return them in float64 with
    their labels."""
    images, labels = problems.mnist("train")
    rows = np.random.default_rng(seed).permutation(len(images))[:count]
    return images[rows].astype(np.float64), labels[rows]


def network(seed: int, norm: Norm = "batch") -> Stack:
    """Return the untrained MLP in float64; the seed determines its weights."""
    md.manual_seed(seed)
    model = problems.mlp(norm)
    model.astype(np.float64)
    return model


def input_of(model: Stack, name: str, images: np.ndarray) -> np.ndarray:
    """Return the input of the layer with this name for a batch of images."""
    with md.no_grad():
        before = itertools.islice(model.steps(images), model.order.index(name))
        outputs = [y for *_, y in before]
    return np.asarray(outputs[-1].data) if outputs else images


def output_from(model: Stack, name: str, x: md.Tensor) -> md.Tensor:
    """Return the model's output where x is the input of the layer with this name."""
    *_, (*_, y) = model.steps(x, name)
    return y


def normalized(
    x: np.ndarray, gamma: np.ndarray | None = None, beta: np.ndarray | None = None, eps: float = EPS
) -> np.ndarray:
    """Return the batch normalization of an array by its own statistics."""
    return md.batch_norm(x, gamma, beta, training=True, eps=eps).data


def relative_error(found: np.ndarray, reference: np.ndarray) -> float:
    """Return the largest difference, relative to the largest value of the reference."""
    return float(np.abs(found - reference).max() / np.abs(reference).max())


def exact_verdict(supports: bool, refutes: bool) -> Verdict:
    """Return the verdict on a sentence that one condition supports and another one refutes. If
    neither holds, as with a figure that is NaN, the verdict is INCONCLUSIVE."""
    if supports == refutes:
        return Verdict.INCONCLUSIVE
    return Verdict.SUPPORTED if supports else Verdict.REFUTED


def worst(seeds: Sequence[Result], name: str) -> float:
    """Return the largest figure of this name over the seeds; NaN if one of them is NaN."""
    return float(np.max([seed[name] for seed in seeds]))
