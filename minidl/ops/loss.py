"""Losses of classes, and accuracy. Logits are (..., classes), labels (...)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, kernels
from ..hints import for_newcomers
from ..tensor import Tensor
from .common import as_tensor, float_tensor, outside, warn
from .math import MultiplyOrZero, multiply, negative
from .operation import Copy, Operation
from .reduce import Mean, Sum, reduced
from .reduce import sum as sum_of
from .shape import reshape
from .softmax import log_softmax, rows_of


class Gather(Operation):
    """y = x[row, label] of rows, 0 where the label is ignored;  dx = dy there, 0 elsewhere."""

    def forward(self, x: np.ndarray, labels: np.ndarray, ignore_index: int | None) -> np.ndarray:
        flat = class_indices(labels, x.shape[-1], ignore_index, "nll_loss")
        self.shape, self.kept = x.shape, flat >= 0
        self.place = (np.flatnonzero(self.kept), flat[self.kept])
        y = np.zeros(len(flat), x.dtype)
        y[self.kept] = x[self.place]
        return y

    def backward(self, dy: np.ndarray) -> Any:
        dx = np.zeros(self.shape, dy.dtype)
        dx[self.place] = dy[self.kept]
        return dx, None


class CrossEntropy(Operation):
    """y = -log softmax(x)[label] for each row; the forward keeps softmax(x) for the backward.

    dx = dloss (softmax(x) - onehot(label)), with class weights and smoothing in the target.
    """

    def forward(
        self,
        logits: np.ndarray,
        labels: np.ndarray,
        weight: np.ndarray | None,
        smoothing: float,
        ignore_index: int | None,
    ) -> np.ndarray:
        flat = class_indices(labels, logits.shape[-1], ignore_index, "cross_entropy")
        self.arguments = (flat, weight, smoothing)
        losses, self.probabilities = kernels.cross_entropy(logits, *self.arguments)
        return losses

    def backward(self, dlosses: np.ndarray) -> Any:
        dx = kernels.cross_entropy_backward(dlosses, self.probabilities, *self.arguments)
        return dx, None, None


class LabelWeights(Operation):
    """y = the weight of each label's class, 0 where the label is ignored."""

    def forward(
        self, weight: np.ndarray, labels: np.ndarray, ignore_index: int | None
    ) -> np.ndarray:
        indices = labels.reshape(-1).astype(np.int64)
        if ignore_index is not None:
            indices[indices == ignore_index] = -1
        return np.where(indices >= 0, weight[indices], weight.dtype.type(0))


class LabelMean(Mean):
    """y = sum(losses) / total, with `total` the sum of the weights of all labels that are not
    ignored;  dlosses = dy / total, repeated."""

    total: float | None = None  # None if all labels count the same, as in a plain mean

    def forward(  # type: ignore[override]
        self,
        losses: np.ndarray,
        labels: np.ndarray,
        weight: np.ndarray | None,
        ignore_index: int | None,
    ) -> np.ndarray:
        counted = labels.reshape(-1).astype(np.int64)
        if ignore_index is not None:
            counted = counted[counted != ignore_index]
        if weight is None and len(counted) == len(losses):
            return super().forward(losses, (0,), False)
        total = len(counted) if weight is None else weight[counted].sum()
        self.total = float(losses.dtype.type(total))
        return kernels.divide(Sum.forward(self, losses, (0,), False), self.total)

    def backward(self, dy: np.ndarray) -> Any:
        if self.total is None:
            return super().backward(dy), None, None
        return Sum.backward(self, kernels.divide(dy, self.total)), None, None


