"""ArrayDataset: any arrays of one length."""

import numpy as np
import pytest

from minidl.data import ArrayDataset


def test_holds_the_arrays_themselves():
    images, labels = np.zeros((5, 8, 8, 3), np.uint8), np.arange(5)
    data = ArrayDataset(images, labels)
    assert data.images is images and data.labels is labels and data.classes is None
    assert len(data) == 5
    assert repr(data) == "ArrayDataset(images (5, 8, 8, 3) uint8, labels (5,) int64)"


def test_classes():
    data = ArrayDataset(np.zeros((2, 3)), [0, 1], classes=["cat", "dog"])
    assert data.classes == ("cat", "dog")
    assert repr(data).endswith(", 2 classes)")


def test_lists_and_other_targets():
    data = ArrayDataset([[1.0, 2.0], [3.0, 4.0]], [[0.5], [1.5]])
    assert data.images.shape == (2, 2) and data.labels.shape == (2, 1)


def test_indexing():
    images, labels = np.arange(12).reshape(6, 2), np.arange(6)
    data = ArrayDataset(images, labels)
    assert data[4][0].tolist() == [8, 9] and data[4][1] == 4
    assert [label for _, label in data] == list(range(6))
    for index in (slice(None, None, -2), [5, 0], labels > 3):
        some, their = data[index]
        assert np.array_equal(some, images[index]) and np.array_equal(their, labels[index])
    with pytest.raises(IndexError):
        data[6]


@pytest.mark.parametrize(
    ("images", "labels", "error", "message"),
    [
        (np.zeros((3, 2)), np.zeros(4), ValueError, "the same length, not 3 and 4"),
        (np.zeros(()), np.zeros(1), ValueError, "images must have a first axis"),
        (np.zeros(1), 7, ValueError, "labels must have a first axis"),
        (np.zeros(1), ["cat"], TypeError, "labels must be an array of numbers, not of dtype <U3"),
        ([None], [1], TypeError, "images must be an array of numbers, not of dtype object"),
    ],
)
def test_errors(images, labels, error, message):
    with pytest.raises(error, match=message):
        ArrayDataset(images, labels)
