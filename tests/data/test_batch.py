"""These tests check batches of items of any structure, and what transforms may return."""

import threading

import numpy as np
import pytest

import minidl as md
from minidl.data import ArrayDataset, DataLoader


def first(dataset, size=8, **options):
    return next(iter(DataLoader(dataset, size, prefetch=0, **options)))


# Structure


def test_images_alone():
    for dataset in (ArrayDataset(np.full((3, 2), 255, np.uint8)), [np.full(2, 255, np.uint8)] * 3):
        batch = first(dataset, transform=lambda images: images + 1)
        assert isinstance(batch, md.Tensor) and batch.dtype == np.float32
        assert batch.numpy().tolist() == [[2, 2]] * 3
    assert first([1.5, 2.5]).numpy().tolist() == [1.5, 2.5]


@pytest.mark.parametrize("as_items", [False, True])
def test_longer_tuples(as_items):
    arrays = (
        np.arange(3, dtype=np.uint8),
        np.arange(3, dtype=np.int8),
        np.arange(6, dtype=np.float32).reshape(3, 2),
        np.array([True, False, True]),
    )
    dataset = ArrayDataset(*arrays)
    images, *rest = first(list(dataset) if as_items else dataset)
    assert isinstance(images, md.Tensor)
    np.testing.assert_array_equal(images.numpy(), np.float32([0, 1, 2]) / np.float32(255))
    assert [part.dtype for part in rest] == [np.int64, np.float32, np.int64]
    for part, array in zip(rest, arrays[1:], strict=True):
        np.testing.assert_array_equal(part, array)


def test_python_floats_are_float32_as_everywhere():
    images, labels = first([([0.5, 1.0], 0.25), ([1.5, 2.0], 0.5)])
    assert images.dtype == labels.dtype == np.float32


def test_items_of_a_class_are_asked_for_whatever_arrays_it_has():
    class Doubled:
        def __init__(self):
            self.images, self.labels = np.ones((3, 2)), np.arange(3)

        def __len__(self):
            return 3

        def __getitem__(self, index):
            return self.images[index] * 2, self.labels[index]

    class Negative(ArrayDataset):
        def __getitem__(self, index):
            images, labels = super().__getitem__(index)
            return -images, labels

    assert (first(Doubled())[0].numpy() == 2).all()
    assert (first(Negative(np.ones((3, 2)), np.arange(3)))[0].numpy() == -1).all()


@pytest.mark.parametrize(
    "items, error, message",
    [
        ([({"image": 1}, 2)], TypeError, r"dataset\[0\] must be an image, or a tuple.*a dict"),
        (
            [{"image": 1, "name": None}],
            TypeError,
            r"dataset\[0\].*entry 'name' of it is a NoneType",
        ),
        ([{}], TypeError, r"dataset\[0\] must be .*not a dict of 0"),
        (
            [{"a": 1, "b": 2}, {"a": 1, "c": 2}],
            TypeError,
            r"dataset\[1\] must be a dict of 'a', 'b' as dataset\[0\], not of 'a', 'c'",
        ),
        (
            [{"a": 1}, (1, 2)],
            TypeError,
            r"dataset\[1\] must be a dict as dataset\[0\], not a tuple of 2",
        ),
        ([(1, 2), {"a": 1}], TypeError, r"dataset\[1\] must be a tuple.* of 2 .*, not a dict of 1"),
        ([1, {"a": 1}], TypeError, r"dataset\[1\] must be an image alone as .*, not a dict of 1"),
        (
            [{"a": 1, "b": [1, 2]}, {"a": 1, "b": [1]}],
            ValueError,
            r"entry 'b' of dataset\[1\] has the shape \(1,\)",
        ),
        (["a", "b"], TypeError, r"dataset\[0\] must be an image.*a str"),
        ([None, 1], TypeError, r"dataset\[0\].*a NoneType"),
        ([()], TypeError, r"dataset\[0\] must be a tuple.*a tuple of 0"),
        (
            [(1, 2), (1, 2, 3)],
            TypeError,
            r"dataset\[1\] must be a tuple.* of 2 as dataset\[0\], "
            r"not a tuple of 3",
        ),
        ([(1, 2), 3], TypeError, r"dataset\[1\] must be a tuple.*not a int"),
        (
            [(np.zeros((4, 5, 3)), 0), (np.zeros((4, 6, 3)), 1)],
            ValueError,
            r"the image of dataset\[1\] has the shape \(4, 6, 3\), that of dataset\[0\] "
            r"\(4, 5, 3\).*resize",
        ),
        ([(0, [1, 2]), (1, [1])], ValueError, r"part 1 of dataset\[1\] has the shape \(1,\)"),
        ([(0, 1), (1, None)], TypeError, r"part 1 of it is a NoneType"),
        ([(0, 1), ([[1], [2, 3]], 1)], ValueError, r"the image of dataset\[1\] is no array"),
        (
            [np.zeros(2, np.uint8), np.zeros(2)],
            TypeError,
            r"dataset\[1\] is float64, that of dataset\[0\] uint8.*255",
        ),
    ],
)
def test_items_that_make_no_batch(items, error, message):
    with pytest.raises(error, match=message):
        first(items)