@for_newcomers
def cross_entropy(
    logits: Any,
    labels: Any,
    weight: Any = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """The cross-entropy of softmax(logits) against labels: -log softmax(logits)[label], or
    -sum(labels log softmax(logits)) for a distribution.

    `logits` are (..., classes); `labels` are either class indices (...), integers from 0, or a
    distribution (..., classes). `weight` (classes,) weighs each class; rows whose label is
    `ignore_index` do not count; `label_smoothing` mixes the label with the uniform distribution
    (Szegedy et al. 2016). `reduction` is "mean" (divided by the sum of the labels' weights, as in
    PyTorch), "sum" or "none".

    A logit of -inf says that a class is impossible. It adds nothing if the class has the weight or
    probability 0; otherwise the loss is inf, with `label_smoothing` for any label. A row with +inf
    or NaN gives NaN. A distribution whose rows do not add up to 1 (nor to 0) gets a warning.

    ValueError for shapes, labels or options that do not fit, and for probabilities that are
    negative, infinite or NaN; TypeError for logits that are not float.

    >>> logits = md.tensor([[0., 0.], [0., 1.]])
    >>> md.cross_entropy(logits, [0, 1], reduction="none").data.round(4)
    array([0.6931, 0.3133], dtype=float32)
    >>> round(md.cross_entropy(logits, [0, 1]).item(), 4)
    0.5032
    """
    x = float_tensor(logits, "cross_entropy", "logits")
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"cross_entropy: logits must be (..., classes), got shape {x.shape}")
    label_smoothing = checks.fraction(label_smoothing, "cross_entropy", "label_smoothing")
    classes = x.shape[-1]
    w = _class_weight(weight, x, "cross_entropy")
    target = as_tensor(labels, "cross_entropy", "labels")
    if target.dtype.kind == "f":
        if ignore_index is not None:
            raise ValueError(
                "cross_entropy: ignore_index needs class indices, labels are a distribution"
            )
        return _distribution(x, target, w, label_smoothing, reduction)
    _check_labels(target, x.shape, ignore_index, "cross_entropy")
    losses = CrossEntropy.apply(
        reshape(x, (-1, classes)) if x.ndim != 2 else x,
        target,
        w,
        smoothing=label_smoothing,
        ignore_index=ignore_index,
    )
    return _over_labels(losses, target, w, reduction, ignore_index, "cross_entropy")


