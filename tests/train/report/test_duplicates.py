"""These tests check that near-duplicates which are planted are found, and others are not."""

import io
import tracemalloc

import numpy as np
import pytest

from minidl import data
from minidl.train.report import duplicates
from minidl.train.report.duplicates import find
from tests.support.reports import noise


def labelled(images):
    return data.ArrayDataset(images, np.zeros(len(images), int))


def pairs(images, train):
    return {
        pair.index: (pair.train, pair.exact) for pair in find(labelled(images), labelled(train))
    }


TRAIN = noise(60)
OTHERS = noise(10, seed=1)


def test_different_pictures_are_no_duplicates():
    assert pairs(OTHERS, TRAIN) == {}


def test_equal_pictures_are_duplicates():
    images = OTHERS.copy()
    images[3], images[7] = TRAIN[20], TRAIN[5]
    assert pairs(images, TRAIN) == {3: (20, True), 7: (5, True)}
    assert [pair.correlation for pair in find(labelled(images), labelled(TRAIN))] == [1, 1]


def brighter(image):
    return np.clip(image * 0.6 + 60, 0, 255).astype(np.uint8)


def noisier(image):
    rng = np.random.default_rng(0)
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def compressed(image):
    module = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    module.fromarray(image).save(file, "JPEG", quality=70)
    return np.asarray(module.open(file))


def one_value_off(image):
    changed = image.copy()
    changed[0, 0, 0] ^= 1
    return changed


@pytest.mark.parametrize("change", [brighter, noisier, compressed, one_value_off])
def test_similar_pictures_are_duplicates(change):
    images = OTHERS.copy()
    images[4] = change(TRAIN[30])
    assert pairs(images, TRAIN) == {4: (30, False)}


def test_of_another_size_and_in_grey():
    images = OTHERS.repeat(3, axis=1).repeat(2, axis=2)
    images[2] = TRAIN[11].repeat(3, axis=0).repeat(2, axis=1)
    assert pairs(images, TRAIN) == {2: (11, False)}
    grey = OTHERS.mean(axis=3, keepdims=True).astype(np.uint8)
    grey[2] = TRAIN[11].mean(axis=2, keepdims=True)
    assert pairs(grey, TRAIN) == {2: (11, False)}


def test_digits_that_are_alike_are_no_duplicates():
    """A digit 1 is similar to many other ones."""
    train, test = data.MNIST(split="train").images[:3000], data.MNIST(split="test").images[:500]
    assert len(pairs(test, train)) <= 1
    copied = test.copy()
    copied[8], copied[300] = train[2077], brighter(train[6])
    found = pairs(copied, train)
    assert found[8] == (2077, True) and found[300] == (6, False) and len(found) <= 3


def test_one_picture_several_times():
    train = np.concatenate([TRAIN, TRAIN[:1].repeat(9, axis=0)])
    assert pairs(TRAIN[:1], train) == {0: (0, True)}
    found = pairs(one_value_off(TRAIN[0])[None], train)
    assert list(found) == [0] and not found[0][1]


def test_pictures_of_one_colour_only_if_they_are_the_same():
    train = np.full((3, 8, 8, 3), [[[[9]]], [[[90]]], [[[200]]]], np.uint8)
    images = np.full((2, 8, 8, 3), [[[[90]]], [[[91]]]], np.uint8)
    assert pairs(images, train) == {0: (1, True)}


@pytest.mark.parametrize("count", [1, 3])
def test_a_small_training_set(count):
    images = np.stack([TRAIN[0], noisier(TRAIN[0]), OTHERS[0]])
    assert pairs(images, TRAIN[:count]) == {0: (0, True), 1: (0, False)}


def test_floats_and_data_sets_of_items():
    images, train = (
        TRAIN[:8] / np.float32(255),
        list(zip(TRAIN / np.float32(255), range(60), strict=True)),
    )
    assert [pair.train for pair in find(labelled(images), train)] == list(range(8))


def test_blocks_make_no_difference(monkeypatch):
    images = np.stack([noisier(image) for image in TRAIN[::5]])
    whole = find(labelled(images), labelled(TRAIN))
    monkeypatch.setattr(duplicates, "MOST_BYTES", 1)
    monkeypatch.setattr(duplicates, "TOGETHER", 7)
    assert [(p.index, p.train) for p in whole] == [(i, 5 * i) for i in range(12)]
    assert [(p.index, p.train) for p in find(labelled(images), labelled(TRAIN))] == [
        (p.index, p.train) for p in whole
    ]


class Large:
    """Pictures that are made when they are asked for, and that are all different."""

    def __init__(self, count, change=0):
        self.small, self.change = TRAIN[:count], change

    def __len__(self):
        return len(self.small)

    def __getitem__(self, row):
        return self.small[row].repeat(16, axis=0).repeat(16, axis=1) + np.uint8(self.change), 0


def test_memory_is_bounded_for_large_pictures(monkeypatch):
    """All pictures together would take 10 MB, and 40 MB as float32, and so would the pictures that
    they are compared with.
    """
    monkeypatch.setattr(duplicates, "MOST_BYTES", 1 << 20)
    find(Large(1), Large(1))  # runs the imports, and what is made only once
    tracemalloc.start()
    try:
        found = find(Large(12, change=1), Large(60))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [(pair.index, pair.train) for pair in found] == [(i, i) for i in range(12)]
    assert peak < 6 << 20


def test_products_are_bounded_where_one_data_set_is_small(monkeypatch):
    monkeypatch.setattr(duplicates, "MOST_BYTES", 1 << 20)
    own, theirs = np.zeros((100_000, 64), np.float32), np.zeros((1, 64), np.float32)
    wanted = list(range(len(own)))
    tracemalloc.start()
    try:
        assert list(duplicates._candidates(own, theirs, wanted)) == []
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 << 20
