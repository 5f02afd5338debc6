"""Compute a model's predictions for a labelled data set in one pass, batch by batch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import checks, models
from ...data.batch import as_dataset, gather
from ...data.dataset import ArrayDataset

BATCH = 128


@dataclass
class Predictions:
    """The predictions for a data set.

    labels, predicted: (N,) int64, indices into `classes`
    probability: (N,) float64, the probability of the predicted class
    loss:        the mean cross-entropy
    classes:     the names of the model's classes, one for each output
    """

    labels: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray
    loss: float
    classes: list[Any]


def as_saved(saved: Any) -> models.Saved:
    """Return a saved model, given itself or the path of its file."""
    if isinstance(saved, models.Saved):
        return saved
    if isinstance(saved, str | os.PathLike):
        return models.load(saved)
    raise TypeError(
        checks.message(
            "report", "saved", "a models.Saved, or the path of a file that models.save wrote", saved
        )
    )


def as_labelled(dataset: Any, name: str) -> Any:
    """Return a data set, given itself or a pair of arrays. TypeError for anything else, ValueError
    if it has no items."""
    if isinstance(dataset, tuple):
        if len(dataset) != 2:
            raise ValueError(
                f"report: {name} must be a data set, or (images, labels), got a tuple "
                f"of {len(dataset)}"
            )
        dataset = ArrayDataset(*dataset)
    dataset = as_dataset(dataset, "report")
    if not len(dataset):
        raise ValueError(f"report: {name} has no items")
    return dataset


def names_of(dataset: Any) -> list[str] | None:
    """Return the names of a data set's classes; None if it has none."""
    names = getattr(dataset, "classes", None)
    return None if names is None else [str(name) for name in names]


def predictions(saved: models.Saved, dataset: Any) -> Predictions:
    """Predict each item of a data set, with images prepared as by `Saved.predict`.

    ValueError for labels that are not classes of the model, and the errors of `predict`.
    """
    given: list[np.ndarray] = []

    def batches() -> Iterator[np.ndarray]:
        for start in range(0, len(dataset), BATCH):
            batch = gather(dataset, range(start, min(len(dataset), start + BATCH)))
            given.append(_classes_of(batch.labels, start))
            yield saved._prepared(batch.images)

    translation: np.ndarray | None = None
    labels, predicted, probability, loss = [], [], [], 0.0
    for rows in saved._probabilities(batches()):
        if translation is None:
            translation = _translation(saved.classes, names_of(dataset), rows.shape[1])
        own = _translated(given.pop(), translation, dataset)
        best = rows.argmax(axis=1)
        places = np.arange(len(rows))
        labels.append(own)
        predicted.append(best)
        probability.append(rows[places, best])
        with np.errstate(divide="ignore"):
            loss -= float(np.log(rows[places, own]).sum())
        outputs = rows.shape[1]
    names = names_of(dataset)
    known: Sequence[Any] = saved.classes or (
        names if names is not None and len(names) == outputs else range(outputs)
    )
    return Predictions(
        np.concatenate(labels),
        np.concatenate(predicted),
        np.concatenate(probability),
        loss / len(dataset),
        list(known),
    )


def _classes_of(labels: np.ndarray | None, start: int) -> np.ndarray:
    if labels is None:
        raise ValueError(
            "report: dataset must have labels, one class an item: an ImageFolder, an "
            "ArrayDataset(images, labels), or (images, labels)"
        )
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"report: dataset must have one class, an integer, an item; got labels of "
            f"shape {labels.shape[1:]} and dtype {labels.dtype}"
        )
    return labels


def _translation(classes: list[Any], names: list[str] | None, outputs: int) -> np.ndarray:
    """Return the model's class for each class of the data set, -1 if the model does not have it.
    Classes are matched by name if both have names; else the numbers are the same."""
    own = [str(name) for name in classes]
    if names is None or not own or names == own:
        return np.arange(outputs)
    # If the model's names are only numbers, the data set's names do not contradict them.
    numbered = own == [str(k) for k in range(len(own))]
    if numbered and len(names) == len(own) and not set(names) & set(own):
        return np.arange(outputs)
    place = {name: k for k, name in enumerate(own)}
    return np.array([place.get(name, -1) for name in names], np.int64)


def _translated(labels: np.ndarray, translation: np.ndarray, dataset: Any) -> np.ndarray:
    bad = (labels < 0) | (labels >= len(translation))
    if bad.any():
        raise ValueError(
            f"report: labels of dataset must be classes of the model, 0 to "
            f"{len(translation) - 1}, got {labels[bad][0]}"
        )
    found = translation[labels]
    if (found < 0).any():
        name = (names_of(dataset) or [])[labels[found < 0][0]]
        raise ValueError(
            f"report: dataset has pictures of {name!r}, which is not a class of the model"
        )
    return found