@for_newcomers
def nll_loss(
    log_probs: Any,
    labels: Any,
    weight: Any = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The negative log-likelihood -log_probs[label], which cross_entropy is after log_softmax.

    `log_probs` are (..., classes), `labels` are integers (...); `weight`, `ignore_index` and
    `reduction` are those of `cross_entropy`. TypeError unless labels are integers, ValueError for
    shapes or labels that do not fit.

    >>> x = md.log_softmax(md.tensor([[0., 0.], [0., 1.]]))
    >>> md.nll_loss(x, [0, 1], reduction="none").data.round(4)
    array([0.6931, 0.3133], dtype=float32)
    """
    x = float_tensor(log_probs, "nll_loss", "log_probs")
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"nll_loss: log_probs must be (..., classes), got shape {x.shape}")
    w = _class_weight(weight, x, "nll_loss")
    target = as_tensor(labels, "nll_loss", "labels")
    _check_labels(target, x.shape, ignore_index, "nll_loss")
    losses = negative(
        Gather.apply(reshape(x, (-1, x.shape[-1])), target, ignore_index=ignore_index)
    )
    if w is not None:
        weights = LabelWeights.apply(w, target, ignore_index=ignore_index)
        losses = MultiplyOrZero.apply(losses, weights)
    return _over_labels(losses, target, w, reduction, ignore_index, "nll_loss")


def _class_weight(weight: Any, x: Tensor, where: str) -> Tensor | None:
    if weight is None:
        return None
    w = Copy.apply(as_tensor(weight, where, "weight"), dtype=x.dtype)
    if w.shape != x.shape[-1:]:
        raise ValueError(f"{where}: weight must have shape {x.shape[-1:]}, got {w.shape}")
    return w


def _over_labels(
    losses: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    reduction: str,
    ignore_index: int | None,
    where: str,
) -> Tensor:
    """The losses in the labels' shape, their sum, or their mean by the weights of the labels."""
    checks.choice(reduction, where, "reduction", ("mean", "sum", "none"))
    if reduction != "mean" or (weight is None and ignore_index is None):
        return reduced(
            reshape(losses, labels.shape) if reduction == "none" else losses, reduction, where
        )
    return LabelMean.apply(losses, labels, weight, ignore_index=ignore_index)


def _check_labels(
    labels: Tensor, shape: tuple[int, ...], ignore_index: int | None, where: str
) -> None:
    """Raise TypeError or ValueError unless labels are integers, one for each row of logits."""
    if labels.dtype.kind not in "iu":
        what = "integers or a distribution" if where == "cross_entropy" else "integers"
        raise TypeError(f"{where}: labels must be {what}, got {labels.dtype}")
    if labels.shape != shape[:-1]:
        raise ValueError(
            f"{where}: labels must have shape {shape[:-1]} for logits {shape}, got {labels.shape}"
        )
    if ignore_index is not None:
        checks.integer(ignore_index, where, "ignore_index")


def class_indices(
    labels: np.ndarray, classes: int, ignore_index: int | None, where: str
) -> np.ndarray:
    """Labels as a new flat int64 array, with -1 for ignored ones; ValueError for a label that is
    not a class."""
    flat = labels.reshape(-1).astype(np.int64)
    ignored = flat == ignore_index if ignore_index is not None else None
    wrong = outside(flat, classes)
    if ignored is not None:
        wrong &= ~ignored
    if wrong.any():
        k = int(np.argmax(wrong))
        raise ValueError(f"{where}: label {flat[k]} at {k} is outside 0..{classes - 1}")
    if ignored is not None:
        flat[ignored] = -1
    return flat


def _distribution(
    x: Tensor, target: Tensor, weight: Tensor | None, smoothing: float, reduction: str
) -> Tensor:
    if target.shape != x.shape:
        raise ValueError(
            f"cross_entropy: a distribution must have the shape of the logits "
            f"{x.shape}, got {target.shape}"
        )
    if not target.requires_grad:
        target = Copy.apply(target, dtype=x.dtype)
    target = target.astype(x.dtype)
    _check_distribution(target._values())
    if smoothing:
        target = target * (1 - smoothing) + smoothing / x.shape[-1]
    if weight is not None:
        target = multiply(target, weight)
    losses = negative(sum_of(MultiplyOrZero.apply(log_softmax(x), target), axis=-1))
    return reduced(losses, reduction, "cross_entropy")


def _check_distribution(target: np.ndarray) -> None:
    """Raise ValueError for values that are no probabilities; warn of rows that do not add up to 1.
    Rows of zeros are accepted, because they do not count."""
    rows = rows_of(target)
    sums = kernels.sum(rows[:, :, None])[:, 0]
    in_order = rows.min(initial=0) >= 0 and np.isfinite(sums).all()
    # A sum of large finite values may be infinite, so each value is looked at.
    wrong = [] if in_order else np.argwhere(~((rows >= 0) & (rows < np.inf))).tolist()
    if wrong:
        row, column = wrong[0]
        raise ValueError(
            f"cross_entropy: labels of a float dtype are probabilities, finite and >= 0, but row "
            f"{row} has {rows[row, column]} for class {column}; class indices must be "
            f"integers"
        )
    off = (np.abs(sums - 1) > 0.01) & (sums != 0)
    if off.any():
        row = int(np.argmax(off))
        warn(
            f"cross_entropy: labels are taken as probabilities, which should add up to 1, but "
            f"those of row {row} add up to {sums[row]:.4g}; where several classes may be right at "
            f"once, use binary_cross_entropy_with_logits"
        )


def accuracy(logits: Any, labels: Any) -> float:
    """The share of rows of logits (..., classes) whose largest value is at the label (...), as a
    Python float; NaN if there are no rows. Of equal values the first counts; a row with a NaN is
    never right. ValueError for shapes that do not match and for labels that are not classes,
    TypeError unless labels are integers.

    >>> md.accuracy(md.tensor([[0.1, 0.9], [0.8, 0.2]]), [1, 1])
    0.5
    """
    scores = as_tensor(logits, "accuracy", "logits")
    target = as_tensor(labels, "accuracy", "labels")
    if scores.ndim == 0 or scores.shape[:-1] != target.shape:
        raise ValueError(
            f"accuracy: logits (..., classes) and labels (...) must match, "
            f"got {scores.shape} and {target.shape}"
        )
    if target.size == 0:
        return float("nan")
    _check_labels(target, scores.shape, None, "accuracy")
    indices = class_indices(target._taken(), scores.shape[-1], None, "accuracy")
    rows = rows_of(scores._taken())
    best = rows.argmax(axis=1)  # the place of the first NaN if a row has any
    hits = (best == indices) & ~np.isnan(rows[np.arange(len(rows)), best])
    return float(hits.mean())
