"""Classification metrics: the confusion matrix, precision, recall, F1, balanced accuracy and the
confidence interval of the accuracy. All are functions of labels and predictions as arrays.
"""

from __future__ import annotations

import math

import numpy as np

Z95 = 1.959963984540054  # 95% of a normal distribution lie within so many standard deviations


def confusion_of(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return how often each class (row) was predicted as each class (column), (classes, classes)
    int64."""
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


def per_class(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return (precision, recall, f1, support) of each class, from a confusion matrix.

    With TP, FP and FN the true positives, false positives and false negatives of a class:
    precision = TP / (TP + FP), recall = TP / (TP + FN), f1 = 2 TP / (2 TP + FP + FN), and
    support = TP + FN. A division by 0 gives NaN: the recall of a class without examples, the
    precision of a class that was never predicted, and f1 if both are the case.
    """
    right = np.diagonal(confusion)
    support, taken = confusion.sum(axis=1), confusion.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return right / taken, right / support, 2 * right / (support + taken), support


def balanced_accuracy(recall: np.ndarray) -> float:
    """Return the mean recall of the classes that have examples: the accuracy if all classes had
    equally many examples (Brodersen et al. 2010)."""
    return float(np.nanmean(recall))


def interval(right: int, count: int) -> tuple[float, float]:
    """Return Wilson's (1927) 95% confidence interval of the accuracy, given that `right` of `count`
    predictions were right."""
    share, z = right / count, Z95
    scale = 1 / (1 + z * z / count)
    middle = scale * (share + z * z / (2 * count))
    half = scale * z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def confusions(confusion: np.ndarray, most: int) -> list[tuple[int, int, int, float]]:
    """Return the pairs of classes that are confused most often as (class, predicted class, count,
    share of the class's examples); at most `most`, the most frequent first."""
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
    """Return whether a class has more than 1.5 times the examples of another one; classes without
    examples do not count."""
    counts = support[support > 0]
    return bool(len(counts) and counts.max() > 1.5 * counts.min())
