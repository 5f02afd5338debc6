"""What predictions are worth, as numbers: confusion matrix, precision, recall, and their kin.

Only labels and predictions come in, and arrays go out; where they come from is in `reading`.
"""

from __future__ import annotations

import math

import numpy as np

Z95 = 1.959963984540054  # of a normal distribution 95% are within so many standard deviations


def confusion_of(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """How often each class (row) was taken for each class (column): (classes, classes) int64."""
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


def per_class(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(precision, recall, f1, support) of each class, from a confusion matrix.

    Precision is the share of right ones among what was taken for the class, recall the share of the
    class that was found, f1 = 2 right / (2 right + missed + wrongly taken for it). What would
    divide by 0 is NaN: the recall of a class without examples, the precision of one that was never
    predicted, and f1 where both are so.
    """
    right = np.diagonal(confusion)
    support, taken = confusion.sum(axis=1), confusion.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return right / taken, right / support, 2 * right / (support + taken), support


def balanced_accuracy(recall: np.ndarray) -> float:
    """The mean recall of the classes that have examples: what accuracy would be if all classes had
    equally many (Brodersen et al. 2010)."""
    return float(np.nanmean(recall))


def interval(right: int, count: int) -> tuple[float, float]:
    """Where the accuracy on other examples of the same kind lies, with 95% certainty, if `right` of
    `count` were right: Wilson's (1927) interval."""
    share, z = right / count, Z95
    scale = 1 / (1 + z * z / count)
    middle = scale * (share + z * z / (2 * count))
    half = scale * z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def confusions(confusion: np.ndarray, most: int) -> list[tuple[int, int, int, float]]:
    """The pairs of classes that are confused most often, as (class, taken for, how often, the share
    of the class's examples); at most `most`, the most frequent first."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    rows, columns = np.unravel_index(order, wrong.shape)
    support = confusion.sum(axis=1)
    return [
        (int(i), int(k), int(wrong[i, k]), float(wrong[i, k] / support[i]))
        for i, k in zip(rows, columns, strict=True)
        if wrong[i, k]
    ]


def uneven(support: np.ndarray) -> bool:
    """Whether some class has more than one and a half times the examples of another one."""
    there = support[support > 0]
    return bool(len(there) and there.max() > 1.5 * there.min())
