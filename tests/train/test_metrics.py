"""These tests compare the metrics of a trainer, counts over a batch, with a loop over its rows."""

import numpy as np
import pytest

import minidl as md
from minidl.train.metrics import measures
from tests.support.arrays import uniform

LABELS = np.random.default_rng(0).integers(0, 6, 40)
SCORES = {
    "different": uniform(40, 6),
    "some equal": np.round(uniform(40, 6) * 2),
    "all equal": np.zeros((40, 6), np.float32),
    "some NaN": np.where(uniform(40, 6, seed=1) > 0.8, np.nan, uniform(40, 6)),
    "all NaN": np.full((40, 6), np.nan, np.float32),
}


def found(row, label, k):
    """Return whether the label is among the first k of the row, sorted in a stable order."""
    return not np.isnan(row).any() and label in np.argsort(-row, kind="stable")[:k]


@pytest.mark.parametrize("k", [1, 2, 5, 6, 7])
@pytest.mark.parametrize("scores", SCORES.values(), ids=SCORES)
def test_top_k_is_that_of_sorted_rows(scores, k):
    count = sum(found(row, label, k) for row, label in zip(scores, LABELS, strict=True))
    measure = measures(f"top{k}", md.cross_entropy)[f"top{k}"]
    assert measure(scores, LABELS, 40) == (count, 40)


@pytest.mark.parametrize("scores", SCORES.values(), ids=SCORES)
def test_top_1_is_the_accuracy(scores):
    both = measures(("top1", "accuracy"), md.cross_entropy)
    assert both["top1"](scores, LABELS, 40) == both["accuracy"](scores, LABELS, 40)
