"""These tests check parts of data sets: subsets, splits by shares and by numbers, and stratified
splits.
"""

import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.data import MNIST, ArrayDataset, DataLoader, Subset, split


def numbered(count, classes=3):
    images = np.broadcast_to(
        np.arange(count, dtype=np.float32).reshape(-1, 1, 1, 1), (count, 2, 3, 1)
    )
    names = [f"c{i}" for i in range(classes)]
    return ArrayDataset(images, np.arange(count) % classes, classes=names)


class Items:
    """A data set without arrays."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        assert type(index) is int
        return np.full((2, 3, 1), index, np.float32), index % 3


# Subset


@pytest.mark.parametrize("indices", [[5, 0, 5, -1], np.array([5, 0, 5, 9], np.uint8), (5, 0, 5, 9)])
def test_some_items(indices):
    subset = Subset(numbered(10), indices)
    assert len(subset) == 4 and subset.indices.tolist() == [5, 0, 5, 9]
    assert subset.labels.tolist() == [2, 0, 2, 0] and subset.classes == ("c0", "c1", "c2")
    assert subset.images[:, 0, 0, 0].tolist() == [5, 0, 5, 9]
    image, label = subset[-1]
    assert image[0, 0, 0] == 9 and label == 0
    assert subset[1:3][1].tolist() == [0, 2] and subset[np.array([3])][1].tolist() == [0]
    with pytest.raises(IndexError):
        subset[4]
    assert len(list(subset)) == 4


def test_a_mask():
    assert Subset(numbered(4), np.array([True, False, False, True])).indices.tolist() == [0, 3]
    assert len(Subset(numbered(4), [False] * 4)) == len(Subset(numbered(4), [])) == 0
    with pytest.raises(ValueError, match=r"a mask must have the shape \(4,\)"):
        Subset(numbered(4), [True])


def test_nothing_is_copied_and_a_subset_of_one_is_of_the_whole():
    whole = numbered(10)
    subset = Subset(Subset(whole, range(9, -1, -1)), [1, 2, 3])
    assert subset.dataset is whole and subset.indices.tolist() == [8, 7, 6]


def test_of_items():
    subset = Subset(Items(10), [7, 1])
    assert subset[0][1] == 1 and subset[1][0][0, 0, 0] == 1
    assert isinstance(subset[:1], Subset) and subset[:1].indices.tolist() == [7]
    for name in ("images", "labels", "classes", "paths"):
        assert not hasattr(subset, name)
    assert Subset(ArrayDataset(np.zeros((3, 2))), [0]).labels is None
    assert Subset([3.5, 4.5], [1])[0] == 4.5


@pytest.mark.parametrize("dataset", [numbered(10), Items(10), list(Items(10))])
@pytest.mark.parametrize("shuffle", [False, True])
def test_in_a_loader(dataset, shuffle):
    rows = [7, 1, 8, 2, 2]
    loader = DataLoader(Subset(dataset, rows), 2, shuffle=shuffle, seed=0)
    found = [
        (int(image[0, 0, 0]), int(label))
        for images, labels in loader
        for image, label in zip(images.numpy(), labels, strict=True)
    ]
    assert (found if not shuffle else sorted(found)) == (
        [(row, row % 3) for row in (rows if not shuffle else sorted(rows))]
    )


def test_pickled():
    copy = pickle.loads(pickle.dumps(Subset(numbered(5), [4, 2])))
    assert copy.labels.tolist() == [1, 2] and copy.classes == ("c0", "c1", "c2")


def test_the_repr_names_the_data_set():
    assert repr(Subset([1, 2, 3], [0])) == "Subset(1 of [1, 2, 3])"


@pytest.mark.parametrize(
    "indices, error, message",
    [
        ([0, 10], IndexError, "index 10 is out of range for a data set of 10"),
        ([-11], IndexError, "index -11"),
        ([1, [2]], TypeError, "Subset: indices"),
        ([0.5], TypeError, "indices must be a list of ints"),
        (3, TypeError, "indices"),
        ([[1]], TypeError, "indices"),
        (["a"], TypeError, "indices"),
    ],
)
def test_indices_that_do_not_fit(indices, error, message):
    with pytest.raises(error, match=message):
        Subset(numbered(10), indices)


def test_what_is_no_data_set_is_refused():
    for make in (lambda: Subset(3, [0]), lambda: split(iter([]), (0.5, 0.5))):
        with pytest.raises(TypeError, match="dataset must be a data set"):
            make()
    pair = (np.zeros((4, 2)), np.arange(4))
    for make in (lambda: Subset(pair, [0]), lambda: split(pair, (0.5, 0.5))):
        with pytest.raises(TypeError, match=r"no tuple: ArrayDataset\(images, labels\)"):
            make()


class Table:
    """A table whose rows are found by number through `iloc` alone, as those of pandas are: plain
    indexing finds columns."""

    def __init__(self, values):
        self.values = values
        self.iloc = values

    def __array__(self, dtype=None, copy=None):
        return self.values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, column):
        raise KeyError(column)


def test_rows_of_a_table_are_found_by_number():
    values = np.arange(20.0).reshape(10, 2)
    some = Subset(Table(values), [3, -1])
    assert some[0].tolist() == [6, 7] and some[1].tolist() == [18, 19]
    (batch,) = DataLoader(some, 2)
    assert batch.data.tolist() == values[[3, 9]].tolist()
    first, second = split(Table(values), (7, 3))
    rows = [part[i].tolist() for part in (first, second) for i in range(len(part))]
    assert sorted(rows) == values.tolist() and len(second) == 3
    with pytest.raises(TypeError, match="split: dataset must be an array of numbers"):
        split(Table(np.array([["a"], ["b"]])), (1, 1))


# split


def check_parts(parts, count):
    rows = np.concatenate([part.indices for part in parts])
    assert sorted(rows.tolist()) == list(range(count))
    for part in parts:
        assert (np.diff(part.indices) > 0).all()


@pytest.mark.parametrize(
    "fractions, sizes",
    [
        ((0.8, 0.2), [80, 20]),
        ([0.9, 0.1], [90, 10]),
        (np.array([0.5, 0.5]), [50, 50]),
        ((1 / 3, 1 / 3, 1 / 3), [33, 34, 33]),
        ((0.7, 0.15, 0.15), [70, 15, 15]),
        ((1.0,), [100]),
        ((60, 40), [60, 40]),
        ([98, 1, 1], [98, 1, 1]),
        (np.array([30, 70]), [30, 70]),
    ],
)
@pytest.mark.parametrize("stratify", [False, True])
def test_sizes(fractions, sizes, stratify):
    parts = split(numbered(100), fractions, stratify=stratify)
    assert [len(part) for part in parts] == sizes
    check_parts(parts, 100)


def test_the_seed_decides():
    def rows(seed, **options):
        return split(numbered(100), (0.8, 0.2), seed=seed, **options)[1].indices.tolist()

    for options in ({}, {"stratify": True}):
        assert rows(0, **options) == rows(0, **options) != rows(1, **options)
    np.random.seed(0)
    assert rows(3) == rows(3)


def test_everyone_is_as_likely():
    counts = np.zeros(20)
    for seed in range(400):
        counts[split(numbered(20), (0.75, 0.25), seed=seed)[1].indices] += 1
    assert abs(counts - 100).max() < 5 * np.sqrt(400 * 0.25 * 0.75)


@pytest.mark.filterwarnings("ignore:split. there are too few items")
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    seed=st.integers(0, 99),
    shares=st.lists(st.integers(1, 20), min_size=2, max_size=4),
)
def test_each_part_has_its_share_of_each_class(counts, seed, shares):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    sizes = np.diff(np.rint(np.cumsum([0, *shares]) / sum(shares) * len(labels))).astype(int)
    if min(sizes) < 1:
        return
    data = ArrayDataset(np.zeros((len(labels), 1)), labels)
    parts = split(data, sizes.tolist(), seed=seed, stratify=True)
    check_parts(parts, len(labels))
    assert [len(part) for part in parts] == sizes.tolist()
    found = np.stack([np.bincount(part.labels, minlength=len(counts)) for part in parts])
    expected = np.outer(sizes, counts) / len(labels)
    # A remainder is passed on to the next class.
    assert np.abs(found - expected).max() <= len(sizes)
    if len(sizes) == 2:
        assert np.abs(found - expected).max() <= 1 + 1e-9 or 1 in counts


def test_a_class_of_one_is_in_the_largest_part():
    labels = np.array([0] * 50 + [1] * 50 + list(range(2, 12)))
    data = ArrayDataset(np.zeros((110, 1)), labels)
    for seed in range(20):
        train, valid = split(data, (0.9, 0.1), seed=seed, stratify=True)
        assert set(range(2, 12)) <= set(train.labels.tolist()) and len(valid) == 11
        valid, train = split(data, (0.1, 0.9), seed=seed, stratify=True)
        assert set(range(2, 12)) <= set(train.labels.tolist())


@pytest.mark.parametrize("classes, shown", [(None, "none of 1"), ("abc", "none of 'b'")])
def test_a_class_without_items_in_the_largest_part_is_named(classes, shown):
    """With one picture of each class, some part must lack classes."""
    pictures = ArrayDataset(np.zeros((3, 2)), np.arange(3), classes=classes)
    with pytest.warns(UserWarning, match=f"split: .* {shown}$"):
        train, valid = split(pictures, (2, 1), stratify=True, seed=0)
    assert valid.labels.tolist() == [1] and train.labels.tolist() == [0, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split(pictures, (2, 1))  # there is no warning unless the split is stratified
        split(ArrayDataset(np.zeros((6, 2)), np.arange(6) % 3), (0.5, 0.5), stratify=True)


def test_mnist_is_split_as_it_is_mixed():
    data = MNIST(split="test")
    _, valid = split(data, (0.9, 0.1), stratify=True)
    assert len(valid) == 1000
    expected = np.bincount(data.labels) * 0.1
    assert np.abs(np.bincount(valid.labels) - expected).max() < 1


@pytest.mark.parametrize(
    "dataset",
    [
        Items(30),
        [(np.zeros(2), name) for name in "abc"] * 10,
        [{"image": 1, "label": i % 3} for i in range(30)],
        type("Targets", (Items,), {"targets": [i % 3 for i in range(30)]})(30),
    ],
)
def test_labels_of_items(dataset):
    for part in split(dataset, (0.7, 0.3), stratify=True):
        labels = [
            dataset[int(i)]["label"] if isinstance(dataset[0], dict) else dataset[int(i)][1]
            for i in part.indices
        ]
        assert np.ptp(np.unique(labels, return_counts=True)[1]) == 0


@pytest.mark.parametrize(
    "fractions, error, message",
    [
        ((0.5, 0.6), ValueError, "fractions that add up to 1, or counts that add up to 10, got"),
        ((5, 6), ValueError, "counts that add up to 10"),
        ((0.5,), ValueError, "add up to 1"),
        ((), ValueError, "add up to 1"),
        ((1.5, -0.5), ValueError, "from 0 to 1"),
        ((11, -1), ValueError, "fractions must be an int >= 0"),
        ((0.99, 0.01), ValueError, "part 1 would have no items"),
        ((10, 0), ValueError, "part 1"),
        (("a", "b"), TypeError, "fractions must be a number"),
        (0.5, TypeError, "fractions must be a list"),
        ((float("nan"), 1), ValueError, "fractions"),
        ((True, False), TypeError, "fractions"),
    ],
)
def test_fractions_that_do_not_fit(fractions, error, message):
    with pytest.raises(error, match=message):
        split(numbered(10), fractions)


@pytest.mark.parametrize(
    "options, error",
    [({"seed": -1}, ValueError), ({"seed": "a"}, TypeError), ({"stratify": "yes"}, TypeError)],
)
def test_other_bad_arguments_are_refused(options, error):
    with pytest.raises(error, match=f"split: {next(iter(options))} must be"):
        split(numbered(10), (0.5, 0.5), **options)


@pytest.mark.parametrize(
    "dataset",
    [
        ArrayDataset(np.zeros((4, 2)), np.zeros((4, 2), int)),
        ArrayDataset(np.zeros((4, 2)), np.zeros(4)),
        ArrayDataset(np.zeros((4, 2))),
        [np.zeros(2)] * 4,
    ],
)
def test_labels_that_are_no_classes(dataset):
    with pytest.raises(ValueError, match="split: stratify=True needs"):
        split(dataset, (0.5, 0.5), stratify=True)
