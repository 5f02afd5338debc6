"""`report`, which evaluates a trained classifier, and the `Report` that it returns."""

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
    """A wrong prediction: the item's index in the data set, its label and the predicted class as
    indices into `Report.classes`, and the predicted class's probability."""

    index: int  # type: ignore[assignment]      # it hides the method index of tuples
    label: int
    predicted: int
    probability: float


class Report(hints.Explained):
    """The evaluation of a classifier on a data set, as `train.report` returns it. `str(report)` is
    a table for a terminal, `report.save("report.html")` writes a page.

    accuracy:          the share of correct predictions
    interval:          (low, high), the 95% confidence interval of the accuracy (Wilson 1927)
    balanced_accuracy: the mean recall of the classes
    loss:              the mean cross-entropy
    classes:           the names of the classes, or their numbers
    confusion:         (C, C) int64, how often items of the row's class were predicted as the
                       column's class
    precision, recall, f1, support: (C,), one value for each class; precision is NaN for a class
                       that was never predicted, recall for one without items, f1 for both at once
    labels, predicted, probability: (N,), one value for each item; the last is the probability of
                       the predicted class
    misread:           wrong predictions, (index, label, predicted, probability), the most confident
                       first
    duplicates:        pairs of pictures that are also in the training set; None without one

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
        # The page shows these as well.
        self._shown: Shown | None = None  # None if the items are not pictures
        self._model = ""
        self._history: Mapping[str, Any] | None = None
        self._statistics: Mapping[str, Any] | None = None
        self._config: Mapping[str, Any] | None = None
        self._command: str | None = None

    def _misread(self, i: int) -> Misread:
        return Misread(i, int(self.labels[i]), int(self.predicted[i]), float(self.probability[i]))

    def html(self) -> str:
        """Return the page as HTML that loads nothing from elsewhere. ImportError without Jinja2,
        matplotlib and Pillow, which the extra `report` installs."""
        from .page import page  # imported here, since it needs the extra

        return page(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page to a file, completely or not at all. ImportError as for `html`; OSError
        names the path."""
        path = checks.path(path, "Report.save")
        # A picture's file name may contain bytes that are not valid text.
        replace_file(path, self.html().encode("utf-8", "backslashreplace"))

    def __str__(self) -> str:
        from .table import table  # imported here to keep `import minidl` fast

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
    """Evaluate a trained classifier on a data set. Returns a `Report`, which holds the metrics;
    `str(report)` is a table, and `report.save("report.html")` writes one page that explains them.

    saved:      a `models.Saved`, or the path of a file that `models.save` wrote
    dataset:    a labelled data set: an `ImageFolder`, `Subset`, `MNIST`, `ArrayDataset` ..., or
                (images, labels). Its images are prepared as by `Saved.predict`. If both it and the
                model have names of classes, these are matched by name
    valid_name: the name of this part of the data
    history:    the history that `Trainer.fit` returns, for the curves
    train_set:  the data set that the model was trained on; the report lists near-duplicates of its
                pictures in `dataset`
    statistics: the `LayerStatistics` of the training, or its `history`
    config:     the configuration of the run, a dict of any nesting
    command:    the command that repeats the run
    title:      the title of the page

    The page has no section for arguments that are not given. Only the page needs the extra `report`
    (`pip install minidl[report]`). TypeError or ValueError for arguments that do not fit, for
    example a label that is not a class of the model.

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