def test_the_item_that_is_named_is_that_of_the_data_set():
    images = [np.zeros((2, 2)) for _ in range(9)]
    images[5] = np.zeros((3, 2))
    with pytest.raises(
        ValueError,
        match=r"dataset\[5\] has the shape \(3, 2\), that of "
        r"dataset\[4\] \(2, 2\)",
    ):
        list(DataLoader(list(zip(images, range(9), strict=True)), 4))


@pytest.mark.parametrize(
    "values, dtype",
    [([1, 2.5], np.float32), ([2.5, 1], np.float32), (["a", "long"], "U4"), (["long", "a"], "U4")],
)
def test_parts_of_several_dtypes_have_a_common_one(values, dtype):
    items = [
        (
            np.zeros(1, np.float32),
            np.array(v, np.float32) if v == 2.5 else np.array(v, np.int8) if v == 1 else v,
        )
        for v in values
    ]
    labels = first(items)[1]
    assert labels.dtype == dtype and labels.tolist() == values


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("alone", [False, True])
def test_items_that_fill_one_array_again_and_again(shuffle, alone):
    class Reused:
        image, label = np.zeros((2, 2), np.float32), np.zeros((), int)

        def __len__(self):
            return 5

        def __getitem__(self, index):
            self.image[...] = self.label[...] = index
            return self.image if alone else (self.image, self.label)

    batch = first(Reused(), shuffle=shuffle)
    images, labels = (batch, None) if alone else batch
    assert sorted(images.data[:, 0, 0].tolist()) == list(range(5))
    if labels is not None:
        assert labels.tolist() == images.data[:, 1, 1].tolist()


def test_a_batch_beyond_memory():
    huge = np.broadcast_to(np.float32(0), (10**9, 10**6))

    class Items:
        def __len__(self):
            return 10**9

        def __getitem__(self, index):
            return huge[0]

    for dataset in (ArrayDataset(huge), Items()):
        with pytest.raises(MemoryError, match="DataLoader: a batch"):
            first(dataset, 10**9)


def test_a_batch_in_order_is_a_copy():
    images = np.ones((3, 2), np.float32)
    first(ArrayDataset(images)).data[...] = 2
    assert (images == 1).all()


# Transforms that keep what they return


class Keeping:
    """Fills and returns its own arrays, in one of several ways."""

    def __init__(self):
        self.array, self.larger = np.empty((2, 3), np.float32), np.empty((5, 3), np.float32)
        self.tensor, self.turn = md.zeros(2, 3), 0

    def whole(self, images):
        self.array[...] = images
        return self.array

    def view(self, images):
        self.larger[1:3] = images
        return self.larger[1:3]

    def of_a_tensor(self, images):
        self.tensor.data[...] = images
        return self.tensor.data

    def in_turns(self, images):
        self.turn += 1
        return self.whole(images) if self.turn % 2 else self.view(images)

    def input(self, images):
        self.array = images
        images += 0
        return images


