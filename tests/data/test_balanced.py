"""These tests check the samplers, and weights that balance classes."""

from collections import Counter

import numpy as np
import pytest

from minidl import data

LABELS = np.array([0] * 70 + [2] * 20 + [5] * 7)


@pytest.mark.parametrize(
    "labels",
    [LABELS, LABELS.tolist(), data.ArrayDataset(np.zeros((97, 2)), LABELS)],
    ids=["array", "list", "data set"],
)
def test_every_class_comes_equally_often(labels):
    order = data.balanced(labels)(np.random.default_rng(0))
    assert sorted(Counter(LABELS[order].tolist()).values()) == [32, 32, 33]
    times = Counter(order.tolist())
    for label, least, most in ((0, 1, 1), (2, 1, 2), (5, 4, 5)):
        found = {times[i] for i in np.flatnonzero(label == LABELS)} - {0}
        assert found <= {least, most}
    assert (np.diff(LABELS[order]) != 0).sum() > 20  # the order is shuffled


def test_in_a_loader_each_epoch_has_an_order_of_its_own():
    pairs = data.ArrayDataset(np.arange(97.0), LABELS)
    loader = data.DataLoader(pairs, 10, sampler=data.balanced(LABELS), seed=1)
    epochs = [np.concatenate([x.data for x, _ in loader]) for _ in range(2)]
    again = data.DataLoader(pairs, 10, sampler=data.balanced(LABELS), seed=1)
    assert np.array_equal(epochs[0], np.concatenate([x.data for x, _ in again]))
    assert not np.array_equal(*epochs) and len(epochs[1]) == 97


def test_a_loader_continues_where_it_was():
    pairs = data.ArrayDataset(np.arange(97.0), LABELS)
    loader = data.DataLoader(pairs, 10, sampler=data.balanced(LABELS), seed=1)
    batches = iter(loader)
    for _ in range(4):
        next(batches)
    other = data.DataLoader(pairs, 10, sampler=data.balanced(LABELS))
    other.load_state_dict(loader.state_dict())
    assert [x.data.tolist() for x, _ in batches] == [x.data.tolist() for x, _ in other]


@pytest.mark.parametrize(
    ("sampler", "error", "text"),
    [
        (3, TypeError, "sampler must be a function"),
        (lambda rng: [0, 1], ValueError, "must return 4 numbers"),
        (lambda rng: [0, 1, 2, 4], ValueError, "must return 4 numbers"),
        (lambda rng: [0, 1, 2, -1], ValueError, "must return 4 numbers"),
        (lambda rng: np.zeros(4), TypeError, "by number"),
    ],
)
def test_samplers_that_are_none(sampler, error, text):
    with pytest.raises(error, match=text):
        list(data.DataLoader(data.ArrayDataset(np.zeros(4)), sampler=sampler))


def test_a_sampler_and_shuffle():
    with pytest.raises(ValueError, match="two orders"):
        data.DataLoader(
            data.ArrayDataset(np.zeros(4)), shuffle=True, sampler=data.balanced([0] * 4)
        )


def test_class_weights_give_every_class_the_same_sum():
    weights = data.class_weights(LABELS, classes=7)
    assert weights.dtype == np.float32 and len(weights) == 7
    sums = weights * np.bincount(LABELS, minlength=7)
    np.testing.assert_allclose(sums, [97 / 3, 0, 97 / 3, 0, 0, 97 / 3, 0], rtol=1e-6)
    assert len(data.class_weights(LABELS)) == 6


@pytest.mark.parametrize("function", [data.balanced, data.class_weights])
@pytest.mark.parametrize(
    ("labels", "error"),
    [
        ([0.5, 1.0], TypeError),
        ([[0, 1]], ValueError),
        ([0, -1], ValueError),
        (np.zeros(0, np.int64), ValueError),
    ],
)
def test_labels_that_are_none(function, labels, error):
    with pytest.raises(error, match=f"^{function.__name__}: labels must be class indices"):
        function(labels)


def test_more_labels_than_classes():
    with pytest.raises(ValueError, match="classes must be an int >= 6"):
        data.class_weights(LABELS, classes=3)
