"""Check in the first step that all labels of the data sets are classes of the model.

Without this check, the loss raises its error only in the batch that contains a label out of range,
perhaps after hours. A label that stands for another class than in training would never be noticed.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..data.dataset import ArrayDataset, arrays_of
from ..data.loader import DataLoader
from ..data.split import Subset
from ..tensor import Tensor
from .metrics import CLASSES, task_of


def check_classes(loader: Any, other: Any, where: str, name: str) -> None:
    """Raise a ValueError if the classes of a second data set, the argument `name`, differ from the
    classes of the loader's: a label would then stand for another class. Nothing is checked unless
    both have names of classes."""
    own, theirs = _classes(loader), _classes(other)
    if own is None or theirs is None or own[: len(theirs)] == theirs:
        return
    unknown = [repr(label) for label in theirs if label not in own]
    missing = [repr(label) for label in own if label not in theirs]
    what = [
        f"{', '.join(names[:5])} {'is' if len(names) == 1 else 'are'} {adjective}"
        for names, adjective in ((unknown, "unknown"), (missing, "missing"))
        if names
    ]
    difference = " and ".join(what) or "they are in another order"
    raise ValueError(
        f"{where}: {name} has other classes than the loader: {difference}. A label is the "
        f"index of a class, and would stand for another class in {name}"
    )


def check_labels(loss: Any, outputs: Any, loader: Any, valid: Any) -> None:
    """Raise a ValueError if the loss is a classification loss, and a data set has a label outside
    the model's classes or the model has a single output. Labels that a sampler or a transform may
    change are not checked."""
    if task_of(loss) is not CLASSES or not isinstance(outputs, Tensor) or not outputs.ndim:
        return
    classes = outputs.shape[-1]
    if classes == 1:
        raise ValueError(
            "fit: the model has one output, so that the loss is always 0: a classifier needs "
            "at least two"
        )
    ignored = _option(loss, "ignore_index")
    for name, given in (("the loader", loader), ("valid", valid)):
        labels = _labels(given)
        if labels is None:
            continue
        wrong = (labels < 0) | (labels >= classes)
        if ignored is not None:
            wrong &= labels != ignored
        if wrong.any():
            place = np.unravel_index(wrong.argmax(), wrong.shape)
            label = int(labels[place])
            raise ValueError(
                f"fit: label {label}{_shown_name(given, label)} of item {place[0]} of "
                f"{name} is not a class of the model, whose {classes} outputs are for labels "
                f"from 0 to {classes - 1}; the labels of {name} are from {labels.min()} "
                f"to {labels.max()}"
            )


def _classes(given: Any) -> tuple[str, ...] | None:
    """Return the class names of a data set or of a loader's data set; None if it has none."""
    names = getattr(getattr(given, "dataset", given), "classes", None)
    return tuple(map(str, names)) if isinstance(names, (tuple, list)) else None


def _labels(given: Any) -> np.ndarray | None:
    """Return all labels of a data set, a loader or a tuple (images, labels); None unless they are
    integers in memory that reach the loss unchanged."""
    if isinstance(given, tuple):
        given = ArrayDataset(given[-1], given[1] if len(given) > 1 else None)
    if isinstance(given, DataLoader):
        if given.sampler is not None or getattr(given._transform, "takes_labels", False):
            return None
        given = given.dataset
    if not arrays_of(given.dataset if isinstance(given, Subset) else given):
        return None
    labels = given.labels
    return labels if labels is not None and labels.size and labels.dtype.kind in "iu" else None


def _shown_name(given: Any, label: int) -> str:
    """Return the name of a label's class for a message, or "" if it has none."""
    names = _classes(given)
    return f" ({names[label]!r})" if names is not None and 0 <= label < len(names) else ""


def _option(loss: Any, name: str) -> Any:
    """Return the value that a `functools.partial` of a loss gives to an option; None if none."""
    while isinstance(loss, functools.partial):
        if name in loss.keywords:
            return loss.keywords[name]
        loss = loss.func
    return None
