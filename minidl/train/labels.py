"""Whether labels are classes of the model: asked of whole data sets, in the first step.

A loss would find a label that is no class when it comes to it, perhaps after hours, and never one
that is the number of another class.
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
    """ValueError if a label stands for another class in a second data set, called `name`, than in
    that of the loader, as far as both name their classes."""
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
        f"{where}: {name} has other classes than the loader: {difference}. A label is "
        f"the place of a class among all of them, and would mean another one here"
    )


def check_labels(loss: Any, outputs: Any, loader: Any, valid: Any) -> None:
    """ValueError if the loss is one of classes, and a data set has a label that is no class of the
    model, or there is but one class. Only labels that nothing changes on their way are looked at.
    """
    if task_of(loss) is not CLASSES or not isinstance(outputs, Tensor) or not outputs.ndim:
        return
    classes = outputs.shape[-1]
    if classes == 1:
        raise ValueError(
            "fit: the model has one output, so that the loss is 0 whatever it is: "
            "classes need at least two"
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
                f"fit: label {label}{_named(given, label)} of item {place[0]} of "
                f"{name} is no class of the model: it has {classes} outputs, for "
                f"labels from 0 to {classes - 1}, and those there go from "
                f"{labels.min()} to {labels.max()}"
            )


def _classes(given: Any) -> tuple[str, ...] | None:
    """The names of the classes of a data set, or of a loader's."""
    names = getattr(getattr(given, "dataset", given), "classes", None)
    return tuple(map(str, names)) if isinstance(names, (tuple, list)) else None


def _labels(given: Any) -> np.ndarray | None:
    """All labels of a data set, of a loader's, or of a tuple (images, labels), if they are integers
    and what the loss gets; else None."""
    if isinstance(given, tuple):
        given = ArrayDataset(*given)
    if isinstance(given, DataLoader):
        if given.sampler is not None or getattr(given._transform, "takes_labels", False):
            return None
        given = given.dataset
    if not arrays_of(given.dataset if isinstance(given, Subset) else given):
        return None
    labels = given.labels
    return labels if labels is not None and labels.size and labels.dtype.kind in "iu" else None


def _named(given: Any, label: int) -> str:
    names = _classes(given)
    return f" ({names[label]!r})" if names is not None and 0 <= label < len(names) else ""


def _option(loss: Any, name: str) -> Any:
    """What a `functools.partial` of a loss sets an option to."""
    while isinstance(loss, functools.partial):
        if name in loss.keywords:
            return loss.keywords[name]
        loss = loss.func
    return None