@pytest.mark.parametrize("prefetch", [0, 2, 50])
@pytest.mark.parametrize("way", ["whole", "view", "of_a_tensor", "in_turns", "input"])
def test_batches_share_no_memory(way, prefetch):
    images = np.arange(30, dtype=np.float32).reshape(10, 3)
    loader = DataLoader(
        ArrayDataset(images), 2, transform=getattr(Keeping(), way), prefetch=prefetch
    )
    batches = list(loader)
    np.testing.assert_array_equal(np.concatenate([b.numpy() for b in batches]), images)


@pytest.mark.parametrize(
    "make",
    [lambda x: x * 2, lambda x: (x * 2)[:], lambda x: x, lambda x: x[:]],
    ids=["new", "view of a new one", "input", "its view"],
)
def test_what_nobody_else_holds_is_not_copied(make):
    places = []

    def transform(images):
        result = make(images)
        places.append(result.__array_interface__["data"][0])
        return result

    batch = first(ArrayDataset(np.ones((2, 3), np.float32)), transform=transform)
    assert batch.numpy().__array_interface__["data"][0] == places[0]


def test_batches_of_results_can_be_written_to():
    batch = first(ArrayDataset(np.ones((2, 3), np.float32)), transform=lambda x: md.exp(x).data)
    batch.data[...] = 0


# Threads


def test_two_threads_never_begin_one_epoch():
    loader = DataLoader(ArrayDataset(np.arange(20)), 2, shuffle=True, seed=1)
    barrier, orders = threading.Barrier(4), []

    def iterate():
        barrier.wait(20)
        for _ in range(5):
            orders.append(tuple(np.concatenate([b.numpy() for b in loader]).tolist()))

    threads = [threading.Thread(target=iterate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    again = DataLoader(ArrayDataset(np.arange(20)), 2, shuffle=True, seed=1)
    known = {tuple(np.concatenate([b.numpy() for b in again]).tolist()) for _ in range(30)}
    assert len(orders) == 20 and set(orders) <= known


# Arrays of other libraries, and data sets of them


class Column:
    """Resembles a column of pandas, whose rows are asked for by labels of its own."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def __len__(self):
        return len(self.values)

    def __getitem__(self, label):
        raise KeyError(label)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


def test_columns_and_arrays_are_data():
    images, labels = first(ArrayDataset(Column([[1.5], [2.5]]), Column([1, 0])))
    assert images.numpy().tolist() == [[1.5], [2.5]] and labels.tolist() == [1, 0]
    for array in (Column([1.5, 2.5]), np.array([1.5, 2.5]), md.tensor([1.5, 2.5])):
        assert first(array).numpy().tolist() == [1.5, 2.5]


# Items that are dicts


def test_dicts():
    items = [
        {"x": np.full(2, i, np.float32), "y": i, "name": f"n{i}", "more": [i, 2 * i]}
        for i in range(5)
    ]
    batch = first(items, 3)
    assert list(batch) == ["x", "y", "name", "more"] and isinstance(batch["x"], md.Tensor)
    assert batch["y"].dtype == batch["more"].dtype == np.int64
    assert batch["more"].tolist() == [[0, 0], [1, 2], [2, 4]]
    assert batch["name"].tolist() == ["n0", "n1", "n2"]
    turned = [dict(reversed(item.items())) if i % 2 else item for i, item in enumerate(items)]
    again = first(turned, 3)
    assert list(again) == list(batch)
    for name in ("y", "name", "more"):
        np.testing.assert_array_equal(again[name], batch[name])


@pytest.mark.parametrize(
    "names, image",
    [
        (("label", "image"), 1),
        (("id", "images", "y"), 1),
        (("x", "label"), 0),
        ((0, 1), 0),
        (("only",), 0),
    ],
)
def test_which_entry_is_the_image(names, image):
    item = {
        name: np.full((2, 2, 1), 255, np.uint8) if i == image else i for i, name in enumerate(names)
    }
    batch = first([item] * 2, transform=lambda images: images * 2)
    for i, (name, value) in enumerate(batch.items()):
        assert name == names[i] and isinstance(value, md.Tensor) == (i == image)
    assert (batch[names[image]].numpy() == 2).all()
