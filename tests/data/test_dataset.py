"""These tests check that an ArrayDataset takes any arrays of one length."""

import numpy as np
import pytest

import minidl as md
from minidl.data import ArrayDataset, DataLoader, Subset, balanced, class_weights, mean_std, split
from tests.support.errors import refuses


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
        (
            np.zeros(1),
            ["cat"],
            TypeError,
            "not of dtype <U3; np.unique.labels, return_inverse=True",
        ),
        ([None], [1], TypeError, "images must be an array of numbers, not of dtype object"),
    ],
)
def test_bad_arguments_are_refused(images, labels, error, message):
    with pytest.raises(error, match=message):
        ArrayDataset(images, labels)


class Column:
    """Resembles a column of another library, which can become an array."""

    def __init__(self, values):
        self.values = np.array(values)
        self.dtype = self.values.dtype

    def __array__(self, dtype=None, copy=None):
        return self.values


def test_images_alone():
    data = ArrayDataset(np.arange(6).reshape(3, 2))
    assert data.labels is None and data.more == () and len(data.arrays) == 1
    assert data[1].tolist() == [2, 3] and data[1:].tolist() == [[2, 3], [4, 5]]
    assert repr(data) == "ArrayDataset(images (3, 2) int64)"
    assert ArrayDataset([[1.0], [2.0]], classes=["a"]).classes == ("a",)


def test_any_number_of_arrays():
    x, y, z = np.arange(3), np.arange(3) * 2, np.arange(6).reshape(3, 2)
    data = ArrayDataset(x, y, z, y)
    assert data.images is x and data.labels is y and data.more[0] is z and len(data.arrays) == 4
    assert [np.asarray(part).tolist() for part in data[2]] == [2, 4, [4, 5], 4]
    assert repr(data).endswith("labels (3,) int64, array 2 (3, 2) int64, array 3 (3,) int64)")
    with pytest.raises(ValueError, match="images and all arrays must have the same length"):
        ArrayDataset(x, y, z[:2])
    with pytest.raises(TypeError, match="labels is None"):
        ArrayDataset(x, None, z)
    with pytest.raises(TypeError, match="array 2 must be an array of numbers"):
        ArrayDataset(x, y, [None] * 3)


@pytest.mark.parametrize("names", [["cat", "dog"], ("cat", "dog")])
def test_names_in_the_third_place_are_classes(names):
    data = ArrayDataset(np.zeros((2, 3)), [0, 1], names)
    assert data.classes == ("cat", "dog") and data.more == ()
    assert ArrayDataset(np.zeros((2, 3)), [0, 1], None).classes is None
    many = ArrayDataset(np.zeros((2, 3)), [0, 1], [5, 6], names)
    assert many.classes == ("cat", "dog") and many.more[0].tolist() == [5, 6]


def test_what_is_taken_as_an_array():
    data = ArrayDataset(Column([[1.5, 2.5]]), Column([3]), md.ones(1, 2))
    assert data.images.dtype == np.float64 and data.labels.tolist() == [3]
    assert data.more[0].dtype == np.float32
    assert ArrayDataset([[1.5], [2.5]], [0.5, 1.5]).images.dtype == np.float32  # as tensors have it
    with pytest.raises(ValueError, match="images must be an array, all items of one shape"):
        ArrayDataset([[1.0], [2.0, 3.0]], [0, 1])


@pytest.mark.parametrize(
    "make",
    [
        lambda items: items,
        lambda items: Subset(items, range(4)),
        lambda items: Subset([items[i] for i in range(4)], range(4)),
    ],
    ids=["arrays", "part", "list"],
)
@pytest.mark.parametrize(
    "index, error, words",
    [
        (None, TypeError, ("index must be an int, a slice, a list of ints, or a mask", "None")),
        (..., TypeError, ("index",)),
        ("a", TypeError, ("index", "'a'")),
        (1.5, TypeError, ("1.5",)),
        (True, TypeError, ("True",)),
        ([[0, 1]], TypeError, ("index",)),
        ({}, TypeError, ("index",)),
        (slice("a"), TypeError, ("index",)),
        (np.array(1.0), TypeError, ("index",)),
        (md.tensor(1.0), TypeError, ("index",)),
        (md.tensor([0.5]), TypeError, ("index",)),
        (md.tensor(True), TypeError, ("index",)),
        (4, IndexError, ("index 4", "out of range", "4")),
        ([0, -5], IndexError, ("index -5",)),
        ([True, False], ValueError, ("mask", "(4,)", "(2,)")),
    ],
)
def test_an_index_that_does_not_fit_is_named(make, index, error, words):
    items = make(ArrayDataset(np.zeros((4, 2, 2, 1), np.uint8), np.arange(4)))
    with refuses(error, type(items).__name__, *words):
        items[index]


@pytest.mark.parametrize(
    "index, labels",
    [
        (md.tensor(2), 2),
        (np.int32(-1), 3),
        (md.tensor([3, 0]), [3, 0]),
        ([], []),
        ((1, 2), [1, 2]),
        (slice(1, None, 2), [1, 3]),
        (np.array([True, False, False, True]), [0, 3]),
    ],
)
def test_indices_of_all_kinds(index, labels):
    items = ArrayDataset(np.zeros((4, 2, 2, 1), np.uint8), np.arange(4))
    for chosen in (items[index], Subset(items, range(4))[index]):
        np.testing.assert_array_equal(chosen[1], labels)


@pytest.mark.parametrize("given", [md.tensor(1.0), np.float32(2), None, "text"], ids=repr)
@pytest.mark.parametrize(
    "name, call",
    [
        ("DataLoader", DataLoader),
        ("mean_std", mean_std),
        ("ArrayDataset", ArrayDataset),
        ("balanced", balanced),
        ("class_weights", class_weights),
        ("Subset", lambda given: Subset(given, [0])),
        ("split", lambda given: split(given, (1.0,))),
    ],
)
def test_what_is_no_data_set_is_refused_by_the_function_that_was_called(name, call, given):
    with refuses((TypeError, ValueError), f"{name}: "):
        call(given)


@pytest.mark.parametrize(
    "name, call",
    [("DataLoader", DataLoader), ("mean_std", mean_std), ("ArrayDataset", ArrayDataset)],
)
def test_an_array_of_something_else_than_numbers_is_refused_by_name(name, call):
    with refuses(TypeError, f"{name}: ", "must be an array of numbers, not of dtype <U1"):
        call(np.array(["a", "b"]))
