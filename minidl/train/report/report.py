"""`report` and what it returns."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ... import checks, hints
from ...atomic import replace_file
from . import figures
from .curves import panels_of

if TYPE_CHECKING:
    from .duplicates import Pair
    from .reading import Predictions
    from .shown import Shown


class Misread(NamedTuple):
    """An item that was taken for another class: its place in the data set, the classes as places in
    `Report.classes`, and how probable the model took its answer to be."""

    index: int  # type: ignore[assignment]      # hides a method of tuples
    label: int
    predicted: int
    probability: float


class Report(hints.Explained):
    """What a classifier is worth on a data set; `train.report` makes it. `str(report)` is a table
    for a terminal, `report.save("report.html")` writes the page.

    accuracy:          the share of right answers
    interval:          (low, high): where the accuracy on other data of the same kind lies, with 95%
                       certainty (Wilson 1927)
    balanced_accuracy: the mean recall of the classes, whatever their sizes
    loss:              the mean cross-entropy
    classes:           their names, or numbers
    confusion:         (C, C) int64: how often the class of the row was taken for that of the column
    precision, recall, f1, support: (C,), of each class; NaN where nothing was predicted as it, or
                       it has no items
    labels, predicted, probability: (N,) of each item, the last of the predicted class
    misread:           a list of (index, label, predicted, probability), the most confident first
    duplicates:        pairs of pictures that the training set has too; None without a training set

    >>> from minidl import models
    >>> model = models.Saved(models.create("mlp", classes=2, input_shape=(2, 2, 1)), ["no", "yes"])
    >>> found = train.report(model, (np.zeros((4, 2, 2, 1), np.uint8), [0, 0, 0, 1]))
    >>> found.accuracy, found.confusion.tolist(), found.misread[0].index
    (0.75, [[3, 0], [1, 0]], 3)
    """

    def __init__(self, seen: Predictions, valid_name: str, title: str) -> None:
        self.title, self.valid_name = title, valid_name
        self.labels, self.predicted = seen.labels, seen.predicted
        self.probability, self.loss = seen.probability, seen.loss
        self.classes = seen.classes
        self.confusion = figures.confusion_of(self.labels, self.predicted, len(self.classes))
        self.precision, self.recall, self.f1, self.support = figures.per_class(self.confusion)
        right = int(np.trace(self.confusion))
        self.accuracy = right / len(self.labels)
        self.interval = figures.interval(right, len(self.labels))
        self.balanced_accuracy = figures.balanced_accuracy(self.recall)
        wrong = np.flatnonzero(self.labels != self.predicted)
        wrong = wrong[np.argsort(-self.probability[wrong], kind="stable")]
        self.misread = [self._misread(int(i)) for i in wrong]
        self.duplicates: list[Pair] | None = None
        # What the page shows besides.
        self._shown: Shown | None = None  # of pictures
        self._model = ""
        self._history: Mapping[str, Any] | None = None
        self._statistics: Mapping[str, Any] | None = None
        self._config: Mapping[str, Any] | None = None
        self._command: str | None = None

    def _misread(self, i: int) -> Misread:
        return Misread(i, int(self.labels[i]), int(self.predicted[i]), float(self.probability[i]))

    def html(self) -> str:
        """The page: self-contained, it asks for nothing from anywhere. ImportError without Jinja2,
        matplotlib and Pillow, which the extra `report` brings."""
        from .page import page  # it needs the extra

        return page(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page to a file, whole or not at all. ImportError as from `html`, and the errors
        of the system, which name the path."""
        path = checks.path(path, "Report.save")
        # A file's name may hold bytes that are no text.
        replace_file(path, self.html().encode("utf-8", "backslashreplace"))

    def __str__(self) -> str:
        from .table import table  # it and what follows take their time to load

        return table(self)

    __repr__ = __str__


def report(
    saved: Any,
    dataset: Any,
    *,
    valid_name: str = "test",
    history: Mapping[str, Any] | None = None,
    train_set: Any = None,
    statistics: Any = None,
    config: Mapping[str, Any] | None = None,
    command: str | None = None,
    title: str | None = None,
) -> Report:
    """What a trained classifier is worth on a data set, as a `Report`: figures, a table as text,
    and with `.save("report.html")` one page that explains them.

    saved:      a `models.Saved`, or the path of a file that `models.save` wrote
    dataset:    a labelled data set: an `ImageFolder`, `Subset`, `MNIST`, `ArrayDataset` ..., or
                (images, labels). Its images are prepared as `Saved.predict` does. Where it and the
                model have names of classes, these are matched by name
    valid_name: what this part of the data is called
    history:    as `Trainer.fit` returns it: curves and the learning rate
    train_set:  what the model was trained on: near-duplicates of it in `dataset` are looked for
    statistics: a `LayerStatistics` of the training, or its `history`
    config:     a dict of what the run was made with, of any nesting
    command:    how to repeat the run
    title:      of the page

    What was not given has no section. The figures are computed here; the page needs the extra
    `report` (`pip install minidl[report]`). TypeError or ValueError for what does not fit, a label
    that is no class of the model's for one.

    >>> from minidl import models
    >>> digits = data.MNIST(split="test")
    >>> part = data.Subset(digits, range(100))
    >>> found = train.report(models.Saved(models.create("mlp")), part, valid_name="a hundred")
    >>> print(str(found).splitlines()[0])
    a hundred: accuracy 0.1300 (95%: 0.0776 to 0.2098) of 100, balanced accuracy 0.1700
    """
    from .reading import as_labelled, as_saved, predictions
    from .shown import show

    saved = as_saved(saved)
    dataset = as_labelled(dataset, "dataset")
    if not isinstance(valid_name, str):
        raise TypeError(checks.message("report", "valid_name", "a name", valid_name))
    if train_set is not None:
        train_set = as_labelled(train_set, "train_set")
    if history is not None:
        panels_of(history, "report")  # checks it
    statistics = getattr(statistics, "history", statistics)
    if statistics is not None and not (isinstance(statistics, Mapping) and "layers" in statistics):
        raise TypeError(
            checks.message("report", "statistics", "a LayerStatistics or its history", statistics)
        )
    if config is not None and not isinstance(config, Mapping):
        raise TypeError(checks.message("report", "config", "a dict", config))
    name = type(saved.model).__name__
    found = Report(predictions(saved, dataset), valid_name, title or f"{name} on {valid_name}")
    found._model = f"{name}, {sum(p.size for p in saved.model.parameters()):,} parameters"
    found._history, found._statistics = history, statistics
    found._config, found._command = config, command
    found._shown, found.duplicates = show(found, saved, dataset, train_set)
    return found
