"""The metrics of a trainer, given by name or as functions, and their means over an epoch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import checks, ops
from ..tensor import Tensor

# Maps (outputs, labels, items) to the metric's (sum, weight) over a batch, whose quotient is the
# mean; to None if the metric does not apply to such outputs and labels.
Measure = Callable[[Any, Any, int], "tuple[float, float] | None"]

CLASSES, SEVERAL, NUMBERS = "classes", "several labels", "numbers"
_TASKS: dict[Any, str] = {
    ops.cross_entropy: CLASSES,
    ops.nll_loss: CLASSES,
    ops.binary_cross_entropy_with_logits: SEVERAL,
    ops.mse_loss: NUMBERS,
    ops.l1_loss: NUMBERS,
    ops.huber_loss: NUMBERS,
}


class Totals:
    """The sums and weights of an epoch's figures, {name: [sum, weight]}, and their means."""

    def __init__(self, sums: dict[str, list[float]] | None = None) -> None:
        self.sums = {name: list(pair) for name, pair in (sums or {}).items()}

    def add(self, name: str, total: float, weight: float) -> None:
        pair = self.sums.setdefault(name, [0.0, 0.0])
        pair[0] += total
        pair[1] += weight

    def means(self) -> dict[str, float]:
        return {
            name: total / weight if weight else float("nan")
            for name, (total, weight) in self.sums.items()
        }

    def copy(self) -> Totals:
        return Totals(self.sums)


def measures(metrics: Iterable[Any], loss: Any) -> dict[str, Measure]:
    """Return the function of each metric, by its name. TypeError or ValueError for unknown ones."""
    if isinstance(metrics, str) or callable(metrics):
        metrics = (metrics,)
    expected = 'names ("accuracy", "top5", "mae", "mse") and functions of (outputs, labels)'
    found: dict[str, Measure] = {}
    for metric in checks.members(metrics, "Trainer", "metrics", expected):
        if isinstance(metric, str):
            name, measure = metric, _named(metric, loss, expected)
        else:
            checks.function(metric, "Trainer", "metrics", expected)
            name = getattr(metric, "__name__", type(metric).__name__)
            measure = functools.partial(_of_user, metric)
        if name in found or name in ("loss", "lr", "seconds"):
            raise ValueError(
                f"Trainer: metrics must have different names, none of them loss, lr or seconds, "
                f"got {name!r}{' twice' if name in found else ''}"
            )
        found[name] = measure
    return found


def _named(name: str, loss: Any, expected: str) -> Measure:
    if name == "accuracy":
        return functools.partial(_accuracy, task_of(loss))
    if name in ("mae", "mse"):
        return functools.partial(_error, name)
    if name.startswith("top") and name[3:].isdigit() and int(name[3:]) > 0:
        return functools.partial(_top, int(name[3:]))
    raise ValueError(checks.message("Trainer", "metrics", expected, name))


def task_of(loss: Any) -> str | None:
    """Return which kind of labels a loss of minidl takes; None for a function of the user's."""
    while isinstance(loss, functools.partial):
        loss = loss.func
    return _TASKS.get(loss)


def _of_user(
    metric: Callable[..., Any], outputs: Any, labels: Any, count: int
) -> tuple[float, float]:
    """Call a metric of the user's, which returns the mean over a batch."""
    value = metric(values(outputs), values(labels))
    return float(np.mean(values(value))) * count, count


def values(x: Any) -> Any:
    """Return the array of a tensor, and anything else as it is."""
    return x.data if isinstance(x, Tensor) else x


def _arrays(outputs: Any, labels: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Return outputs and labels as arrays; None unless they are one array each."""
    outputs, labels = values(outputs), values(labels)
    if isinstance(labels, list):
        labels = np.asarray(labels)
    if isinstance(outputs, np.ndarray) and isinstance(labels, np.ndarray):
        return outputs, labels
    return None


def _classes(outputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the scores as rows (n, classes) and the label of each row; None if the shapes do not
    fit. Labels outside the classes, such as a loss's `ignore_index`, are left out. A label that is
    a distribution counts as its likeliest class."""
    if outputs.ndim == 0:
        return None
    if labels.shape == outputs.shape and labels.dtype.kind == "f":
        labels = labels.argmax(axis=-1)
    if labels.shape != outputs.shape[:-1] or labels.dtype.kind not in "iu":
        return None
    scores, classes = outputs.reshape(-1, outputs.shape[-1]), labels.reshape(-1)
    counted = (classes >= 0) & (classes < scores.shape[1])
    return (scores, classes) if counted.all() else (scores[counted], classes[counted])


def _distributions(scores: np.ndarray, labels: np.ndarray) -> bool:
    """Return whether labels are distributions over classes, as Mixup and CutMix make them."""
    return (
        labels.shape == scores.shape
        and labels.ndim > 1
        and labels.shape[-1] > 1
        and bool((labels >= 0).all())
        and np.allclose(labels.sum(axis=-1), 1, atol=1e-3)
    )


def _accuracy(
    task: str | None, outputs: Any, labels: Any, count: int
) -> tuple[float, float] | None:
    """Count correct predictions. Every pixel's label and each of several labels counts as one."""
    arrays = _arrays(outputs, labels)
    if arrays is None or task == NUMBERS:
        return None
    scores, given = arrays
    if task == SEVERAL or (
        task is None and given.dtype.kind == "b" and given.shape == scores.shape
    ):
        if given.shape != scores.shape:
            return None
        return float(np.count_nonzero((scores > 0) == (given > 0.5))), given.size
    if task is None and given.dtype.kind == "f" and not _distributions(scores, given):
        return None
    rows = _classes(scores, given)
    if rows is None:
        return None
    scores, given = rows
    best = scores.argmax(axis=1)  # NumPy returns the index of the first NaN if a row has any
    right = (best == given) & ~np.isnan(scores[np.arange(len(scores)), best])
    return float(np.count_nonzero(right)), len(given)


def _top(k: int, outputs: Any, labels: Any, count: int) -> tuple[float, float] | None:
    """Count the labels whose score is among the k largest of their row. As in `_accuracy`, of equal
    scores the first comes first, and a row with NaN is never right."""
    arrays = _arrays(outputs, labels)
    rows = arrays and _classes(*arrays)
    if not rows:
        return None
    scores, given = rows
    given = given[:, None]
    own = np.take_along_axis(scores, given, axis=1)
    before = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) < given))
    right = (before.sum(axis=1) < k) & ~np.isnan(scores).any(axis=1)
    return float(np.count_nonzero(right)), len(given)


def _error(name: str, outputs: Any, labels: Any, count: int) -> tuple[float, float] | None:
    """Sum up the absolute ("mae") or squared ("mse") errors."""
    arrays = _arrays(outputs, labels)
    if arrays is None or arrays[0].shape != arrays[1].shape:
        return None
    off = np.abs(arrays[0].astype(np.float64) - arrays[1])
    return float((off if name == "mae" else off * off).sum()), off.size
