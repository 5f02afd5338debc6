"""Softmax along the last axis of a matrix, and cross-entropy with class indices.

A class whose probability p is nearly 1 costs no digits: its logarithm and the gradients need 1 - p,
and that is computed as the sum of the other probabilities, without a difference.
"""

import numpy as np
from numpy.typing import DTypeLike

from ..common import Array, into


def softmax(x: Array, out: Array | None = None, threads: int = 0) -> Array:
    """Rows of exp(x - max) / sum."""
    e = np.exp(x - x.max(axis=1, keepdims=True, initial=-np.inf))
    return np.divide(e, e.sum(axis=1, keepdims=True), out=out)


def softmax_backward(dy: Array, y: Array, out: Array | None = None, threads: int = 0) -> Array:
    """dx = y (dy - sum(dy y))."""
    dx = y * (dy - (dy * y).sum(axis=1, keepdims=True))
    if y.size:  # sum(y (dy_k - dy)) for dy_k - sum(y dy), where k has most of the sum
        k = y.argmax(axis=1)[:, None]
        of_k = (y * (np.take_along_axis(dy, k, 1) - dy)).sum(axis=1, keepdims=True)
        confident = np.take_along_axis(y, k, 1) > 0.5
        likeliest = confident & (np.arange(y.shape[1]) == k)
        dx = np.where(likeliest, y * of_k, dx)
    return into(out, dx)


def log_softmax(x: Array, out: Array | None = None, threads: int = 0) -> Array:
    """Rows of x - max - log(sum(exp(x - max)))."""
    z = x - x.max(axis=1, keepdims=True, initial=-np.inf)
    others = np.where(z == 0, 0, np.exp(z)).sum(axis=1, keepdims=True)
    ties = (z == 0).sum(axis=1, keepdims=True, dtype=x.dtype)
    return np.subtract(z, np.log1p(others + (ties - 1)), out=out)


def log_softmax_backward(dy: Array, y: Array, out: Array | None = None, threads: int = 0) -> Array:
    """dx = dy - exp(y) sum(dy)."""
    total = dy.sum(axis=1, keepdims=True)
    return into(out, np.where(y > -0.7, (dy - total) - np.expm1(y) * total, dy - np.exp(y) * total))


def cross_entropy(
    logits: Array,
    labels: Array,
    weight: Array | None = None,
    smoothing: float = 0.0,
    threads: int = 0,
) -> tuple[Array, Array]:
    """(losses (M,), probabilities (M, C)) of logits (M, C) and labels (M,) int64.

    loss = (1 - smoothing) w[label] nll[label] + smoothing / C sum_c w[c] nll[c], with
    nll = -log_softmax; a negative label is ignored: its loss is 0. Labels are below C.
    """
    m, classes = logits.shape
    log_probs = log_softmax(logits)
    targets = _targets(labels, m, classes, weight, smoothing, logits.dtype)
    nll = np.where(targets != 0, -log_probs, 0)  # a class of weight 0 may be impossible
    terms = (nll * targets).astype(logits.dtype)
    return terms.sum(axis=1), np.exp(log_probs)


def cross_entropy_backward(
    dlosses: Array,
    probabilities: Array,
    labels: Array,
    weight: Array | None = None,
    smoothing: float = 0.0,
    threads: int = 0,
) -> Array:
    """dlogits (M, C) from dlosses (M,)."""
    m, classes = probabilities.shape
    targets = _targets(labels, m, classes, weight, smoothing, probabilities.dtype)
    total = targets.sum(axis=1, keepdims=True)
    slopes = total * probabilities - targets
    if smoothing == 0:
        of_label = np.arange(classes) == labels[:, None]
        others = np.where(of_label, 0, probabilities).sum(axis=1, keepdims=True)
        slopes = np.where(of_label, -total * others, slopes)
    dlogits = dlosses[:, None] * slopes
    return np.where(labels[:, None] < 0, 0, dlogits).astype(probabilities.dtype)


def _targets(
    labels: Array, m: int, classes: int, weight: Array | None, smoothing: float, dtype: DTypeLike
) -> Array:
    """The factor of each class's -log p in each row's loss; 0 in the rows of ignored labels."""
    smoothing = float(smoothing)
    targets = np.full((m, classes), smoothing / classes, dtype)
    targets[np.arange(m), np.maximum(labels, 0)] += 1 - smoothing
    if weight is not None:
        targets *= weight
    targets[labels < 0] = 0
    return targets
