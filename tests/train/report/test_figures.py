"""These tests compare figures of predictions with scikit-learn, and with numbers made by hand."""

import numpy as np
import pytest

from minidl.train.report import figures

# Rows are true classes. Nothing was predicted as class 2, and class 3 has no examples.
BY_HAND = np.array([[3, 1, 0, 0], [2, 2, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0]])


def random_labels(classes=7, count=500, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    predicted = np.where(rng.random(count) < 0.6, labels, rng.integers(0, classes, count))
    return labels, predicted


def test_by_hand():
    precision, recall, f1, support = figures.per_class(BY_HAND)
    np.testing.assert_array_equal(precision, [3 / 6, 2 / 3, np.nan, 0])
    np.testing.assert_array_equal(recall, [3 / 4, 2 / 4, 0, np.nan])
    np.testing.assert_array_equal(f1, [6 / 10, 4 / 7, 0, 0])
    np.testing.assert_array_equal(support, [4, 4, 2, 0])
    assert figures.balanced_accuracy(recall) == pytest.approx((3 / 4 + 2 / 4 + 0) / 3)


def test_the_confusion_matrix_counts():
    confusion = figures.confusion_of(np.array([0, 0, 2, 1]), np.array([0, 1, 2, 2]), 3)
    np.testing.assert_array_equal(confusion, [[1, 1, 0], [0, 0, 1], [0, 0, 1]])


@pytest.mark.parametrize("seed", range(3))
def test_against_scikit_learn(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    labels, predicted = random_labels(seed=seed)
    confusion = figures.confusion_of(labels, predicted, 7)
    np.testing.assert_array_equal(confusion, metrics.confusion_matrix(labels, predicted))
    found = figures.per_class(confusion)
    expected = metrics.precision_recall_fscore_support(labels, predicted)
    for own, value in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, value, rtol=1e-12)
    assert figures.balanced_accuracy(found[1]) == pytest.approx(
        metrics.balanced_accuracy_score(labels, predicted), rel=1e-12
    )


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 20, 0.0, 0.1611), (20, 20, 0.8389, 1.0)],
)
def test_wilsons_interval(hits, count, low, high):
    assert figures.interval(hits, count) == pytest.approx((low, high), abs=1e-4)


def test_confusions_are_the_most_frequent_first():
    assert figures.confusions(BY_HAND, 2) == [(1, 0, 2, 0.5), (0, 1, 1, 0.25)]
    assert figures.confusions(np.diag([3, 4]), 5) == []


@pytest.mark.parametrize(
    ("support", "expected"),
    [([10, 10, 12], False), ([10, 16], True), ([10, 0, 10], False), ([5], False)],
)
def test_uneven(support, expected):
    assert figures.uneven(np.array(support)) is expected
