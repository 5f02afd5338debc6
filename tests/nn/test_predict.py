"""These tests check what `predict` takes: arrays, tuples of inputs, data sets, loaders, batches."""

import numpy as np
import pytest

import minidl as md
from minidl import data, nn
from tests.support.arrays import close, uniform
from tests.support.errors import refuses

IMAGES = np.arange(7 * 4, dtype=np.uint8).reshape(7, 4)


class Items:
    """Makes its items in code, and has arrays that are something else."""

    images, labels = np.zeros((7, 1)), np.zeros(7, int)

    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, index):
        return IMAGES[index], index, "more"


class Series:
    """An object of another library that can become an array."""

    def __array__(self, dtype=None, copy=None):
        return np.array(IMAGES, dtype)


PAIRS = data.ArrayDataset(IMAGES, np.arange(7))
GIVEN = {
    "array": lambda: IMAGES,
    "tuple": lambda: (IMAGES,),
    "tensor": lambda: md.tensor(IMAGES),
    "another library's": Series,
    "data set": lambda: PAIRS,
    "images alone": lambda: data.ArrayDataset(IMAGES),
    "triples": lambda: data.ArrayDataset(IMAGES, np.arange(7), np.arange(7)),
    "items": Items,
    "list of items": lambda: [(image, 0) for image in IMAGES],
    "list of dicts": lambda: [{"label": 0, "image": image} for image in IMAGES],
    "subset": lambda: data.Subset(PAIRS, range(7)),
    "loader of dicts": lambda: data.DataLoader([{"y": 0, "image": x} for x in IMAGES], 3),
    "dicts": lambda: iter([{"images": IMAGES[:2], "y": 0}, {"x": IMAGES[2:], "y": 0}]),
    "list of rows": lambda: list(IMAGES),
    "loader": lambda: data.DataLoader(PAIRS, 3),
    "loader of images": lambda: data.DataLoader(data.ArrayDataset(IMAGES), 4),
    "batches": lambda: iter([IMAGES[:2], (IMAGES[2:6], None), [IMAGES[6:], 0]]),
}


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
@pytest.mark.parametrize("size", [3, 256, np.int64(7)])
def test_outputs_of_all_in_order(given, size):
    model = nn.Sequential(nn.Dense(4, 2), nn.Dropout(0.5))
    close(model.predict(given(), size), IMAGES / 255 @ model[0].weight.data)


def test_several_inputs():
    class Product(nn.Layer):
        def forward(self, a, b):
            return md.tensor(a) * md.tensor(b)

    a, b = uniform(7, 3), uniform(7, 1, seed=1)
    np.testing.assert_array_equal(Product().predict((a, md.tensor(b)), 2), a * b)
    with refuses(ValueError, "predict", "one length", "7, 6"):
        Product().predict((a, b[:6]))
    with refuses(ValueError, "predict", "empty tuple"):
        Product().predict(())


def test_results_are_not_shared():
    class Constant(nn.Layer):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(uniform(3, 2))

        def forward(self, x):
            return self.w.reshape(2, 3)

    class Shared:
        def __array__(self, dtype=None, copy=None):
            return array

    model, array = Constant(), uniform(7, 4)
    before = model.w.data.copy()
    model.predict(IMAGES)[...] = 9
    np.testing.assert_array_equal(model.w.data, before)
    for given in (array, md.Tensor(array), Shared()):
        nn.Identity().predict(given)[...] = 9
        np.testing.assert_array_equal(array, uniform(7, 4))


def test_a_loader_is_left_where_it_was():
    loader = data.DataLoader(PAIRS, 2, transform=lambda images: images + 1)
    next(iter(loader))
    state = loader.state_dict()
    close(nn.Identity().predict(loader), np.float32(IMAGES / 255 + 1))
    assert loader.state_dict() == state
    # Two of four batches have been given.
    loader.load_state_dict({"seed": 0, "epoch": 3, "position": 2})
    assert len(nn.Identity().predict(loader)) == 7


def test_the_generator_of_random_numbers_is_left_alone():
    md.manual_seed(3)
    expected = md.random.generator().random()
    md.manual_seed(3)
    nn.Identity().predict(Items())
    assert md.random.generator().random() == expected


@pytest.mark.parametrize(
    "x, error, words",
    [
        (lambda: data.DataLoader(PAIRS, 2, shuffle=True), ValueError, ["shuffles", "the data set"]),
        (
            lambda: data.DataLoader(PAIRS, 2, drop_last=True),
            ValueError,
            ["last 1 items", "drop_last"],
        ),
        (lambda: iter([]), ValueError, ["no batch"]),
        (lambda: iter([()]), ValueError, ["empty"]),
        (lambda: None, TypeError, ["x must be an array, a data set or a loader", "None"]),
        (lambda: 3.0, ValueError, ["batch axis", "a number"]),
    ],
)
def test_bad_arguments_are_refused(x, error, words):
    with refuses(error, *words):
        nn.Identity().predict(x())


def test_a_loader_that_leaves_nothing_out():
    assert len(nn.Identity().predict(data.DataLoader(PAIRS, 7, drop_last=True))) == 7


def test_the_result_is_the_callers_own():
    x = uniform(3, 2)
    before = x.copy()
    nn.Identity().predict(x)[...] = 9
    nn.Identity().predict(md.tensor(x))[...] = 9
    np.testing.assert_array_equal(x, before)


VIEWS = {
    "identity": nn.Identity,
    "empty": nn.Sequential,
    "flatten": nn.Flatten,
    "reshape": lambda: nn.Lambda(lambda x: md.reshape(x, (-1, 2))),
}


@pytest.mark.parametrize("make", VIEWS.values(), ids=VIEWS)
def test_batches_that_are_overwritten(make):
    def batches():
        buffer = np.zeros((2, 2), np.float32)
        for i in range(3):
            buffer[...] = i
            yield buffer

    np.testing.assert_array_equal(
        make().predict(batches()), np.repeat([0, 1, 2], 2)[:, None] * np.ones(2)
    )


@pytest.mark.parametrize("make", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize(
    "given",
    [
        lambda x: x,
        lambda x: data.ArrayDataset(x),
        lambda x: iter([x]),
        lambda x: [(row, 0) for row in x],
    ],
    ids=["array", "data set", "batches", "items"],
)
def test_results_share_no_memory(make, given):
    x = uniform(3, 2)
    assert not np.shares_memory(make().predict(given(x)), x)


def test_an_array_that_a_model_fills_again():
    class Counting(nn.Layer):
        def __init__(self):
            super().__init__()
            self.count = np.zeros(1, np.float32)

        def forward(self, x):
            self.count += 1
            return md.Tensor(self.count)

    assert Counting().predict(np.zeros((3, 1)), 1).tolist() == [1, 2, 3]
